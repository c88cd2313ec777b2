"""Models that find poses: average precision by the likeness of points (OKS), by COCO's rules.

A pose is right where its points lie near the true ones, measured by the size of the body and by how
sure people are about each kind of point (https://cocodataset.org/#keypoints-eval).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from edgeagent.errors import UsageError
from edgeagent.evaluate import boxes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgeagent.evaluate.data import Data

_COCO_SIGMAS = (0.026, 0.025, 0.025, 0.035, 0.035, 0.079, 0.079, 0.072, 0.072, 0.062, 0.062, 0.107,
                0.107, 0.087, 0.087, 0.089, 0.089)  # fmt: skip
"""How far people's own marks lie apart, point by point, of the 17 points of COCO."""
_OTHER_SIGMA = 0.05
"""Where points are others, nobody has measured that: all are taken for as hard as an ear."""


def fit(data: Data, labels: Sequence[str]) -> None:
    """As `boxes.fit`. Raises UsageError where nothing has points, too."""
    boxes.fit(data, labels)
    counts = {len(thing.points) for case in data.cases for thing in case.things if thing.points}
    if not counts:
        raise UsageError(
            f"{data.name}: its annotations have no keypoints",
            remedy="Give a COCO file with keypoints, such as person_keypoints_val2017.json.",
        )
    if counts != {len(_COCO_SIGMAS)}:
        data.notes.append(f"its points are not COCO's 17: each counts alike ({_OTHER_SIGMA})")


class Poses(boxes.Boxes):
    """The measures of a model that finds poses."""

    summary: ClassVar[tuple[str, ...]] = (
        "map", "map50", "map75", "map_medium", "map_large",
        "ar", "ar50", "ar75", "ar_medium", "ar_large",
    )  # fmt: skip

    def _evaluated(self) -> Any:
        points = {len(thing.points) for its in self.told for thing in its.case.things}
        said = {len(one.get("points", ())) for its in self.told for one in its.predictions}
        number = max(points)
        if said - {number}:
            raise UsageError(
                f"the model tells {min(said - {number})} points and the data has {number}",
                remedy="They must be the same ones, in the same order.",
            )
        coco = number == len(_COCO_SIGMAS)
        sigmas = np.array(_COCO_SIGMAS if coco else [_OTHER_SIGMA] * number)
        return boxes.evaluated(self.told, self.labels, _pose, "keypoints", sigmas)


def _pose(image: int, category: int, its: Any, size: tuple[int, int]) -> dict[str, Any]:
    """A thing of the data or a prediction, as COCO has it."""
    width, height = size
    if isinstance(its, dict):
        points = [(x, y, score) for x, y, score in its["points"]]
        inside = [(x, y) for x, y, _ in points]
        xs, ys = [x for x, _ in inside], [y for _, y in inside]
        # As COCO measures what is said: by the box around its points.
        note = boxes.note_of(image, category, (min(xs), min(ys), max(xs), max(ys)), size)
    else:
        points = list(its.points)
        note = boxes.note_of(image, category, its.box, size)
        note["area"] = its.share * width * height or note["area"]
        note["num_keypoints"] = sum(seen > 0 for *_, seen in points)
    flat = [value for x, y, seen in points for value in (x * width, y * height, seen)]
    return {**note, "keypoints": flat}
