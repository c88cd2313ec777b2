"""Models that find things: average precision by COCO's rules, and what is missed or made up.

Matching is done by ``pycocotools`` (the extra ``eval``). From its matches everything else follows:
the precision curve of a part of the data, or of a resampling of its pictures, needs no new
matching, because the order by score stays and only the weight of each picture changes.
"""

from __future__ import annotations

import contextlib
import io
from collections import Counter
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from msgspec import Struct
from msgspec.structs import replace

from edgeagent.errors import RuntimeMissing, UsageError
from edgeagent.evaluate import curves

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from edgeagent.evaluate.answers import Told
    from edgeagent.evaluate.data import Data

_WORST = 24
_SUMMARY = ("map", "map50", "map75", "map_small", "map_medium", "map_large",
            "ar1", "ar10", "ar100", "ar_small", "ar_medium", "ar_large")  # fmt: skip
"""What COCO's summary holds, in its order."""
RECALLS = np.linspace(0.0, 1.0, 101)


def fit(data: Data, labels: Sequence[str]) -> None:
    """Call the data's labels as the model does; things that it does not know are left out, with a
    note.

    Raises:
        UsageError: no label is known.
        RuntimeMissing: ``pycocotools`` is not installed; told before anything is asked.
    """
    _pycocotools()
    known = {label.casefold(): label for label in labels} | {label: label for label in labels}
    unknown: Counter[str] = Counter()
    for case in data.cases:
        kept = []
        for thing in case.things:
            label = known.get(thing.label) or known.get(thing.label.casefold())
            if label is None:
                unknown[thing.label] += 1
            else:
                kept.append(replace(thing, label=label))
        case.things = kept
    if not any(case.things for case in data.cases):
        there = ", ".join(sorted(unknown)[:8]) or "none"
        raise UsageError(
            f"{data.name}: none of its labels ({there}) is one of the model's",
            remedy=f"The model knows: {', '.join(labels[:20])}.",
        )
    if unknown:
        data.notes.append(
            f"{sum(unknown.values()):,} things of labels that the model does not know are "
            f"left out: {', '.join(sorted(unknown)[:8])}"
        )


