"""The processes of a batch on this machine: fed, watched, and replaced when one dies.

A file can take a process down (a decoder's fault in native code) or hold it for ever. The input
at which it happened is tried once more, alone; the second time it is skipped with its reason, and
everything else is done as if nothing had been.
"""

from __future__ import annotations

import select
import time
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from typing import Protocol

from edgeagent.batch.block import Block, make, refusal
from edgeagent.batch.hand import Hand
from edgeagent.batch.order import Job, Order
from edgeagent.errors import InputError, ModelError

_CHUNK = 16
"""Jobs that are given at once, at most."""
_LOOK_S = 0.25
PATIENCE_S = 120.0
"""A worker that tells nothing for so long hangs."""
_TRIES = 2
_DEATHS = 6
"""So many in a row without one answer: it is not the inputs."""


class Crew(Protocol):
    """Those who do the work, on this machine or elsewhere."""

    receipt: str
    """What runs where, once a model is open."""
    size: int
    """How many work."""

    def run(self, jobs: Iterable[Job]) -> Iterator[Block | None]:
        """Blocks of all jobs, in any order, those of one input in theirs; None where nothing has
        come for a moment.

        Raises:
            ModelError and others: the model can't be opened, or nobody is left to work.
        """

    def close(self) -> None:
        """Let go of everything; what is being done is given up."""


class LocalCrew:
    """Processes on this machine, each with a model of its own. Use it in a ``with``."""

    def __init__(self, order: Order, size: int, patience_s: float = PATIENCE_S) -> None:
        self.receipt = ""
        self.size = size
        self._order = order
        self._patience_s = patience_s
        self._hands: dict[int, Hand] = {}
        """By the descriptor that is listened to."""
        self._poll = select.poll()
        self._jobs: deque[Job] = deque()
        self._suspects: deque[Job] = deque()
        """Each is tried again alone."""
        self._tries: Counter[int] = Counter()
        self._deaths = 0
        """In a row, without an answer between."""
        self._unopened = 0
        """Deaths before the model was open."""

    @property
    def pids(self) -> list[int]:
        """Of the workers."""
        return [hand.pid for hand in self._hands.values()]

    def run(self, jobs: Iterable[Job]) -> Iterator[Block | None]:
        """See `Crew.run`."""
        self._jobs = deque(jobs)
        while self._jobs or self._suspects or any(one.waiting for one in self._hands.values()):
            self._employ()
            heard = self._poll.poll(_LOOK_S * 1e3)
            for channel, _ in heard:
                yield from self._hear(channel)
            if not heard:
                yield None
            self._look_for_hung()

    def close(self) -> None:
        """End all workers."""
        for channel, hand in self._hands.items():
            self._poll.unregister(channel)
            hand.close()
        self._hands.clear()

    def __enter__(self) -> LocalCrew:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _employ(self) -> None:
        """Start who is missing, and give work to those who have little."""
        busy = sum(bool(hand.waiting) for hand in self._hands.values())
        wanted = min(self.size, busy + len(self._jobs) + len(self._suspects))
        while len(self._hands) < wanted:
            hand = Hand(self._order)
            self._hands[hand.channel] = hand
            self._poll.register(hand.channel, select.POLLIN)
        chunk = max(1, min(_CHUNK, len(self._jobs) // (4 * self.size)))
        for hand in self._hands.values():
            if self._suspects and not hand.waiting:
                hand.give([self._suspects.popleft()])
            # One chunk is being done while the next lies ready.
            while self._jobs and len(hand.waiting) <= chunk and not self._is_alone(hand):
                take = min(chunk, len(self._jobs))
                hand.give([self._jobs.popleft() for _ in range(take)])

    def _is_alone(self, hand: Hand) -> bool:
        return bool(hand.waiting) and self._tries[hand.waiting[0].index] > 0

    def _hear(self, channel: int) -> Iterator[Block]:
        hand = self._hands[channel]
        blocks = hand.receive()
        if hand.opened is not None and not self.receipt:
            self.receipt = hand.opened.receipt
        if blocks is None:
            yield from self._mourn(channel, hand)
            return
        if blocks:
            self._deaths = 0
        yield from blocks

    def _mourn(self, channel: int, hand: Hand) -> Iterator[Block]:
        """A worker has died: what it had is given to others, the input at fault but twice."""
        self._poll.unregister(channel)
        del self._hands[channel]
        how = hand.death()
        opened, left = hand.opened is not None, list(hand.waiting)
        hand.close()
        self._deaths += 1
        self._unopened += not opened
        if self._deaths >= _DEATHS or self._unopened >= _TRIES:
            told = "whatever they were given" if opened else "while they opened the model"
            raise ModelError(
                f"workers ended {told}: {how}",
                remedy="Look at the model with: edgeagent models golden MODEL",
            )
        if not opened:
            self._jobs.extendleft(reversed(left))
        if not opened or not left:
            return
        suspect, *rest = left
        self._jobs.extendleft(reversed(rest))
        self._tries[suspect.index] += 1
        if self._tries[suspect.index] < _TRIES:
            self._suspects.append(suspect)
            return
        problem = InputError(f"{suspect.name}: it took its worker down: {how}")
        yield make(
            suspect.index, suspect.start, [refusal(suspect.name, problem)], end=True, skipped=True
        )

    def _look_for_hung(self) -> None:
        now = time.monotonic()
        for hand in self._hands.values():
            if hand.waiting and now - hand.heard > self._patience_s:
                hand.kill(f"no answer within {self._patience_s:g} s")
