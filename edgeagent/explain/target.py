"""What is to be explained, and how much of it is left in another answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from msgspec import Struct

from edgeagent.errors import NotFound, UsageError
from edgeagent.prove.compare import iou
from edgeagent.types import Anomaly, Box, Detection, Keypoints, Label, Regression

if TYPE_CHECKING:
    from edgeagent.types import Prediction


class Target(Struct, frozen=True):
    """One thing that a model said."""

    label: str
    score: float
    box: Box | None = None

    def left_in(self, predictions: Sequence[Prediction]) -> float:
        """How much of it is there: its score; of a thing with a place, weighed with how much of the
        place is the same (D-RISE: Petsiuk et al. 2021, "Black-box explanation of object detectors
        via saliency maps")."""
        return max((self._left(its) for its in predictions), default=0.0)

    def _left(self, its: Prediction) -> float:
        if isinstance(its, (Detection, Keypoints)):
            if its.label != self.label or self.box is None:
                return 0.0
            return its.score * iou(its.box, self.box)
        if isinstance(its, Label):
            return its.score if its.label == self.label else 0.0
        if isinstance(its, Anomaly):
            return its.score
        return its.value if isinstance(its, Regression) and its.name == self.label else 0.0


def target_of(predictions: Sequence[Prediction], label: str = "") -> Target:
    """The best of the predictions, or the best of a label.

    Raises:
        NotFound: the model says nothing of the sort.
        UsageError: what it says can't be explained so.
    """
    for its in predictions:
        if isinstance(its, Anomaly):
            return Target("anomaly", its.score)
        if isinstance(its, Regression) and label in ("", its.name):
            return Target(its.name, its.value)
        if isinstance(its, (Label, Detection, Keypoints)) and label in ("", its.label):
            return Target(its.label, its.score, getattr(its, "box", None))
    said = ", ".join(dict.fromkeys(str(getattr(its, "label", "")) for its in predictions))
    if predictions and not said.strip(", "):
        raise UsageError("what this model says (vectors, texts, masks) can't be explained")
    wanted = f"no {label!r}" if label else "nothing"
    raise NotFound(
        f"the model says {wanted} there" + (f"; it says: {said}" if said else ""),
        remedy="Choose one of them with --label, or a lower --threshold." if said else
        "Choose a lower --threshold.",
    )  # fmt: skip
