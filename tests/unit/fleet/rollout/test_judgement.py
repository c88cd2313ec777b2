"""Thresholds, pace, schedule and quality: pure, so their corners can be asked for by name."""

from __future__ import annotations

import math
import random
from datetime import datetime, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeagent.errors import UsageError
from edgeagent.fleet.rollout.pace import Bucket, per_minute
from edgeagent.fleet.rollout.plan import Limit, Pace, Quality
from edgeagent.fleet.rollout.quality import Compared, Sample, judge
from edgeagent.fleet.rollout.schedule import open_now
from edgeagent.fleet.rollout.standing import BAD, ENDED
from edgeagent.fleet.rollout.threshold import count, tripped

STANDINGS = ("waiting", "asked", "under-way", "committed", *sorted(ENDED))


@given(
    st.lists(st.tuples(st.sampled_from(STANDINGS), st.sampled_from("ab")), max_size=40),
    st.integers(1, 100), st.integers(1, 12),
)  # fmt: skip
def test_a_threshold_trips_by_its_own_words(
    drawn: Any, wave: list[Any], percent: int, after: int
) -> None:
    limit = Limit(percent / 100, after)
    rows = [drawn.row(f"d{n}", standing=s, profile=p) for n, (s, p) in enumerate(wave)]
    trip = tripped(rows, drawn.plan(total=limit, profile=Limit(1.0, 10**6)))

    def over(those: list[Any], limit: Limit) -> bool:
        left = {"held", "unreached", "cancelled"}
        say = [r for r in those if r.standing not in left]
        asked = [r for r in say if r.standing != "waiting"]
        ended = [r for r in asked if r.standing in ENDED]
        bad = [r for r in asked if r.standing in BAD]
        enough = len(ended) >= min(limit.after, len(say))
        return bool(bad) and enough and len(bad) >= limit.share * len(asked) - 1e-9 * len(asked)

    profile = any(over([r for r in rows if r.profile == p], Limit(1.0, 10**6)) for p in "ab")
    assert (trip is not None) == (profile or over(rows, limit))
    total, profiles = count(rows)
    assert total.size == sum(its.size for its in profiles.values()) == len(rows)


def test_quick_failures_of_a_large_wave_do_not_outrun_its_successes(drawn: Any) -> None:
    rows = [drawn.row(f"d{n}", standing="failed" if n < 10 else "under-way") for n in range(500)]
    assert tripped(rows, drawn.plan(total=Limit(0.1, 10), profile=Limit(0.1, 3))) is None
    rows = [drawn.row(f"d{n}", standing="failed" if n < 50 else "under-way") for n in range(500)]
    found = tripped(rows, drawn.plan(total=Limit(0.1, 10), profile=Limit(0.2, 3)))
    assert found is not None and found.profile == "" and "50 of 500" in found.sentence
    assert found.sentence.endswith("by profile 50 × a")


def test_the_worst_profile_is_named_with_its_commonest_reason(drawn: Any) -> None:
    rows = [drawn.row(f"a{n}", standing="well") for n in range(9)]
    for n in range(4):
        rows.append(drawn.row(f"b{n}", profile="b", standing="failed", reason="prove: golden"))
    rows.append(drawn.row("b9", profile="b", standing="well"))
    found = tripped(rows, drawn.plan(profile=Limit(0.3, 3)))
    assert found is not None and found.profile == "b"
    assert "profile b: 4 of 5 asked went wrong (80%" in found.sentence
    assert "failed: prove: golden" in found.sentence


@given(st.floats(0.1, 600), st.floats(1, 3), st.integers(0, 50), st.integers(0, 5000))
def test_a_rate_never_shrinks_and_stays_below_its_ceiling(
    rate: float, factor: float, every: int, well: int
) -> None:
    pace = Pace(rate, factor, every, most_per_minute=1000)
    assert per_minute(pace, well) <= per_minute(pace, well + 1) <= 1000
    assert per_minute(Pace(), well) == math.inf


def test_a_bucket_gives_what_the_rate_says_and_makes_up_for_no_night() -> None:
    bucket, given_ = Bucket(0.0), 0
    for second in range(1, 601):
        allowed = bucket.allowed(Pace(30), 0, float(second))
        bucket.took(allowed)
        given_ += allowed
    assert 300 <= given_ <= 302
    assert bucket.allowed(Pace(30), 0, 36000.0) == 30


