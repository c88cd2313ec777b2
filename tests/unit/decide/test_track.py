"""Identity over samples."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeagent.decide.track import IouTracker, iou
from edgeagent.types import Anomaly, Detection, Keypoints, Label


def thing(
    x: float, y: float = 0.4, label: str = "part", size: float = 0.1, score: float = 0.9
) -> Any:
    return Detection(label, score, (x, y, x + size, y + size))


def tracks(found: Any) -> list[int]:
    return [one.track for one in found]


def test_one_thing_keeps_its_number_while_it_moves() -> None:
    tracker = IouTracker()
    for step in range(30):
        found = tracker.update([thing(0.03 * step)], step * 100.0)
        assert tracks(found) == [1]


def test_two_things_that_cross_lanes_keep_their_numbers() -> None:
    tracker = IouTracker()
    for step in range(20):
        left, right = thing(0.04 * step, 0.2), thing(0.9 - 0.04 * step, 0.6)
        found = tracker.update([left, right] if step % 2 else [right, left], step * 100.0)
        assert tracks(found) == ([1, 2] if step % 2 == 0 else [2, 1])


def test_velocity_bridges_a_miss_that_overlap_alone_would_not() -> None:
    tracker = IouTracker(missed=5)
    for step in range(5):
        tracker.update([thing(0.05 * step)], step * 100.0)
    for step in (5, 6, 7):
        assert tracker.update([], step * 100.0) == []
    assert iou(thing(0.2).box, thing(0.4).box) == 0
    assert tracks(tracker.update([thing(0.4)], 800.0)) == [1]


def test_a_thing_that_turns_back_is_still_itself() -> None:
    tracker = IouTracker()
    for step in range(5):
        tracker.update([thing(0.06 * step)], step * 100.0)
    assert tracks(tracker.update([thing(0.20)], 500.0)) == [1]  # 0.30 was to be expected


@pytest.mark.parametrize(("gap", "number"), [(3, 1), (4, 2)])
def test_forgotten_after_so_many_misses(gap: int, number: int) -> None:
    tracker = IouTracker(missed=3)
    tracker.update([thing(0.5)], 0.0)
    for step in range(gap):
        tracker.update([], 100.0 * (step + 1))
    assert tracks(tracker.update([thing(0.5)], 1000.0)) == [number]


def test_labels_do_not_mix_and_other_predictions_pass_through() -> None:
    tracker = IouTracker()
    found = tracker.update(
        [Label("a", 0.5), thing(0.1), thing(0.1, label="dog"), Anomaly(1.0, 2.0)], 0.0
    )
    assert [type(one).__name__ for one in found] == ["Label", "Detection", "Detection", "Anomaly"]
    assert tracks(found[1:3]) == [1, 2]
    found = tracker.update([thing(0.1, label="dog"), thing(0.1)], 100.0)
    assert tracks(found) == [2, 1]


def test_all_but_the_number_stays() -> None:
    pose = Keypoints("person", 0.7, ((0.1, 0.2, 0.9),), (0.1, 0.1, 0.3, 0.3))
    spot = Detection("face", 0.8, (0.5, 0.5, 0.6, 0.6), ((0.55, 0.55),))
    one, two = IouTracker().update([pose, spot], 0.0)
    assert one == Keypoints("person", 0.7, ((0.1, 0.2, 0.9),), (0.1, 0.1, 0.3, 0.3), 1)
    assert two == Detection("face", 0.8, (0.5, 0.5, 0.6, 0.6), ((0.55, 0.55),), 2)


def test_the_nearer_of_two_gets_the_track() -> None:
    tracker = IouTracker()
    tracker.update([thing(0.30)], 0.0)
    found = tracker.update([thing(0.35), thing(0.31)], 100.0)
    assert tracks(found) == [2, 1]


coordinate = st.floats(-0.2, 1.2)
scene = st.lists(
    st.lists(
        st.tuples(coordinate, coordinate, st.floats(0.01, 0.5), st.sampled_from("ab")), max_size=6
    ),
    max_size=12,
)


@given(frames=scene)
@settings(max_examples=150, deadline=None)
def test_numbers_are_unique_never_given_twice_and_reproducible(frames: Any) -> None:
    one, two, seen, last = IouTracker(), IouTracker(), set(), 0
    for step, frame in enumerate(frames):
        found = [thing(x, y, label, size) for x, y, size, label in frame]
        told = one.update(found, step * 100.0)
        assert tracks(told) == tracks(two.update(found, step * 100.0))
        assert len(set(tracks(told))) == len(found)
        for number in tracks(told):
            assert number > last or number in seen  # new numbers only go up
            last = max(last, number)
        seen.update(tracks(told))


def test_iou() -> None:
    assert iou((0, 0, 2, 2), (1, 1, 3, 3)) == pytest.approx(1 / 7)
    assert iou((0, 0, 1, 1), (1, 0, 2, 1)) == 0
    assert iou((0, 0, 1, 1), (0, 0, 1, 1)) == 1
    assert iou((1, 1, 0, 0), (0, 0, 1, 1)) == 0
