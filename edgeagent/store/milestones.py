"""Which number had been given at what time: so old is everything up to it, at least.

Records leave their rows when they are delivered, and the evidence that they refer to stays; a
number is all that both have in common. A few stamps tell the age of either, whatever the wall
clock was when it was written, and cost one small write each.
"""

from __future__ import annotations

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from edgeagent.store.age import Limit, Now, Stamp

KEY = "milestones"
PARTS = 64
"""Milestones in one age: nothing becomes older than a rule says, or goes earlier than by 1/64."""
MOST = 512


class Milestone(Struct, frozen=True, array_like=True):
    seq: int
    stamp: Stamp


class Milestones(Struct):
    """Those of one epoch, oldest first."""

    epoch: str = ""
    set: list[Milestone] = []

    @classmethod
    def decoded(cls, data: bytes | None) -> Milestones:
        """What `encoded` gave; none where it can't be read (then everything counts from now)."""
        if data is None:
            return cls()
        try:
            return msgspec.msgpack.decode(data, type=cls)
        except msgspec.MsgspecError:
            return cls()

    def encoded(self) -> bytes:
        return msgspec.msgpack.encode(self)

    def note(self, epoch: str, seq: int, now: Now, every_s: float) -> bool:
        """Set one for ``seq``, the newest number, if the last is old enough. True = something
        is to be kept."""
        changed = epoch != self.epoch or self._correct(now)
        if epoch != self.epoch:
            self.epoch, self.set = epoch, []
        last = self.set[-1] if self.set else None
        due = last is None or Limit.of_age(now, every_s, careful=True).reached(last.stamp)
        if seq and due and (last is None or seq > last.seq):
            self.set.append(Milestone(seq, Stamp(now.wall_ns, now.mono_ms, now.boot, now.synced)))
            if len(self.set) > MOST:
                self.set[: MOST // 2] = self.set[1 : MOST // 2 : 2]
            changed = True
        return changed

    def reached(self, limit: Limit) -> int:
        """Everything up to this number is to go; 0 = nothing."""
        return max((its.seq for its in self.set if limit.reached(its.stamp)), default=0)

    def forget(self, seq: int) -> None:
        """Nothing up to ``seq`` is stored any more."""
        self.set = [its for its in self.set if its.seq > seq]

    def _correct(self, now: Now) -> bool:
        """The clock can be trusted now: so can be told when those of this boot were."""
        if not now.synced:
            return False
        wrong = [n for n, its in enumerate(self.set)
                 if its.stamp.boot == now.boot and not its.stamp.synced]  # fmt: skip
        for number in wrong:
            its = self.set[number]
            wall_ns = now.wall_ns - int((now.mono_ms - its.stamp.mono_ms) * 1e6)
            stamp = replace(its.stamp, wall_ns=wall_ns, synced=True)
            self.set[number] = Milestone(its.seq, stamp)
        return bool(wrong)
