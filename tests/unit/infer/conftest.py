"""What the tests of sessions share: which TFLite library is here, pictures, wave files."""

from __future__ import annotations

import wave
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeagent.infer.litert import find_library


@pytest.fixture(scope="session")
def xnnpack_int8() -> bool:
    """Whether the installed TFLite library runs int8 operators on XNNPACK."""
    return find_library().verifies


@pytest.fixture(scope="session")
def picture(assets: Path) -> Callable[[str, int, int], Any]:
    """A shared picture, stretched to width × height, uint8 RGB with a batch of 1."""
    cv2 = pytest.importorskip("cv2")

    def load(name: str, width: int, height: int) -> Any:
        pixels = cv2.cvtColor(cv2.imread(str(assets / "images" / name)), cv2.COLOR_BGR2RGB)
        shrinks = pixels.shape[0] > height
        how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
        return cv2.resize(pixels, (width, height), interpolation=how)[None]

    return load


@pytest.fixture(scope="session")
def sound(assets: Path) -> Callable[[str], Any]:
    """Channel 0 of a shared 16-bit WAV file as float32 in −1..1."""

    def load(name: str) -> Any:
        with wave.open(str(assets / "audio" / name)) as file:
            data = np.frombuffer(file.readframes(file.getnframes()), np.int16)
            return data.reshape(-1, file.getnchannels())[:, 0].astype(np.float32) / 32768

    return load
