"""Vectors for comparison: what a picture or a sound is like, rather than what it is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from edgeagent.errors import InferenceError, PackageError
from edgeagent.interpret.outputs import named, real, stateless
from edgeagent.types import Embedding, Label

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from edgeagent.manifest import Package
    from edgeagent.types import Prediction, Prepared, TensorSpec

    Floats = NDArray[np.floating[Any]]


UNKNOWN = "unknown"
"""The label of what is like nothing known."""


class Known(msgspec.Struct):
    """One line of a gallery: a vector of something that has a name."""

    label: str
    vector: list[float]


class Gallery:
    """Known vectors, searched by cosine. Several vectors may have one label.

    Args:
        known: at least one; all vectors of one length.
    """

    def __init__(self, known: Sequence[Known]) -> None:
        lengths = {len(one.vector) for one in known}
        if len(lengths) != 1 or 0 in lengths:
            raise ValueError(f"a gallery holds vectors of one length, this one: {sorted(lengths)}")
        self.labels = tuple(dict.fromkeys(one.label for one in known))
        self.length = lengths.pop()
        self._owners = np.array([self.labels.index(one.label) for one in known])
        vectors = np.array([one.vector for one in known], np.float32)
        sizes = np.linalg.norm(vectors, axis=1, keepdims=True)
        if not np.isfinite(sizes).all() or not sizes.all():
            raise ValueError("a vector of the gallery is zero, NaN or infinite")
        self._vectors = vectors / sizes

    def nearest(self, vector: Floats, most: int) -> list[tuple[str, float]]:
        """(label, cosine) of the ``most`` nearest labels, the nearest first.

        ``vector`` has length 1. Equal ones keep the gallery's order.
        """
        cosines = np.full(len(self.labels), -1.0, np.float32)
        np.maximum.at(cosines, self._owners, self._vectors @ vector)
        order = np.argsort(-cosines, kind="stable")[:most]
        return [(self.labels[place], float(cosines[place])) for place in order.tolist()]


def read_gallery(file: Path) -> Gallery:
    """A gallery from JSON lines ``{"label": …, "vector": […]}``. Raises PackageError."""
    try:
        lines = file.read_bytes().splitlines()
        return Gallery([msgspec.json.decode(line, type=Known) for line in lines if line.strip()])
    except (OSError, ValueError, msgspec.MsgspecError) as error:
        raise PackageError(
            f"{file}: no gallery can be read from it: {error}",
            remedy='Write a line {"label": "…", "vector": [ … ]} for each known example.',
        ) from error


def gallery_text(known: Iterable[Known]) -> bytes:
    """A gallery as `read_gallery` takes it."""
    return b"".join(msgspec.json.encode(one) + b"\n" for one in known)


class Embed:
    """One vector, scaled to length 1.

    With ``output.gallery``, or one that a site gives to `know`, the nearest known labels (``top``
    of them) that reach the threshold stand before it, scored by their cosine; where none does,
    it is "unknown", scored by the nearest all the same.
    """

    def __init__(self, package: Package, outputs: tuple[TensorSpec, ...], threshold: float) -> None:
        self.threshold = threshold
        self.dropped = 0
        how = package.manifest.output
        places = stateless(package, outputs)
        self._place = named(package, outputs, "vector").get("vector", places[0])
        self._tensor = outputs[self._place]
        self._gallery: Gallery | None = None
        self._top = max(1, how.top)
        self.labels: tuple[str, ...] = ()
        if how.gallery:
            self.know(read_gallery(package.path(how.gallery)))

    def know(self, gallery: Gallery) -> None:
        """Compare with these from now on. Raises PackageError where the lengths differ."""
        self._gallery = gallery
        self.labels = (*gallery.labels, UNKNOWN)
        length = self._tensor.shape[-1] if self._tensor.shape else -1
        if length > 0:
            self._check(length, PackageError)

    def __call__(self, outputs: Sequence[NDArray[Any]], _prepared: Prepared) -> list[Prediction]:
        # In single precision the squares of small values are no numbers any more.
        wide = real(outputs[self._place], self._tensor).ravel().astype(np.float64)
        size = float(np.linalg.norm(wide))
        if not np.isfinite(size) or size == 0.0:
            raise InferenceError(
                "the model answered with a vector that has no direction (NaN, infinity or zero)",
                remedy="Check its input scaling (mean, scale) and its file.",
            )
        vector = (wide / size).astype(np.float32)
        told: list[Prediction] = []
        if self._gallery:
            self._check(len(vector), InferenceError)
            nearest = self._gallery.nearest(vector, self._top)
            limit = np.float32(self.threshold)
            told += [
                Label(label, max(0.0, cosine)) for label, cosine in nearest if cosine >= limit
            ] or [Label(UNKNOWN, max(0.0, nearest[0][1]))]
        return [*told, Embedding(tuple(vector.tolist()))]

    def _check(self, length: int, wrong: type[PackageError | InferenceError]) -> None:
        assert self._gallery is not None
        if length != self._gallery.length:
            raise wrong(
                f"output.gallery: its vectors have {self._gallery.length} values, the model's have "
                f"{length}",
                remedy="Make the gallery with this model.",
            )
