"""Films with a pattern planted where a person is, and a detector that truly misses at times."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from scan import CELL, FIELDS, board

from edgeagent.decide.avi import avi

WIDTH, HEIGHT, FPS = 640, 480, 10
FRAMES = 48
MISSED = {*range(6), 18, 19, 20, 30, *range(44, 48)}
"""Frames in which all of the person but the pattern is gone, so that nothing is found."""


def make(folder: Path, assets: Path) -> Path:
    """Dogs on the left, a person on the right who wears the board; walks a little."""
    dogs = cv2.resize(cv2.imread(str(assets / "images" / "pets.jpg")), (300, 250))
    person = cv2.resize(cv2.imread(str(assets / "images" / "grace_hopper.bmp")), (256, 300))
    rng = np.random.default_rng(4)
    ground = rng.normal(120, 6, (HEIGHT, WIDTH, 3)).clip(0, 255).astype(np.uint8)
    frames = []
    for number in range(FRAMES):
        frame = ground.copy()
        frame[20:270, 10:310] = dogs
        left = 340 + number // 2
        if number not in MISSED:
            frame[150:450, left : left + 256] = person
        side = CELL * FIELDS
        frame[340 : 340 + side, left + 88 : left + 88 + side] = board()
        frames.append(_jpeg(frame))
    file = folder / "film.avi"
    file.write_bytes(avi(frames, (WIDTH, HEIGHT), FPS))
    return file


def pan(folder: Path, assets: Path) -> Path:
    """A real face that drifts through the picture, hidden by nothing, at first half outside."""
    portrait = cv2.imread(str(assets / "images" / "grace_hopper.bmp"))
    portrait = cv2.resize(portrait, (307, 360), interpolation=cv2.INTER_AREA)
    wide = cv2.copyMakeBorder(portrait, 0, 0, 320, 320, cv2.BORDER_REPLICATE)
    frames = [_jpeg(np.ascontiguousarray(wide[:, at : at + 480])) for at in range(420, 60, -9)]
    file = folder / "pan.avi"
    file.write_bytes(avi(frames, (480, 360), FPS))
    return file


def _jpeg(frame: Any) -> bytes:
    return bytes(cv2.imencode(".jpg", frame, [cv2.IMWRITE_JPEG_QUALITY, 95])[1])
