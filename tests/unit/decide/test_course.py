"""Zones left only for good, and things that stand still."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np

from edgeagent.config.model import Limit, Line, Pipeline, Privacy, Rule, Zone
from edgeagent.decide.course import Course, Courses
from edgeagent.decide.decider import Decide
from edgeagent.decide.limit import Bucket
from edgeagent.decide.lines import Lines
from edgeagent.decide.rules import Facts, Scene, parse
from edgeagent.decide.standing import Standing
from edgeagent.decide.zones import Zones
from edgeagent.types import Detection, Frame

ZONES = {
    "left": Zone([(0, 0), (0.5, 0), (0.5, 1), (0, 1)]),
    "low": Zone([(0, 0.5), (1, 0.5), (1, 1), (0, 1)]),
}


def courses(**lines: Line) -> Courses:
    return Courses(Zones(ZONES), Lines(lines), 2)


def box(x: float, y: float) -> Any:
    return (x - 0.05, y - 0.1, x + 0.05, y)


def follow(places: Any) -> list[Course | tuple[str, ...]]:
    each = courses()
    return [each.follow(1, box(*place), 100.0 * n).zones for n, place in enumerate(places)]


def test_a_box_that_trembles_at_an_edge_stays_inside() -> None:
    inside, outside = (0.49, 0.3), (0.51, 0.3)
    assert follow([inside, outside, outside, inside, outside]) == [("left",)] * 5
    assert follow([inside, *[outside] * 3])[-2:] == [("left",), ()]
    assert follow([(0.4, 0.6)]) == [("left", "low")]  # in the order of the configuration


def test_dwell() -> None:
    each = courses()
    for n in range(21):
        course = each.follow(1, box(0.3, 0.3), 100.0 * n)
    assert course.dwell() == {"left": 2.0}
    for n in range(21, 30):
        course = each.follow(1, box(0.7, 0.3), 100.0 * n)
    assert course.dwell() == {} and course.dwelt() == {"left": 2.3}
    course = each.follow(1, box(0.3, 0.3), 3000.0)
    course = each.follow(1, box(0.3, 0.3), 4000.0)
    assert course.dwell() == {"left": 1.0} and course.dwelt() == {"left": 3.3}


def test_still_until_it_really_moves() -> None:
    rng = np.random.default_rng(3)
    each = courses()
    for n in range(150):
        trembling = rng.normal(0, 0.004, 2)
        course = each.follow(1, box(0.3 + trembling[0], 0.3 + trembling[1]), 100.0 * n)
    assert course.still_s == 14.9
    course = each.follow(1, box(0.6, 0.3), 15_000.0)  # one wrong box
    course = each.follow(1, box(0.3, 0.3), 15_100.0)
    assert course.still_s == 15.1
    for n in range(2):
        course = each.follow(1, box(0.4, 0.3), 15_200.0 + 100 * n)
    assert course.still_s == 0.0


def test_what_is_gone_is_forgotten() -> None:
    each = courses()
    each.follow(1, box(0.3, 0.3), 0.0)
    each.follow(2, box(0.3, 0.3), 9_000.0)
    each.sweep(12_000.0)
    assert each.get(1) is None and each.get(2) is not None


def test_things_in_a_zone_now() -> None:
    each = courses()
    each.follow(1, box(0.3, 0.6), 0.0)
    each.follow(1, box(0.3, 0.6), 100.0)
    each.follow(2, box(0.8, 0.6), 100.0)
    each.follow(3, box(0.3, 0.3), 0.0)  # not seen any more
    assert each.inside(100.0) == {"left": 1, "low": 2}


# --- in a pipeline -------------------------------------------------------------------------


def frame(number: int) -> Frame:
    return Frame("cam", number, np.zeros((4, 4, 3), np.uint8), 0, 0.0, stream_ms=100.0 * number)


def decide(**keys: Any) -> Decide:
    keys = {"on": 1, "off": 2, **keys}
    return Decide("p", Pipeline("m", **keys), Privacy("never"), ("a",), threshold=0.5)


def thing(x: float, track: int = 1, score: float = 0.9) -> Detection:
    return Detection("a", score, box(x, 0.3), track=track)


def test_stationary_is_told_when_it_begins_and_ends() -> None:
    decided = decide()
    told = []
    for number in range(1, 121):
        told += decided(frame(number), [thing(0.3)])
    for number in range(121, 135):
        told += decided(frame(number), [thing(0.3 + 0.03 * (number - 120))])
    assert [(its.data["phase"], its.data.get("stationary", False)) for its in told] == [
        ("new", False), ("update", True), ("update", False),
    ]  # fmt: skip
    rule = decide(rules=[Rule("still >= 5 s")])
    told = [(n, d) for n in range(1, 61) for d in rule(frame(n), [thing(0.3)])]
    assert [(number, its.data["phase"]) for number, its in told] == [(51, "new")]


def test_a_flickering_detector_can_not_break_the_limit() -> None:
    decided = decide(off=1, limit=Limit(10, "10 s"))
    told = []
    for number in range(1, 1001):  # 100 s, a new thing in every other frame
        told += decided(frame(number), [thing(0.3, number)] if number % 2 else [])
    news = [its for its in told if its.data["phase"] == "new"]
    assert 105 <= len(news) <= 111  # ten at once, and one a second
    assert len([its for its in told if its.data["phase"] == "end"]) == len(news)
    left_out = sum(its.data.get("suppressed", 0) for its in news)
    assert 500 - len(news) - 5 <= left_out <= 500 - len(news)


def test_updates_of_what_trembles_between_zones_are_a_second_apart() -> None:
    decided = decide(zones=ZONES)
    told = []
    for number in range(1, 301):
        told += decided(frame(number), [thing(0.3 if number // 4 % 2 else 0.7)])
    assert len(told) <= 31
    times = [its.frame for its in told]
    assert min(after - before for before, after in pairwise(times)) >= 10


def test_what_lasts_begins_once_the_limit_allows() -> None:
    decided = decide(limit=Limit(1, "1 s"))
    told = []
    for number in range(1, 30):
        told += decided(frame(number), [thing(0.3, 1), thing(0.7, 2)])
    assert [(its.frame, its.data["track"]) for its in told] == [(1, 1), (11, 2)]
    assert "suppressed" not in told[1].data


def test_a_bucket_gets_nothing_from_a_clock_that_goes_back() -> None:
    bucket = Bucket(Limit(2, "10 s"))
    assert [bucket.take(now) for now in (0.0, 0.0, 0.0, -50_000.0, -49_000.0)] == [
        True, True, False, False, False,
    ]  # fmt: skip
    assert bucket.take(-44_000.0)


def test_a_state_has_hysteresis_and_may_be_about_nothing() -> None:
    state = Standing("free", parse("count('a') == 0"), on=2, off=3)
    story = [0, 0, 1, 1, 0, 1, 1, 1, 0, 0]
    told = []
    for count in story:
        state.see([Facts("", 0.0, scene=Scene(counts={"a": count}))])
        told.append(state.true)
    assert told == [False, True, True, True, True, True, True, False, False, True]


def test_a_rule_with_a_state_alone_makes_no_records() -> None:
    decided = decide(
        on=2, zones=ZONES,
        rules=[Rule("zone == 'left'", ["state"], "busy"), Rule("count('a') == 0", ["state"])],
    )  # fmt: skip
    seen = []
    for number in range(1, 9):
        assert decided(frame(number), [thing(0.3)] if number < 4 else []) == []
        seen.append(decided.standing()["states"]["busy"])
    assert seen == [False, True, True, True, False, False, False, False]
    assert decided.standing() == {"states": {"busy": False, "count('a') == 0": True}}
