"""What is measured of one picture: a few hundred numbers from its scaled-down luma.

Costs about a millisecond whatever the size of the picture: it is thinned to at most 400 columns
first. Levels are 0..255.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from msgspec import Struct

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Picture = NDArray[np.uint8]
    Floats = NDArray[np.float32]

WIDTH, HEIGHT = 160, 120
"""Of the luma that structure is read from; every view is stretched to it."""
ACROSS, DOWN = 16, 12
"""Cells of that luma."""
_MOST_COLUMNS = 400
_DARK, _BRIGHT = 24, 250
_GREY = 128


class Glance(Struct, frozen=True):
    """One picture, measured."""

    mean: float
    low: float
    """Level that a twentieth of the pixels lies below."""
    high: float
    """Level that a twentieth of the pixels lies above."""
    bright: float
    """Share of pixels at the upper end of the scale."""
    coarse: float
    """Mean of `edges`."""
    noise: float
    """Standard deviation of the noise, levels."""
    plain: float
    """Share of cells without any detail that are mid-grey or green, as decoders fill what they
    lack."""
    smeared: float
    """Share of rows that repeat the row above them."""
    blocky: float
    """Steps at every sixteenth column over steps between them: about 1, more where the blocks
    of a codec do not fit together."""
    luma: Floats
    """(HEIGHT, WIDTH)."""
    edges: Floats
    """(HEIGHT, WIDTH): strength of the gradient of the luma."""
    texture: Floats
    """(DOWN, ACROSS): mean of `edges` in each cell."""
    sharp: Floats
    """(DOWN, ACROSS): root mean square of the steps between neighbouring pixels, without what
    noise alone would give: falls with blur."""


def glance(pixels: Picture) -> Glance:
    """Measure a picture: uint8 (height, width, 3) BGR or (height, width)."""
    import cv2

    every = max(1, -(-pixels.shape[1] // _MOST_COLUMNS))
    size = (pixels.shape[1] // every, pixels.shape[0] // every)
    # Left out, not averaged: what is fine must stay fine.
    thinned = pixels
    if every > 1:
        thinned = np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_NEAREST), np.uint8)
    grey = thinned
    if thinned.ndim == 3:
        grey = np.asarray(cv2.cvtColor(thinned, cv2.COLOR_BGR2GRAY), np.uint8)
    small = cv2.resize(grey, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)
    luma = small.astype(np.float32)
    edges = _edges(luma)
    noise = _noise(grey)
    counts = np.bincount(small.ravel(), minlength=256)
    below = np.cumsum(counts) / small.size
    return Glance(
        mean=float(luma.mean()),
        low=float(np.searchsorted(below, 0.05)),
        high=float(np.searchsorted(below, 0.95)),
        bright=float(counts[_BRIGHT:].sum() / small.size),
        coarse=float(edges.mean()),
        noise=noise,
        plain=_plain(thinned),
        smeared=_smeared(grey),
        blocky=_blocky(pixels),
        luma=luma,
        edges=edges,
        texture=cells(edges),
        sharp=_sharp(grey, noise),
    )


def cells(values: Floats) -> Floats:
    """Mean of each cell: (HEIGHT, WIDTH) → (DOWN, ACROSS)."""
    high, wide = HEIGHT // DOWN, WIDTH // ACROSS
    means: Floats = values.reshape(DOWN, high, ACROSS, wide).mean((1, 3))
    return means


def _edges(luma: Floats) -> Floats:
    """Strength of central differences, of a luma smoothed enough to forgive a vibrating mast."""
    import cv2

    soft = cv2.GaussianBlur(luma, (0, 0), 1.0)
    across = cv2.Sobel(soft, cv2.CV_32F, 1, 0, ksize=3, scale=0.125)
    down = cv2.Sobel(soft, cv2.CV_32F, 0, 1, ksize=3, scale=0.125)
    return np.asarray(cv2.magnitude(across, down), np.float32)


def _sharp(grey: Picture, noise: float) -> Floats:
    import cv2

    steps = cv2.absdiff(grey[:, 1:], grey[:, :-1]).astype(np.float32)
    power = cv2.resize(steps * steps, (ACROSS, DOWN), interpolation=cv2.INTER_AREA)
    # Differences of independent noise have twice its variance.
    sharp: Floats = np.sqrt(np.maximum(0.0, power - 2.0 * noise * noise)).astype(np.float32)
    return sharp


def _noise(grey: Picture) -> float:
    """Standard deviation by a mask that is blind to edges; the lowest quarter of cells, because
    texture is not noise. (J. Immerkær, Fast noise variance estimation, 1996.)"""
    import cv2

    mask = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32)
    # A band across the middle tells as much as the whole.
    band = grey[grey.shape[0] // 4 : -(grey.shape[0] // 4) or None]
    answer = np.abs(cv2.filter2D(band, cv2.CV_32F, mask))
    small = cv2.resize(answer, (ACROSS, DOWN), interpolation=cv2.INTER_AREA)
    # Mean of |N(0, 6 sigma)| is 6 sigma sqrt(2 / pi).
    return float(np.quantile(small, 0.25)) * 0.2089


def _plain(thinned: Picture) -> float:
    """Blocks of 8×8 pixels of one colour, mid-grey (no chroma) or what YUV zeros give: green."""
    high, wide = thinned.shape[0] // 8 * 8, thinned.shape[1] // 8 * 8
    if not high or not wide or thinned.ndim != 3:
        return 0.0
    corner, middle, other = (thinned[at:high:8, at:wide:8].astype(np.int16) for at in (0, 4, 7))
    flat = (np.abs(corner - other) <= 2).all(-1) & (np.abs(corner - middle) <= 2).all(-1)
    grey = (np.abs(corner - _GREY) <= 5).all(-1)
    green = (corner[..., 0] <= 8) & (corner[..., 2] <= 8) & (np.abs(corner[..., 1] - 135) <= 25)
    return float((flat & (grey | green)).mean())


def _smeared(grey: Picture) -> float:
    """Rows that differ nowhere by more than a level from the row above, of rows that are not
    plain themselves."""
    import cv2

    same = cv2.absdiff(grey[1:], grey[:-1]).max(1) <= 1
    if not same.any():
        return 0.0
    alive = grey[1:][same].std(1) > 3.0
    return float(alive.sum() / len(same))


def _blocky(pixels: Picture) -> float:
    rows = pixels[::4, :, 1] if pixels.ndim == 3 else pixels[::4]
    wide = rows.shape[1] // 16 * 16
    if wide < 64:
        return 1.0
    edge = np.abs(rows[:, 16:wide:16].astype(np.int16) - rows[:, 15 : wide - 1 : 16]).mean()
    inner = np.abs(rows[:, 11:wide:16].astype(np.int16) - rows[:, 10 : wide - 1 : 16]).mean()
    return float((edge + 1.0) / (inner + 1.0))
