"""Picture files: read whatever people have into uint8 BGR, write JPEG and PNG.

The size is read from the header before anything is decoded: a picture of a few kilobytes can
ask for gigabytes. 16-bit pictures are scaled to 8, CMYK and grey become BGR, alpha is left
out, and EXIF orientation is applied, all by OpenCV.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeagent.capture import opencv
from edgeagent.errors import FULL, InputError, NotFound, NotPermitted, unwritable

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Picture = NDArray[np.uint8]

MOST_PIXELS = 64_000_000
"""64 megapixels: 192 MB once decoded."""

SUFFIXES = frozenset(
    (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm")
)
"""Endings of the files that a folder is searched for."""

_FORMATS = "JPEG, PNG, BMP, WebP, TIFF or PNM"


def read_picture(path: Path, *, most_pixels: int = MOST_PIXELS) -> Picture:
    """Decode a file: uint8 (height, width, 3), BGR.

    Raises:
        NotFound: there is no such file.
        NotPermitted: it may not be read.
        InputError: it is no picture, is cut off, broken, or has over ``most_pixels`` pixels.
    """
    return decode_picture(_read(path), str(path), most_pixels=most_pixels)


def decode_picture(data: bytes, name: str, *, most_pixels: int = MOST_PIXELS) -> Picture:
    """Decode the bytes of a picture; ``name`` is how errors call it. Raises InputError."""
    width, height, lack = _header(data, name)
    if width * height > most_pixels:
        raise InputError(
            f"{name}: {width}x{height} pixels are more than the "
            f"{most_pixels / 1e6:g} megapixels that are allowed",
            remedy="Scale it down first.",
        )
    if lack:
        raise InputError(
            f"{name}: the picture is cut off ({len(data)} bytes; {lack})",
            remedy="Copy or download it again.",
        )
    cv2 = opencv.load()
    import numpy as np

    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error as error:
        raise InputError(f"{name}: can't be decoded: {_first_line(error)}") from error
    if pixels is None:
        raise InputError(
            f"{name}: the picture is broken or of a kind that can't be decoded",
            remedy="Open it in a viewer, or save it again as JPEG or PNG.",
        )
    decoded: Picture = pixels
    return decoded


def encode_jpeg(pixels: Picture, *, quality: int = 90) -> bytes:
    """JPEG of a uint8 picture, BGR or grey."""
    cv2 = opencv.load()
    return _encode(cv2, ".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])


def encode_png(pixels: Picture) -> bytes:
    """PNG of a uint8 picture, BGR or grey."""
    return _encode(opencv.load(), ".png", pixels, [])


def write_picture(path: Path, pixels: Picture, *, quality: int = 90) -> None:
    """Write a ``.jpg`` or ``.png`` file, whole or not at all.

    Raises:
        InputError: another ending.
        NotFound, NotPermitted, StoreFull: the folder is missing, read-only or full.
    """
    suffix = path.suffix.lower()
    if suffix not in (".jpg", ".jpeg", ".png"):
        raise InputError(f"{path}: pictures are written as .jpg or .png")
    data = encode_png(pixels) if suffix == ".png" else encode_jpeg(pixels, quality=quality)
    part = path.with_name(f".{path.name}.part")
    try:
        part.write_bytes(data)
        part.replace(path)
    except OSError as error:
        if error.errno in FULL:
            part.unlink(missing_ok=True)
        raise unwritable(path, error) from error


def _encode(cv2: Any, suffix: str, pixels: Picture, options: list[int]) -> bytes:
    done, data = cv2.imencode(suffix, pixels, options)
    if not done:
        raise InputError(f"a picture of shape {pixels.shape} can't be encoded as {suffix}")
    encoded: bytes = data.tobytes()
    return encoded


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise NotFound(f"{path}: there is no such file") from error
    except PermissionError as error:
        raise NotPermitted(
            f"{path}: may not be read by user {os.geteuid()}",
            remedy=f"Make it readable: chmod a+r {path}",
        ) from error
    except IsADirectoryError as error:
        raise InputError(f"{path}: is a folder, not a picture") from error
    except OSError as error:
        raise InputError(f"{path}: can't be read: {error.strerror}") from error


def _what(data: bytes) -> str:
    head = data[:512]
    if b"\0" not in head:
        try:
            head[:508].decode("utf-8", errors="strict")
        except UnicodeDecodeError:
            return "is no picture"
        return "is a text file, not a picture"
    return "is no picture"


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__


# --- headers -------------------------------------------------------------------------------


Header = tuple[int, int, str]
"""Width, height, and what is lacking at the end (empty = nothing that can be seen)."""


def _header(data: bytes, name: str) -> Header:
    if not data:
        raise InputError(f"{name}: the file is empty (0 bytes)", remedy="Copy it again.")
    for magic, reader in _READERS:
        if data.startswith(magic):
            try:
                width, height, lack = reader(data)
            except (struct.error, IndexError, ValueError, KeyError) as error:
                raise InputError(
                    f"{name}: the picture's header is broken or cut off ({len(data)} bytes)"
                ) from error
            if width <= 0 or height <= 0:
                raise InputError(f"{name}: the picture's header says {width}x{height} pixels")
            return width, height, lack
    raise InputError(f"{name}: {_what(data)}", remedy=f"Give a {_FORMATS} file.")


def _jpeg(data: bytes) -> Header:
    """Size from the start-of-frame segment; ITU-T T.81, B.2."""
    at = 2
    size: tuple[int, int] | None = None
    while True:
        if data[at] != 0xFF:
            raise ValueError("no marker")
        marker = data[at + 1]
        if marker == 0xFF:
            at += 1
            continue
        (length,) = struct.unpack_from(">H", data, at + 2)
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack_from(">HH", data, at + 5)
            size = (width, height)
        if marker == 0xDA:
            break
        at += 2 + length
    if size is None:
        raise ValueError("no size before the pixels")
    # Within the coded pixels FF is always followed by 00, so only the end marker looks so.
    return *size, "" if b"\xff\xd9" in data[at:] else "its end marker is missing"


def _png(data: bytes) -> Header:
    width, height = struct.unpack_from(">II", data, 16)
    at = 8
    while at + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, at)
        if data[at + 4 : at + 8] == b"IEND":
            return width, height, ""
        at += 12 + length
    return width, height, "its last chunk is missing"


def _bmp(data: bytes) -> Header:
    size, _, offset, header = struct.unpack_from("<IIII", data, 2)
    if header == 12:
        width, height, _, bits = struct.unpack_from("<HHHH", data, 18)
        compression = 0
    else:
        width, height, _, bits, compression = struct.unpack_from("<iiHHI", data, 18)
    height = abs(height)
    # Run lengths (1, 2) have no computable size; then only the header can be asked.
    needed = size if compression in (1, 2) else offset + height * ((width * bits + 31) // 32 * 4)
    return width, height, _short(data, needed)


def _webp(data: bytes) -> Header:
    if data[8:12] != b"WEBP":
        raise ValueError("RIFF, but no WebP")
    (length,) = struct.unpack_from("<I", data, 4)
    lack = _short(data, length + 8)
    kind = data[12:16]
    if kind == b"VP8X":
        width = int.from_bytes(data[24:27], "little") + 1
        return width, int.from_bytes(data[27:30], "little") + 1, lack
    if kind == b"VP8L":
        (bits,) = struct.unpack_from("<I", data, 21)
        return (bits & 0x3FFF) + 1, ((bits >> 14) & 0x3FFF) + 1, lack
    width, height = struct.unpack_from("<HH", data, 26)
    return width & 0x3FFF, height & 0x3FFF, lack


def _tiff(data: bytes) -> Header:
    """ImageWidth (256) and ImageLength (257) of the first directory; TIFF 6.0, section 2."""
    order = "<" if data[:2] == b"II" else ">"
    (at,) = struct.unpack_from(order + "I", data, 4)
    (count,) = struct.unpack_from(order + "H", data, at)
    found: dict[int, int] = {}
    for entry in range(at + 2, at + 2 + 12 * count, 12):
        tag, kind = struct.unpack_from(order + "HH", data, entry)
        if tag in (256, 257):
            (found[tag],) = struct.unpack_from(order + ("H" if kind == 3 else "I"), data, entry + 8)
    return found[256], found[257], ""


def _pnm(data: bytes) -> Header:
    fields: list[int] = []
    at = 2
    while len(fields) < 2:
        while data[at : at + 1].isspace():
            at += 1
        if data[at : at + 1] == b"#":
            at = data.index(b"\n", at)
            continue
        start = at
        while data[at : at + 1].isdigit():
            at += 1
        fields.append(int(data[start:at]))
    return fields[0], fields[1], ""


def _short(data: bytes, needed: int) -> str:
    return f"{needed} bytes are needed" if len(data) < needed else ""


_READERS: tuple[tuple[bytes, Callable[[bytes], Header]], ...] = (
    (b"\xff\xd8\xff", _jpeg),
    (b"\x89PNG\r\n\x1a\n", _png),
    (b"BM", _bmp),
    (b"RIFF", _webp),
    (b"II*\0", _tiff),
    (b"MM\0*", _tiff),
    *((b"P%d" % kind, _pnm) for kind in range(1, 7)),
)
