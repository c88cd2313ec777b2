"""Which delegates failed on this device, and when each may be tried again. On disk, so that an
agent that starts anew does not run into the same fault at once.
"""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Sequence
from pathlib import Path

import msgspec
from msgspec import Struct, field

from edgeagent import clock
from edgeagent.device.drivers import drivers, kernel
from edgeagent.durable import put
from edgeagent.infer.delegates import find_library_file

log = logging.getLogger("edgeagent.models")

DEADLY = 2
"""The process may end so often while a delegate is used before that is believed to be its fault."""
FIRST_S, LONGEST_S = 600.0, 86_400.0
"""The first pause; each failure after that doubles it, to a day at most."""
_KEPT = 50


class Failure(Struct):
    """One delegate with one model."""

    names: tuple[str, ...]
    reason: str
    times: int
    boot: str
    """Times are compared within a boot: no clock can be trusted beyond it, and a start anew is
    what helps most devices."""
    at_s: float
    """CLOCK_BOOTTIME."""

    @property
    def pause_s(self) -> float:
        return float(min(FIRST_S * 2 ** (self.times - 1), LONGEST_S))

    @property
    def pause(self) -> str:
        """For people."""
        if self.pause_s < 120:
            return f"{self.pause_s:.0f} s"
        minutes = self.pause_s / 60
        return f"{minutes:.0f} min" if minutes < 120 else f"{minutes / 60:.0f} h"

    @property
    def sentence(self) -> str:
        """Why, and until when; the same as long as it lasts."""
        return f"{self.reason}; it is tried again in {self.pause}"

    @property
    def waits_s(self) -> float:
        """Seconds until it may be tried again; 0 = now."""
        if self.boot != clock.boot_id():
            return 0.0
        return max(0.0, self.at_s + self.pause_s - clock.mono_ms() / 1e3)


class _Use(Struct):
    boot: str
    ends: int = 0
    """How often the process ended without a word while it was used."""
    now: bool = False
    """It is used by a process that has not ended in good order."""


class _File(Struct):
    used: dict[str, _Use] = field(default_factory=dict)
    failed: dict[str, Failure] = field(default_factory=dict)
    good: dict[str, dict[str, str]] = field(default_factory=dict)
    """Delegate → library and driver with which it worked last."""


class CoolOff:
    """A small JSON file; one that is lost costs a try."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._lock = threading.Lock()

    def failure(self, mark: str) -> Failure | None:
        """What is remembered against it."""
        return self._read().failed.get(mark)

    def add(self, mark: str, names: Sequence[str], reason: str) -> Failure:
        """It failed, once more."""
        with self._lock:
            known = self._read()
            before = known.failed.pop(mark, None)
            changed = [
                its for its in (_changed(known.good.get(name), name) for name in names) if its
            ]
            failure = Failure(
                names=tuple(names),
                reason=f"{reason} ({'; '.join(changed)})" if changed else reason,
                times=(before.times if before else 0) + 1,
                boot=clock.boot_id(),
                at_s=clock.mono_ms() / 1e3,
            )
            known.failed[mark] = failure
            self._write(known)
            return failure

    def deadly(self, mark: str) -> int:
        """How often this agent ended without a word while it ran on it, since the machine started:
        a lost supply ends that too, and is nobody's fault. Once told, it is forgotten where it is
        enough to put it aside."""
        with self._lock:
            known = self._read()
            use = known.used.get(mark)
            if use is None or use.boot != clock.boot_id():
                return 0
            ends = use.ends + use.now
            known.used[mark] = _Use(use.boot, 0 if ends >= DEADLY else ends)
            self._write(known)
            return ends

    def begun(self, mark: str) -> None:
        """This process runs on it from now on."""
        with self._lock:
            known = self._read()
            boot, use = clock.boot_id(), known.used.get(mark)
            ends = use.ends if use is not None and use.boot == boot else 0
            known.used[mark] = _Use(boot, ends, now=True)
            self._write(known)

    def ended(self, marks: Sequence[str]) -> None:
        """This process ends in good order."""
        with self._lock:
            known = self._read()
            for mark in marks:
                known.used.pop(mark, None)
            self._write(known)

    def worked(self, mark: str, names: Sequence[str]) -> bool:
        """It works. Returns whether it had failed before."""
        with self._lock:
            known = self._read()
            failed = known.failed.pop(mark, None) is not None
            good = known.good | {name: pair_of(name) for name in names}
            if failed or good != known.good:
                known.good = good
                self._write(known)
            return failed

    def _read(self) -> _File:
        try:
            return msgspec.json.decode(self._file.read_bytes(), type=_File)
        except (OSError, msgspec.MsgspecError):
            return _File()

    def _write(self, known: _File) -> None:
        known.failed = dict(list(known.failed.items())[-_KEPT:])
        known.used = dict(list(known.used.items())[-_KEPT:])
        try:
            put(self._file, json.dumps(msgspec.to_builtins(known), indent=1).encode())
        except OSError as error:
            log.warning("%s: can't be written: %s", self._file, error.strerror)


def pair_of(name: str, root: Path = Path("/")) -> dict[str, str]:
    """A delegate's library and what it talks to: file and its time, kernel, versions of the
    accelerators' modules."""
    pair = {"kernel": kernel()}
    file = find_library_file(name, root)
    if file is not None:
        told = file.stat()
        pair["library"] = f"{file.resolve()} of {told.st_size} bytes, {int(told.st_mtime)}"
    pair |= {f"driver {module}": version for module, version in drivers(root).items()}
    return pair


def _changed(good: dict[str, str] | None, name: str) -> str:
    """What is not as it was when the delegate worked last; empty = nothing, or it never did."""
    if not good:
        return ""
    now = pair_of(name)
    told = [
        f"{key} {good.get(key, 'none')}, now {now.get(key, 'none')}"
        for key in sorted(good.keys() | now.keys())
        if good.get(key) != now.get(key)
    ]
    return f"it worked last with {'; '.join(told)}" if told else ""
