"""Average precision by weights, held against pycocotools itself."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeagent.errors import UsageError
from edgeagent.evaluate.answers import Told
from edgeagent.evaluate.data import Case, Data, Thing

pytest.importorskip("pycocotools", reason="pycocotools is not installed (the extra eval)")

LABELS = ("a", "b")


def told(seed: int, pictures: int = 12) -> list[Told]:
    """Things at random; most are found, not quite in place; some are made up."""
    rng = np.random.default_rng(seed)
    found = []
    for number in range(pictures):
        things, said = [], []
        for _ in range(rng.integers(0, 5)):
            x, y = rng.uniform(0, 0.7, 2)
            w, h = rng.uniform(0.05, 0.3, 2)
            label = LABELS[rng.integers(2)]
            things.append(Thing(label, (x, y, x + w, y + h), bool(rng.random() < 0.1)))
            if rng.random() < 0.8:
                dx, dy = rng.normal(0, 0.01, 2)
                said.append({"label": label if rng.random() < 0.9 else "b",
                             "score": round(float(rng.uniform(0.05, 1)), 2),
                             "box": [x + dx, y + dy, x + w + dx, y + h + dy]})  # fmt: skip
        if rng.random() < 0.5:
            said.append({"label": "a", "score": round(float(rng.uniform(0.05, 1)), 2),
                         "box": [0.1, 0.1, 0.2, 0.3]})  # fmt: skip
        case = Case(Path(f"{number}.jpg"), f"{number}.jpg", things=things)
        found.append(Told(case, 0, said, (640, 480)))
    return found


def by_pycocotools(boxes: Any) -> tuple[float, float]:
    with contextlib.redirect_stdout(io.StringIO()):
        boxes.evaluated.accumulate()
        boxes.evaluated.summarize()
    return float(boxes.evaluated.stats[0]), float(boxes.evaluated.stats[1])


@pytest.mark.parametrize("seed", range(6))
def test_with_equal_weights_it_is_what_coco_says(seed: int) -> None:
    from edgeagent.evaluate.boxes import Boxes

    boxes = Boxes(told(seed), LABELS, 0.5)
    expected = by_pycocotools(boxes)
    by_iou = boxes.precision(boxes.everything)
    assert (by_iou.mean(), by_iou[0]) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("seed", range(4))
def test_a_picture_of_weight_two_counts_as_if_it_were_there_twice(seed: int) -> None:
    from edgeagent.evaluate.boxes import Boxes

    pictures = told(seed)
    weights = np.random.default_rng(seed).integers(0, 3, len(pictures))
    again = [its for its, count in zip(pictures, weights, strict=True) for _ in range(count)]
    labels = {thing.label for its in again for thing in its.case.things if not thing.crowd}
    assert labels == set(LABELS)
    expected = by_pycocotools(Boxes(again, LABELS, 0.5))
    by_iou = Boxes(pictures, LABELS, 0.5).precision(weights.astype(float))
    # Equal scores of the same picture's twins may fall in either order.
    assert (by_iou.mean(), by_iou[0]) == pytest.approx(expected, abs=0.02)


def test_what_is_missed_and_made_up_at_the_models_threshold() -> None:
    from edgeagent.evaluate.boxes import Boxes

    box = (0.1, 0.1, 0.4, 0.4)
    case = Case(Path("a"), "a", things=[Thing("a", box), Thing("a", (0.6, 0.6, 0.9, 0.9))])
    said = [{"label": "a", "score": 0.9, "box": list(box)},
            {"label": "a", "score": 0.4, "box": [0.6, 0.6, 0.9, 0.9]},
            {"label": "a", "score": 0.8, "box": [0.0, 0.8, 0.1, 0.9]}]  # fmt: skip
    measured = Boxes([Told(case, 0, said, (100, 100))], LABELS, 0.5).measured()
    metrics = measured["metrics"]
    assert (metrics["found"], metrics["missed"], metrics["made_up"]) == (1, 1, 1)
    assert measured["threshold"]["suggested"]["threshold"] == 0.4
    (worst,) = measured["worst"]
    assert worst["missed"] == worst["made_up"] == 1 and len(worst["said"]) == 2


def test_labels_are_fitted_and_data_of_others_is_refused() -> None:
    from edgeagent.evaluate.boxes import fit

    box = (0.0, 0.0, 1.0, 1.0)
    case = Case(Path("a"), "a", things=[Thing("A", box), Thing("z", box)])
    data = Data("d", [case])
    fit(data, LABELS)
    assert [thing.label for thing in case.things] == ["a"]
    assert data.notes == ["1 things of labels that the model does not know are left out: z"]
    with pytest.raises(UsageError, match="none of its labels"):
        fit(Data("d", [Case(Path("a"), "a", things=[Thing("z", box)])]), LABELS)


def test_a_detector_that_is_worse_is_told_from_chance() -> None:
    from edgeagent.evaluate.boxes import Boxes
    from edgeagent.evaluate.compare import bootstrap

    good, bad = told(1, 40), told(1, 40)
    for its in bad:
        its.predictions = its.predictions[::2]
    one, other = Boxes(good, LABELS, 0.5), Boxes(bad, LABELS, 0.5)
    found = bootstrap(one, other, rounds=200)
    assert found["significant"] and found["difference"] < 0 and found["high"] < 0
    same = bootstrap(one, one, rounds=100)
    assert not same["significant"] and same["difference"] == 0
