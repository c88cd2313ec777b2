"""What this process puts on the medium, and the budget for it.

Linux counts per process, its ended children included, what is sent to storage (``write_bytes``
of /proc/self/io). The budget is a day's worth that refills evenly; when it is overspent, results
get coarser step by step (one in 2, 4, 8 … seconds and pipeline; a gap tells) until the process
writes less than the budget again. Both the day's count and the budget survive a restart; time
passes by CLOCK_BOOTTIME, over a reboot by the wall clock if that was trusted on both sides, else
not at all.
"""

from __future__ import annotations

import os
from collections import deque
from functools import cache
from pathlib import Path

import msgspec

from edgeagent.errors import StoreError
from edgeagent.store.commit import Committer

KEY = "wear"
_DAY_S = 86_400.0
_HOUR_S = 3600.0
_STEP_S = 60.0
_SAVE_S = 900.0
_COARSEST = 12
_IO = Path("/proc/self/io")


class _Saved(msgspec.Struct):
    boot: str
    mono_s: float
    wall_s: float
    trusted: bool
    level: int
    allowance: float
    hours: list[tuple[float, int]]
    """Age of an hour's beginning in seconds, bytes written in it."""


class Wear:
    """Belongs to the writing thread; figures may be read from any."""

    def __init__(self, committer: Committer, per_day: int | None) -> None:
        self._committer = committer
        self._per_day = per_day
        self._level = 0
        now_s = self._now_s()
        self._hours: deque[tuple[float, int]] = deque([(now_s, 0)])
        self._counted = _written()
        self._judged_s = self._saved_s = now_s
        self._allowance = float(per_day or 0)
        self._spent = 0
        self.written_bytes = 0
        """Since this process began."""
        self.today_bytes = 0
        """Within the last 24 hours, by the hour."""
        self._restore(now_s)

    @property
    def coarse_s(self) -> int:
        """One result is kept in so many seconds and pipeline; 0 = all."""
        return 1 << self._level if self._level else 0

    def look(self) -> None:
        """Call now and then in the writing thread. Raises StoreError."""
        now_s, written = self._now_s(), _written()
        fresh, self._counted = max(0, written - self._counted), written
        self.written_bytes += fresh
        if now_s - self._hours[-1][0] >= _HOUR_S:
            self._hours.append((now_s, 0))
        since_s, bytes_ = self._hours[-1]
        self._hours[-1] = (since_s, bytes_ + fresh)
        while len(self._hours) > 1 and now_s - self._hours[0][0] > _DAY_S:
            self._hours.popleft()
        self.today_bytes = sum(bytes_ for _, bytes_ in self._hours)
        if self._per_day and now_s - self._judged_s >= _STEP_S:
            self._judge(now_s, self._per_day)
        self._committer.intake.coarse_ms = 1000 * self.coarse_s
        if now_s - self._saved_s >= _SAVE_S:
            self.save()

    def _now_s(self) -> float:
        return self._committer.clock.mono_ms() / 1000

    def _judge(self, now_s: float, per_day: int) -> None:
        refill = per_day * (now_s - self._judged_s) / _DAY_S
        spent = self.written_bytes - self._spent
        self._allowance = min(self._allowance + refill - spent, per_day)
        self._judged_s, self._spent = now_s, self.written_bytes
        if self._allowance < 0 and spent > refill:
            self._level = min(self._level + 1, _COARSEST)
        elif self._allowance > 0 and spent < refill / 2:
            self._level = max(self._level - 1, 0)

    # --- over a restart ------------------------------------------------------------------

    def save(self) -> None:
        """Remember the count and the budget. Raises StoreError."""
        committer, now_s = self._committer, self._now_s()
        self._saved_s = now_s
        saved = _Saved(
            committer.identity.boot, now_s, committer.clock.wall_ns() / 1e9,
            committer.ledger.trusted, self._level, self._allowance,
            [(now_s - since_s, bytes_) for since_s, bytes_ in self._hours],
        )  # fmt: skip
        body = msgspec.json.encode(saved)
        committer.job(
            lambda ledger: ledger.db.run("INSERT OR REPLACE INTO memory VALUES (?, ?)", (KEY, body))
        )

    def _restore(self, now_s: float) -> None:
        ledger = self._committer.ledger
        try:
            body = ledger.db.value("SELECT value FROM memory WHERE key = ?", (KEY,))
            saved = msgspec.json.decode(body, type=_Saved) if body is not None else None
        except (StoreError, msgspec.MsgspecError, TypeError):
            # Damage shows elsewhere too; the count begins anew.
            return
        if saved is None:
            return
        passed_s = 0.0
        if saved.boot == self._committer.identity.boot:
            passed_s = now_s - saved.mono_s
        elif saved.trusted and ledger.trusted:
            passed_s = self._committer.clock.wall_ns() / 1e9 - saved.wall_s
        passed_s = max(0.0, passed_s)
        aged = [(now_s - age_s - passed_s, bytes_) for age_s, bytes_ in saved.hours]
        self._hours = deque([*(h for h in aged if now_s - h[0] <= _DAY_S), (now_s, 0)])
        self.today_bytes = sum(bytes_ for _, bytes_ in self._hours)
        if self._per_day:
            self._level = min(max(saved.level, 0), _COARSEST)
            refill = self._per_day * passed_s / _DAY_S
            self._allowance = min(saved.allowance + refill, float(self._per_day))


def _written() -> int:
    try:
        text = os.pread(_opened(os.getpid()), 1024, 0).decode("ascii")
    except OSError:
        # Kernels without task accounting: nothing is known, nothing is made coarser.
        return 0
    for line in text.splitlines():
        name, _, value = line.partition(":")
        if name == "write_bytes":
            return int(value)
    return 0


@cache
def _opened(_pid: int) -> int:
    """Held for as long as the process lives: once it is sealed (`edgeagent.sealed`) the file is
    root's, and only who has it open already can go on reading. Raises OSError."""
    return os.open(_IO, os.O_RDONLY | os.O_CLOEXEC)
