"""WAV files: RIFF with PCM of 8, 16, 24 or 32 bits, or floats of 32 or 64.

The standard library's `wave` reads no floats, and trusts lengths that recorders which were
switched off never came to write. Format: Microsoft/IBM "Multimedia Programming Interface and
Data Specifications 1.0" and WAVEFORMATEXTENSIBLE.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import IO, TYPE_CHECKING, Protocol

import numpy as np
from msgspec import Struct

from edgeagent.errors import InputError, NotFound, NotPermitted

if TYPE_CHECKING:
    from numpy.typing import NDArray

_PCM, _FLOAT, _EXTENSIBLE = 1, 3, 0xFFFE
_NAMES = {2: "ADPCM", 6: "A-law", 7: "µ-law", 0x11: "IMA ADPCM", 0x55: "MP3"}
_KINDS = {(_PCM, 8), (_PCM, 16), (_PCM, 24), (_PCM, 32), (_FLOAT, 32), (_FLOAT, 64)}
_UNKNOWN_LENGTH = (0, 0x7FFFFFFF, 0xFFFFFFFF)
"""What recorders write that can't go back to the header."""


class Layout(Struct, frozen=True):
    """What the header says."""

    rate_hz: int
    channels: int
    kind: int
    bits: int
    start: int
    """Byte at which the samples begin."""
    frames: int | None
    """Samples per channel as promised; None = the header does not know."""

    @property
    def frame_bytes(self) -> int:
        return self.channels * self.bits // 8


class SoundFile(Protocol):
    """An opened file of sound, read forward in pieces."""

    path: Path

    @property
    def layout(self) -> Layout: ...

    def read(self, count: int) -> NDArray[np.float32]: ...

    @property
    def missing_s(self) -> float: ...

    def close(self) -> None: ...


class WavFile:
    """An opened file, read forward in pieces."""

    def __init__(self, path: Path) -> None:
        """Raises NotFound, NotPermitted, InputError."""
        self.path = path
        try:
            self._stream: IO[bytes] = path.open("rb")
        except FileNotFoundError as error:
            raise NotFound(f"{path}: there is no such file") from error
        except PermissionError as error:
            raise NotPermitted(f"{path}: may not be read") from error
        except OSError as error:
            raise InputError(f"{path}: can't be read: {error.strerror}") from error
        try:
            self.layout = _layout(self._stream, path)
            self._stream.seek(self.layout.start)
        except BaseException:
            self._stream.close()
            raise
        self.frames = 0
        """Samples per channel that were read so far."""

    def read(self, count: int) -> NDArray[np.float32]:
        """At most ``count`` frames, float32 (n, channels) in −1..1; none at the end.

        Raises:
            InputError: the disk does not give them.
        """
        layout = self.layout
        if layout.frames is not None:
            count = min(count, layout.frames - self.frames)
        try:
            data = self._stream.read(count * layout.frame_bytes)
        except OSError as error:
            raise InputError(f"{self.path}: can't be read: {error.strerror}") from error
        whole = len(data) // layout.frame_bytes
        self.frames += whole
        samples = _floats(data[: whole * layout.frame_bytes], layout)
        return samples.reshape(-1, layout.channels)

    @property
    def missing_s(self) -> float:
        """At the end: seconds that the header promises and the file lacks."""
        promised = self.layout.frames
        return 0.0 if promised is None else (promised - self.frames) / self.layout.rate_hz

    def close(self) -> None:
        """Close the file."""
        self._stream.close()


def _layout(stream: IO[bytes], path: Path) -> Layout:
    head = stream.read(12)
    if not head:
        raise InputError(f"{path}: the file is empty (0 bytes)", remedy="Copy it again.")
    if head[:4] != b"RIFF" or head[8:12] != b"WAVE":
        raise InputError(
            f"{path}: is no WAV file",
            remedy=f"Convert it: ffmpeg -i {path.name} -c:a pcm_s16le sound.wav",
        )
    shape: tuple[int, int, int, int] | None = None
    while True:
        header = stream.read(8)
        if len(header) < 8:
            raise InputError(f"{path}: has no samples (its data chunk is missing or cut off)")
        name, length = header[:4], struct.unpack("<I", header[4:])[0]
        if name == b"fmt ":
            shape = _format(stream.read(length), path)
        elif name == b"data":
            if shape is None:
                raise InputError(f"{path}: its format chunk is missing")
            kind, channels, rate, bits = shape
            frames = None if length in _UNKNOWN_LENGTH else length // (channels * bits // 8)
            return Layout(rate, channels, kind, bits, stream.tell(), frames)
        else:
            stream.seek(length, 1)
        if length % 2:
            stream.seek(1, 1)


def _format(chunk: bytes, path: Path) -> tuple[int, int, int, int]:
    if len(chunk) < 16:
        raise InputError(f"{path}: its format chunk is cut off")
    kind, channels, rate, _, _, bits = struct.unpack_from("<HHIIHH", chunk)
    if kind == _EXTENSIBLE and len(chunk) >= 26:
        (kind,) = struct.unpack_from("<H", chunk, 24)
    if (kind, bits) not in _KINDS:
        name = _NAMES.get(kind, f"{bits}-bit format {kind}")
        raise InputError(
            f"{path}: {name} is not supported (PCM of 8, 16, 24, 32 bits or floats are)",
            remedy=f"Convert it: ffmpeg -i {path.name} -c:a pcm_s16le sound.wav",
        )
    if not channels or not rate:
        raise InputError(f"{path}: its header says {channels} channels at {rate} Hz")
    return kind, channels, rate, bits


def _floats(data: bytes, layout: Layout) -> NDArray[np.float32]:
    """Samples as float32 in −1..1."""
    if layout.kind == _FLOAT:
        values = np.frombuffer(data, "<f4" if layout.bits == 32 else "<f8")
        return values.astype(np.float32)
    if layout.bits == 8:
        return (np.frombuffer(data, np.uint8).astype(np.float32) - 128.0) / 128.0
    if layout.bits == 24:
        # Three bytes become the upper three of a 32-bit integer, which keeps the sign.
        wide = np.zeros((len(data) // 3, 4), np.uint8)
        wide[:, 1:] = np.frombuffer(data, np.uint8).reshape(-1, 3)
        return (wide.view("<i4")[:, 0] / 2147483648.0).astype(np.float32)
    kind, scale = ("<i2", 32768.0) if layout.bits == 16 else ("<i4", 2147483648.0)
    return (np.frombuffer(data, kind) / scale).astype(np.float32)
