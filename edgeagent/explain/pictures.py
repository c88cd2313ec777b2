"""Which parts of a picture an answer depends on, as a map over it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from msgspec import Struct
from msgspec.structs import replace

from edgeagent.decide.picture import scaled
from edgeagent.explain.target import Target, target_of
from edgeagent.types import Frame

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from edgeagent.prove.predict import Predictor

    Floats = NDArray[np.float64]

Method = Literal["auto", "hide", "masks"]

_WIDTH = 640
"""Larger pictures are scaled down: many copies are made."""
_MAP = 48
"""Cells of the map along the longer side."""
_GRID = 12
"""Cells of a random mask along the longer side, before they are smoothed."""
_SHOWN = 0.5
"""Share of a picture that a mask leaves visible."""
_PATCHES = 7
"""Patches of `hide` along the shorter side; they overlap by half."""


class Explained(Struct):
    """A map of what matters."""

    target: Target
    heat: NDArray[np.float64]
    """(rows, columns) over the captured frame, 0 to 1."""
    method: str
    runs: int

    @property
    def inside(self) -> float | None:
        """Share of what matters that lies inside the target's box; None where it has none."""
        if self.target.box is None:
            return None
        cover = _cover(self.target.box, self.heat.shape)
        total = float(self.heat.sum())
        return float((self.heat * cover).sum()) / total if total else 0.0

    @property
    def area(self) -> float | None:
        """Share of the picture that the box takes: what `inside` would be by chance."""
        if self.target.box is None:
            return None
        return float(_cover(self.target.box, self.heat.shape).mean())

    def told(self, model: str) -> dict[str, Any]:
        """As a table: ``model, label, score, box, method, runs, inside, area, heat``."""
        return {
            "model": model, "label": self.target.label, "score": round(self.target.score, 4),
            "box": self.target.box, "method": self.method, "runs": self.runs,
            "inside": self.inside, "area": self.area, "heat": self.heat.round(4).tolist(),
        }  # fmt: skip


def explain_picture(
    predictor: Predictor,
    frame: Frame,
    *,
    target: Target | None = None,
    label: str = "",
    method: Method = "auto",
    runs: int = 600,
    seed: int = 5,
    tell: Callable[[str], None] = lambda _what: None,
) -> Explained:
    """Hide parts of a picture again and again, and see what that does to the answer.

    Args:
        predictor: opened with a low threshold, so that a weaker answer is still one.
        target: what to explain; None = the best answer, of ``label`` if that is named.
        method: ``hide`` moves a patch over the picture (occlusion; Zeiler and Fergus 2014);
            ``masks`` hides random halves (RISE and D-RISE; Petsiuk et al. 2018, 2021), which also
            finds what only matters together; ``auto`` = masks for things with a place.
        runs: of ``masks``.
        seed: of the random masks; what another one changes is noise.
        tell: called before each run.

    Raises:
        NotFound, UsageError: there is nothing to explain.
        InputError, InferenceError: the model can't answer.
    """
    frame = replace(frame, pixels=scaled(frame.pixels, _WIDTH))
    target = target or target_of(predictor(frame).predictions, label)
    if method == "auto":
        method = "hide" if target.box is None else "masks"
    views = _Views(predictor, frame, target, tell)
    heat, count = _by_masks(views, runs, seed) if method == "masks" else _by_patches(views)
    heat = np.clip(heat, 0.0, None)
    peak = float(heat.max())
    return Explained(target, heat / peak if peak > 0 else heat, method, count)


