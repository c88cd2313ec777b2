"""Real MQTT brokers for tests and the demo: mosquitto, and amqtt where 3.1.1 only is wanted.

A broker listens on 127.0.0.1 at a free port, which it keeps over restarts. It can be stopped,
killed with SIGKILL and started again, with access rules, passwords, TLS and persistence.
"""

from __future__ import annotations

import getpass
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgeagent.errors import NotFound, Unavailable

NAMES = "DNS:localhost, IP:127.0.0.1"
"""What a server's certificate is made out to."""


@dataclass(frozen=True, slots=True)
class Certificates:
    """PEM files of a throw-away authority, a server (localhost, 127.0.0.1) and a client."""

    ca: Path
    server: Path
    server_key: Path
    client: Path
    client_key: Path


class ProcessBroker(ABC):
    """A broker that is a process, in a group of its own. Subclasses say how it is started."""

    start_s = 10.0
    """How long it may take until it accepts connections."""

    def __init__(self, folder: Path, port: int = 0) -> None:
        self.folder = folder
        self.port = port or free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> str:
        """What it has printed so far."""
        path = self.folder / "broker.log"
        return path.read_text(errors="replace") if path.exists() else ""

    @property
    def pid(self) -> int:
        if self._process is None:
            raise Unavailable("the broker does not run")
        return self._process.pid

    @abstractmethod
    def command(self) -> list[str]:
        """What is run. Raises NotFound where it is not installed."""

    def environment(self) -> dict[str, str] | None:
        """Its environment; None = ours."""
        return None

    def start(self) -> None:
        """Start it and wait until it accepts connections. Raises Unavailable."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "broker.log").open("ab") as log:
            self._process = subprocess.Popen(
                self.command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env=self.environment(), start_new_session=True,
            )  # fmt: skip
        deadline = time.monotonic() + self.start_s
        while not _accepts(self.port):
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                raise Unavailable(f"the broker did not start:\n{self.log[-2000:]}")
            time.sleep(0.02)

    def stop(self) -> None:
        """End it in good order (SIGTERM). A second call does nothing."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it with SIGKILL: what it had not written is gone."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        """`stop` and `start` at the same port."""
        self.stop()
        self.start()

    def _end(self, number: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        for attempt in (number, number, number, signal.SIGKILL):
            process.send_signal(attempt)
            try:
                process.wait(timeout=2)
                return
            except subprocess.TimeoutExpired:
                continue  # mosquitto forgets a signal that comes just before its loop starts.

    def __enter__(self) -> ProcessBroker:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


class Mosquitto(ProcessBroker):
    """Eclipse Mosquitto, which must be installed.

    ``options`` are further lines of mosquitto.conf. ``users`` (name → password) makes it ask
    for a login; ``acl`` is the text of an access file. ``persistent`` keeps retained messages
    and sessions on files (written each second). With ``tls`` it speaks TLS only; with
    ``client_certificates`` it also wants one of the client.
    """

    def __init__(
        self,
        folder: Path,
        *,
        port: int = 0,
        options: Sequence[str] = (),
        users: Mapping[str, str] | None = None,
        acl: str = "",
        persistent: bool = False,
        tls: bool = False,
        client_certificates: bool = False,
        names: str = NAMES,
        days: int = 365,
    ) -> None:
        super().__init__(folder, port)
        self.certificates: Certificates | None = None
        folder.mkdir(parents=True, exist_ok=True)
        if tls:
            self.certificates = make_certificates(folder / "tls", names=names, days=days)
        lines = [
            f"listener {self.port} 127.0.0.1",
            f"user {getpass.getuser()}",
            "set_tcp_nodelay true",
            "max_queued_messages 100000",
            "max_inflight_messages 100",
            *self._access(users, acl),
            *self._tls(client_certificates),
            *([f"persistence_location {folder}/"] if persistent else []),
            *(["persistence true", "autosave_interval 1"] if persistent else []),
            *options,
        ]
        (folder / "mosquitto.conf").write_text("\n".join(lines) + "\n")

    def command(self) -> list[str]:
        return [find_mosquitto(), "-c", str(self.folder / "mosquitto.conf")]

    def set_acl(self, acl: str) -> None:
        """Replace the access rules and have them read (SIGHUP)."""
        (self.folder / "acl").write_text(acl)
        os.kill(self.pid, signal.SIGHUP)

    def _access(self, users: Mapping[str, str] | None, acl: str) -> list[str]:
        lines = [f"allow_anonymous {'false' if users else 'true'}"]
        if users:
            passwords = self.folder / "passwords"
            passwords.write_text("".join(f"{name}:{word}\n" for name, word in users.items()))
            passwords.chmod(0o600)
            _run(["mosquitto_passwd", "-U", str(passwords)])
            lines.append(f"password_file {passwords}")
        if acl:
            (self.folder / "acl").write_text(acl)
            (self.folder / "acl").chmod(0o600)
            lines.append(f"acl_file {self.folder / 'acl'}")
        return lines

    def _tls(self, client_certificates: bool) -> list[str]:
        if self.certificates is None:
            return []
        lines = [
            f"cafile {self.certificates.ca}",
            f"certfile {self.certificates.server}",
            f"keyfile {self.certificates.server_key}",
        ]
        return [*lines, "require_certificate true"] if client_certificates else lines


class Amqtt(ProcessBroker):
    """amqtt, a broker in Python that knows MQTT 3.1.1 only; the package must be installed."""

    def command(self) -> list[str]:
        return [sys.executable, "-c", _AMQTT, str(self.port)]


_AMQTT = """
import asyncio, logging, sys
from amqtt.broker import Broker
logging.basicConfig(level=logging.WARNING)
plugins = {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}}
config = {
    "listeners": {"default": {"type": "tcp", "bind": f"127.0.0.1:{sys.argv[1]}"}},
    "plugins": plugins,
}
async def main():
    broker = Broker(config)
    await broker.start()
    await asyncio.Event().wait()
asyncio.run(main())
"""


def find_mosquitto() -> str:
    """The program's path. Raises NotFound."""
    found = shutil.which(
        "mosquitto", path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin"
    )
    if found is None:
        raise NotFound("mosquitto is not installed", remedy="apt-get install mosquitto")
    return found


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def make_certificates(folder: Path, *, days: int = 365, names: str = NAMES) -> Certificates:
    """An authority and two certificates that it signed, by the ``openssl`` program."""
    folder.mkdir(parents=True, exist_ok=True)
    files = Certificates(*(folder / f"{name}.pem" for name in _PEM))
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    _run(
        ["openssl", "req", "-x509", *key, "-days", str(days), "-subj", "/CN=edgeagent test CA",
         "-addext", "keyUsage=critical,keyCertSign,cRLSign",
         "-keyout", str(folder / "ca-key.pem"), "-out", str(files.ca)]
    )  # fmt: skip
    for name, cert, its_key in (
        ("localhost", files.server, files.server_key),
        ("edgeagent", files.client, files.client_key),
    ):
        request, extra = folder / f"{name}.csr", folder / f"{name}.ext"
        extra.write_text(f"subjectAltName = {names}\n")
        _run(
            ["openssl", "req", "-new", *key, "-subj", f"/CN={name}", "-keyout", str(its_key),
             "-out", str(request)]
        )  # fmt: skip
        _run(
            ["openssl", "x509", "-req", "-in", str(request), "-CA", str(files.ca), "-CAkey",
             str(folder / "ca-key.pem"), "-CAcreateserial", "-days", str(days), "-extfile",
             str(extra), "-out", str(cert)]
        )  # fmt: skip
    return files


_PEM = ("ca", "server", "server-key", "client", "client-key")


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Unavailable(f"{command[0]} failed: {done.stderr.strip()}")


def _accepts(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=0.5):
            return True
    except OSError:
        return False
