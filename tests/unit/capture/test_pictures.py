"""Whatever people call a picture becomes uint8 BGR, or a sentence that says why not."""

from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeagent.capture.pictures import (
    decode_picture,
    encode_jpeg,
    encode_png,
    read_picture,
    write_picture,
)
from edgeagent.errors import InputError, NotFound, NotPermitted

SCENE = np.zeros((30, 40, 3), np.uint8)
SCENE[:, :20] = (200, 40, 10)
SCENE[:15, 20:] = (20, 180, 90)


def encoded(suffix: str, pixels: np.ndarray = SCENE) -> bytes:
    done, data = cv2.imencode(suffix, pixels)
    assert done
    return data.tobytes()


def with_orientation(jpeg: bytes, orientation: int) -> bytes:
    """Insert an EXIF segment that holds nothing but the orientation (tag 274)."""
    tiff = b"II*\0" + struct.pack("<IHHHIHHI", 8, 1, 274, 3, 1, orientation, 0, 0)
    body = b"Exif\0\0" + tiff
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body + jpeg[2:]


def cmyk_jpeg(inks: tuple[int, int, int, int]) -> bytes:
    """An 8x8 baseline JPEG of one CMYK colour, stored inverted as Adobe does.

    One DC value per component: twelve DC categories with codes of four bits, one AC code
    (end of block) of one bit.
    """
    bits = ""
    for ink in inks:
        value = (255 - ink - 128) * 8
        category = abs(value).bit_length()
        bits += f"{category:04b}"
        if category:
            bits += f"{value if value > 0 else value + (1 << category) - 1:0{category}b}"
        bits += "0"
    bits += "1" * (-len(bits) % 8)
    scan = bytes(int(bits[at : at + 8], 2) for at in range(0, len(bits), 8))
    segments = [
        (0xEE, b"Adobe\0\x64\0\0\0\0\0"),
        (0xDB, b"\0" + b"\1" * 64),
        (0xC0, struct.pack(">BHHB", 8, 8, 8, 4) + b"".join(bytes((n, 0x11, 0)) for n in range(4))),
        (0xC4, b"\0" + bytes((0, 0, 0, 12, *[0] * 12)) + bytes(range(12))),
        (0xC4, b"\x10" + bytes((1, *[0] * 15)) + b"\0"),
        (0xDA, b"\4" + b"".join(bytes((n, 0)) for n in range(4)) + b"\0\x3f\0"),
    ]
    out = b"\xff\xd8"
    for marker, body in segments:
        out += bytes((0xFF, marker)) + struct.pack(">H", len(body) + 2) + body
    return out + scan.replace(b"\xff", b"\xff\0") + b"\xff\xd9"


