"""A real PostgreSQL server of one's own: for tests and benchmarks of the fleet's tools.

It listens on 127.0.0.1 at a free port, which it keeps over restarts, and its files go away with
it. PostgreSQL refuses to run as root: then it runs as the system's user ``postgres``.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from edgeagent.errors import NotFound, Unavailable
from edgeagent.testing.broker import free_port

_PLACES = ("/usr/lib/postgresql", "/usr/local/pgsql")
_USER = "postgres"


class PostgresServer:
    """``durable`` = with fsync, as in earnest; tests of restarts do without.

    Raises: NotFound (not installed), Unavailable.
    """

    def __init__(self, *, durable: bool = False) -> None:
        self._programs = find_postgres()
        self.port = free_port()
        self._folder = Path(tempfile.mkdtemp(prefix="edgeagent-pg-"))
        self._durable = durable
        if os.geteuid() == 0:
            shutil.chown(self._folder, _USER)
        self._run(
            "initdb", "-D", str(self._folder / "d"), "-A", "trust", "-U", _USER, "--no-sync",
            "-E", "UTF8", "--no-locale",
        )  # fmt: skip
        self._made = 0

    def start(self) -> None:
        options = [
            f"-p {self.port}", "-c listen_addresses=127.0.0.1", f"-k {self._folder}",
            "-c max_wal_size=1GB", *([] if self._durable else ["-c fsync=off"]),
        ]  # fmt: skip
        log = str(self._folder / "log")
        self._run("pg_ctl", "-D", self._data, "-w", "-l", log, "-o", " ".join(options), "start")

    def stop(self) -> None:
        """At once, as after a power cut: transactions under way are lost."""
        self._run("pg_ctl", "-D", self._data, "-m", "immediate", "stop")

    def restart(self) -> None:
        self.stop()
        self.start()

    def database(self) -> str:
        """The URL of a new, empty database."""
        self._made += 1
        name = f"d{self._made}"
        self._run("createdb", "-h", "127.0.0.1", "-p", str(self.port), "-U", _USER, name)
        return f"postgresql://{_USER}@127.0.0.1:{self.port}/{name}"

    def __enter__(self) -> PostgresServer:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        if (self._folder / "d" / "postmaster.pid").exists():
            self.stop()
        shutil.rmtree(self._folder, ignore_errors=True)

    @property
    def _data(self) -> str:
        return str(self._folder / "d")

    def _run(self, program: str, *arguments: str) -> None:
        as_user = ["setpriv", f"--reuid={_USER}", f"--regid={_USER}", "--init-groups"]
        command = [str(self._programs / program), *arguments]
        # A server inherits what its starter holds open, so nothing may wait for that to end.
        with (self._folder / "out").open("ab+") as out:
            done = subprocess.run(
                command if os.geteuid() else [*as_user, *command],
                stdin=subprocess.DEVNULL, stdout=out, stderr=out, cwd=self._folder, check=False,
            )  # fmt: skip
            if done.returncode:
                out.seek(0)
                said = out.read()[-1000:].decode(errors="replace")
                raise Unavailable(f"{program} failed: {said}")


def find_postgres() -> Path:
    """The folder of its programs. Raises NotFound."""
    for place in _PLACES:
        for found in sorted(Path(place).glob("**/bin/initdb"), reverse=True):
            return found.parent
    there = shutil.which("initdb")
    if there is None:
        raise NotFound("PostgreSQL is not installed", remedy="apt-get install postgresql")
    return Path(there).parent
