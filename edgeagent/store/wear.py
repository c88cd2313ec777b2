"""What the writing thread puts on the medium, and the budget for it.

Linux counts per thread what is sent to storage (``write_bytes`` of /proc/thread-self/io). The
budget is a day's worth that refills evenly; when it is overspent, results get coarser step by
step (one in 2, 4, 8 … seconds and pipeline; a gap tells) until the thread writes less than the
budget again.
"""

from __future__ import annotations

from collections import deque
from pathlib import Path

from edgeagent.store.commit import Committer

_DAY_S = 86_400.0
_STEP_S = 60.0
_COARSEST = 12
_IO = Path("/proc/thread-self/io")


class Wear:
    """Belongs to the writing thread; figures may be read from any."""

    def __init__(self, committer: Committer, per_day: int | None) -> None:
        self._committer = committer
        self._per_day = per_day
        self._level = 0
        self._hours: deque[tuple[float, int]] = deque()
        self._judged_s = committer.clock.mono_ms() / 1000
        self._allowance = float(per_day or 0)
        self._spent = 0
        self.written_bytes = 0
        """Since the thread began."""
        self.today_bytes = 0
        """Within the last 24 hours of this process."""

    def look(self) -> None:
        """Call now and then in the writing thread."""
        now_s = self._committer.clock.mono_ms() / 1000
        self.written_bytes = _written()
        if not self._hours or now_s - self._hours[-1][0] >= 3600:
            self._hours.append((now_s, self.written_bytes))
        while len(self._hours) > 1 and now_s - self._hours[1][0] >= _DAY_S:
            self._hours.popleft()
        base = self._hours[0][1] if now_s - self._hours[0][0] >= _DAY_S else 0
        self.today_bytes = self.written_bytes - base
        if self._per_day and now_s - self._judged_s >= _STEP_S:
            self._judge(now_s, self._per_day)

    def _judge(self, now_s: float, per_day: int) -> None:
        refill = per_day * (now_s - self._judged_s) / _DAY_S
        spent = self.written_bytes - self._spent
        self._allowance = min(self._allowance + refill - spent, per_day)
        self._judged_s, self._spent = now_s, self.written_bytes
        if self._allowance < 0 and spent > refill:
            self._level = min(self._level + 1, _COARSEST)
        elif spent < refill / 2:
            self._level = max(self._level - 1, 0)
        self._committer.intake.coarse_ms = 1000 << self._level if self._level else 0


def _written() -> int:
    try:
        text = _IO.read_text(encoding="ascii")
    except OSError:
        # Kernels without task accounting: nothing is known, nothing is made coarser.
        return 0
    for line in text.splitlines():
        name, _, value = line.partition(":")
        if name == "write_bytes":
            return int(value)
    return 0
