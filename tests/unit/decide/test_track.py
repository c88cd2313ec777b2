"""Identity over samples."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeagent.decide.track import IouTracker, iou
from edgeagent.decide.track.byte import ByteTracker, pairs
from edgeagent.decide.track.shake import common_shift
from edgeagent.decide.track.table import overlapping, overlaps
from edgeagent.types import Anomaly, Detection, Keypoints, Label


def thing(
    x: float, y: float = 0.4, label: str = "part", size: float = 0.1, score: float = 0.9
) -> Any:
    return Detection(label, score, (x, y, x + size, y + size))


@pytest.fixture(params=["overlap", "byte"])
def tracker(request: Any) -> Any:
    """What both trackers can do is asked of both."""
    return IouTracker() if request.param == "overlap" else ByteTracker(0.5)


def tracks(found: Any) -> list[int]:
    return [one.track for one in found]


def test_one_thing_keeps_its_number_while_it_moves(tracker: Any) -> None:
    for step in range(30):
        found = tracker.update([thing(0.03 * step)], step * 100.0)
        assert tracks(found) == [1]


def test_two_things_that_cross_lanes_keep_their_numbers(tracker: Any) -> None:
    for step in range(20):
        left, right = thing(0.04 * step, 0.2), thing(0.9 - 0.04 * step, 0.6)
        found = tracker.update([left, right] if step % 2 else [right, left], step * 100.0)
        assert tracks(found) == ([1, 2] if step % 2 == 0 else [2, 1])


def test_velocity_bridges_a_miss_that_overlap_alone_would_not(tracker: Any) -> None:
    for step in range(5):
        tracker.update([thing(0.05 * step)], step * 100.0)
    for step in (5, 6, 7):
        assert tracker.update([], step * 100.0) == []
    assert iou(thing(0.2).box, thing(0.4).box) == 0
    assert tracks(tracker.update([thing(0.4)], 800.0)) == [1]


def test_a_thing_that_turns_back_is_still_itself(tracker: Any) -> None:
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


def test_labels_do_not_mix_and_other_predictions_pass_through(tracker: Any) -> None:
    found = tracker.update(
        [Label("a", 0.5), thing(0.1), thing(0.1, label="dog"), Anomaly(1.0, 2.0)], 0.0
    )
    assert [type(one).__name__ for one in found] == ["Label", "Detection", "Detection", "Anomaly"]
    assert tracks(found[1:3]) == [1, 2]
    found = tracker.update([thing(0.1, label="dog"), thing(0.1)], 100.0)
    assert tracks(found) == [2, 1]


def test_all_but_the_number_stays(tracker: Any) -> None:
    pose = Keypoints("person", 0.7, ((0.1, 0.2, 0.9),), (0.1, 0.1, 0.3, 0.3))
    spot = Detection("face", 0.8, (0.5, 0.5, 0.6, 0.6), ((0.55, 0.55),))
    one, two = tracker.update([pose, spot], 0.0)
    assert one == Keypoints("person", 0.7, ((0.1, 0.2, 0.9),), (0.1, 0.1, 0.3, 0.3), 1)
    assert two == Detection("face", 0.8, (0.5, 0.5, 0.6, 0.6), ((0.55, 0.55),), 2)


def test_the_nearer_of_two_gets_the_track(tracker: Any) -> None:
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


# --- ByteTrack -----------------------------------------------------------------------------


def test_doubtful_detections_continue_tracks_and_begin_none() -> None:
    tracker = ByteTracker(0.5)
    assert tracks(tracker.update([thing(0.1, score=0.3)], 0.0)) == [0]
    assert tracks(tracker.update([thing(0.1, score=0.6)], 100.0)) == [1]
    for step in range(2, 30):
        found = tracker.update([thing(0.1 + 0.01 * step, score=0.2)], step * 100.0)
        assert tracks(found) == [1]
    assert tracks(tracker.update([thing(0.4, score=0.9), thing(0.7, score=0.4)], 3000.0)) == [1, 0]


def test_a_sure_detection_goes_before_a_doubtful_one_that_fits_better() -> None:
    tracker = ByteTracker(0.5)
    tracker.update([thing(0.30)], 0.0)
    found = tracker.update([thing(0.30, score=0.4), thing(0.33)], 100.0)
    assert tracks(found) == [0, 1]


@pytest.mark.parametrize(
    ("missed", "keep_s", "away_s", "number"),
    [(3, 0.0, 0.3, 1), (3, 0.0, 0.4, 2), (0, 1.0, 1.0, 1), (0, 1.0, 1.2, 2), (9, 0.0, 0.9, 1)],
)
def test_forgotten_by_samples_and_by_seconds(
    missed: int, keep_s: float, away_s: float, number: int
) -> None:
    tracker = ByteTracker(0.5, missed=missed, keep_s=keep_s)
    for step in range(3):
        tracker.update([thing(0.5)], step * 100.0)
    for step in range(3, 3 + round(away_s * 10)):
        tracker.update([], step * 100.0)
    assert tracks(tracker.update([thing(0.5)], 300.0 + away_s * 1000)) == [number]


def test_a_new_stream_has_new_numbers() -> None:
    tracker = ByteTracker(0.5)
    for frame in range(3):
        assert tracks(tracker.update([thing(0.2)], 100.0 * frame)) == [1]
    tracker.reset()
    for frame in range(3):
        assert tracks(tracker.update([thing(0.2)], 100.0 * frame)) == [2]


def test_what_was_seen_but_once_is_soon_forgotten() -> None:
    tracker = ByteTracker(0.5)
    tracker.update([thing(0.5)], 0.0)
    for step in range(1, 4):
        tracker.update([], step * 100.0)
    assert tracks(tracker.update([thing(0.5)], 400.0)) == [2]


def test_hidden_behind_something_and_back() -> None:
    """A second without any detection, on the way at a steady pace."""
    tracker = ByteTracker(0.5)
    for step in range(31):
        seen = [] if 12 <= step < 22 else [thing(0.02 * step), thing(0.9, 0.1)]
        found = tracker.update(seen, step * 100.0)
        assert tracks(found)[:1] == [1][: len(found)]


def test_faster_than_its_size_from_the_second_frame_on() -> None:
    tracker = ByteTracker(0.5)
    for step in range(6):
        found = tracker.update([thing(0.15 * step, size=0.1)], step * 200.0)
        assert tracks(found) == [1]


def test_a_shaking_camera_moves_everything_but_no_identity() -> None:
    rng = np.random.default_rng(1)
    tracker = ByteTracker(0.5)
    places = [(0.1, 0.2), (0.4, 0.6), (0.7, 0.3), (0.55, 0.15)]
    for step in range(40):
        dx, dy = rng.normal(0, 0.15, 2) if step else (0.0, 0.0)  # up to several box widths
        found = [thing(x + dx, y + dy, size=0.05) for x, y in places]
        assert tracks(tracker.update(found, step * 100.0)) == [1, 2, 3, 4]


def test_the_camera_stands_still_where_one_thing_moves() -> None:
    tracker = ByteTracker(0.5)
    for step in range(10):
        still = [thing(0.1 * k, 0.1, size=0.05) for k in range(6)]
        found = tracker.update([*still, thing(0.03 * step, 0.6, size=0.05)], step * 100.0)
        assert tracks(found) == [1, 2, 3, 4, 5, 6, 7]


@pytest.mark.parametrize("rests", [0, 5])
@pytest.mark.parametrize("count", [1, 2, 4])
def test_a_belt_that_starts_carries_on_through_misses(rests: int, count: int) -> None:
    """All at once begin to move by a good part of their size, then all are missed."""
    tracker = ByteTracker(0.5)
    for step in range(rests + 14):
        x = 0.06 * max(0, step - rests)
        seen = [] if rests + 8 <= step < rests + 11 else [
            thing(x - 0.15 * k, 0.2 * k, size=0.1) for k in range(count)
        ]  # fmt: skip
        found = tracker.update(seen, step * 200.0)
        assert tracks(found) == list(range(1, count + 1))[: len(found)]


def test_one_thing_before_a_shaking_camera() -> None:
    tracker = ByteTracker(0.5)
    for step, x in enumerate([0.5, 0.5, 0.5, 0.57, 0.48, 0.53, 0.5]):
        assert tracks(tracker.update([thing(x)], step * 100.0)) == [1]
    assert tracks(tracker.update([thing(0.8)], 700.0)) == [2]  # farther than its size


def test_time_that_stands_still_or_goes_back() -> None:
    tracker = ByteTracker(0.5)
    for step, at in enumerate([0.0, 100.0, 100.0, 50.0, 150.0, 1e9]):
        assert tracks(tracker.update([thing(0.3 + 0.001 * step)], at)) == [1]


@given(frames=scene, scores=st.lists(st.floats(0, 1), min_size=6, max_size=6))
@settings(max_examples=150, deadline=None)
def test_byte_numbers_are_unique_never_given_twice_and_reproducible(
    frames: Any, scores: Any
) -> None:
    one, two, seen, last = ByteTracker(0.5), ByteTracker(0.5), set(), 0
    for step, frame in enumerate(frames):
        found = [
            thing(x, y, label, size, score)
            for (x, y, size, label), score in zip(frame, scores, strict=False)
        ]
        told = one.update(found, step * 100.0)
        assert tracks(told) == tracks(two.update(found, step * 100.0))
        numbers = [number for number in tracks(told) if number]
        assert len(set(numbers)) == len(numbers)
        for its in told:
            assert its.track or its.score < 0.5
            assert its.track in seen or its.track == 0 or its.track > last
            last = max(last, its.track)
        seen.update(numbers)


@pytest.mark.parametrize("odd", [math.nan, math.inf, -math.inf, 1e200])
def test_boxes_that_are_no_boxes_stop_nothing(odd: float) -> None:
    """A decoder of somebody else's may tell anything."""
    tracker = ByteTracker(0.5)
    for step in range(12):
        wrong = [Detection("part", 0.9, (odd, 0.1 * n, 0.5, odd)) for n in range(3)]
        found = tracker.update([thing(0.02 * step), *wrong, thing(0.6)], step * 100.0)
        assert tracks(found)[0] == 1 and len(found) == 5


