"""The same work on a Dask cluster that is there already (https://distributed.dask.org).

Its workers need this package, and must see models and inputs under the same paths: only paths go
out, only rows come back. A worker that is lost is Dask's to replace: its jobs run again elsewhere
and give the same rows. An input that takes workers down is skipped, as on one machine.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Iterable, Iterator
from threading import local
from typing import TYPE_CHECKING, Any

import msgspec

from edgeagent import __version__
from edgeagent.batch.block import Block, Parser, make, refusal
from edgeagent.batch.order import Job, Order, open_order
from edgeagent.batch.worker import Opened
from edgeagent.errors import (
    EdgeAgentError,
    InputError,
    NotFound,
    RuntimeMissing,
    Unavailable,
)
from edgeagent.plugins import to_install

if TYPE_CHECKING:
    from edgeagent.prove.predict import Predictor

_CHUNK = 16
_AHEAD = 3
"""Chunks for each thread that are out at once."""
_CONNECT_S = 10.0
_ALONE_S = 60.0
"""So long nobody is there before it is given up; what is done stays done."""
_open = local()


class DaskCrew:
    """The workers of a cluster. Use it in a ``with``."""

    def __init__(
        self, order: Order, address: str, example: str = "", alone_s: float = _ALONE_S
    ) -> None:
        """Connect, and see whether all workers can open the model and read the file ``example``.

        Raises:
            RuntimeMissing: Dask is not installed here.
            Unavailable: no scheduler, no workers, or they can't do it; the text says why.
        """
        try:
            import distributed
        except ModuleNotFoundError as error:
            raise RuntimeMissing(
                "--dask needs the Python package 'distributed', which is not installed",
                remedy=f"Install it: {to_install('dask')}",
            ) from error
        self._dask: Any = distributed
        self._order = order
        self._alone_s = alone_s
        try:
            self._client: Any = self._dask.Client(
                address, timeout=_CONNECT_S, set_as_default=False, name="edgeagent-batch"
            )
        except (OSError, TimeoutError, ValueError) as error:
            raise Unavailable(
                f"{address}: no Dask scheduler answers there ({error})",
                remedy="Start one with: dask scheduler, and workers with: dask worker ADDRESS",
            ) from error
        try:
            self.receipt, self.size = self._ask(example)
        except BaseException:
            self.close()
            raise

    def run(self, jobs: Iterable[Job]) -> Iterator[Block | None]:
        """See `Crew.run`."""
        waiting = deque(_chunks(list(jobs), self.size))
        out: dict[Any, list[Job]] = {}
        seen = time.monotonic()
        while waiting or out:
            while waiting and len(out) < _AHEAD * self.size:
                chunk = waiting.popleft()
                out[self._submit(chunk)] = chunk
            try:
                with self._client.as_current():
                    done, _ = self._dask.wait(list(out), 1.0, "FIRST_COMPLETED")
            except TimeoutError:
                seen = self._look(seen)
                yield None
                continue
            seen = time.monotonic()
            for future in done:
                yield from self._take(future, out.pop(future), waiting)

    def close(self) -> None:
        """Leave the cluster; what it still does for us is given up."""
        self._client.close(timeout=2)

    def __enter__(self) -> DaskCrew:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _ask(self, example: str) -> tuple[str, int]:
        """Have every worker open the model: receipt of one, threads of all."""
        threads = self._client.nthreads()
        if not threads:
            raise Unavailable(
                "the Dask cluster has no workers",
                remedy="Start some with: dask worker ADDRESS",
            )
        try:
            told: dict[str, Any] = self._client.run(
                probe, msgspec.to_builtins(self._order), example, on_error="return"
            )
        except Exception as error:  # whatever a cluster answers with, in its words
            raise Unavailable(f"the Dask cluster can't do it: {error}") from error
        for worker, its in told.items():
            if isinstance(its, BaseException):
                raise Unavailable(
                    f"Dask worker {worker}: {its}",
                    remedy=f"Install there what is here: pip install edgeagent=={__version__}",
                )
            opened = msgspec.convert(its, Opened)
            if opened.failed:
                raise Unavailable(
                    f"Dask worker {worker}: {opened.text}",
                    remedy=opened.remedy
                    or "Models and inputs must be seen by all workers under the same paths.",
                )
        return msgspec.convert(next(iter(told.values())), Opened).receipt, sum(threads.values())

    def _submit(self, chunk: list[Job]) -> Any:
        return self._client.submit(
            work, msgspec.to_builtins(self._order), msgspec.to_builtins(chunk), pure=False,
            retries=0,
        )  # fmt: skip

    def _take(self, future: Any, chunk: list[Job], waiting: deque[list[Job]]) -> Iterator[Block]:
        error = future.exception()
        if error is None:
            yield from Parser().feed(future.result())
            return
        if not isinstance(error, self._dask.KilledWorker):
            raise Unavailable(f"a Dask worker can't do it: {type(error).__name__}: {error}")
        if len(chunk) > 1:
            # One of them has taken several workers down; alone it shows which.
            waiting.extendleft([job] for job in chunk)
            return
        problem = InputError(f"{chunk[0].name}: it took its workers down: {error}")
        row = refusal(chunk[0].name, problem)
        yield make(chunk[0].index, chunk[0].start, [row], end=True, skipped=True)

    def _look(self, seen: float) -> float:
        """Nothing has come for a while: is anybody there?"""
        try:
            if self._client.nthreads():
                return time.monotonic()
        except (OSError, TimeoutError) as error:
            raise Unavailable(f"the Dask scheduler is gone: {error}") from error
        if time.monotonic() - seen > self._alone_s:
            raise Unavailable(
                f"the Dask cluster has had no workers for {self._alone_s:.0f} s",
                remedy="Start some; the same command goes on from what is done.",
            )
        return seen


def probe(order: dict[str, Any], path: str) -> dict[str, Any]:
    """On a worker: whether it can open the model, and sees an input."""
    try:
        if path and not os.access(path, os.R_OK):
            raise NotFound(f"{path} is not there, or may not be read")
        with open_order(msgspec.convert(order, Order)) as predictor:
            told = Opened(predictor.receipt.sentence())
    except EdgeAgentError as error:
        told = Opened(failed=type(error).__name__, text=str(error), remedy=error.remedy)
    plain: dict[str, Any] = msgspec.to_builtins(told)
    return plain


def work(order: dict[str, Any], jobs: list[dict[str, Any]]) -> bytes:
    """On a worker: the encoded blocks of some jobs."""
    from edgeagent.batch.piece import Piece

    piece = Piece(_predictor(msgspec.convert(order, Order)))
    return b"".join(
        block.encoded() for job in msgspec.convert(jobs, list[Job]) for block in piece(job)
    )


def _predictor(order: Order) -> Predictor:
    """The model, opened once for each thread of a worker."""
    known: dict[Order, Predictor] = _open.__dict__.setdefault("known", {})
    if order not in known:
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
        for predictor in known.values():
            predictor.close()
        known.clear()
        known[order] = open_order(order)
    return known[order]


def _chunks(jobs: list[Job], size: int) -> list[list[Job]]:
    length = max(1, min(_CHUNK, len(jobs) // (_AHEAD * size)))
    return [jobs[at : at + length] for at in range(0, len(jobs), length)]
