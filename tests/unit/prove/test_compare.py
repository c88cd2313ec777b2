"""Two answers that mean the same, and two that do not."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeagent.prove.compare import Tolerance, differences, iou, same_top, tell
from edgeagent.types import (
    Anomaly,
    Detection,
    Embedding,
    Keypoints,
    Label,
    Mask,
    Prediction,
    Raw,
    Regression,
    Text,
)

unit = st.floats(0, 1)
boxes = st.tuples(unit, unit, unit, unit).map(
    lambda c: (min(c[0], c[2]), min(c[1], c[3]), max(c[0], c[2]) + 0.01, max(c[1], c[3]) + 0.01)
)
names = st.sampled_from(["whole", "cracked", "missing"])
detections = st.builds(Detection, names, unit, boxes)
any_prediction = st.one_of(
    st.builds(Label, names, unit),
    detections,
    st.builds(Keypoints, names, unit, st.tuples(st.tuples(unit, unit, unit))),
    st.builds(Mask, names, unit, unit),
    # A class with arrays among its fields has hints that only a type checker can read.
    st.tuples(st.floats(0, 1e6), st.floats(1e-3, 1e6)).map(lambda pair: Anomaly(*pair)),
    st.builds(Regression, names, st.floats(-1e6, 1e6)),
    st.builds(Embedding, st.tuples(st.floats(0.1, 1), unit)),
    st.builds(Text, names, unit),
    st.builds(Raw, st.dictionaries(names, st.lists(unit))),
)
TOLERANCE = Tolerance()


def told(*predictions: Prediction) -> list[dict[str, Any]]:
    return [tell(one) for one in predictions]


def faults(expected: list[Any], got: list[Any], **how: Any) -> list[str]:
    return differences(expected, got, how.pop("threshold", 0.5), Tolerance(**how))


@settings(deadline=None)
@given(st.lists(any_prediction, max_size=1) | st.lists(detections, max_size=6))
def test_an_answer_equals_itself_also_after_a_file(predictions: list[Prediction]) -> None:
    before = told(*predictions)
    after = json.loads(json.dumps(before))
    assert after == before
    assert differences(before, after, 0.5, TOLERANCE) == []
    assert same_top(before, after)


@settings(deadline=None)
@given(boxes, boxes)
def test_iou_is_symmetric_and_within_0_and_1(one: Any, other: Any) -> None:
    assert iou(one, other) == pytest.approx(iou(other, one))
    assert 0 <= iou(one, other) <= 1 + 1e-9
    assert iou(one, one) == pytest.approx(1)


def test_iou_by_hand() -> None:
    assert iou((0, 0, 2, 2), (1, 1, 3, 3)) == pytest.approx(1 / 7)
    assert iou((0, 0, 1, 1), (1, 0, 2, 1)) == 0


def test_labels_within_and_beyond_the_tolerance() -> None:
    expected = told(Label("a", 0.9), Label("b", 0.1))
    assert faults(expected, told(Label("a", 0.82), Label("b", 0.18))) == []
    assert faults(expected, told(Label("a", 0.7), Label("b", 0.1))) == ["a: 0.700 instead of 0.900"]
    assert same_top(expected, told(Label("a", 0.7)))
    assert not same_top(expected, told(Label("b", 0.7), Label("a", 0.69)))
    assert not same_top(expected, [])


def test_a_label_that_fell_out_of_the_list() -> None:
    expected = told(Label("a", 0.9), Label("b", 0.02))
    assert faults(expected, told(Label("a", 0.9), Label("c", 0.03))) == []
    expected = told(Label("a", 0.5), Label("b", 0.45))
    assert faults(expected, told(Label("a", 0.5), Label("c", 0.1))) == ["b: 0.100 instead of 0.450"]


BOX = (0.1, 0.1, 0.5, 0.5)


@pytest.mark.parametrize(
    ("got", "words"),
    [
        ([Detection("whole", 0.9, BOX)], ""),
        ([Detection("whole", 0.85, (0.1, 0.1, 0.52, 0.51))], ""),
        ([Detection("whole", 0.75, BOX)], "score 0.750"),
        ([Detection("cracked", 0.9, BOX)], "is missing"),
        ([Detection("whole", 0.9, (0.3, 0.3, 0.7, 0.7))], "is missing"),
        ([], "is missing"),
        ([Detection("whole", 0.9, BOX), Detection("whole", 0.8, (0.6, 0.6, 0.9, 0.9))], "is new"),
        ([Detection("whole", 0.9, BOX), Detection("whole", 0.55, (0.6, 0.6, 0.9, 0.9))], ""),
    ],
)
def test_detections(got: list[Detection], words: str) -> None:
    found = faults(told(Detection("whole", 0.9, BOX)), told(*got))
    assert bool(found) == bool(words)
    assert words in " ".join(found)


def test_a_detection_beside_the_threshold_may_be_lost() -> None:
    expected = told(Detection("whole", 0.56, BOX))
    assert faults(expected, []) == []
    assert faults(expected, [], threshold=0.3) != []


def test_each_detection_is_matched_once() -> None:
    twice = told(Detection("whole", 0.9, BOX), Detection("whole", 0.9, (0.11, 0.1, 0.5, 0.5)))
    assert faults(twice, twice) == []
    assert len(faults(twice, twice[:1])) == 1


def test_anomalies_are_measured_by_their_threshold() -> None:
    expected = told(Anomaly(2.0, 10.0))
    assert faults(expected, told(Anomaly(2.9, 10.0))) == []
    assert faults(expected, told(Anomaly(3.1, 10.0))) == ["anomaly score 3.1 instead of 2"]
    high = told(Anomaly(500.0, 10.0))
    assert faults(high, told(Anomaly(540.0, 10.0))) == []
    assert faults(high, told(Anomaly(560.0, 10.0))) != []


def test_other_kinds() -> None:
    assert faults(told(Regression("t", 20.0)), told(Regression("t", 21.9))) == []
    assert faults(told(Regression("t", 20.0)), told(Regression("t", 22.1))) != []
    assert faults(told(Embedding((1.0, 0.0))), told(Embedding((0.99, 0.1)))) == []
    assert faults(told(Embedding((1.0, 0.0))), told(Embedding((0.0, 1.0)))) != []
    assert faults(told(Embedding((1.0, 0.0))), told(Embedding((1.0,)))) != []
    assert faults(told(Mask("cat", 1, 0.36)), told(Mask("cat", 1, 0.40))) == []
    assert faults(told(Mask("cat", 1, 0.36)), told(Mask("cat", 1, 0.5))) != []
    assert faults(told(Raw({"y": [1.0, [2.0]]})), told(Raw({"y": [1.05, [2.1]]}))) == []
    assert faults(told(Raw({"y": [1.0, [2.0]]})), told(Raw({"y": [1.0, [9.0]]}))) != []
    assert faults(told(Raw({"y": [1.0]})), told(Raw({"z": [1.0]}))) != []
    assert faults(told(Raw({"y": [1.0]})), told(Anomaly(1, 1))) == ["anomaly instead of raw"]
    assert faults(told(Raw({"y": [1.0]})), []) == ["0 predictions instead of 1"]


def test_poses_by_the_distance_of_their_points() -> None:
    pose = Keypoints("person", 0.9, ((0.5, 0.5, 1.0), (0.2, 0.2, 0.5)))
    near = Keypoints("person", 0.88, ((0.53, 0.5, 0.4), (0.2, 0.2, 0.5)))
    far = Keypoints("person", 0.88, ((0.6, 0.5, 0.4), (0.2, 0.2, 0.5)))
    assert faults(told(pose), told(near)) == []
    assert "is missing" in faults(told(pose), told(far))[0]