def png_of(width: int, height: int) -> bytes:
    """A valid PNG header of any size over no pixels worth the name."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


@pytest.mark.parametrize(
    ("suffix", "tolerance"),
    [(".png", 0), (".bmp", 0), (".ppm", 0), (".tiff", 0), (".webp", 8), (".jpg", 8)],
)
def test_usual_formats(suffix: str, tolerance: int) -> None:
    data = encoded(suffix)
    pixels = decode_picture(data, "x")
    assert (pixels.dtype, pixels.shape) == (np.uint8, (30, 40, 3))
    # Lossy ones blur colours at edges: judged by the mean.
    difference = np.abs(pixels.astype(int) - SCENE)
    assert difference.mean() <= tolerance


def test_sixteen_bits_are_scaled_to_eight() -> None:
    pixels = decode_picture(encoded(".png", SCENE.astype(np.uint16) * 257), "x")
    assert pixels.dtype == np.uint8
    assert np.array_equal(pixels, SCENE)


def test_alpha_is_left_out() -> None:
    pixels = decode_picture(encoded(".png", np.dstack([SCENE, SCENE[..., 0]])), "x")
    assert np.array_equal(pixels, SCENE)


def test_grey_becomes_three_channels() -> None:
    grey = np.arange(30 * 40, dtype=np.uint16).reshape(30, 40).astype(np.uint8)
    pixels = decode_picture(encoded(".png", grey), "x")
    assert np.array_equal(pixels, np.dstack([grey] * 3))


@pytest.mark.parametrize(
    ("inks", "bgr"),
    [
        ((255, 0, 0, 0), (255, 255, 0)),
        ((0, 255, 0, 0), (255, 0, 255)),
        ((0, 0, 255, 0), (0, 255, 255)),
        ((0, 0, 0, 255), (0, 0, 0)),
        ((0, 0, 0, 0), (255, 255, 255)),
    ],
)
def test_cmyk(inks: tuple[int, int, int, int], bgr: tuple[int, int, int]) -> None:
    pixels = decode_picture(cmyk_jpeg(inks), "print.jpg")
    assert pixels.shape == (8, 8, 3)
    assert np.abs(pixels.astype(int) - np.array(bgr)).max() <= 3


def test_one_pixel() -> None:
    assert decode_picture(encoded(".png", SCENE[:1, :1]), "x").tolist() == [[[200, 40, 10]]]


def test_orientation_is_applied() -> None:
    upright = decode_picture(encoded(".jpg"), "x")
    turned = decode_picture(with_orientation(encoded(".jpg"), 6), "x")
    assert turned.shape == (40, 30, 3)
    assert np.array_equal(turned, np.rot90(upright, -1))


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "empty"),
        (b"this is a shopping list\n" * 20, "text file"),
        (bytes(range(256)) * 4, "is no picture"),
        (b"\xff\xd8\xff", "cut off"),
        (b"\xff\xd8\xff\xe0\0\x02xxxxxxxx", "header is broken"),
        (encoded(".jpg")[:-2], "end marker"),
        (encoded(".jpg")[:60], "cut off"),
        (encoded(".png")[:-10], "cut off"),
        (encoded(".png")[:20], "header is broken|cut off"),
        (encoded(".bmp")[:-10], "cut off"),
        (encoded(".webp")[:-5], "cut off"),
        (encoded(".tiff")[:60], "cut off"),
        (b"P6 0 0 255\n", "0x0"),
        (b"P6\n", "header is broken"),
        (png_of(40, 30), "broken"),
        (b"RIFF\x10\0\0\0WAVEfmt ", "header is broken"),
    ],
)
def test_bad_pictures_are_explained(data: bytes, words: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        decode_picture(data, "shelf/3.jpg")
    assert "shelf/3.jpg" in str(caught.value)


@pytest.mark.parametrize(
    "data",
    [
        png_of(20000, 20000),
        b"BM" + struct.pack("<IIIIiiHHI", 999, 0, 54, 40, 20000, 20000, 1, 1, 1) + bytes(100),
        b"P5 20000 20000 255\n",
    ],
    ids=["png", "bmp", "pgm"],
)
def test_too_many_pixels_are_refused_by_the_header(data: bytes) -> None:
    with pytest.raises(InputError, match=r"20000x20000 pixels are more than .* 64 megapixels"):
        decode_picture(data, "huge")


def test_the_limit_can_be_set() -> None:
    with pytest.raises(InputError, match="40x30"):
        decode_picture(encoded(".png"), "x", most_pixels=1199)
    decode_picture(encoded(".png"), "x", most_pixels=1200)


@given(st.sampled_from([".jpg", ".png", ".bmp", ".webp", ".tiff", ".ppm"]), st.data())
def test_mutations_never_crash(suffix: str, data: st.DataObject) -> None:
    """Any damage ends in pixels or in InputError, never in something else."""
    raw = bytearray(encoded(suffix))
    for _ in range(data.draw(st.integers(1, 5))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    raw = raw[: data.draw(st.integers(0, len(raw)))]
    try:
        pixels = decode_picture(bytes(raw), "x", most_pixels=100_000)
    except InputError:
        return
    assert pixels.dtype == np.uint8
    assert pixels.ndim == 3


@given(st.binary(max_size=300))
def test_random_bytes_are_refused(raw: bytes) -> None:
    with pytest.raises(InputError):
        decode_picture(raw, "x")


def test_reading_says_what_is_wrong_with_the_file(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no such file"):
        read_picture(tmp_path / "none.png")
    with pytest.raises(InputError, match="is a folder"):
        read_picture(tmp_path)
    file = tmp_path / "a.png"
    file.write_bytes(encoded(".png"))
    assert np.array_equal(read_picture(file), SCENE)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_forbidden_file(tmp_path: Path) -> None:
    file = tmp_path / "a.png"
    file.write_bytes(encoded(".png"))
    file.chmod(0)
    with pytest.raises(NotPermitted, match="may not be read"):
        read_picture(file)


def test_writing(tmp_path: Path) -> None:
    write_picture(tmp_path / "a.png", SCENE)
    write_picture(tmp_path / "a.jpg", SCENE, quality=95)
    assert np.array_equal(read_picture(tmp_path / "a.png"), SCENE)
    assert read_picture(tmp_path / "a.jpg").shape == SCENE.shape
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.jpg", "a.png"]
    with pytest.raises(InputError, match=r"\.jpg or \.png"):
        write_picture(tmp_path / "a.gif", SCENE)
    with pytest.raises(NotFound, match="No such file"):
        write_picture(tmp_path / "none" / "a.png", SCENE)


def test_encoding_keeps_grey() -> None:
    assert decode_picture(encode_png(SCENE[..., 0]), "x").shape == (30, 40, 3)
    assert len(encode_jpeg(SCENE, quality=10)) < len(encode_jpeg(SCENE, quality=100))


def test_real_pictures(assets: Path) -> None:
    files = [file for file in (assets / "images").iterdir() if file.suffix != ".md"]
    assert files
    for file in files:
        pixels = read_picture(file)
        assert pixels.dtype == np.uint8
        assert pixels.ndim == 3
