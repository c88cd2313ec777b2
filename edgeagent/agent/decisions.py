"""The decisions of all pipelines, kept in coarse blocks: a write a minute, not one a sample."""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeagent import clock
from edgeagent.errors import EdgeAgentError
from edgeagent.store.decisions import Decisions as Files
from edgeagent.store.decisions import read

if TYPE_CHECKING:
    from edgeagent.decide.block import Block, State
    from edgeagent.decide.ring import Ring
    from edgeagent.store.age import Stamp
    from edgeagent.store.allotment import Allotment

log = logging.getLogger(__name__)

EVERY_S = 60.0
"""At most so much is lost in a crash."""
_FIRST_S = 5.0
"""An agent that never gets old leaves something as well."""
_MANY = 1024
"""Notes of one pipeline that are not left waiting any longer."""
_IN_MEMORY = 256 * 1024
"""Bytes of blocks that are held where nothing can be written."""
_COUNTS = ("read", "dropped", "stale", "corrupt", "lost", "thinned")


class Decisions:
    """Rings of the pipelines and states of the agent. `tick` and `state` by the main thread.

    Args:
        folder: the data folder.
        max_bytes: of the files; 0 = only the last minutes, in memory.
        submit: has long work done on another thread.
        counts: health details of each source, for what capture has lost.
    """

    def __init__(
        self,
        folder: Path,
        max_bytes: int,
        submit: Callable[[Callable[[], None]], None],
        counts: Callable[[], Mapping[str, dict[str, Any]]] = dict,
        allotment: Callable[[], Allotment | None] = lambda: None,
    ) -> None:
        self._folder = folder
        self._files = Files(folder, max_bytes) if max_bytes else None
        self._submit = submit
        self._counts = counts
        self._allotment = allotment
        self._rings: dict[str, Ring] = {}
        self._states: deque[State] = deque(maxlen=256)
        self._session = secrets.token_hex(4)
        self._last: State | None = None
        self._held: deque[bytes] = deque()
        self._lock = threading.Lock()
        self._kept_at = time.monotonic() - EVERY_S + _FIRST_S
        self._due = False
        self._fault = ""

    def ring(self, pipeline: str, source: str) -> Ring:
        """The ring of a pipeline, made when it is first asked for."""
        from edgeagent.decide.ring import Ring

        if pipeline not in self._rings:
            self._rings[pipeline] = Ring(pipeline, source)
        return self._rings[pipeline]

    def state(self, state: str, reasons: Sequence[str], link: Collection[str] = ()) -> None:
        """How the agent is from now on; ``link``: which of the reasons are about the way to the
        broker."""
        from edgeagent.decide.block import State

        own = tuple(reason for reason in reasons if reason not in link)
        self._last = State(round(clock.mono_ms(), 1), state, own, tuple(link))
        self._states.append(self._last)

    def tick(self) -> None:
        """Have them kept where it is time to."""
        if not self._rings and self._last is None:
            return
        waiting = any(len(ring) >= _MANY for ring in self._rings.values())
        if self._due or not (waiting or time.monotonic() - self._kept_at >= EVERY_S):
            return
        self._due = True
        self._submit(self.keep)

    def keep(self) -> None:
        """Write what there is. Any thread; what can't be written stays in memory, within bounds."""
        with self._lock:
            self._due, self._kept_at = False, time.monotonic()
            self._held.extend(_encoded(self._blocks()))
            if self._files is not None and self._held:
                self._write(self._files)
            while sum(map(len, self._held)) > _IN_MEMORY:
                self._held.popleft()

    def stop(self) -> None:
        """The last of this run."""
        self.state("stopped", ())
        self.keep()

    @property
    def fault(self) -> str:
        """Why the last of them are not on disk; empty = they are."""
        return self._fault

    def blocks(self) -> list[bytes]:
        """All that is kept, the present included."""
        self.keep()
        with self._lock:
            return [*read(self._folder), *self._held]

    def purge(self, old: Callable[[Stamp], bool], *, dry: bool) -> int:
        """Take out blocks that ended so long ago; how many. Raises NotPermitted, StoreError."""
        with self._lock:
            files = self._files or Files(self._folder, 0)
            return files.purge(lambda block: old(ended(block)), dry=dry)

    def _write(self, files: Files) -> None:
        size = sum(map(len, self._held))
        allotment = self._allotment()
        try:
            if allotment is None:
                files.append(self._held)
            else:
                with allotment.claim(size, "the log of decisions"):
                    files.append(self._held)
        except EdgeAgentError as error:
            if not self._fault:
                log.warning("decisions stay in memory: %s", error)
            self._fault = str(error)
            return
        self._held.clear()
        self._fault = ""

    def _blocks(self) -> Iterable[Block]:
        from edgeagent.decide.block import Block

        for ring in list(self._rings.values()):
            yield from ring.take()
        states = [self._states.popleft() for _ in range(len(self._states))]
        if not states and self._last is not None:
            states = [self._last]
        losses = {
            name: {key: int(detail[key]) for key in _COUNTS if detail.get(key)}
            for name, detail in self._counts().items()
        }
        ahead = clock.wall_ns() / 1e6 - clock.mono_ms()
        yield Block(
            "", clock.boot_id(), self._session, round(ahead, 1), clock.synced(), states=states,
            losses=losses, until_ms=round(clock.mono_ms(), 1),
        )  # fmt: skip


def ended(block: bytes) -> Stamp:
    """When the youngest of what a block holds was; one that can't be read is older than all."""
    import msgspec

    from edgeagent.decide.block import Block
    from edgeagent.store.age import Stamp

    try:
        its = msgspec.msgpack.decode(block, type=Block)
    except msgspec.MsgspecError:
        return Stamp(0, synced=True)
    last_ms = max(
        [its.until_ms, *(step.last_ms or step.ms for step in its.steps[-1:])], default=0.0
    )
    return Stamp(int((its.ahead_ms + last_ms) * 1e6), last_ms, its.boot, its.synced)


def _encoded(blocks: Iterable[Block]) -> list[bytes]:
    import msgspec

    return [msgspec.msgpack.encode(block) for block in blocks]
