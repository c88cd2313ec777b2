"""Models that mark pixels: how far what they mark covers what is there (IoU).

Judged is what the agent tells, the outlines: holes count as covered, and of many small patches the
last outline goes round the rest, so figures lie a little below those of the bare tensor.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from edgeagent.capture.pictures import read_picture
from edgeagent.errors import InputError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from edgeagent.evaluate.answers import Told
    from edgeagent.evaluate.data import Case, Data
    from edgeagent.manifest import Package

    Pixels = NDArray[np.bool_]

UNMARKED = 255
"""Class number of pixels that nobody has judged."""
_WORST = 24


def fit(data: Data) -> None:
    """Raises UsageError where inputs have no masks."""
    without = [case.name for case in data.cases if case.mask is None]
    if without:
        raise UsageError(
            f"{data.name}: {without[0]} has no mask ({len(without)} of {len(data.cases)})",
            remedy="Give a folder with images/ and masks/ (same names), or a CSV with file, mask.",
        )


class Masks:
    """The measures of a model that marks pixels.

    Args:
        told: its answers, one a picture.
        package: whose class numbers the masks hold.
    """

    def __init__(self, told: Sequence[Told], package: Package) -> None:
        self.told = told
        how = package.manifest.output
        self._first = 1 if how.background else 0
        self._package = package
        names: dict[str, int] = {}
        both: list[dict[int, tuple[int, int]]] = []
        for its in told:
            both.append(self._compared(its, names))
        self.labels = list(names)
        self.inside = np.array([[row.get(at, (0, 0))[0] for at in range(len(names))]
                                for row in both], float)  # fmt: skip
        self.around = np.array([[row.get(at, (0, 0))[1] for at in range(len(names))]
                                for row in both], float)  # fmt: skip
        with np.errstate(invalid="ignore"):
            each = self.inside / self.around
        shown = np.where(self.around > 0, each, np.nan)
        self.each = np.array([float(np.nanmean(row)) if np.isfinite(row).any() else 1.0
                              for row in shown])  # fmt: skip
        """IoU of each picture, the mean over what is there or was told."""
        self.error = 1.0 - self.each

    def _compared(self, its: Told, names: dict[str, int]) -> dict[int, tuple[int, int]]:
        """Label's place → pixels of both, pixels of either."""
        numbers = read_mask(its.case)
        judged = numbers != UNMARKED
        truth = {
            self._package.label(number): numbers == number
            for number in np.unique(numbers[judged]).tolist() if number >= self._first
        }  # fmt: skip
        said = {
            one["label"]: marked(one.get("polygons", ()), numbers.shape) & judged
            for one in its.predictions
        }
        nothing = np.zeros(numbers.shape, bool)
        found = {}
        for label in sorted(truth.keys() | said.keys()):
            there, told = truth.get(label, nothing), said.get(label, nothing)
            counts = int((there & told).sum()), int((there | told).sum())
            found[names.setdefault(label, len(names))] = counts
        return found

    def measured(self) -> dict[str, Any]:
        """All sections of a report."""
        inside, around = self.inside.sum(axis=0), self.around.sum(axis=0)
        by_label = inside / np.maximum(around, 1)
        return {
            "metrics": {
                "pictures": len(self.told), "labels": len(self.labels),
                "miou": round(float(by_label.mean()), 4) if self.labels else None,
                "picture_iou": round(float(self.each.mean()), 4),
            },
            "classes": [
                {"label": label, "iou": round(float(by_label[at]), 4),
                 "pictures": int((self.around[:, at] > 0).sum())}
                for at, label in enumerate(self.labels)
            ],
            "slices": self._slices(),
            "worst": self._worst(),
        }  # fmt: skip

    def _slices(self) -> list[dict[str, Any]]:
        parts: dict[tuple[str, str], list[int]] = {}
        for row, its in enumerate(self.told):
            for key, value in its.case.slices.items():
                parts.setdefault((key, value), []).append(row)
        return [{"slice": key, "value": value, "count": len(rows),
                 "picture_iou": round(float(self.each[rows].mean()), 4)}
                for (key, value), rows in sorted(parts.items())]  # fmt: skip

    def _worst(self) -> list[dict[str, Any]]:
        rows = [int(row) for row in np.argsort(self.each, kind="stable")[:_WORST]
                if self.each[row] < 1]  # fmt: skip
        return [
            {"input": self.told[row].case.name, "sample": self.told[row].sample,
             "truth": "in the mask", "said": ", ".join(
                 one["label"] for one in self.told[row].predictions) or "nothing",
             "score": round(float(self.each[row]), 4)}
            for row in rows
        ]  # fmt: skip


def read_mask(case: Case) -> NDArray[np.uint8]:
    """Class numbers of a picture (h, w). Raises InputError, NotFound."""
    assert case.mask is not None
    pixels = read_picture(case.mask)
    if (pixels[..., 0] != pixels[..., 1]).any() or (pixels[..., 0] != pixels[..., 2]).any():
        raise InputError(
            f"{case.mask}: is coloured, and a mask holds a class number for each pixel",
            remedy="Save it as a grey PNG whose values are the class numbers (255 = not judged).",
        )
    numbers: NDArray[np.uint8] = pixels[..., 0]
    return numbers


def marked(polygons: Sequence[Sequence[Sequence[float]]], shape: tuple[int, ...]) -> Pixels:
    """Pixels (h, w) whose middle lies in one of the polygons, which are in 0..1."""
    height, width = shape[:2]
    whole = np.zeros((height, width), bool)
    for polygon in polygons:
        if len(polygon) > 2:
            whole |= _filled(np.asarray(polygon, float) * (width, height), height, width)
    return whole


def _filled(corners: NDArray[np.float64], height: int, width: int) -> Pixels:
    """One polygon: along each row, inside begins and ends where an edge is crossed."""
    turns = np.zeros((height, width + 1), bool)
    for (x1, y1), (x2, y2) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        first, last = sorted((y1, y2))
        rows = np.arange(max(0, int(np.ceil(first - 0.5))), min(height, int(np.ceil(last - 0.5))))
        if len(rows):
            across = x1 + (rows + 0.5 - y1) / (y2 - y1) * (x2 - x1)
            columns = np.clip(np.ceil(across - 0.5), 0, width).astype(int)
            np.logical_xor.at(turns, (rows, columns), True)
    return np.logical_xor.accumulate(turns[:, :width], axis=1)
