"""What is written: one distribution over letters per step, read by its best path.

Source: Graves et al. 2006, "Connectionist Temporal Classification": of equal letters in a row
one is kept, and class 0 stands for "no letter", which also parts two equal ones.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from edgeagent.errors import InferenceError, PackageError
from edgeagent.interpret.outputs import real, shapes, softmax, stateless
from edgeagent.types import Text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from edgeagent.manifest import Package
    from edgeagent.types import Prediction, Prepared, TensorSpec


class Ctc:
    """One text from (1, steps, classes); logits with ``activation = "softmax"``.

    The labels are the letters in the model's order, without the blank that comes first. Where
    the model has one class more, the last is a space (PaddleOCR). A label that is an empty
    line is a space too. Texts that score below the threshold are not told.
    """

    def __init__(self, package: Package, outputs: tuple[TensorSpec, ...], threshold: float) -> None:
        self.threshold = threshold
        self.dropped = 0
        self.labels: tuple[str, ...] = ()
        places = stateless(package, outputs)
        self._place = places[0]
        self._tensor = outputs[self._place]
        self._softmax = package.manifest.output.activation == "softmax"
        self._letters = tuple(letter or " " for letter in package.labels)
        shape = self._tensor.shape
        if len(places) != 1 or (shape and len(shape) not in (2, 3)):
            raise PackageError(
                "output.decoder: ctc reads one output [1,steps,classes], the model has "
                f"{shapes(outputs, places)}",
                remedy="Set another output.decoder.",
            )
        if not self._letters:
            raise PackageError(
                "labels are missing: ctc reads letters",
                remedy="Write a file with one letter a line, in the model's order, and name it.",
            )
        if shape and shape[-1] > 0:
            self._check(shape[-1], PackageError)

    def __call__(self, outputs: Sequence[NDArray[Any]], _prepared: Prepared) -> list[Prediction]:
        table = real(outputs[self._place], self._tensor)
        if table.ndim not in (2, 3) or (table.ndim == 3 and len(table) != 1):
            raise InferenceError(
                f"the model answered {list(table.shape)} where ctc reads [1,steps,classes]",
                remedy="Correct output.decoder in its model.toml.",
            )
        table = table.reshape(-1, table.shape[-1])
        self._check(table.shape[-1], InferenceError)
        if not np.isfinite(table).all():
            raise InferenceError(
                "the model answered with NaN or infinity",
                remedy="Check its input scaling (mean, scale) and its file.",
            )
        if self._softmax and table.size:
            table = softmax(table)
        best = table.argmax(axis=1)
        begins = np.ones(len(best), bool)
        begins[1:] = best[1:] != best[:-1]
        steps = np.flatnonzero(begins & (best > 0))
        if not len(steps):
            return []
        score = float(table[steps, best[steps]].mean())
        if score < np.float32(self.threshold):
            return []
        return [Text("".join(self._letter(number) for number in best[steps].tolist()), score)]

    def _letter(self, number: int) -> str:
        return self._letters[number - 1] if number <= len(self._letters) else " "

    def _check(self, classes: int, wrong: type[PackageError | InferenceError]) -> None:
        if classes - len(self._letters) not in (1, 2):
            raise wrong(
                f"labels: {len(self._letters)} letters for a model with {classes} classes",
                remedy=f"Write {classes - 1} letters, without the blank (or {classes - 2}, where "
                "the last class is the space).",
            )
