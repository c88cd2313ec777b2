"""What the publisher gets: encoded records of one lane, in ascending order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec
from msgspec import Struct

from edgeagent.store.ranges import Ranges, runs

Lane = Literal["live", "backlog", "resend", "urgent"]
"""``urgent``: events and the like, taken out of live and backlog while results must wait."""


def envelope(device: str, epoch: str, seqs: tuple[int, ...], bodies: tuple[bytes, ...]) -> bytes:
    """The JSON of a batch (contract §2) around record bodies that are JSON already."""
    head = msgspec.json.encode(
        {"v": 1, "device": device, "epoch": epoch, "first": seqs[0], "last": seqs[-1]}
    )
    return head[:-1] + b',"records":[' + b",".join(bodies) + b"]}"


class Batch(Struct, frozen=True):
    """Records to send together. Hand it back to exactly one of `Outbox.delivered`,
    `Outbox.refused` and `Outbox.release`, whole or split."""

    epoch: str
    lane: Lane
    seqs: tuple[int, ...]
    """Ascending, holes allowed, never empty."""
    bodies: tuple[bytes, ...]
    """One record each, UTF-8 JSON, as long as `seqs`."""
    stretches: tuple[tuple[int, int], ...] = ()
    """Ranges that hold `seqs`, and besides them only numbers whose records are gone."""
    urgent: tuple[bytes, ...] | None = None
    """Those of `bodies` that are events, deployments and gaps; None = nobody has looked."""

    @property
    def spans(self) -> Sequence[tuple[int, int]]:
        """`stretches`, or else runs of `seqs`. Of a thinned backlog those are few, where its
        runs are as many as its records."""
        return self.stretches or list(runs(self.seqs))

    @property
    def first(self) -> int:
        return self.seqs[0]

    @property
    def last(self) -> int:
        return self.seqs[-1]

    @property
    def size(self) -> int:
        """Bytes of the records without the envelope (about 120 bytes more)."""
        return sum(map(len, self.bodies)) + len(self.bodies)

    def envelope(self, device: str) -> bytes:
        """``{"v":1,"device":…,"epoch":…,"first":…,"last":…,"records":[…]}``."""
        return envelope(device, self.epoch, self.seqs, self.bodies)

    def split(self) -> list[Batch]:
        """Two halves, to find the one record that a broker refuses; one = nothing to split."""
        if len(self.seqs) == 1:
            return [self]
        half = len(self.seqs) // 2
        low, high = 0, self.seqs[half - 1]
        parts = []
        for part, bodies in (
            (self.seqs[:half], self.bodies[:half]),
            (self.seqs[half:], self.bodies[half:]),
        ):
            cut = tuple(Ranges(self.stretches).within(low, high))
            parts.append(Batch(self.epoch, self.lane, part, bodies, cut))
            low, high = high + 1, self.last
        return parts