class _Views:
    """How much of the target is left when only a part of the picture can be seen."""

    def __init__(
        self, predictor: Predictor, frame: Frame, target: Target, tell: Callable[[str], None]
    ) -> None:
        self._predictor = predictor
        self._frame = frame
        self._target = target
        self._tell = tell
        pixels = frame.pixels.astype(np.float32)
        # What is hidden has the mean colour of the picture: black would be a thing of its own.
        self._mean = pixels.mean(axis=(0, 1))
        self._apart = pixels - self._mean
        self.height, self.width = frame.pixels.shape[:2]
        longer = max(self.height, self.width)
        cells = min(_MAP, longer)
        self.shape = tuple(max(1, round(side * cells / longer)) for side in
                           (self.height, self.width))  # fmt: skip

    def left(self, seen: Floats) -> float:
        """``seen``: (height, width), 0 = hidden, 1 = as it is."""
        self._tell("")
        weight = seen.astype(np.float32)
        if self._apart.ndim == 3:
            weight = weight[..., None]
        pixels = np.clip(self._apart * weight + self._mean, 0, 255).astype(np.uint8)
        self._predictor.reset()
        answer = self._predictor(replace(self._frame, pixels=pixels))
        return self._target.left_in(answer.predictions)

    def small(self, seen: Floats) -> Floats:
        """The same at the size of the map."""
        rows = np.linspace(0, self.height - 1, self.shape[0]).round().astype(int)
        columns = np.linspace(0, self.width - 1, self.shape[1]).round().astype(int)
        return seen[np.ix_(rows, columns)]


def _by_masks(views: _Views, runs: int, seed: int) -> tuple[Floats, int]:
    """What is seen where the target stays: the correlation of both over random masks, as far as
    it is more than chance (twice its standard error)."""
    rng = np.random.default_rng(seed)
    cell = max(views.height, views.width) / _GRID
    grid = tuple(max(2, int(np.ceil(side / cell))) + 1 for side in (views.height, views.width))
    masks, left = np.zeros((runs, *views.shape)), np.zeros(runs)
    for run in range(runs):
        shown = (rng.random(grid) < _SHOWN).astype(float)
        upright = _between(views.height, grid[0], rng.random())
        across = _between(views.width, grid[1], rng.random())
        seen = upright @ shown @ across.T
        masks[run], left[run] = views.small(seen), views.left(seen)
    apart, masks = left - left.mean(), masks - masks.mean(axis=0)
    spread = np.sqrt((apart**2).sum() * (masks**2).sum(axis=0))
    likeness = np.tensordot(apart, masks, 1) / np.maximum(spread, 1e-12)
    return likeness - 2 / np.sqrt(runs), runs


def _between(length: int, cells: int, shift: float) -> Floats:
    """(length, cells) weights that lay a coarse row over a long one, smoothly, moved by a part of
    a cell."""
    places = shift + np.arange(length) * (cells - 1 - 1e-9 - shift) / max(1, length - 1)
    low = np.minimum(places.astype(int), cells - 2)
    weights = np.zeros((length, cells))
    rows = np.arange(length)
    weights[rows, low] = 1 - (places - low)
    weights[rows, low + 1] = places - low
    return weights


def _by_patches(views: _Views) -> tuple[Floats, int]:
    """How much of the target goes where a patch hides the picture; overlaps are averaged."""
    side = max(1, round(min(views.height, views.width) / _PATCHES * 2))
    step = max(1, side // 2)
    whole = np.ones((views.height, views.width))
    full = views.left(whole)
    lost, times, count = np.zeros_like(whole), np.zeros_like(whole), 1
    for top in range(-step, views.height, step):
        for left in range(-step, views.width, step):
            patch = np.s_[max(0, top) : top + side, max(0, left) : left + side]
            if not lost[patch].size:
                continue
            seen = whole.copy()
            seen[patch] = 0
            lost[patch] += full - views.left(seen)
            times[patch] += 1
            count += 1
    return views.small(lost / np.maximum(times, 1)), count


def _cover(box: tuple[float, ...], shape: tuple[int, ...]) -> Any:
    """Which cells of a map have their middle inside a box."""
    rows = (np.arange(shape[0]) + 0.5) / shape[0]
    columns = (np.arange(shape[1]) + 0.5) / shape[1]
    inside = ((rows >= box[1]) & (rows <= box[3]))[:, None]
    return inside & ((columns >= box[0]) & (columns <= box[2]))[None, :]
