"""One session for all pipelines that run the same model: one of them at a time, in fair turns.

A turn is taken on the pipeline's own thread: tensors change no hands, and the device is given on
by whoever has just used it. Whose turn is next is told by start-time fair queueing (Goyal, Vin,
Cheng: "Start-time Fair Queuing", SIGCOMM 1996): the one that has had the least time, each by its
weight, and nobody saves up time while it does not ask.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from edgeagent.errors import InferenceError, PackageError
from edgeagent.infer.session import Receipt, Session
from edgeagent.infer.variants import open_package

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgeagent.config.model import Runtime
    from edgeagent.manifest import Package, Variant
    from edgeagent.types import TensorSpec


class Turns:
    """Who may run next. Nobody is passed over by one who comes later and has had more."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._busy = False
        self._waiting: list[Seat] = []
        self._now = 0.0
        """Virtual time: that of the turn that is being taken."""

    def take(self, seat: Seat) -> None:
        """Wait for the seat's turn."""
        with self._lock:
            seat.virtual_s = max(seat.virtual_s, self._now)
            if not self._busy:
                self._busy, self._now = True, seat.virtual_s
                return
            self._waiting.append(seat)
        seat.turn.acquire()

    def leave(self, seat: Seat, took_s: float) -> None:
        """Give the turn on."""
        with self._lock:
            seat.virtual_s += took_s / seat.weight
            if not self._waiting:
                self._busy = False
                return
            after = min(self._waiting, key=lambda its: its.virtual_s)
            self._waiting.remove(after)
            self._now = after.virtual_s
        after.turn.release()


class Shared:
    """A session and those who have a seat at it."""

    def __init__(self) -> None:
        self.opening = threading.Lock()
        self.session: Session | None = None
        self.variant: Variant | None = None
        self.turns = Turns()
        self.seats = 0


class Seat:
    """A session as one of its pipelines sees it. See `Session`."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    receipt: Receipt

    def __init__(self, sharing: Sharing, key: str, shared: Shared, weight: float) -> None:
        assert shared.session is not None
        session = shared.session
        self.inputs, self.outputs = session.inputs, session.outputs
        self.receipt = session.receipt
        self.weight = weight
        self.virtual_s = 0.0
        """Time that it has had, by its weight."""
        self.turn = threading.Lock()
        self.turn.acquire()
        self.waited_s = 0.0
        """How long the last run waited for its turn."""
        self._sharing, self._key, self._shared = sharing, key, shared
        self._session: Session | None = session

    @property
    def seats(self) -> int:
        """How many pipelines run this session."""
        return self._shared.seats

    def run(self, tensors: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
        """See `Session.run`; waits for its turn first. Raises InferenceError."""
        session = self._session
        if session is None:
            raise InferenceError("the session is closed")
        asked = time.perf_counter()
        self._shared.turns.take(self)
        began = time.perf_counter()
        self.waited_s = began - asked
        try:
            return session.run(tensors)
        finally:
            session.hand_over()
            self._shared.turns.leave(self, time.perf_counter() - began)

    def reset(self) -> None:
        """Nothing is carried: sessions that carry anything are not shared."""

    def hand_over(self) -> None:
        """Any thread may run it."""

    def close(self) -> None:
        """Leave; the last one closes the session. A second call does nothing."""
        if self._session is None:
            return
        self._session = None
        self._sharing.left(self._key, self._shared)


class Sharing:
    """All shared sessions of an agent."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: dict[str, Shared] = {}

    def open(
        self, package: Package, runtime: Runtime, weight: float = 1.0
    ) -> tuple[Session, Variant]:
        """As `open_package`, with a seat at the session that is open already where there is one.

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
                if shared.session is None:
                    session, variant = open_package(package, runtime)
                    if not getattr(session, "stateless", False):
                        self.left(key, shared)
                        return session, variant
                    shared.session, shared.variant = session, variant
        except BaseException:
            self.left(key, shared)
            raise
        assert shared.variant is not None
        return Seat(self, key, shared, weight), shared.variant

    def left(self, key: str, shared: Shared) -> None:
        """A seat is free again; after the last one the session is closed."""
        with self._lock:
            shared.seats -= 1
            if shared.seats:
                return
            if self._open.get(key) is shared:
                del self._open[key]
        if shared.session is not None:
            shared.session.close()


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
