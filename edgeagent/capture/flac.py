"""FLAC files, by libsndfile (extra ``sound``)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgeagent.capture.wav import Layout
from edgeagent.errors import InputError, NotPermitted, RuntimeMissing
from edgeagent.plugins import to_install

if TYPE_CHECKING:
    from numpy.typing import NDArray

_BITS = {"PCM_S8": 8, "PCM_16": 16, "PCM_24": 24}


class FlacFile:
    """An opened file, as `wav.WavFile`."""

    def __init__(self, path: Path) -> None:
        """Raises NotPermitted, InputError, RuntimeMissing."""
        self.path = path
        try:
            import soundfile
        except (ImportError, OSError) as error:  # OSError: without libsndfile
            raise RuntimeMissing(
                f"{path}: FLAC needs the Python package 'soundfile': {error}",
                remedy=f"Install it: {to_install('sound')}, or convert the file: "
                f"ffmpeg -i {path.name} sound.wav",
            ) from error
        try:
            self._file = soundfile.SoundFile(str(path))
        except (soundfile.LibsndfileError, OSError) as error:
            if isinstance(error, PermissionError):
                raise NotPermitted(f"{path}: may not be read") from error
            raise InputError(f"{path}: can't be read: {error}", remedy="Copy it again.") from error
        self._fault = soundfile.LibsndfileError
        its = self._file
        bits = _BITS.get(its.subtype, 0)
        frames = its.frames if 0 < its.frames < 1 << 62 else None
        self.layout = Layout(its.samplerate, its.channels, 0, bits, 0, frames)
        self.frames = 0

    def read(self, count: int) -> NDArray[np.float32]:
        """At most ``count`` frames, float32 (n, channels) in −1..1; none at the end.

        Raises:
            InputError: the stream is damaged there.
        """
        try:
            rows: NDArray[np.float32] = self._file.read(count, dtype="float32", always_2d=True)
        except self._fault as error:
            raise InputError(f"{self.path}: is damaged: {error}") from error
        self.frames += len(rows)
        return rows

    @property
    def missing_s(self) -> float:
        """At the end: seconds that the header promises and the file lacks."""
        promised = self.layout.frames
        return 0.0 if promised is None else (promised - self.frames) / self.layout.rate_hz

    def close(self) -> None:
        """Close the file."""
        self._file.close()
