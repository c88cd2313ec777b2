"""One version of a model that answers requests: its session, what waits for it, its figures.

Requests of small models (below a millisecond) are run by the thread that has read them: handing
them to another costs more than they do. Others wait in a bounded queue for the model's own
thread, which puts them together to batches where the model and the configuration allow it. That
thread runs at a lower priority than the pipelines. The server's own does not: it holds the
interpreter's lock most of the time that it runs, and who is put aside while holding it puts the
pipelines aside as well.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import os
import threading
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from edgeagent.errors import InferenceError
from edgeagent.serve.http.exchange import Refused, overloaded
from edgeagent.serve.inference.tally import Tally

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgeagent.prove.predict import Predictor
    from edgeagent.types import TensorSpec

Outputs = list["NDArray[Any]"]

NICE = 10
"""What threads that run models add to their nice value: cameras come first."""
_INLINE_S = 1e-3
_CLOSED = "the model is being unloaded"


class Terms(Struct, frozen=True):
    """How requests of a model are taken."""

    queue: int = 64
    timeout_s: float = 30.0
    max_batch: int = 1
    max_delay_s: float = 0.0


class Job:
    """One request on its way."""

    __slots__ = ("cancelled", "due", "future", "loop", "queued", "rows", "run", "started",
                 "tensors")  # fmt: skip

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop | None,
        due: float,
        tensors: Sequence[NDArray[Any]] | None,
        run: Callable[[Predictor], Any] | None,
    ) -> None:
        self.loop = loop
        self.future: asyncio.Future[Any] | None = loop.create_future() if loop else None
        self.due = due
        self.tensors = tensors
        self.run = run
        self.rows = tensors[0].shape[0] if tensors and tensors[0].ndim else 1
        self.cancelled = False
        self.queued = self.started = time.perf_counter_ns()

    def tell(self, value: Any, error: Exception | None = None) -> None:
        """Hand the answer to whoever waits."""
        if self.loop is not None and not self.loop.is_closed():
            self.loop.call_soon_threadsafe(self._settle, value, error)

    def _settle(self, value: Any, error: Exception | None) -> None:
        assert self.future is not None
        if self.future.done():
            return
        if error is not None:
            self.future.set_exception(error)
        else:
            self.future.set_result(value)


class Served:
    """A version of a model that is open. Made on any thread; `close` it."""

    def __init__(self, predictor: Predictor, terms: Terms) -> None:
        package = predictor.package
        self.name, self.version = package.name, package.version
        self.terms = terms
        self.tally = Tally()
        state = {it.input for it in package.manifest.state}
        back = {it.output for it in package.manifest.state}
        self.inputs: tuple[TensorSpec, ...] = tuple(
            spec for spec in predictor.session.inputs if spec.name not in state
        )
        self.outputs: tuple[TensorSpec, ...] = tuple(
            spec for spec in predictor.session.outputs if spec.name not in back
        )
        self.used = time.monotonic()
        self._predictor = predictor
        self._remembers = bool(state) or hasattr(predictor.decoder, "reset")
        self._batches = terms.max_batch > 1 and not state and self._open_batch()
        # Who wants requests to wait for others gets that for small models as well.
        self._inline_s = 0.0 if self._batches and terms.max_delay_s else _INLINE_S
        self._running = threading.Lock()
        self._usual_s = 1.0
        """How long a run takes, smoothed; unknown at first."""
        self._waiting: list[tuple[int, int, Job]] = []
        self._numbers = itertools.count()
        self._wake = threading.Condition()
        self._closing = False
        predictor.hand_over()
        self._thread = threading.Thread(
            target=self._work, name=f"serve:{self.name}"[:32], daemon=True
        )
        self._thread.start()

    def _open_batch(self) -> bool:
        return all(spec.shape and spec.shape[0] == -1 for spec in (*self.inputs, *self.outputs))

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    @property
    def receipt(self) -> str:
        """What runs where."""
        return self._predictor.receipt.sentence()

    @property
    def platform(self) -> str:
        """As the protocol names it: ``onnx_onnxv1``, ``tensorflowlite_litert``."""
        runtime = self._predictor.variant.runtime
        return {"onnx": "onnxruntime_onnx", "litert": "tensorflowlite_litert"}.get(runtime, runtime)

    @property
    def max_batch(self) -> int:
        """How many requests may be put together; 0 = they are not."""
        return self.terms.max_batch if self._batches else 0

    # --- asking -------------------------------------------------------------------------------

    def admit(self) -> None:
        """Raises Refused (429, 503) where one more could not wait: asked before one is read."""
        if self._closing:
            raise overloaded(503, _CLOSED)
        waiting = len(self._waiting)
        if waiting >= self.terms.queue:
            self.tally.refused("full")
            after_s = waiting * min(self._usual_s, 1.0)
            raise overloaded(429, f"{self.name}: {waiting} requests wait", after_s)

    async def infer(
        self,
        tensors: Sequence[NDArray[Any]],
        *,
        priority: int = 0,
        timeout_s: float | None = None,
        gone: Callable[[], Any] | None = None,
    ) -> tuple[Outputs, int]:
        """Outputs for inputs, both in the model's order, and the nanoseconds that it waited.

        Args:
            priority: 0 = the usual; 1 is answered first, then 2 and so on, as with Triton.
            timeout_s: how long it may wait; at most the configured time.
            gone: a coroutine function that returns when nobody waits for the answer any more.

        Raises:
            Refused: 429, 503, 504; nothing was run.
            InferenceError: the runtime refused it.
        """
        self.used = time.monotonic()
        if self._usual_s < self._inline_s and not self._waiting and self._running.acquire(False):
            try:
                return self._run_here(tensors), 0
            finally:
                self._running.release()
        return await self._queued(tensors, None, priority, timeout_s, gone)

    async def ask(
        self,
        run: Callable[[Predictor], Any],
        *,
        timeout_s: float | None = None,
        gone: Callable[[], Any] | None = None,
    ) -> tuple[Any, int]:
        """Have something else done with the model, in its turn, on its thread: what it gave, and
        the nanoseconds that it waited. Raises as `infer` and what ``run`` raises."""
        self.used = time.monotonic()
        return await self._queued(None, run, 0, timeout_s, gone)

    def offer(self, tensors: Sequence[NDArray[Any]], seen: Callable[[Outputs], None]) -> bool:
        """Run it when nothing else waits, and tell ``seen``; False = there is no time for it."""

        def run(predictor: Predictor) -> None:
            began = time.perf_counter_ns()
            outputs = predictor.session.run(tensors)
            self.tally.executed(1, 1, time.perf_counter_ns() - began)
            seen(outputs)

        with self._wake:
            if self._waiting or self._closing:
                return False
            job = Job(None, time.monotonic() + self.terms.timeout_s, None, run)
            heapq.heappush(self._waiting, (1 << 31, next(self._numbers), job))
            self._wake.notify()
        return True

    def _run_here(self, tensors: Sequence[NDArray[Any]]) -> Outputs:
        if self._closing:
            raise overloaded(503, _CLOSED)
        began = time.perf_counter_ns()
        outputs = self._run(tensors)
        ended = time.perf_counter_ns()
        self.tally.executed(len(tensors[0]) if tensors[0].ndim else 1, 1, ended - began)
        return outputs

    def _run(self, tensors: Sequence[NDArray[Any]]) -> Outputs:
        predictor = self._predictor
        began = time.perf_counter()
        try:
            if self._remembers:
                predictor.reset()
            return predictor.session.run(tensors)
        finally:
            predictor.session.hand_over()
            took = time.perf_counter() - began
            self._usual_s = took if self._usual_s == 1.0 else self._usual_s * 0.9 + took * 0.1

    async def _queued(
        self,
        tensors: Sequence[NDArray[Any]] | None,
        run: Callable[[Predictor], Any] | None,
        priority: int,
        timeout_s: float | None,
        gone: Callable[[], Any] | None,
    ) -> tuple[Any, int]:
        limit = min(self.terms.timeout_s, timeout_s or self.terms.timeout_s)
        job = Job(asyncio.get_running_loop(), time.monotonic() + limit, tensors, run)
        with self._wake:
            self.admit()
            heapq.heappush(self._waiting, (priority or 1 << 16, next(self._numbers), job))
            self._wake.notify()
        assert job.future is not None
        answer = await self._awaited(job, job.future, limit, gone)
        return answer, job.started - job.queued

    async def _awaited(
        self,
        job: Job,
        future: asyncio.Future[Any],
        limit: float,
        gone: Callable[[], Any] | None,
    ) -> Any:
        left = asyncio.ensure_future(gone()) if gone else None
        try:
            await asyncio.wait(
                {future, left} if left else {future},
                timeout=limit,
                return_when=asyncio.FIRST_COMPLETED,
            )
            if future.done():
                return future.result()
            if left is not None and left.done():
                self.tally.refused("gone")
                raise Refused(499, "the client went away", close=True)
            self.tally.refused("late")
            raise overloaded(503, f"{self.name}: not answered within {limit:g} s")
        finally:
            job.cancelled = not future.done()
            if left is not None:
                left.cancel()

    # --- the model's thread -------------------------------------------------------------------

    def _work(self) -> None:
        step_back()
        while (jobs := self._next()) is not None:
            if jobs:
                with self._running:
                    self._do(jobs)

    def _next(self) -> list[Job] | None:
        """What is run together; None = never again."""
        with self._wake:
            while not self._waiting and not self._closing:
                self._wake.wait()
            if self._closing:
                return None
            first = self._take()
            if first is None:
                return []
            jobs, rows = [first], first.rows
            if not self._batches or first.tensors is None:
                return jobs
            until = time.monotonic() + self.terms.max_delay_s
            while rows < self.terms.max_batch:
                if not self._waiting:
                    left = until - time.monotonic()
                    if left <= 0 or self._closing or not self._wake.wait(left):
                        break
                    continue
                if not _alike(first, self._waiting[0][2], self.terms.max_batch - rows):
                    break
                job = self._take()
                if job is not None:
                    jobs.append(job)
                    rows += job.rows
            return jobs

    def _take(self) -> Job | None:
        """The next one that somebody still waits for; None = that one is not."""
        _, _, job = heapq.heappop(self._waiting)
        if job.cancelled or time.monotonic() > job.due:
            return None
        return job

    def _do(self, jobs: list[Job]) -> None:
        began = time.perf_counter_ns()
        for job in jobs:
            job.started = began
        try:
            if jobs[0].run is not None:
                jobs[0].tell(self._done(jobs[0].run))
                return
            outputs = self._run(_together(jobs))
            self.tally.executed(
                sum(job.rows for job in jobs), len(jobs), time.perf_counter_ns() - began
            )
            for job, part in zip(jobs, _apart(jobs, outputs), strict=True):
                job.tell(part)
        except Exception as error:  # noqa: BLE001
            # Whatever it is, those who wait must hear of it; the router knows what to say.
            for job in jobs:
                job.tell(None, error)

    def _done(self, run: Callable[[Predictor], Any]) -> Any:
        try:
            if self._remembers:
                self._predictor.reset()
            return run(self._predictor)
        finally:
            self._predictor.hand_over()

    def close(self) -> None:
        """Answer what waits with 503, and free the model."""
        with self._wake:
            self._closing = True
            waiting, self._waiting = self._waiting, []
            self._wake.notify_all()
        for _, _, job in waiting:
            job.tell(None, overloaded(503, _CLOSED))
        self._thread.join()
        with self._running:
            self._predictor.close()


def step_back() -> None:
    """Have this thread run behind those of the pipelines."""
    try:
        own = threading.get_native_id()
        os.setpriority(os.PRIO_PROCESS, own, os.getpriority(os.PRIO_PROCESS, own) + NICE)
    except OSError:
        return  # as low as it goes already


def _alike(first: Job, other: Job, room: int) -> bool:
    if first.tensors is None or other.tensors is None or other.rows > room:
        return False
    return all(a.shape[1:] == b.shape[1:]
               for a, b in zip(first.tensors, other.tensors, strict=True))  # fmt: skip


def _together(jobs: list[Job]) -> Sequence[NDArray[Any]]:
    if len(jobs) == 1:
        assert jobs[0].tensors is not None
        return jobs[0].tensors
    import numpy as np

    return [
        np.concatenate(parts) for parts in zip(*(job.tensors or () for job in jobs), strict=True)
    ]


def _apart(jobs: list[Job], outputs: Outputs) -> list[Outputs]:
    if len(jobs) == 1:
        return [outputs]
    parts, at = [], 0
    rows = sum(job.rows for job in jobs)
    if any(output.shape[0] != rows for output in outputs):
        raise InferenceError("the model does not keep the rows of a batch apart: set max_batch = 1")
    for job in jobs:
        parts.append([output[at : at + job.rows] for output in outputs])
        at += job.rows
    return parts
