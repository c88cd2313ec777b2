"""A month without a link: the cap holds, it reads as a month, the account closes."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from benchmarks.month import PARTS, play

MIB = 1 << 20


@pytest.mark.timeout(3600)
def test_a_month_offline(tmp_path: Path, full: bool) -> None:
    """5 results a second; the clock comes up in 1970 and jumps half way."""
    days, cap = (30.0, 64 * MIB) if full else (0.2, 2 * MIB)
    month = play(tmp_path / "outbox", days, cap)
    assert month.report.ok, month.report
    assert cap * 0.9 < month.peak <= cap
    # Thinned far, evenly, and no event is among what had to go.
    assert sum(month.per_part) < month.appended * 0.2
    assert len(month.per_part) == PARTS and month.evenness > 0.9
    assert month.events_left == month.events
    # All of this boot that waited for a clock has its true time now.
    assert set(month.clocks) == {"backfilled", "synced"}
    assert month.clocks["backfilled"] > 0.3 * month.clocks.total()
