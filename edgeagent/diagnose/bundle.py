"""``support-bundle``: one file with all that somebody far away needs to help, and no secret.

Every text goes through `scrub` at one place, `Bundle.add`. There are no pictures in it, no models
and no evidence of records.
"""

from __future__ import annotations

import io
import json
import os
import platform
import subprocess
import tarfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

from edgeagent import __version__, clock, crashes
from edgeagent.diagnose import doctor
from edgeagent.diagnose.checks.guarded import secret_files
from edgeagent.diagnose.checks.kernel import messages
from edgeagent.diagnose.context import Context
from edgeagent.diagnose.scrub import Scrub, secrets_of
from edgeagent.errors import EdgeAgentError
from edgeagent.store.export import peek
from edgeagent.store.verify import verify

TYPE = "application/gzip"
_RECORDS = 200
_KERNEL_LINES = 300
_PIECE_BYTES = 1 << 20
"""Of one text; what is beyond is left out, and said."""
_ASK_S = 5.0
_MACHINE = (
    "etc/os-release", "proc/cpuinfo", "proc/meminfo", "proc/self/mountinfo", "proc/swaps",
    "proc/loadavg", "proc/uptime", "proc/pressure/cpu", "proc/pressure/memory",
    "proc/pressure/io", "proc/net/route", "etc/resolv.conf",
    "sys/firmware/devicetree/base/model",
)  # fmt: skip
_PROGRAMS = {
    "unit.txt": ("systemctl", "show", "edgeagent.service"),
    "journal.txt": ("journalctl", "-u", "edgeagent", "-n", "500", "--no-pager"),
}


class Bundle:
    """The texts of one bundle. Args: scrub: what each goes through."""

    def __init__(self, scrub: Scrub) -> None:
        self._scrub = scrub
        self._pieces: dict[str, str] = {}
        self.missing: dict[str, str] = {}
        """Piece → why it is not there."""

    def add(self, name: str, make: Callable[[], str]) -> None:
        """A text under a name; why there is none, where it can't be made."""
        try:
            text = make()
        except (EdgeAgentError, OSError, subprocess.SubprocessError, ValueError) as error:
            self.missing[name] = self._scrub(str(error))
            return
        text = self._scrub(text)
        if len(text) > _PIECE_BYTES:
            self.missing[f"{name}: its beginning"] = f"longer than {_PIECE_BYTES} characters"
            text = text[-_PIECE_BYTES:]
        self._pieces[name] = text

    def packed(self, name: str) -> bytes:
        """A gzipped tar whose one folder has that name."""
        self.add("missing.json", lambda: json.dumps(self.missing, indent=1))
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w:gz") as tar:
            for piece, text in sorted(self._pieces.items()):
                data = text.encode()
                about = tarfile.TarInfo(f"{name}/{piece}")
                about.size, about.mtime, about.mode = len(data), int(time.time()), 0o644
                tar.addfile(about, io.BytesIO(data))
        return packed.getvalue()


def collect(
    context: Context,
    *,
    device: str,
    why: Callable[[str], dict[str, Any]],
    log: Callable[[], list[str]],
    models: Callable[[], list[Any]],
) -> tuple[str, bytes]:
    """Name and content of a bundle. A piece that can't be made is left out and told.

    Args:
        device: whose it is.
        why: explains a pipeline.
        log: the last lines of the running agent.
        models: what is installed.
    """
    files = [file for _, file in secret_files(context.config)]
    bundle = Bundle(Scrub(secrets_of(context.config, files)))
    stamp = clock.rfc3339(clock.wall_ns())
    name = f"edgeagent-{device}-{stamp[:19].replace(':', '').replace('-', '')}"
    about = {
        "device": device,
        "at": stamp,
        "clock_synced": clock.synced(),
        "edgeagent": __version__,
    }
    bundle.add("about.json", lambda: json.dumps({**about, **_system()}, indent=1))
    bundle.add("doctor.json", lambda: json.dumps(doctor.run(context).to_dict(), indent=1))
    if context.ask_agent is not None:
        ask = context.ask_agent
        bundle.add("status.json", lambda: json.dumps(ask(), indent=1))
    if context.loaded is not None:
        loaded = context.loaded
        bundle.add("config.json", lambda: json.dumps(
            {"hash": loaded.hash, "config": loaded.shown(), "origins": loaded.origins()}, indent=1
        ))  # fmt: skip
    for pipeline in context.config.pipelines:
        bundle.add(f"why/{pipeline}.json", partial(_explained, why, pipeline))
    bundle.add("records.jsonl", lambda: "\n".join(
        json.dumps(its, ensure_ascii=False) for its in peek(context.data_dir, _RECORDS)
    ))  # fmt: skip
    bundle.add("account.json", lambda: _account(context.data_dir))
    bundle.add("models.json", lambda: json.dumps(models(), indent=1, default=str))
    bundle.add("crashes.json", lambda: json.dumps(crashes.read(context.data_dir), indent=1))
    bundle.add("log.txt", lambda: "\n".join(log()))
    bundle.add("kernel.txt", lambda: _kernel(context.root))
    bundle.add("packages.txt", lambda: "\n".join(sorted(_packages())))
    bundle.add("files.txt", lambda: "\n".join(_listing(context.data_dir)))
    for file in _MACHINE:
        bundle.add(f"machine/{Path(file).name}", partial(_text, context.root / file))
    if (context.root / "run/systemd/system").is_dir():
        for piece, program in _PROGRAMS.items():
            bundle.add(piece, partial(_said, program))
    return name, bundle.packed(name)


def _explained(why: Callable[[str], dict[str, Any]], pipeline: str) -> str:
    return json.dumps(why(pipeline), indent=1)


def _system() -> dict[str, Any]:
    return {
        "python": platform.python_version(), "platform": platform.platform(),
        "machine": platform.machine(), "cpus": os.cpu_count(),
    }  # fmt: skip


def _account(data_dir: Path) -> str:
    import msgspec

    return msgspec.json.format(msgspec.json.encode(verify(data_dir)), indent=1).decode()


def _kernel(root: Path) -> str:
    lines, how = messages(root)
    if lines is None:
        raise PermissionError(f"{how} may not be read by this user")
    return "\n".join(lines[-_KERNEL_LINES:])


def _packages() -> Iterator[str]:
    for its in distributions():
        yield f"{its.metadata['Name']}=={its.version}"


def _listing(folder: Path) -> Iterator[str]:
    for file in sorted(folder.rglob("*")):
        if file.is_file():
            state = file.stat()
            when = clock.rfc3339(state.st_mtime_ns)
            yield f"{state.st_size:>12} {when} {state.st_mode & 0o777:o} {file.relative_to(folder)}"


def _text(file: Path) -> str:
    return file.read_bytes()[:_PIECE_BYTES].decode(errors="replace").strip("\0")


def _said(program: tuple[str, ...]) -> str:
    done = subprocess.run(
        program, capture_output=True, timeout=_ASK_S, check=True, stdin=subprocess.DEVNULL
    )
    return done.stdout.decode(errors="replace")
