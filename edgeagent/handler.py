"""What the `handler.py` of a model package is written with.

    from edgeagent.handler import About, Label, Outputs

    def decode(outputs: Outputs, about: About) -> list[Label]:
        scores = outputs["scores"][0]
        best = int(scores.argmax())
        return [Label(about.labels[best], float(scores[best]))]

A handler has one function or both:

- ``decode(outputs, about)``, for a package with ``decoder = "handler"``: what the model said. Boxes
  and points lie in 0..1 of the picture as the model was shown it; the agent leads them back to the
  camera's frame, leaves out what is below the threshold, and sorts by score.
- ``rule(seen, about)``, asked by ``plugin('handler')`` in ``when``: a number about one thing.

It runs in a process of its own without network, files and further processes
(docs/handlers.md). What it raises costs that one sample.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from edgeagent.types import (
    Anomaly,
    Detection,
    Embedding,
    Keypoints,
    Label,
    Mask,
    Prediction,
    Regression,
    Text,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "About", "Anomaly", "Detection", "Embedding", "Keypoints", "Label", "Mask", "Outputs",
    "Prediction", "Regression", "Seen", "Text",
]  # fmt: skip

Outputs = Mapping[str, "NDArray[Any]"]
"""Output tensors by the model's own names, in its order; quantized ones as the real values that
they stand for (float32). They can't be written to."""


class About(Struct, frozen=True):
    """What the package says of itself."""

    model: str
    version: str
    labels: tuple[str, ...] = ()
    threshold: float = 0.0
    """Predictions below it are left out anyway."""
    folder: str = ""
    """Of the package: its files can be read."""


class Seen(Struct, frozen=True):
    """One thing in one sample, as a rule is asked about it."""

    label: str
    score: float
    zones: tuple[str, ...] = ()
    age: float = 0.0
    """Seconds since it was seen first."""
    track: int = 0
    count: int = 1
    """Things of this label in the sample."""
    speed: float = 0.0
    """Widths of the frame a second."""
    value: float | None = None
    """Of a model that measures."""
    still: float = 0.0
    """Seconds that it has not moved."""
    pipeline: str = ""
