"""What a soak's summary complains of."""

from __future__ import annotations

from dataclasses import replace

import pytest

from benchmarks.soak.report import Happened, Soak, draw, markdown
from benchmarks.soak.samples import UNITS
from edgeagent.fleet.audit import StreamAudit


def rows(mb_per_hour: float = 0.0) -> list[dict[str, float]]:
    return [
        {"at_s": at, **dict.fromkeys(UNITS, 20.0), "cpu_s": at / 10,
         "anonymous_mb": 80.0 + mb_per_hour * at / 3600}
        for at in range(0, 610, 10)
    ]  # fmt: skip


QUIET = Soak(
    minutes=10.0, warm_up_s=120.0, rows=rows(),
    faults=[Happened("broker killed", 120.0, 135.0, 2.5, "away for 15 s")],
    arrived=[float(at) for at in range(0, 600, 5)],
    streams=[StreamAudit("soak", "01J", True, 500, 500)],
    produced=500, closes=True, wrong=[], stop_s=1.0, exit_code=0,
)  # fmt: skip


def test_what_is_learned_in_the_first_minutes_is_no_leak() -> None:
    soak = replace(QUIET, rows=rows(10.0))
    assert soak.complaints(soak.slopes(6)) == [], "1.3 MB in eight minutes"


def test_nothing_to_complain_of() -> None:
    slopes = QUIET.slopes(6)
    assert QUIET.complaints(slopes) == []
    text = markdown(QUIET, slopes, "soak.svg")
    assert "every fault was got over" in text
    assert "120 at the collector (12.0 a minute). Audit: 500 of 500 (complete)" in text
    assert "| 2.0 min | broker killed | 2.5 s | away for 15 s |" in text
    assert QUIET.cpu == pytest.approx(0.1)
    drawn = draw(QUIET)
    assert drawn.startswith('<svg xmlns="http://www.w3.org/2000/svg"')
    assert "broker killed: away for 15 s" in drawn


@pytest.mark.parametrize(("changed", "said"), [
    ({"rows": rows(60.0)}, "anonymous_mb grows: +60 [+60, +60] MB/h"),
    ({"arrived": [1.0, 2.0]}, "0.2 events a minute arrived"),
    ({"closes": False}, "the device's account does not close"),
    ({"streams": [StreamAudit("soak", "01J", True, 500, 499, missing=[(7, 7)])]},
     "audit of epoch 01J: missing"),
    ({"wrong": ["disk full: it was not well again"]}, "disk full: it was not well again"),
    ({"exit_code": 70}, "the agent ended with 70"),
    ({"rows": rows()[:30]}, "the samples end early"),
])  # fmt: skip
def test_complaints(changed: dict[str, object], said: str) -> None:
    soak = replace(QUIET, **changed)
    slopes = soak.slopes(6)
    assert soak.complaints(slopes) == [said]
    assert said in markdown(soak, slopes, "soak.svg")
