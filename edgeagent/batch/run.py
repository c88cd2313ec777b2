"""A batch from its start, or from where it was interrupted, to the file with its result."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Struct, field

from edgeagent.batch.log import VERSION, Header, Log, open_log
from edgeagent.batch.order import Job, Order, identity
from edgeagent.errors import UsageError, unwritable

if TYPE_CHECKING:
    from edgeagent.batch.crew import Crew
    from edgeagent.batch.formats import Writer

_TELL_S = 0.2


class Progress(Struct, frozen=True):
    """How far a batch is."""

    done: int
    total: int
    skipped: int
    samples: int
    """All that are told, also before an interruption."""
    samples_per_s: float
    left_s: float | None
    """Until the end, at the pace of this run; None = nobody knows yet."""


class Skipped(Struct, frozen=True):
    """An input that could not be used, or not to its end."""

    input: str
    reason: str
    remedy: str = ""


class Summary(Struct):
    """What a batch did."""

    out: str
    model: str
    inputs: int
    samples: int
    resumed: int
    """Inputs that an earlier, interrupted run had done."""
    seconds: float
    samples_per_s: float
    workers: int
    bytes: int
    receipt: str = ""
    skipped: list[Skipped] = field(default_factory=list)


def log_path(out: Path) -> Path:
    """Where the work is kept until it is whole."""
    return out.with_name(f"{out.name}.part")


def run(
    order: Order,
    jobs: Sequence[Job],
    crew: Crew,
    out: Path,
    writer: Writer,
    *,
    tell: Callable[[Progress], None] = lambda _progress: None,
    restart: bool = False,
    replace: bool = False,
) -> Summary:
    """Do what is not done yet, and write ``out`` when all is.

    Args:
        order: the model, the same that ``crew`` opens.
        jobs: all inputs, in the order of the result.
        out: the result; ``{out}.part`` holds the work until then, and goes at the end.
        tell: called several times a second.
        restart: forget what an interrupted run has done.
        replace: ``out`` may be there already.

    Raises:
        UsageError: ``out`` is there already, or the work at ``{out}.part`` is another.
        Busy: another batch is writing to it.
        ModelError: the model can't be opened.
        NotFound, NotPermitted, StoreFull: the result can't be written.
    """
    kept = log_path(out)
    if out.exists() and not replace and not kept.exists():
        raise UsageError(
            f"{out}: is there already", remedy="Name another file with --out, or add --replace."
        )
    header = Header(VERSION, order.model, len(jobs), identity(order, jobs))
    began = time.monotonic()
    with open_log(kept, header, restart=restart) as log:
        resumed, before = len(log.done), log.samples
        _work(log, crew, jobs, tell)
        took = time.monotonic() - began
        skipped = _write(log, out, writer)
        kept.unlink(missing_ok=True)
        samples = log.samples
    return Summary(
        str(out), order.model, len(jobs), samples, resumed, round(took, 3),
        round((samples - before) / took, 1), crew.size, out.stat().st_size, crew.receipt, skipped,
    )  # fmt: skip


def _work(log: Log, crew: Crew, jobs: Sequence[Job], tell: Callable[[Progress], None]) -> None:
    left = [
        msgspec.structs.replace(job, start=log.started.get(job.index, 0))
        for job in jobs
        if job.index not in log.done
    ]
    pace = _Pace(log, len(jobs))
    tell(pace())
    told = time.monotonic()
    try:
        for block in crew.run(left) if left else ():
            if block is not None:
                log.append(block)
            if time.monotonic() - told >= _TELL_S:
                log.flush()
                tell(pace())
                told = time.monotonic()
    finally:
        log.sync()
        if not (log.done or log.started):
            log.path.unlink()
    tell(pace())


class _Pace:
    """How far the work is, and when it will be done."""

    def __init__(self, log: Log, total: int) -> None:
        self._log = log
        self._total = total
        self._done, self._samples = len(log.done), log.samples
        self._began = time.monotonic()

    def __call__(self) -> Progress:
        log = self._log
        took = max(1e-6, time.monotonic() - self._began)
        done = len(log.done)
        fresh = done - self._done
        left = (self._total - done) * took / fresh if fresh else None
        rate = (log.samples - self._samples) / took
        return Progress(done, self._total, log.skipped, log.samples, rate, left)


def _write(log: Log, out: Path, writer: Writer) -> list[Skipped]:
    """The result in the order of the inputs, whole or not at all."""
    skipped: list[Skipped] = []
    new = out.with_name(f".{out.name}.new")
    try:
        with new.open("wb") as file:
            writer(_rows(log, skipped), file)
            file.flush()
            os.fsync(file.fileno())
        new.replace(out)
    except OSError as error:
        new.unlink(missing_ok=True)
        raise unwritable(out, error) from error
    return skipped


def _rows(log: Log, skipped: list[Skipped]) -> Iterator[bytes]:
    """Encoded rows, each with its line end; those about skipped inputs are put aside."""
    for payload in log.rows():
        for row in payload.splitlines(keepends=True):
            if row.startswith(b'{"skipped":'):
                told: dict[str, Any] = msgspec.json.decode(row)
                skipped.append(Skipped(told["input"], told["skipped"], told.get("remedy", "")))
            else:
                yield row
