"""Few sessions for all pipelines that run the same model, each on a thread of its own.

While one pipeline's tensors are run, those of the next wait already: between two runs no other
thread must wake up, and the model's memory stays with one core's cache. Whose turn is next is told
by start-time fair queueing (Goyal, Vin, Cheng: "Start-time Fair Queuing", SIGCOMM 1996): the one
that has had the least time, each by its weight, and nobody saves up time while it does not ask.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from edgeagent.errors import InferenceError, PackageError
from edgeagent.infer.receipt import PLAIN, XNNPACK
from edgeagent.infer.session import Receipt, Session
from edgeagent.infer.variants import open_package

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgeagent.config.model import Runtime
    from edgeagent.manifest import Package, Variant
    from edgeagent.types import TensorSpec


_PROCESSOR = {PLAIN, XNNPACK, "CPUExecutionProvider"}
"""Places of operators that any number of sessions may use at the same time."""
_CLOSED_S = 2.0


class Turns:
    """Who runs next. Nobody is passed over by one who comes later and has had more."""

    def __init__(self) -> None:
        self._some = threading.Condition()
        self._waiting: list[Seat] = []
        self._now = 0.0
        """Virtual time: that of the turn that was taken last."""
        self._ended = False

    def wait(self, seat: Seat) -> None:
        """Stand in the line."""
        with self._some:
            seat.virtual_s = max(seat.virtual_s, self._now)
            self._waiting.append(seat)
            self._some.notify()

    def next(self) -> Seat | None:
        """Whose turn it is, once somebody waits; None at the end."""
        with self._some:
            while not self._waiting:
                if self._ended:
                    return None
                self._some.wait()
            seat = min(self._waiting, key=lambda its: its.virtual_s)
            self._waiting.remove(seat)
            self._now = seat.virtual_s
            return seat

    def end(self) -> None:
        """Nobody comes any more."""
        with self._some:
            self._ended = True
            self._some.notify_all()


class Shared:
    """Sessions of one model, alike, each with a thread; and those who have a seat at them."""

    def __init__(self) -> None:
        self.opening = threading.Lock()
        self.sessions: list[Session] = []
        self.variant: Variant | None = None
        self.turns = Turns()
        self.seats = 0
        self._threads: list[threading.Thread] = []

    def add(self, session: Session, name: str) -> None:
        """One more session to run in; it belongs to no thread yet."""
        self.sessions.append(session)
        thread = threading.Thread(
            target=self._serve, args=(session,), name=f"session:{name}", daemon=True
        )
        self._threads.append(thread)
        thread.start()

    def _serve(self, session: Session) -> None:
        while (seat := self.turns.next()) is not None:
            began = time.perf_counter()
            seat.waited_s = began - seat.asked
            try:
                seat.answer = session.run(seat.tensors)
            except Exception as error:  # noqa: BLE001 - raised on the pipeline's own thread
                seat.answer = error
            seat.virtual_s += (time.perf_counter() - began) / seat.weight
            seat.served.release()
        session.close()

    def close(self) -> None:
        """After the last seat is free: nothing runs any more."""
        self.turns.end()
        for thread in self._threads:
            thread.join(_CLOSED_S)


class Seat:
    """A session as one of its pipelines sees it. See `Session`."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    receipt: Receipt

    def __init__(self, sharing: Sharing, key: str, shared: Shared, weight: float) -> None:
        session = shared.sessions[0]
        self.inputs, self.outputs = session.inputs, session.outputs
        self.receipt = session.receipt
        self.weight = weight
        self.virtual_s = 0.0
        """Time that it has had, by its weight."""
        self.asked = 0.0
        self.tensors: Sequence[NDArray[Any]] = ()
        self.answer: list[NDArray[Any]] | Exception = []
        """To ``tensors``, once it was served."""
        self.served = threading.Lock()
        self.served.acquire()
        self.waited_s = 0.0
        """How long the last run waited for its turn."""
        self._sharing, self._key, self._shared = sharing, key, shared
        self._closed = False

    @property
    def seats(self) -> int:
        """How many pipelines share the sessions."""
        return self._shared.seats

    def run(self, tensors: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
        """See `Session.run`; waits for its turn first. Raises InferenceError."""
        if self._closed:
            raise InferenceError("the session is closed")
        self.tensors, self.asked = tensors, time.perf_counter()
        self._shared.turns.wait(self)
        self.served.acquire()
        answer, self.tensors, self.answer = self.answer, (), []
        if isinstance(answer, Exception):
            raise answer
        return answer

    def reset(self) -> None:
        """Nothing is carried: sessions that carry anything are not shared."""

    def hand_over(self) -> None:
        """Any thread may run it."""

    def close(self) -> None:
        """Leave; the last one closes the sessions. A second call does nothing."""
        if self._closed:
            return
        self._closed = True
        self._sharing.left(self._key, self._shared)


class Sharing:
    """All shared sessions of an agent.

    Args:
        most: sessions of one model; None = one on an accelerator, of which there is one, else as
            many as this process has processors for.
    """

    def __init__(self, most: int | None = None) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._open: dict[str, Shared] = {}

    def open(
        self, package: Package, runtime: Runtime, weight: float = 1.0
    ) -> tuple[Session, Variant]:
        """As `open_package`, with a seat at the sessions that are open already where there are any.

        A model that carries state from sample to sample gets a session of its own: samples of two
        pipelines must not mix in it.

        Args:
            weight: what the pipeline's time counts beside that of others.

        Raises:
            NotFound, RuntimeMissing, ModelError: see `open_package`.
        """
        if package.manifest.state:
            return open_package(package, runtime)
        key = key_of(package, runtime)
        with self._lock:
            shared = self._open.setdefault(key, Shared())
            shared.seats += 1
        try:
            with shared.opening:
                if len(shared.sessions) < self._wanted(shared, runtime):
                    session, variant = open_package(package, runtime)
                    if not getattr(session, "stateless", False):
                        self.left(key, shared)
                        return session, variant
                    session.hand_over()
                    shared.variant = variant
                    shared.add(session, package.name)
        except BaseException:
            self.left(key, shared)
            raise
        assert shared.variant is not None
        return Seat(self, key, shared, weight), shared.variant

    def _wanted(self, shared: Shared, runtime: Runtime) -> int:
        """How many sessions are worth their memory for those who have a seat."""
        if not shared.sessions:
            return 1
        most = self._most
        if most is None:
            places = shared.sessions[0].receipt.placement
            processors = len(os.sched_getaffinity(0)) // (runtime.threads or 1)
            most = max(1, processors) if places and places.keys() <= _PROCESSOR else 1
        return min(most, shared.seats)

    def left(self, key: str, shared: Shared) -> None:
        """A seat is free again; after the last one the sessions are closed."""
        with self._lock:
            shared.seats -= 1
            if shared.seats:
                return
            if self._open.get(key) is shared:
                del self._open[key]
        shared.close()


def key_of(package: Package, runtime: Runtime) -> str:
    """What must be equal for two pipelines to share: the files as they lie there now, and how
    they are run."""
    parts = [str(package.folder.resolve()), package.version]
    for variant in package.manifest.variant:
        try:
            told = package.path(variant.file).stat()
        except (OSError, PackageError):
            continue
        parts.append(f"{variant.file} {told.st_ino} {told.st_size} {told.st_mtime_ns}")
    return "\n".join((*parts, msgspec.json.encode(runtime, order="sorted").decode()))
