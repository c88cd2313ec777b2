"""Reports of crashes, kept until somebody has been told.

A process that dies can write little. So a file lies open from the start, with what is known
beforehand in its first line: faulthandler adds the stacks of all threads when a signal ends the
process, and a file that is there at the next start, in the same boot, tells of a process that was
killed. What is caught (an exception in a thread, the death of a child) becomes a report at once.
As Python's faulthandler and Breakpad do it, without what Breakpad has: memory, which holds
pictures and secrets.
"""

from __future__ import annotations

import faulthandler
import json
import logging
import os
import re
import threading
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from edgeagent import __version__, clock
from edgeagent.durable import put
from edgeagent.errors import unwritable

log = logging.getLogger("edgeagent.crashes")

FOLDER = "crashes"
MOST = 16
"""Reports that are kept; the oldest goes first."""
_LARGEST = 48 * 1024
"""Characters of a stack."""
_RUNNING = "running-"
_VARIES = re.compile(r"0x[0-9a-f]+|\d+")
"""What differs in two stacks of one and the same crash: addresses, counts, ids."""
_SIGNALS = {
    "Segmentation fault": "SIGSEGV: it touched memory that is not its own",
    "Aborted": "SIGABRT: a library gave up, or the service manager's watchdog ended it",
    "Bus error": "SIGBUS: memory behind a file is gone",
    "Illegal instruction": "SIGILL: an instruction that this processor does not have",
    "Floating-point exception": "SIGFPE: a division that has no result",
}

Report = dict[str, Any]


class Keeper:
    """Of one process. `report` may be called from any thread and never raises.

    Args:
        folder: the data folder.
        config: hash of the configuration.
        clean: takes secrets out of a text.
        last: what happened last, as plain lines.
    """

    def __init__(
        self, folder: Path, config: str, clean: Callable[[str], str],
        last: Callable[[], list[str]],
    ) -> None:  # fmt: skip
        self.folder = folder / FOLDER
        self.news = threading.Event()
        """There is a report that nobody was told of."""
        self._clean = clean
        self._last = last
        self._lock = threading.Lock()
        self._about = {"version": __version__, "config": config}
        self._seen: dict[tuple[str, str], tuple[Path, Report]] = {}
        self._file: int | None = None
        self._known = 0
        """Bytes of the file's first line."""
        self._remarked = ""
        self._running = self.folder / f"{_RUNNING}{os.getpid()}.txt"

    def arm(self) -> None:
        """Have fatal signals of this process written down. After `gather`: in a container every
        process has the same number, and so the same file. Raises as `errors.unwritable`."""
        about = json.dumps({**self._about, **_stamp(), "pid": os.getpid()}).encode() + b"\n"
        try:
            self.folder.mkdir(mode=0o750, parents=True, exist_ok=True)
            self._file = os.open(
                self._running, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o640
            )
            self._known = os.write(self._file, about)
        except OSError as error:
            raise unwritable(self.folder, error) from error
        faulthandler.enable(self._file, all_threads=True)

    def remark(self, text: str) -> None:
        """What would explain the end of this process, should it come now; empty = nothing would.
        Never raises."""
        if self._file is None or text == self._remarked:
            return
        self._remarked = text
        line = f"# {' '.join(self._clean(text).split())}\n" if text else ""
        try:
            os.ftruncate(self._file, self._known)
            os.lseek(self._file, self._known, os.SEEK_SET)
            os.write(self._file, line.encode())
        except OSError as error:  # a full disk ends no agent
            log.warning("%s: %s; it can't be put down", text, error)

    def disarm(self) -> None:
        """The process ends in good order. Never raises."""
        if self._file is None:
            return
        faulthandler.disable()
        os.close(self._file)
        self._file = None
        try:
            self._running.unlink(missing_ok=True)
        except OSError as error:
            log.warning("%s stays, and looks as if this process had crashed: %s",
                        self._running, error)  # fmt: skip

    def report(self, what: str, who: str, reason: str, stack: str) -> None:
        """Keep a report of something that has crashed just now.

        Args:
            what: ``exception``, ``child``.
            who: thread or child.
            reason: in a sentence.
            stack: where it was, as text. The same one again (but for numbers) is counted.
        """
        with self._lock:
            try:
                self._report(what, who, self._clean(reason), self._clean(stack[-_LARGEST:]))
            except Exception as error:  # noqa: BLE001 - within a crash anything may be broken
                log.error("the crash of %s can't be kept: %r", who, error)

    def _report(self, what: str, who: str, reason: str, stack: str) -> None:
        kind = who, _VARIES.sub("#", stack)
        again = self._seen.get(kind)
        if again is not None and again[0].exists():
            file, its = again
            its["times"] += 1
            # A camera that crashes every half minute must not wear the medium.
            if its["times"] & (its["times"] - 1) == 0:
                put(file, json.dumps(its).encode(), mode=0o640)
            return
        its = {
            **self._about, **_stamp(), "pid": os.getpid(), "what": what, "who": who,
            "reason": reason, "stack": stack, "last": self._lines(), "times": 1, "told": False,
        }  # fmt: skip
        file = self._keep(its)
        self._seen = {key: seen for key, seen in self._seen.items() if seen[0].exists()}
        self._seen[kind] = file, its
        self.news.set()

    def _lines(self) -> list[str]:
        try:
            return [self._clean(line) for line in self._last()]
        except Exception as error:  # noqa: BLE001 - within a crash anything may be broken
            return [f"what happened last can't be told: {error!r}"]

    def _keep(self, its: Report) -> Path:
        kept = files(self.folder)
        for old in kept[: max(0, len(kept) + 1 - MOST)]:
            old.unlink(missing_ok=True)
        number = int(kept[-1].stem) + 1 if kept else 1
        file = self.folder / f"{number:06d}.json"
        put(file, json.dumps(its).encode(), mode=0o640)
        return file

    def gather(self) -> None:
        """Make reports of what former processes have left. Whoever calls it has the data folder
        for itself. Raises as `errors.unwritable`."""
        try:
            for file in sorted(self.folder.glob(f"{_RUNNING}*.txt")):
                its = _left(file.read_text(encoding="utf-8", errors="replace"))
                if its is not None:
                    its["stack"] = self._clean(its["stack"])
                    self._keep({**its, "last": self._lines(), "times": 1, "told": False})
                file.unlink()
            if any(not its.get("told") for _, its in _each(self.folder)):
                self.news.set()
        except OSError as error:
            raise unwritable(self.folder, error) from error

    def tell(self, told: Callable[[Report], None]) -> None:
        """Each report that nobody was told of, once. Raises as `errors.unwritable`."""
        with self._lock:
            for file, its in _each(self.folder):
                if its.get("told"):
                    continue
                told(its)
                its["told"] = True
                for kept, seen in self._seen.values():
                    if kept == file:
                        seen["told"] = True
                try:
                    put(file, json.dumps(its).encode(), mode=0o640)
                except OSError as error:
                    raise unwritable(file, error) from error


