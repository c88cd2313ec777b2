"""Anomaly of pictures: how far each patch is from all patches of good pictures.

A backbone's inner feature maps and the colours (`Cells`) describe each cell of a grid over the
picture. The memory holds what the cells of good pictures look like; a cell that is far from its
nearest neighbour there is unusual.

Source: Roth et al. 2022, "Towards Total Recall in Industrial Anomaly Detection" (PatchCore),
with one change: a distance counts in parts of what is usual at that place of the memory, or
busy but sound parts (the teeth of a gear) would hide the faults of plain ones.
"""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from typing import TYPE_CHECKING, Any

import numpy as np
from msgspec import Struct

from edgeagent.errors import PackageError
from edgeagent.interpret.cells import Cells
from edgeagent.interpret.contour import outlines
from edgeagent.interpret.outputs import stateless
from edgeagent.types import Anomaly

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from edgeagent.manifest import Package
    from edgeagent.types import Box, Placement, Prediction, Prepared, TensorSpec

    Floats = NDArray[np.float32]

_TABLES = ("mean", "axes", "patches", "usual", "pixels")
_UNREADABLE = (
    OSError, ValueError, KeyError, EOFError, RuntimeError, SyntaxError, TypeError, MemoryError,
    OverflowError, struct.error, zipfile.BadZipFile,
    zlib.error,
)  # fmt: skip
"""What numpy and zipfile raise at damaged files; NotImplementedError is a RuntimeError."""
_REGIONS = 8
_FAINT = 0.8
"""A region reaches as far as its cells have this share of the threshold."""
NEIGHBOURS = 3
"""So many of the nearest patches tell what is usual there."""


class Memory(Struct, frozen=True):
    """What patches of good pictures look like.

    ``mean`` (features,) and ``axes`` (features, d) lead from feature maps to the space in
    which distances are taken; ``patches`` (n, d) are kept ones, ``usual`` (n,) the distance at
    which patches of other good pictures lie there. ``pixels`` is for `Cells`.
    """

    mean: Floats
    axes: Floats
    patches: Floats
    usual: Floats
    pixels: Floats

    def placed(self, features: Floats) -> Floats:
        """Features (…, features) of cells as points (cells, d)."""
        return np.asarray((features.reshape(-1, len(self.mean)) - self.mean) @ self.axes)

    def unlikeness(self, features: Floats) -> Floats:
        """How unusual each cell is, (rows, columns) for maps (rows, columns, features).

        About 1 for good pictures.
        """
        distances, near = nearest(self.placed(features), self.patches)
        ratio = distances[:, 0] / self.usual[near].mean(axis=1)
        return smoothed(ratio.reshape(features.shape[:2]))

    def data(self) -> bytes:
        """The file that `read_memory` takes."""
        stream = io.BytesIO()
        np.savez(stream, **{name: getattr(self, name) for name in _TABLES})
        return stream.getvalue()


def nearest(points: Floats, patches: Floats) -> tuple[Floats, NDArray[np.intp]]:
    """Distances (n, k) of points to their k nearest patches, the nearest first, and which."""
    count = min(NEIGHBOURS, len(patches))
    squares = (patches * patches).sum(axis=1) - 2 * (points @ patches.T)
    found = np.argpartition(squares, count - 1, axis=1)[:, :count]
    away = np.take_along_axis(squares, found, axis=1)
    order = away.argsort(axis=1)
    away = np.take_along_axis(away, order, axis=1) + (points * points).sum(axis=1, keepdims=True)
    return np.sqrt(np.maximum(away, 0)), np.take_along_axis(found, order, axis=1)


def smoothed(cells: Floats) -> Floats:
    """Each cell with its neighbours, (1 2 1)/4 by rows and columns: one odd cell is noise."""
    rows = np.pad(cells, ((1, 1), (0, 0)), mode="edge")
    columns = np.pad((rows[:-2] + 2 * rows[1:-1] + rows[2:]) / 4, ((0, 0), (1, 1)), mode="edge")
    return np.asarray((columns[:, :-2] + 2 * columns[:, 1:-1] + columns[:, 2:]) / 4, np.float32)


