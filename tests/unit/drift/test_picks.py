"""Which samples are picked, and how often."""

from __future__ import annotations

from edgeagent.drift.picks import Picks
from edgeagent.types import Detection, Label

ALL = ("uncertain", "disagreement", "drift", "random")
SURE = [Label("yes", 0.99), Label("no", 0.01)]
UNSURE = [Label("yes", 0.52), Label("no", 0.48)]


def picks(*reasons: str) -> Picks:
    return Picks(reasons or ALL, pause_ms=1000.0, random_ms=60_000.0, unsure=0.8)


def test_each_reason_in_its_turn() -> None:
    its = picks()
    pick = its.pick(UNSURE, 0.5, 0.0, False)
    assert pick is not None
    assert pick.reason == "uncertain"
    assert pick.useful == 96
    assert picks().pick(SURE, 0.5, 0.0, True).reason == "drift"  # type: ignore[union-attr]
    assert picks().pick(SURE, 0.5, 0.0, False) is None
    assert picks("random").pick(UNSURE, 0.5, 0.0, True) is None


def test_a_second_model_that_does_not_know() -> None:
    thing = Detection("plate", 0.9, (0, 0, 1, 1), refined=(("text", Label("unknown", 0.2)),))
    pick = picks().pick([thing], 0.5, 0.0, False)
    assert pick is not None
    assert pick.reason == "disagreement"
    assert pick.detail.startswith("text")
    doubtful = Detection("plate", 0.1, (0, 0, 1, 1), refined=(("text", Label("unknown", 0.2)),))
    assert picks("disagreement").pick([doubtful], 0.5, 0.0, False) is None


def test_there_is_a_pause_and_time_that_runs_back_ends_it() -> None:
    its = picks()
    its.pick(UNSURE, 0.5, 5000.0, False)
    assert its.waits(5500.0)
    assert not its.waits(6000.0)
    assert not its.waits(100.0)


def test_by_chance_about_so_often() -> None:
    its = picks("random")
    count = 0
    for step in range(100_000):
        count += its.pick(SURE, 0.5, 1000.0 * step, False) is not None
    assert 1450 < count < 1900, "a hundred thousand seconds, one a minute"