class Curve(Struct):
    """All detections of one label, best first, and what each of them matched."""

    label: str
    scores: NDArray[np.float64]
    image: NDArray[np.int64]
    """Place of its picture."""
    hit: NDArray[np.bool_]
    """(IoU thresholds, detections)"""
    false: NDArray[np.bool_]
    """Neither a hit nor to be ignored, likewise."""
    wanted: NDArray[np.float64]
    """How many there are to be found, a picture each."""

    def precision(self, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """Average precision at each IoU with pictures weighted, by COCO's 101 recalls; NaN where
        there is nothing to be found."""
        positives = float(self.wanted @ weights)
        if not positives:
            return np.full(len(self.hit), np.nan)
        weight = weights[self.image]
        true = np.cumsum(self.hit * weight, axis=1)
        false = np.cumsum(self.false * weight, axis=1)
        share = true / np.maximum(true + false, np.finfo(np.float64).eps)
        share = np.maximum.accumulate(share[:, ::-1], axis=1)[:, ::-1]
        recall = true / positives
        found = np.zeros(len(self.hit))
        for row in range(len(found)):
            places = np.searchsorted(recall[row], RECALLS, "left")
            inside = places < recall.shape[1]
            found[row] = share[row, places[inside]].sum() / len(RECALLS)
        return found


class Boxes:
    """The measures of one detector over its answers. `poses.Poses` are the same with points in
    place of boxes.

    Args:
        told: its answers, one a picture.
        labels: all labels that it can give.
        threshold: from which score on it tells something.
    """

    summary: ClassVar[tuple[str, ...]] = _SUMMARY

    def __init__(self, told: Sequence[Told], labels: Sequence[str], threshold: float) -> None:
        self.told = told
        self.threshold = threshold
        present = {thing.label for its in told for thing in its.case.things}
        self.labels = [label for label in labels if label in present]
        self.evaluated = self._evaluated()
        self.curves = [
            _curve(self.evaluated, place, label) for place, label in enumerate(self.labels)
        ]
        self.everything = np.ones(len(told))

    def _evaluated(self) -> Any:
        """``COCOeval`` with everything matched."""
        return evaluated(self.told, self.labels)

    def precision(self, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """Average precision by IoU, the mean over the labels that there are."""
        every = np.array([curve.precision(weights) for curve in self.curves])
        if np.isnan(every).all():
            return np.full(every.shape[1], np.nan)
        mean: NDArray[np.float64] = np.nanmean(every, axis=0)
        return mean

    def measured(self) -> dict[str, Any]:
        """All sections of a report."""
        return {
            "metrics": self._metrics(),
            "classes": self._classes(),
            "threshold": {"now": self.threshold, "suggested": self._suggested()},
            "slices": self._slices(),
            "worst": self._worst(),
        }

    def _metrics(self) -> dict[str, Any]:
        with contextlib.redirect_stdout(io.StringIO()):
            self.evaluated.accumulate()
            self.evaluated.summarize()
        stats = dict(zip(self.summary, self.evaluated.stats.tolist(), strict=True))
        metrics: dict[str, Any] = {
            "pictures": len(self.told),
            "things": sum(int(curve.wanted.sum()) for curve in self.curves),
            **{name: None if value < 0 else round(value, 4) for name, value in stats.items()},
        }
        true, false, wanted = self._counts()
        return metrics | {
            "found": true, "missed": wanted - true, "made_up": false,
            "precision": round(true / max(1, true + false), 4),
            "recall": round(true / max(1, wanted), 4),
        }  # fmt: skip

    def _counts(self) -> tuple[int, int, int]:
        """Hits and false alarms from the model's threshold on at IoU 0.5, and all that is there."""
        true = sum(int(c.hit[0][c.scores >= self.threshold].sum()) for c in self.curves)
        false = sum(int(c.false[0][c.scores >= self.threshold].sum()) for c in self.curves)
        return true, false, int(sum(curve.wanted.sum() for curve in self.curves))

    def _classes(self) -> list[dict[str, Any]]:
        found = []
        for curve in self.curves:
            by_iou = curve.precision(self.everything)
            told = curve.scores >= self.threshold
            true, wanted = int(curve.hit[0][told].sum()), int(curve.wanted.sum())
            false = int(curve.false[0][told].sum())
            counted = curve.hit[0] | curve.false[0]
            best = curves.best_f1(curve.scores[counted], curve.hit[0][counted], wanted)
            found.append({
                "label": curve.label, "count": wanted,
                "ap": _digits(by_iou.mean()), "ap50": _digits(by_iou[0]),
                "found": true, "missed": wanted - true, "made_up": false,
                "best_threshold": best["threshold"] if best else None,
                "curve": self._points(curve),
            })  # fmt: skip
        return found

    def _points(self, curve: Curve) -> list[tuple[float, float]]:
        """Recall and precision at IoU 0.5, for a plot."""
        true, false = np.cumsum(curve.hit[0]), np.cumsum(curve.false[0])
        recall = true / max(1.0, float(curve.wanted.sum()))
        precision = true / np.maximum(1, true + false)
        pairs = zip(recall.round(4).tolist(), precision.round(4).tolist(), strict=True)
        return curves.thinned(list(pairs), 200)

    def _suggested(self) -> dict[str, float] | None:
        """The threshold with the best F1 over all labels, at IoU 0.5."""
        scores = np.concatenate([curve.scores for curve in self.curves])
        hit = np.concatenate([curve.hit[0] for curve in self.curves])
        counted = np.concatenate([curve.hit[0] | curve.false[0] for curve in self.curves])
        wanted = float(sum(curve.wanted.sum() for curve in self.curves))
        return curves.best_f1(scores[counted], hit[counted], wanted)

    def _slices(self) -> list[dict[str, Any]]:
        parts: dict[tuple[str, str], list[int]] = {}
        for row, its in enumerate(self.told):
            for key, value in its.case.slices.items():
                parts.setdefault((key, value), []).append(row)
        found = []
        for (key, value), rows in sorted(parts.items()):
            weights = np.zeros(len(self.told))
            weights[rows] = 1.0
            by_iou = self.precision(weights)
            found.append({"slice": key, "value": value, "count": len(rows),
                          "map": _digits(by_iou.mean()), "map50": _digits(by_iou[0])})  # fmt: skip
        return found

    def _worst(self) -> list[dict[str, Any]]:
        """Pictures with the most that is missed or made up."""
        missed = sum((curve.wanted for curve in self.curves), np.zeros(len(self.told)))
        made_up = np.zeros(len(self.told))
        for curve in self.curves:
            told = curve.scores >= self.threshold
            missed = missed - np.bincount(
                curve.image[told & curve.hit[0]], minlength=len(self.told)
            )
            made_up += np.bincount(curve.image[told & curve.false[0]], minlength=len(self.told))
        wrong = missed + made_up
        rows = [int(row) for row in np.argsort(-wrong, kind="stable")[:_WORST] if wrong[row]]
        return [
            {
                "input": self.told[row].case.name, "sample": self.told[row].sample,
                "missed": int(missed[row]), "made_up": int(made_up[row]),
                "truth": [{"label": thing.label, "box": [round(edge, 4) for edge in thing.box]}
                          for thing in self.told[row].case.things],
                "said": [its for its in self.told[row].predictions
                         if its["score"] >= self.threshold],
            }
            for row in rows
        ]  # fmt: skip


def _digits(value: Any) -> float | None:
    return None if np.isnan(value) else round(float(value), 4)


def _pycocotools() -> tuple[Any, Any]:
    """``COCO`` and ``COCOeval``. Raises RuntimeMissing."""
    try:
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval
    except ModuleNotFoundError as error:
        raise RuntimeMissing(
            "average precision needs the Python package 'pycocotools', which is not installed",
            remedy="Install it: pip install 'edgeagent[eval]'",
        ) from error
    return COCO, COCOeval


def evaluated(
    told: Sequence[Told],
    labels: Sequence[str],
    note: Callable[[int, int, Any, tuple[int, int]], dict[str, Any]] | None = None,
    kind: str = "bbox",
    sigmas: Any = None,
) -> Any:
    """``COCOeval`` with every detection matched.

    Args:
        note: from picture, category, a thing or a prediction, and the picture's size to an
            annotation.
        kind: COCO's word for what is compared.
        sigmas: of points, where ``kind`` is "keypoints".
    """
    note = note or _boxed
    coco, cocoeval = _pycocotools()
    number = {label: place for place, label in enumerate(labels, 1)}
    truth: list[dict[str, Any]] = []
    said: list[dict[str, Any]] = []
    for image, its in enumerate(told, 1):
        for thing in its.case.things:
            if thing.label in number:
                noted = note(image, number[thing.label], thing, its.size)
                truth.append({**noted, "id": len(truth) + 1, "iscrowd": int(thing.crowd)})
        for found in its.predictions:
            if found["label"] in number:
                noted = note(image, number[found["label"]], found, its.size)
                said.append({**noted, "id": len(said) + 1, "score": found["score"], "iscrowd": 0})
    common = {
        "images": [{"id": image} for image in range(1, len(told) + 1)],
        "categories": [{"id": place, "name": label} for label, place in number.items()],
    }
    sets = []
    with contextlib.redirect_stdout(io.StringIO()):  # it tells each of its steps
        for notes in (truth, said):
            made = coco()
            made.dataset = {**common, "annotations": notes}
            made.createIndex()
            sets.append(made)
        matched = cocoeval(*sets, iouType=kind)
        if sigmas is not None:
            matched.params.kpt_oks_sigmas = sigmas
        matched.evaluate()
    return matched


def _boxed(image: int, category: int, its: Any, size: tuple[int, int]) -> dict[str, Any]:
    return note_of(image, category, its["box"] if isinstance(its, dict) else its.box, size)


def note_of(image: int, kind: int, box: Sequence[float], size: tuple[int, int]) -> dict[str, Any]:
    width, height = size
    x1, y1, x2, y2 = box[0] * width, box[1] * height, box[2] * width, box[3] * height
    return {"image_id": image, "category_id": kind, "bbox": [x1, y1, x2 - x1, y2 - y1],
            "area": (x2 - x1) * (y2 - y1)}  # fmt: skip


def _curve(evaluated: Any, place: int, label: str) -> Curve:
    """The matches of one label over all sizes, out of COCOeval's lists by label, size, picture."""
    images, sizes = len(evaluated.params.imgIds), len(evaluated.params.areaRng)
    start = place * sizes * images
    found = [
        (image, its)
        for image, its in enumerate(evaluated.evalImgs[start : start + images])
        if its is not None
    ]
    ious = len(evaluated.params.iouThrs)
    wanted = np.zeros(images)
    scores, where = [np.zeros(0)], [np.zeros(0, np.int64)]
    matched, ignored = [np.zeros((ious, 0), bool)], [np.zeros((ious, 0), bool)]
    for image, its in found:
        wanted[image] = np.count_nonzero(np.asarray(its["gtIgnore"]) == 0)
        scores.append(np.asarray(its["dtScores"], np.float64))
        where.append(np.full(len(its["dtScores"]), image, np.int64))
        matched.append(np.asarray(its["dtMatches"]).reshape(ious, -1) > 0)
        ignored.append(np.asarray(its["dtIgnore"]).reshape(ious, -1) > 0)
    all_scores = np.concatenate(scores)
    order = np.argsort(-all_scores, kind="mergesort")
    hit, skip = np.concatenate(matched, axis=1), np.concatenate(ignored, axis=1)
    return Curve(
        label, all_scores[order], np.concatenate(where)[order],
        (hit & ~skip)[:, order], (~hit & ~skip)[:, order], wanted,
    )  # fmt: skip
