"""Real pictures and clips, and what becomes of them when something is wrong with the camera."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]

LEVELS = (
    (0.4, 2.0), (0.55, 8.0), (0.7, 3.0), (0.85, 5.0), (1.0, 0.0), (1.0, 9.0), (1.15, 3.0),
    (1.3, 4.0),
)  # fmt: skip
"""Brightness (gain) and noise (standard deviation in levels) at which nothing is wrong."""
_NOISE = np.random.default_rng(5).standard_normal(4_000_000, np.float32)
"""Drawn once: a stretch of it from anywhere is as good as a new one."""
_NO_SCENES = ("bird_segmentation_mask.bmp", "mnist_nine.bmp")


def fitted(picture: Picture, width: int = 640) -> Picture:
    height = max(16, round(picture.shape[0] * width / picture.shape[1]))
    return np.asarray(cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA), np.uint8)


def noisy(picture: NDArray[Any], gain: float, sigma: float, rng: np.random.Generator) -> Picture:
    start = int(rng.integers(0, _NOISE.size - picture.size))
    noise = _NOISE[start : start + picture.size].reshape(picture.shape) * np.float32(sigma)
    return np.clip(picture * np.float32(gain) + noise, 0, 255).astype(np.uint8)


def pictures(assets: Path) -> Iterator[tuple[str, Picture]]:
    for file in sorted((assets / "images").iterdir()):
        if file.name not in _NO_SCENES:
            picture = cv2.imread(str(file))
            assert picture is not None
            yield file.name, fitted(np.asarray(picture, np.uint8))


def clip(file: Path, hz: float, most: int = 10_000) -> list[Picture]:
    """A clip at so many pictures a second, at most so many."""
    video = cv2.VideoCapture(str(file), cv2.CAP_FFMPEG)
    every = max(1, round(video.get(cv2.CAP_PROP_FPS) / hz))
    taken = []
    number = 0
    while len(taken) < most and video.grab():
        if number % every == 0:
            taken.append(fitted(np.asarray(video.retrieve()[1], np.uint8)))
        number += 1
    return taken


def clips(assets: Path) -> Iterator[tuple[str, Path]]:
    for file in sorted((assets / "video").iterdir()):
        yield file.name, file


def degradations(p: Picture, rng: np.random.Generator) -> Iterator[tuple[str, Picture]]:
    """Twenty of them, each with the name of its fault."""
    yield from _light(p, rng)
    yield from _lens(p, rng)
    yield from _elsewhere(p, rng)
    yield from _broken(p, rng)


def _light(p: Picture, rng: np.random.Generator) -> Iterator[tuple[str, Picture]]:
    yield "dark", noisy(p, 0.04, 2, rng)
    yield "dark", noisy(p, 0.1, 3, rng)
    yield "bright", noisy(np.clip(p.astype(int) * 4 + 120, 0, 255), 1, 1, rng)
    yield "bright", noisy(np.clip(p.astype(int) + 200, 0, 255), 1, 1, rng)


def _lens(p: Picture, rng: np.random.Generator) -> Iterator[tuple[str, Picture]]:
    height, width = p.shape[:2]
    for share in (0.006, 0.012, 0.03):
        yield "blurred", noisy(cv2.GaussianBlur(p, (0, 0), share * width), 1, 1.5, rng)
    yield "covered", noisy(np.full(p.shape, (60, 70, 80)), 1, 3, rng)
    slope = np.linspace(40, 150, width)[None, :, None] * np.ones((height, 1, 3))
    yield "covered", noisy(slope, 1, 3, rng)
    partly = p.copy()
    partly[:, : int(width * 0.75)] = (90, 100, 120)
    yield "covered", noisy(partly, 1, 3, rng)
    # As a blur of an eighth of the width would, in a fraction of the time.
    frosted = cv2.resize(cv2.resize(p, (6, 4), interpolation=cv2.INTER_AREA), (width, height),
                         interpolation=cv2.INTER_CUBIC) * 0.6 + 70  # fmt: skip
    yield "covered", noisy(frosted, 1, 2, rng)


def _elsewhere(p: Picture, rng: np.random.Generator) -> Iterator[tuple[str, Picture]]:
    height, width = p.shape[:2]
    yield "moved", noisy(np.roll(p, (height // 6, width // 5), (0, 1)), 1, 2, rng)
    turn = cv2.getRotationMatrix2D((width / 2, height / 2), 12, 1)
    push = np.array([[1, 0, 0.08 * width], [0, 1, 0.05 * height]], np.float32)
    for matrix in (turn, push):
        moved = cv2.warpAffine(p, matrix, (width, height), borderMode=cv2.BORDER_REFLECT)
        yield "moved", noisy(moved, 1, 2, rng)
    yield "moved", noisy(p[:, ::-1], 1, 2, rng)


def _broken(p: Picture, rng: np.random.Generator) -> Iterator[tuple[str, Picture]]:
    height, width = p.shape[:2]
    for row, filled in ((height // 3, 128), (height // 2, (0, 135, 0))):
        lacking = p.copy()
        lacking[row:] = filled
        yield "garbage", lacking
    smeared = p.copy()
    smeared[height // 2 :] = smeared[height // 2]
    yield "garbage", smeared
    yield "garbage", rng.integers(0, 256, p.shape, dtype=np.uint8)
    jumbled = p.copy()
    for _ in range(height * width // 512):
        y, x = (16 * int(rng.integers(0, size // 16)) for size in (height, width))
        v, u = (int(rng.integers(0, size - 16)) for size in (height, width))
        jumbled[y : y + 16, x : x + 16] = p[v : v + 16, u : u + 16]
    yield "garbage", jumbled