# --- parts ---------------------------------------------------------------------------------

edges = st.floats(-0.25, 1.25, width=32)
boxes = st.lists(st.tuples(edges, edges, edges, edges), max_size=6)


@given(one=boxes, other=boxes)
@settings(deadline=None)
def test_overlaps_against_one_by_one(one: Any, other: Any) -> None:
    have = overlaps(np.array(one).reshape(-1, 4), np.array(other).reshape(-1, 4))
    assert have.shape == (len(one), len(other))
    for k, a in enumerate(one):
        for n, b in enumerate(other):
            empty = min(a[2] - a[0], a[3] - a[1], b[2] - b[0], b[3] - b[1]) <= 0
            assert have[k, n] == pytest.approx(0 if empty else iou(a, b), abs=1e-9)


@given(
    likeness=st.lists(st.lists(st.integers(0, 5), min_size=4, max_size=4), max_size=5),
    least=st.integers(1, 5),
)
@settings(deadline=None)
def test_pairs_against_taking_the_best_again_and_again(likeness: Any, least: int) -> None:
    left = {
        (row, column): value
        for row, values in enumerate(likeness)
        for column, value in enumerate(values)
        if value >= least
    }
    want = []
    while left:
        best = min(left, key=lambda pair: (-left[pair], pair))
        want.append(best)
        left = {p: v for p, v in left.items() if p[0] != best[0] and p[1] != best[1]}
    cells = [
        (-value, row, column)
        for row, values in enumerate(likeness)
        for column, value in enumerate(values)
        if value >= least
    ]
    assert pairs(cells) == want


