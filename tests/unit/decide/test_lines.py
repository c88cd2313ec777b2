"""Each crossing is counted once, in its direction, however a box trembles."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeagent.config.model import Line, Pipeline, Privacy, RecordWhat, Rule, Zone
from edgeagent.decide.decider import Decide
from edgeagent.decide.lines import Lines
from edgeagent.errors import ConfigError
from edgeagent.types import Detection, Frame

UPRIGHT = Line(((0.5, 0.2), (0.5, 0.9)))
"""Seen from the top down, what goes from the right of the picture to its left goes in."""


def box(x: float, y: float, size: float = 0.1) -> Any:
    """A box that stands at a point."""
    return (x - size / 2, y - size, x + size / 2, y)


def walk(points: Any, line: Line = UPRIGHT) -> list[str]:
    lines = Lines({"gate": line})
    sides: Any = {}
    return [way for x, y in points for _, way in lines.follow(sides, box(x, y))]


@pytest.mark.parametrize(
    ("points", "ways"),
    [
        ([(0.3, 0.5), (0.7, 0.5)], ["out"]),
        ([(0.7, 0.5), (0.3, 0.5)], ["in"]),
        ([(0.3, 0.5), (0.7, 0.5), (0.3, 0.5)], ["out", "in"]),
        ([(0.3, 0.1), (0.7, 0.1)], []),  # beyond its end
        ([(0.3, 0.95), (0.7, 0.95)], []),
        ([(0.3, 0.5), (0.3, 0.05), (0.7, 0.05), (0.7, 0.5)], []),  # around its end
        ([(0.3, 0.5), (0.495, 0.5), (0.504, 0.5), (0.3, 0.5)], []),  # to it and back
        ([(0.3, 0.5), (0.5, 0.5), (0.5, 0.6), (0.7, 0.6)], ["out"]),
        ([(0.5, 0.5), (0.7, 0.5)], []),  # it began on the line
        ([(0.7, 0.5)], []),
    ],
)
def test_ways(points: Any, ways: list[str]) -> None:
    assert walk(points) == ways


def test_turned_round_it_counts_the_other_way() -> None:
    turned = Line((UPRIGHT.points[1], UPRIGHT.points[0]))
    assert walk([(0.3, 0.5), (0.7, 0.5)], turned) == ["in"]


def test_the_middle_may_be_what_crosses() -> None:
    level = ((0.0, 0.5), (1.0, 0.5))
    points = [(0.5, 0.48), (0.5, 0.53)]  # the foot crosses, the middle is still above
    assert walk(points, Line(level)) == ["in"]
    assert walk(points, Line(level, anchor="middle")) == []


@given(
    st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=2, max_size=30),
    st.tuples(*[st.floats(0.1, 0.9)] * 4),
)
@settings(max_examples=300)
def test_ways_alternate_between_two_sides(points: Any, ends: Any) -> None:
    x1, y1, x2, y2 = ends
    if (x1 - x2) ** 2 + (y1 - y2) ** 2 < 1e-3:
        return
    # Without ends to walk around, in and out must take turns.
    far_x, far_y = 50 * (x2 - x1), 50 * (y2 - y1)
    long = Line(((x1 - far_x, y1 - far_y), (x2 + far_x, y2 + far_y)))
    ways = walk(points, long)
    assert all(one != other for one, other in pairwise(ways))


@given(st.lists(st.floats(-0.0099, 0.0099), min_size=1, max_size=60))
def test_trembling_on_the_line_is_no_crossing(offsets: list[float]) -> None:
    assert walk([(0.3, 0.5), *((0.5 + off, 0.5) for off in offsets), (0.3, 0.5)]) == []
    assert walk([(0.3, 0.5), *((0.5 + off, 0.5) for off in offsets), (0.7, 0.5)]) == ["out"]


# --- in a pipeline -------------------------------------------------------------------------


def frame(number: int) -> Frame:
    return Frame("cam", number, np.zeros((4, 4, 3), np.uint8), 0, 0.0, stream_ms=100.0 * number)


def decide(**keys: Any) -> Decide:
    keys = {"on": 2, "off": 3, "lines": {"gate": UPRIGHT}, **keys}
    return Decide("p", Pipeline("m", **keys), Privacy("never"), ("a",), threshold=0.5)


def cross(decided: Decide, track: int, *, score: float = 0.9, start: int = 1) -> list[Any]:
    drafts = []
    for step in range(17):
        thing = Detection("a", score, box(0.3 + 0.025 * step, 0.5), track=track)
        drafts += decided(frame(start + step), [thing] if track else [])
    return drafts


def test_an_event_tells_what_it_crossed_and_the_totals_stand_in_results() -> None:
    decided = decide(record=RecordWhat(every=17))
    new, update, result = cross(decided, 1)
    assert new.data["phase"] == "new" and "lines" not in new.data
    assert update.data["phase"] == "update"
    assert update.data["lines"] == update.data["crossed"] == ["gate:out"]
    assert result.data["lines"] == {"gate": {"in": 0, "out": 1}}
    assert decided.standing() == {"lines": {"gate": {"in": 0, "out": 1}}}


def test_a_rule_may_want_only_what_has_crossed() -> None:
    drafts = cross(decide(rules=[Rule("line == 'gate:out'")]), 1)
    assert [draft.data["phase"] for draft in drafts] == ["new"]
    assert drafts[0].frame == 11  # two samples in a row from the crossing on
    assert cross(decide(rules=[Rule("line == 'gate:in'")]), 1) == []
    with pytest.raises(ConfigError, match=r"no line 'gat:in'; did you mean 'gate:in'"):
        decide(rules=[Rule("line == 'gat:in'")])


def test_counts_go_on_without_events() -> None:
    decided = decide(record=RecordWhat(events=False))
    assert cross(decided, 1) == []
    assert decided.standing()["lines"]["gate"] == {"in": 0, "out": 1}


def test_what_was_seen_but_once_does_not_count() -> None:
    decided = decide(on=3)
    decided(frame(1), [Detection("a", 0.9, box(0.3, 0.5), track=1)])
    decided(frame(2), [Detection("a", 0.9, box(0.7, 0.5), track=1)])
    assert decided.standing()["lines"]["gate"] == {"in": 0, "out": 0}


def test_doubtful_sightings_of_a_track_carry_it_over_the_line() -> None:
    decided = decide(off=30)
    for step in range(17):
        score = 0.9 if step < 3 else 0.3
        decided(frame(step), [Detection("a", score, box(0.3 + 0.025 * step, 0.5), track=1)])
    assert decided.standing()["lines"]["gate"] == {"in": 0, "out": 1}
    fresh = decide()
    cross(fresh, 5, score=0.3)  # never sure: nothing that counts
    assert fresh.standing()["lines"]["gate"] == {"in": 0, "out": 0}


def test_the_same_track_after_its_event_has_ended() -> None:
    decided = decide()
    cross(decided, 1)
    for number in range(18, 24):
        decided(frame(number), [])
    back = [Detection("a", 0.9, box(0.7 - 0.1 * step, 0.5), track=1) for step in range(5)]
    for step, thing in enumerate(back):
        decided(frame(24 + step), [thing])
    assert decided.standing()["lines"]["gate"] == {"in": 1, "out": 1}


def test_zones_are_told_with_how_long() -> None:
    zones = {"left": Zone([(0, 0), (0.5, 0), (0.5, 1), (0, 1)])}
    decided = decide(zones=zones, lines={}, rules=[Rule("label == 'a'")])
    drafts = cross(decided, 1)
    for number in range(18, 22):
        drafts += decided(frame(number), [])
    assert [draft.data["phase"] for draft in drafts] == ["new", "update", "end"]
    new, update, end = (draft.data for draft in drafts)
    assert new["zones"] == ["left"] and "dwell_s" not in new
    assert "zones" not in update and update["dwell_s"]["left"] == pytest.approx(1.1, abs=0.15)
    assert end["dwell_s"] == update["dwell_s"]
