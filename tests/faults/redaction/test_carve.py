"""The search finds the board however it is wrapped, and in nothing else."""

from __future__ import annotations

import base64
import gzip
import io
import json
import tarfile
import zlib
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import pytest
import scan
from numpy.typing import NDArray

from edgeagent.capture.synthetic import BeltScene
from edgeagent.decide.redact import cover

BOX = (0.2, 0.15, 0.4, 0.4)
SIDE = scan.CELL * scan.FIELDS


def found(data: bytes) -> scan.Found:
    its = scan.Found()
    its.look(data, "data")
    return its


def picture(size: tuple[int, int] = (320, 240), *, planted: bool) -> NDArray[np.uint8]:
    pixels = BeltScene(5, size).render(3)[0].copy()
    if planted:
        pixels[90 : 90 + SIDE, 150 : 150 + SIDE] = scan.board()
    return pixels


def jpeg(pixels: NDArray[np.uint8], quality: int = 80) -> bytes:
    return cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()


def wrapped(pixels: NDArray[np.uint8]) -> dict[str, bytes]:
    """One picture in all that this program may make of it."""
    coded = jpeg(pixels)
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        about = tarfile.TarInfo("bundle/picture")
        about.size = len(coded)
        tar.addfile(about, io.BytesIO(coded))
    stored = io.BytesIO()
    np.save(stored, pixels)
    document = json.dumps({"picture": base64.b64encode(coded).decode()}).encode()
    return {
        "jpeg": coded,
        "poor jpeg": jpeg(pixels, 35),
        "in the middle of a film": b"RIFF" + b"\0" * 500 + coded * 2,
        "png": cv2.imencode(".png", pixels)[1].tobytes(),
        "npy": stored.getvalue(),
        "json": document,
        "batch": zlib.compress(document),
        "gzip": gzip.compress(coded),
        "bundle": packed.getvalue(),
    }


@cache
def _wrapped(*, planted: bool) -> dict[str, bytes]:
    return wrapped(picture(planted=planted))


@pytest.mark.parametrize("how", list(wrapped(np.zeros((24, 32, 3), np.uint8))))
def test_it_is_found_however_it_is_wrapped_and_in_nothing_else(how: str) -> None:
    assert found(_wrapped(planted=True)[how]).at
    clean = found(_wrapped(planted=False)[how])
    assert clean.pictures and not clean.at


def test_it_is_found_in_plain_memory_at_any_offset() -> None:
    noise = np.random.default_rng(3).integers(0, 256, 200_001, np.uint8).tobytes()
    for planted in (True, False):
        pixels = picture((640, 480), planted=planted)
        for plane in (pixels, cv2.cvtColor(pixels, cv2.COLOR_BGR2GRAY)):
            its = scan.Found()
            its.memory(noise + plane.tobytes() + noise, "core")
            assert any("plane of" in place for place in its.at) == planted


@pytest.mark.parametrize("method", ["fill", "pixelate", "blur"])
def test_nothing_is_left_of_it_where_it_is_hidden(method: str) -> None:
    pixels = picture((640, 480), planted=True)
    cover(pixels, BOX, method)
    assert not found(jpeg(pixels)).at
    its = scan.Found()
    its.memory(pixels.tobytes(), "core")
    assert not its.at


def test_natural_pictures_have_none(assets: Path) -> None:
    for name in ("grace_hopper.bmp", "messi5.jpg"):
        its = found((assets / "images" / name).read_bytes())
        assert its.pictures and not its.at, name