def test_common_shift() -> None:
    places = [(0.2, 0.2, 0.1, 0.2), (0.5, 0.6, 0.08, 0.1), (0.8, 0.3, 0.1, 0.15)]
    expected = [("part", place) for place in places]

    def seen(by: Any, rows: Any = (0, 1, 2), label: str = "part") -> Any:
        return [
            (label, (x + by[0] - w / 2, y + by[1] - h / 2, x + by[0] + w / 2, y + by[1] + h / 2))
            for x, y, w, h in (places[row] for row in rows)
        ]

    assert common_shift(expected, seen([0.2, -0.1])) == pytest.approx((0.2, -0.1))
    assert common_shift(expected, seen([0.001, 0.0])) is None  # as expected
    assert common_shift(expected, seen([0.2, 0.1], label="dog")) is None  # other things
    mixed = [*seen([0.3, 0], [0]), *seen([-0.2, 0], [1]), *seen([0, 0.25], [2])]
    assert common_shift(expected, mixed) is None  # each on its own way
    assert common_shift(expected[:1], seen([0.2, 0])) is None
    assert common_shift(expected, []) is None


@given(one=boxes, other=boxes, repeated=st.sampled_from([1, 25]), least=st.floats(0.01, 1.0))
@settings(deadline=None, max_examples=60)
def test_few_and_many_boxes_are_compared_alike(
    one: Any, other: Any, repeated: int, least: float
) -> None:
    """Most lists of 25 times as many are more than is looked at one by one."""
    rows = [("ab"[place % 2], box) for place, box in enumerate(one * repeated)]
    columns = [("ab"[place % 2], box) for place, box in enumerate(other * repeated)]
    cells = overlapping(rows, columns, least)
    told = {(row, column): -likeness for likeness, row, column in cells}
    assert len(told) == len(cells)
    for row, (label, box) in enumerate(rows):
        for column, (its, found) in enumerate(columns):
            likeness = iou(box, found) if label == its else 0.0
            if abs(likeness - least) > 1e-9:
                assert ((row, column) in told) == (likeness >= least)
            if (row, column) in told:
                assert told[row, column] == pytest.approx(likeness)
