"""Accuracy on pictures and recordings that a person has sorted: a folder for each label."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeagent.errors import EdgeAgentError, NotFound

if TYPE_CHECKING:
    from edgeagent.prove.predict import Predictor

_NONE = ("none", "nothing", "background", "ok", "good")
"""Folders of samples in which nothing is to be found."""


def labelled_files(folder: Path) -> dict[str, list[Path]]:
    """Label → its files, of a folder with one folder for each label. Raises NotFound."""
    from edgeagent.prove.samples import readable

    if not folder.is_dir():
        raise NotFound(f"{folder}: there is no such folder")
    found = {
        place.name: sorted(its for its in place.iterdir() if its.is_file() and readable(its))
        for place in sorted(folder.iterdir())
        if place.is_dir()
    }
    found = {label: files for label, files in found.items() if files}
    if not found:
        raise NotFound(
            f"{folder}: no labelled samples",
            remedy="Make a folder for each label in it, with the samples of that label inside.",
        )
    return found


def count_right(predictor: Predictor, files: Mapping[str, Sequence[Path]]) -> dict[str, Any]:
    """How many samples have their label among what the model says first.

    Right is a sample whose best prediction bears its label; for things that are found in a
    picture, one in which its label was found. Whatever can't be read counts as wrong.
    """
    from edgeagent.prove.samples import first_sample

    right, wrong = 0, []
    for label, its in files.items():
        for file in its:
            predictor.reset()
            try:
                said = predictor(first_sample(file, predictor.package)).predictions
            except EdgeAgentError:
                wrong.append(str(file))
                continue
            if _is_right(label, said, predictor.package.manifest.task):
                right += 1
            else:
                wrong.append(str(file))
    return {"samples": right + len(wrong), "right": right, "wrong": wrong}


def _is_right(label: str, said: Sequence[Any], task: str) -> bool:
    labels = [getattr(one, "label", "") for one in said]
    if task in ("classify", "keyword", "embed"):
        scored = [one for one in said if hasattr(one, "score")]
        best = max(scored, key=lambda one: one.score, default=None)
        return best is not None and getattr(best, "label", "") == label
    if task == "anomaly":
        alarm = any(one.score > one.threshold for one in said)
        return alarm != (label.lower() in _NONE)
    return not labels if label.lower() in _NONE and label not in labels else label in labels