def read_memory(file: Path) -> Memory:
    """A memory from its file. Raises PackageError."""
    try:
        with np.load(file, allow_pickle=False) as stored:
            memory = Memory(*(stored[name] for name in _TABLES))
    except _UNREADABLE as error:
        raise PackageError(
            f"{file}: no memory of good pictures can be read from it: {error}",
            remedy="Make the package anew: edgeagent models init --anomaly FOLDER",
        ) from error
    wanted = (
        (len(memory.mean), memory.patches.shape[-1]),
        (len(memory.usual), memory.axes.shape[-1]),
    )
    if (memory.axes.shape, memory.patches.shape) != wanted or not len(memory.patches):
        raise PackageError(f"{file}: its tables do not fit each other")
    if not all(np.isfinite(getattr(memory, name)).all() for name in _TABLES):
        raise PackageError(f"{file}: it holds NaN or infinity")
    return memory


class Patches:
    """The most unusual cell of a picture as its score, and where unusual cells lie.

    ``output.gallery`` is the memory. Scores are in parts of what is usual: good pictures lie
    a little over 1, the threshold was fitted on good pictures that the memory did not hold.
    """

    def __init__(self, package: Package, outputs: tuple[TensorSpec, ...], threshold: float) -> None:
        self.threshold = threshold
        self.dropped = 0
        self.labels = ("anomaly",)
        how = package.manifest.output
        if not how.gallery:
            raise PackageError(
                "output.gallery is missing: patches needs the memory of good pictures",
                remedy="Make the package with: edgeagent models init --anomaly FOLDER",
            )
        self._places = stateless(package, outputs)
        self._memory = read_memory(package.path(how.gallery))
        maps = [outputs[at] for at in self._places]
        self._cells = Cells(maps, self._memory.pixels, planar=how.layout == "columns")
        if self._cells.features != len(self._memory.mean):
            raise PackageError(
                f"output.gallery: it knows {len(self._memory.mean)} features, the model gives "
                f"{self._cells.features}",
                remedy="Make the package anew: edgeagent models init --anomaly FOLDER",
            )

    def __call__(self, outputs: Sequence[NDArray[Any]], prepared: Prepared) -> list[Prediction]:
        maps = [outputs[at] for at in self._places]
        cells = self._memory.unlikeness(self._cells(maps, prepared.tensors[0]))
        place = prepared.placement
        heat = cells[_shown(place.top, place.height, len(cells))]
        heat = heat[:, _shown(place.left, place.width, cells.shape[1])]
        score = float(heat.max())
        regions = self._regions(cells, place) if score > self.threshold else ()
        return [Anomaly(score, self.threshold, regions, heat)]

    def _regions(self, cells: Floats, place: Placement) -> tuple[tuple[Box, float], ...]:
        rows, columns = cells.shape
        found = []
        for loop in outlines(cells > _FAINT * self.threshold, 1, _REGIONS):
            (x1, y1), (x2, y2) = loop.min(axis=0), loop.max(axis=0)
            worst = float(cells[int(y1) : int(y2), int(x1) : int(x2)].max())
            if worst > self.threshold:
                box = (x1 / columns, y1 / rows, x2 / columns, y2 / rows)
                found.append((_inside(place.to_frame(box)), worst))
        return tuple(sorted(found, key=lambda region: -region[1]))


def _shown(start: float, length: float, cells: int) -> slice:
    """The cells that show the frame, without the border of a letterbox."""
    first = round(start * cells)
    return slice(first, max(first + 1, round((start + length) * cells)))


def _inside(box: Box) -> Box:
    x1, y1, x2, y2 = (float(min(1.0, max(0.0, edge))) for edge in box)
    return x1, y1, x2, y2