@pytest.mark.parametrize(
    ("zone", "utc", "open_"),
    [
        ("Europe/Berlin", "2026-11-24T21:30", True),  # 22:30 there
        ("Europe/Berlin", "2026-11-24T20:30", False),
        ("America/New_York", "2026-11-24T20:30", False),
        ("America/New_York", "2026-11-25T03:30", True),  # 22:30 on Tuesday there
        ("", "2026-11-24T21:30", True),  # the plan's zone: Berlin
        ("Nowhere/Unknown", "2026-11-24T21:30", True),
        ("Europe/Berlin", "2026-07-01T20:30", True),  # 22:30 in summer
        ("Europe/Berlin", "2026-11-28T04:30", True),  # 05:30 on Saturday: Friday's night
        ("Europe/Berlin", "2026-11-28T21:30", False),  # Saturday
    ],
)
def test_devices_are_asked_in_their_own_night(drawn: Any, zone: str, utc: str, open_: bool) -> None:
    plan = drawn.plan(windows=("mon-fri 22:00-06:00",), timezone="Europe/Berlin")
    at = datetime.fromisoformat(utc).replace(tzinfo=timezone.utc).timestamp()
    assert open_now(plan, zone, at) is open_


def scores(n: int, mean: float, seed: int = 1) -> tuple[float, ...]:
    made = random.Random(seed)
    return tuple(sorted(min(1.0, max(0.0, made.gauss(mean, 0.1))) for _ in range(n)))


def test_a_halved_event_rate_is_found_and_the_hour_of_the_day_is_not_blamed() -> None:
    limits = Quality(rate=0.5)
    before, after = Sample(2400, 240), Sample(40, 10)
    assert [f.bad for f in judge(Compared("a", before, after), limits)] == [True]
    night = Compared("a", before, after, Sample(9600, 960), Sample(170, 40))
    (finding,) = judge(night, limits)
    assert not finding.bad and "against those not asked" in finding.sentence
    assert not judge(Compared("a", Sample(3, 240), after), limits)[0].bad


@given(st.integers(20, 400), st.floats(1, 50), st.floats(1, 50), st.integers(0, 2**31))
def test_chance_alone_is_not_believed(events: int, hours: float, more: float, seed: int) -> None:
    made = random.Random(seed)
    expected = events * more / hours
    found = int(max(0.0, made.gauss(expected, math.sqrt(expected) / 2)))
    (finding,) = judge(
        Compared("a", Sample(events, hours), Sample(found, more)), Quality(rate=0.01)
    )
    change = abs(math.log(max(found, 0.5) / more) - math.log(events / hours))
    assert finding.bad == (
        change >= math.log1p(0.01)
        and change >= 3 * math.sqrt(1 / events + 1 / max(found, 0.5)) - 1e-12
    )


def test_a_shift_of_scores_is_found_beyond_chance_and_limit() -> None:
    limits = Quality(score=0.1)

    def bad(before: tuple[float, ...], after: tuple[float, ...]) -> bool:
        return judge(Compared("", Sample(9, 1, before), Sample(9, 1, after)), limits)[0].bad

    assert bad(scores(500, 0.8), scores(300, 0.6, seed=2))
    assert not bad(scores(500, 0.8), scores(300, 0.8, seed=2))
    assert not bad(scores(500, 0.8), scores(300, 0.77, seed=2))
    assert not bad(scores(500, 0.8), scores(10, 0.2, seed=2))


@pytest.mark.parametrize(
    "wrong",
    [
        {"shares": ()}, {"shares": (0.5, 0.2)}, {"shares": (0.5, 1.5)}, {"version": "new"},
        {"model": "a/b"}, {"group": "a/b"}, {"windows": ("at night",)},
        {"total": Limit(0.0, 1)}, {"profile": Limit(0.5, 0)}, {"pace": Pace(0, 2, 10)},
        {"pace": Pace(10, 0.5, 10)}, {"pace": Pace(10, 2, 0)}, {"pace": Pace(-1)},
    ],
)  # fmt: skip
def test_a_plan_that_makes_no_sense_is_refused(drawn: Any, wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        drawn.plan(**wrong).check()
