"""Records that a broker refuses or that break the connection, singled out.

One poison record must not stop what is behind it, and a broker that refuses everything (wrong
access rules, a policy, a bad day) must not make the device throw its data away. So a suspect
is set aside for a while; it is given up only after it has failed several times *and* others
were delivered in between, on the same link and to the same topic.
"""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from edgeagent.store.batch import Batch

Verdict = Literal["aside", "dead"]

MOST = 100
"""More suspects than this mean that it is not the records' fault."""


class _Suspect(Struct):
    batch: Batch
    strikes: int
    delivered_before: int
    """Deliveries counted when it failed first."""
    due: float


class Suspects:
    """Batches of one record each, still in our hands. Times are of time.monotonic()."""

    def __init__(self, pause_s: float = 2.0) -> None:
        self.pause_s = pause_s
        self._by_seq: dict[tuple[str, int], _Suspect] = {}
        self._on_trial: set[tuple[str, int]] = set()

    def __len__(self) -> int:
        return len(self._by_seq)

    @property
    def full(self) -> bool:
        return len(self._by_seq) >= MOST

    def strike(self, batch: Batch, *, certain: bool, delivered: int, now: float) -> Verdict:
        """It has failed again. ``certain`` = the broker named this very message; otherwise
        the connection broke with it. ``delivered`` = records delivered so far."""
        key = (batch.epoch, batch.first)
        suspect = self._by_seq.setdefault(key, _Suspect(batch, 0, delivered, now))
        self._on_trial.discard(key)
        suspect.strikes += 1
        needed = 2 if certain else 4
        if suspect.strikes >= needed and delivered > suspect.delivered_before:
            del self._by_seq[key]
            return "dead"
        suspect.due = now + self.pause_s * 2.0 ** min(suspect.strikes - 1, 8)
        return "aside"

    def next(self, now: float) -> Batch | None:
        """One whose time has come to be tried again."""
        for key, suspect in self._by_seq.items():
            if suspect.due <= now and key not in self._on_trial:
                self._on_trial.add(key)
                return suspect.batch
        return None

    def due(self) -> float:
        """When the next one may be tried."""
        dues = [s.due for key, s in self._by_seq.items() if key not in self._on_trial]
        return min(dues, default=float("inf"))

    def cleared(self, batch: Batch) -> None:
        """It got through after all."""
        self._forget((batch.epoch, batch.first))

    def interrupted(self, batch: Batch) -> bool:
        """Its trial ended without a verdict. False if it is no suspect."""
        key = (batch.epoch, batch.first)
        self._on_trial.discard(key)
        return key in self._by_seq

    def let_go(self) -> list[Batch]:
        """All of them, to be handed back."""
        batches = [suspect.batch for suspect in self._by_seq.values()]
        self._by_seq.clear()
        self._on_trial.clear()
        return batches

    def _forget(self, key: tuple[str, int]) -> None:
        self._by_seq.pop(key, None)
        self._on_trial.discard(key)
