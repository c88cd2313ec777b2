"""A clock to turn, drafts, and a receiver that keeps the books of a collector."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgeagent.store.batch import Batch
from edgeagent.store.outbox import Outbox
from edgeagent.types import Draft

DAY_NS = 86_400 * 10**9


class TurnedClock:
    """A clock that goes only when it is told to."""

    def __init__(self, wall_ns: int = 1_795_000_000 * 10**9, mono: float = 1_000_000.0) -> None:
        self.wall, self.mono, self.trust = wall_ns, mono, True

    def wall_ns(self) -> int:
        return self.wall

    def mono_ms(self) -> float:
        return self.mono

    def synced(self) -> bool:
        return self.trust

    def go(self, seconds: float) -> None:
        self.mono += seconds * 1000
        self.wall += int(seconds * 1e9)


@dataclass
class Receiver:
    """What a collector knows of one device: by the contract alone."""

    records: dict[str, dict[int, dict[str, Any]]] = field(default_factory=dict)
    told: dict[str, set[int]] = field(default_factory=dict)
    open_ended: dict[str, int] = field(default_factory=dict)
    batches: int = 0

    def take(self, batch: Batch) -> None:
        message = json.loads(batch.envelope("d1"))
        seqs = [record["seq"] for record in message["records"]]
        assert seqs == sorted(set(seqs)) and seqs == list(batch.seqs)
        assert (message["first"], message["last"]) == (seqs[0], seqs[-1])
        self.batches += 1
        for record in message["records"]:
            known = self.records.setdefault(message["epoch"], {})
            known[record["seq"]] = record
            if record["kind"] == "gap":
                self._gap(record, record.get("epoch", message["epoch"]))

    def _gap(self, gap: dict[str, Any], epoch: str) -> None:
        if gap["to"] is None:
            assert gap["count"] is None
            self.open_ended[epoch] = min(gap["from"], self.open_ended.get(epoch, gap["from"]))
            return
        assert 0 <= gap["to"] - gap["from"] < 4096
        seqs = covered(gap)
        assert len(seqs) == gap["count"]
        self.told.setdefault(epoch, set()).update(seqs)

    def unknown(self, epoch: str, upto: int) -> list[int]:
        """Seqs that were neither delivered nor told."""
        known = self.records.get(epoch, {}).keys() | self.told.get(epoch, set())
        return [seq for seq in range(1, upto + 1) if seq not in known]


def covered(gap: dict[str, Any]) -> set[int]:
    """The seqs that a gap tells of, read as the contract says."""
    if "dropped" not in gap:
        return set(range(gap["from"], gap["to"] + 1))
    bits = base64.b64decode(gap["dropped"])
    return {
        gap["from"] + index for index in range(len(bits) * 8) if bits[index // 8] >> (index % 8) & 1
    }


def result(number: int = 0, *, pipeline: str = "door", size: int = 0, **keys: Any) -> Draft:
    data: dict[str, Any] = {"n": number}
    if size:
        data["fill"] = "x" * size
    return Draft("result", pipeline, data={**data, **keys})


def event(phase: str, key: str, **data: Any) -> Draft:
    return Draft("event", "door", event=key, data={"phase": phase, "label": "crack", **data})


def drain(outbox: Outbox, receiver: Receiver, *, max_bytes: int = 16_384) -> int:
    """Deliver everything that is pending, also the gaps that a full outbox writes while it is
    emptied. How many batches."""
    count = 0
    while True:
        before = count
        while (batch := outbox.next_batch(max_bytes=max_bytes)) is not None:
            receiver.take(batch)
            outbox.delivered(batch)
            count += 1
        assert outbox.flush(20)
        if count == before:
            return count


def pages_of(path: Path) -> int:
    """Pages that a database says it has; the file may be longer (blocks in reserve)."""
    return int.from_bytes(path.read_bytes()[28:32], "big")


Opener = Callable[..., Outbox]
