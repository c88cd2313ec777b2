"""Models that find and read text, told by their tensors (PaddleOCR's exports and their kin)."""

from __future__ import annotations

from typing import Any

from edgeagent.manifest import OutputSpec
from edgeagent.prove.guess import Guess, Specs, picture_of

_LETTERS = 26
"""Fewer classes a step are hardly letters."""


def finder(inputs: Specs, outputs: Specs) -> Guess | None:
    """One map of one channel for a picture of any size."""
    picture = picture_of(inputs[0]) if len(inputs) == 1 else None
    if picture is None or picture.channels != 3 or len(outputs) != 1:
        return None
    shape = outputs[0].shape
    if len(shape) != 4 or 1 not in (shape[1], shape[3]) or (picture.width, picture.height) != (
        -1, -1,
    ):  # fmt: skip
        return None
    return Guess(
        "db", "guess", "detect", OutputSpec(decoder="db", threshold=0.5),
        ["One map for a picture of any size: where text stands (DB).",
         "Behind a camera of unknown size, a fixed size and fit = \"letterbox\" bound its cost."],
        labels=("text",),
    )  # fmt: skip


def reader(inputs: Specs, outputs: Specs) -> Guess | None:
    """Steps with a score for each letter, for lines of open width."""
    if len(inputs) != 1 or len(outputs) != 1 or len(inputs[0].shape) != 4:
        return None
    classes, lines = outputs[0].shape[-1], inputs[0].shape
    if len(outputs[0].shape) != 3 or classes < _LETTERS or -1 not in lines[2:]:
        return None
    return Guess(
        "ctc", "likely", "classify", OutputSpec(decoder="ctc", threshold=0.5),
        [f"Steps of {classes} classes for a line of open width: a reader of text (CTC).",
         f"Write labels.txt with {classes - 1} letters, one a line, without the blank (or "
         f"{classes - 2}, where the last class is the space)."],
    )  # fmt: skip


INPUTS: dict[str, dict[str, Any]] = {
    "db": {"colour": "bgr", "fit": "whole", "size": (736, 736)},
    "ctc": {"colour": "bgr", "fit": "line", "size": (320, 48), "pad": [127.5]},
    "yolo": {"pad": [114.0]},
}
"""What the families' training fixes about the picture."""
