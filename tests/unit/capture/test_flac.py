"""FLAC files, and how loud sound is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgeagent.capture.audio import open_audio
from edgeagent.capture.level import level_db
from edgeagent.capture.source import Wanted
from edgeagent.config.model import AudioConfig
from edgeagent.errors import InputError, SourceEnded
from edgeagent.types import Window

soundfile = pytest.importorskip("soundfile")
RATE = 16_000


def written(file: Path, seconds: float = 1.0, channels: int = 1) -> np.ndarray:
    at = np.arange(round(seconds * RATE)) / RATE
    tone = (0.5 * np.sin(2 * np.pi * 440 * at)).astype(np.float32)
    sound = np.stack([tone * (its + 1) / channels for its in range(channels)], axis=1)
    soundfile.write(str(file), sound, RATE, subtype="PCM_24")
    return sound


def windows(config: AudioConfig, wanted: Wanted) -> list[Window]:
    source = open_audio("a", config, wanted)
    source.open()
    found = []
    try:
        while True:
            sample = source.read()
            assert isinstance(sample, Window)
            found.append(sample)
    except SourceEnded:
        return found
    finally:
        source.close()


def test_a_flac_file_is_read_as_a_wav_is(tmp_path: Path) -> None:
    sound = written(tmp_path / "a.flac", channels=2)
    found = windows(AudioConfig(path=str(tmp_path / "a.flac"), channel=1), Wanted(length=4000))
    assert len(found) == 4
    assert np.allclose(np.concatenate([its.values for its in found]), sound[:, 1:], atol=1e-6)


def test_by_what_is_in_it_not_by_its_name(tmp_path: Path) -> None:
    written(tmp_path / "a.flac")
    (tmp_path / "a.flac").rename(tmp_path / "a.wav")
    assert len(windows(AudioConfig(path=str(tmp_path / "a.wav")), Wanted(length=8000))) == 2


def test_a_damaged_file_is_told(tmp_path: Path) -> None:
    file = tmp_path / "a.flac"
    written(file)
    data = bytearray(file.read_bytes())
    file.write_bytes(data[:60])
    with pytest.raises(InputError, match=r"a\.flac"):
        windows(AudioConfig(path=str(file)), Wanted(length=8000))


def test_quiet_windows_of_a_file_are_left_out(tmp_path: Path) -> None:
    sound = written(tmp_path / "a.flac", 2.0)
    sound[RATE:] *= 0.0001
    soundfile.write(str(tmp_path / "a.flac"), sound, RATE)
    config = AudioConfig(path=str(tmp_path / "a.flac"), quiet=-50)
    assert len(windows(config, Wanted(length=RATE // 2))) == 2


def test_levels() -> None:
    full = np.sin(2 * np.pi * 100 * np.arange(RATE) / RATE).astype(np.float32)[:, None]
    assert level_db(full, RATE) == pytest.approx(-3.01, abs=0.05)
    assert level_db(np.zeros((10, 1), np.float32), RATE) == -120
    word = np.zeros((RATE, 1), np.float32)
    word[5000:6600] = full[:1600]
    assert level_db(word, RATE) > -8, "a short word in a long silence is loud"