_keeper: Keeper | None = None


def keep(keeper: Keeper | None) -> None:
    """From now on the reports of this process go there; None = nowhere."""
    global _keeper
    _keeper = keeper


def report(what: str, who: str, reason: str, stack: str) -> None:
    """As `Keeper.report`; nothing where nobody keeps reports (within another program)."""
    if _keeper is not None:
        _keeper.report(what, who, reason, stack)


def exception(who: str, error: BaseException) -> None:
    """An exception that nobody expected has ended a thread, or one turn of it."""
    if _keeper is not None:
        stack = "".join(traceback.format_exception(type(error), error, error.__traceback__))
        report("exception", who, f"{type(error).__name__}: {error}", stack)


def files(folder: Path) -> list[Path]:
    """The reports in a folder of reports, oldest first. Raises OSError."""
    if not folder.is_dir():
        return []
    return sorted(its for its in folder.glob("*.json") if its.stem.isdigit())


def read(data_dir: Path) -> list[Report]:
    """All reports that are whole, oldest first, each with its ``id``. Raises OSError."""
    return [{"id": file.stem, **its} for file, its in _each(data_dir / FOLDER)]


def purge(data_dir: Path, old: Callable[[Report], bool], *, dry: bool = False) -> int:
    """Take out reports that are ``old``, as `read` gives them; how many. Raises as
    `errors.unwritable`."""
    gone = 0
    try:
        for file, its in _each(data_dir / FOLDER):
            if old({"id": file.stem, **its}):
                gone += 1
                if not dry:
                    file.unlink()
    except OSError as error:
        raise unwritable(data_dir / FOLDER, error) from error
    return gone


def sentence(its: Report) -> str:
    """A report in one line."""
    often = f" ({its['times']} times)" if its.get("times", 1) > 1 else ""
    return f"{its.get('who', '?')} crashed at {its.get('at', '?')}: {its.get('reason', '?')}{often}"


def _each(folder: Path) -> Iterator[tuple[Path, Report]]:
    for file in files(folder):
        try:
            its = json.loads(file.read_bytes())
        except ValueError:
            continue  # a medium has changed it; it goes in its turn
        if isinstance(its, dict):
            yield file, its


def _stamp() -> dict[str, Any]:
    return {
        "at": clock.rfc3339(clock.wall_ns()),
        "clock": "synced" if clock.synced() else "unsynced",
        "boot": clock.boot_id(), "mono_ms": int(clock.mono_ms()),
    }  # fmt: skip


def _left(text: str) -> Report | None:
    """What the file of a process that is gone tells; None = it went with its machine."""
    head, _, rest = text.partition("\n")
    try:
        about = json.loads(head)
    except ValueError:
        about = None
    if not isinstance(about, dict):
        return None  # killed before it could say who it is
    remarks = [line[2:] for line in rest.splitlines() if line.startswith("# ")]
    stack = "\n".join(line for line in rest.splitlines() if not line.startswith("# "))
    if not stack.strip() and about.get("boot") != clock.boot_id():
        return None
    reason = "it was killed (kill -9, out of memory, or the service manager lost patience)"
    for sign, words in _SIGNALS.items():
        if f"Fatal Python error: {sign}" in stack:
            reason = words
    if remarks:
        reason += f"; before: {remarks[-1]}"
    return {
        **about, **_stamp(), "began": about.get("at", ""), "what": "signal" if stack.strip() else
        "killed", "who": "agent", "reason": reason, "stack": stack[:_LARGEST],
    }  # fmt: skip
