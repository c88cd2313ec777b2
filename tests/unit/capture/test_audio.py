"""WAV files of every kind, as windows at the model's rate."""

from __future__ import annotations

import struct
import wave
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from edgeagent.capture.audio import AudioSource
from edgeagent.capture.source import Wanted
from edgeagent.capture.wav import WavFile
from edgeagent.config.model import AudioConfig
from edgeagent.errors import ConfigError, EdgeAgentError, InputError, NotFound, SourceEnded
from edgeagent.types import Window

RATE = 8000
TONE = np.sin(2 * np.pi * 440 * np.arange(2000) / RATE) * 0.5
STEREO = np.stack([TONE, -TONE / 2], axis=1)


def wav(
    samples: NDArray[np.float64],
    *,
    kind: int = 1,
    bits: int = 16,
    rate: int = RATE,
    extensible: bool = False,
    length: int | None = None,
) -> bytes:
    """A WAV file written by hand, so that the reader is not tested against itself."""
    frames = samples[:, None] if samples.ndim == 1 else samples
    if kind == 3:
        body = frames.astype("<f4" if bits == 32 else "<f8").tobytes()
    elif bits == 8:
        body = np.round(frames * 128 + 128).clip(0, 255).astype(np.uint8).tobytes()
    elif bits == 24:
        whole = np.round(frames * 2**23).clip(-(2**23), 2**23 - 1).astype("<i4")
        body = whole.view(np.uint8).reshape(-1, 4)[:, :3].tobytes()
    else:
        limit = 2.0 ** (bits - 1)
        body = np.round(frames * limit).clip(-limit, limit - 1).astype(f"<i{bits // 8}").tobytes()
    channels = frames.shape[1]
    block = channels * bits // 8
    tag = 0xFFFE if extensible else kind
    fmt = struct.pack("<HHIIHH", tag, channels, rate, rate * block, block, bits)
    if extensible:
        fmt += struct.pack("<HHIH14x", 22, bits, 0, kind)
    # An odd chunk before the data, as editors leave them.
    chunks = b"fmt " + struct.pack("<I", len(fmt)) + fmt
    chunks += b"LIST" + struct.pack("<I", 3) + b"abc\0"
    chunks += b"data" + struct.pack("<I", len(body) if length is None else length) + body
    return b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WAVE" + chunks


def windows(source: AudioSource) -> tuple[list[Window], list[str]]:
    got, faults = [], []
    source.open()
    while True:
        try:
            got.append(source.read())
        except InputError as error:
            faults.append(str(error))
        except SourceEnded:
            source.close()
            return got, faults


def source(file: Path, wanted: Wanted | None = None, **keys: object) -> AudioSource:
    return AudioSource("mic", AudioConfig(path=str(file), **keys), wanted or Wanted())  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("kind", "bits", "tolerance"),
    [(1, 8, 0.005), (1, 16, 2e-5), (1, 24, 1e-6), (1, 32, 1e-6), (3, 32, 1e-7), (3, 64, 1e-7)],
)
@pytest.mark.parametrize("extensible", [False, True])
def test_every_kind_of_sample(
    tmp_path: Path, kind: int, bits: int, tolerance: float, extensible: bool
) -> None:
    file = tmp_path / "a.wav"
    file.write_bytes(wav(STEREO, kind=kind, bits=bits, extensible=extensible))
    opened = WavFile(file)
    parts = [opened.read(700) for _ in range(4)]
    samples = np.concatenate(parts)
    opened.close()
    assert samples.dtype == np.float32
    assert opened.missing_s == 0
    np.testing.assert_allclose(samples, STEREO, atol=tolerance)


def test_full_scale_and_sign_of_24_bits(tmp_path: Path) -> None:
    file = tmp_path / "a.wav"
    file.write_bytes(wav(np.array([-1.0, -0.5, 0.0, 0.5]), bits=24))
    assert WavFile(file).read(4)[:, 0].tolist() == [-1.0, -0.5, 0.0, 0.5]


def test_what_the_standard_library_writes(tmp_path: Path) -> None:
    with wave.open(str(tmp_path / "a.wav"), "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(RATE)
        out.writeframes((TONE * 32767).astype("<i2").tobytes())
    np.testing.assert_allclose(WavFile(tmp_path / "a.wav").read(9999)[:, 0], TONE, atol=1e-4)


@pytest.mark.parametrize("length", [0, 0xFFFFFFFF])
def test_a_recorder_that_did_not_know_the_length(tmp_path: Path, length: int) -> None:
    file = tmp_path / "a.wav"
    file.write_bytes(wav(TONE, length=length))
    got, faults = windows(source(file, Wanted(length=500)))
    assert (len(got), faults) == (4, [])


def test_overlapping_windows_at_the_files_own_rate(tmp_path: Path) -> None:
    file = tmp_path / "a.wav"
    file.write_bytes(wav(STEREO))
    audio = source(file, Wanted(length=800, hop=400), channel=1)
    got, faults = windows(audio)
    assert not faults
    assert len(got) == 4
    for index, window in enumerate(got):
        assert window.values.shape == (800, 1)
        expected = STEREO[index * 400 : index * 400 + 800, 1]
        np.testing.assert_allclose(window.values[:, 0], expected, atol=1e-4)
        assert window.rate_hz == RATE
    assert got[2].origin == f"{file}@0.10s"
    assert audio.tally.unused == 0


def test_the_models_rate_is_made(tmp_path: Path) -> None:
    seconds = np.arange(44100) / 44100
    file = tmp_path / "a.wav"
    file.write_bytes(wav(np.sin(2 * np.pi * 440 * seconds), rate=44100))
    got, _ = windows(source(file, Wanted(rate_hz=16000, length=16000)))
    assert len(got) == 1
    assert got[0].rate_hz == 16000
    expected = np.sin(2 * np.pi * 440 * np.arange(16000) / 16000)
    np.testing.assert_allclose(got[0].values[100:-100, 0], expected[100:-100], atol=1e-3)


def test_a_short_file_is_filled_with_silence(tmp_path: Path) -> None:
    file = tmp_path / "a.wav"
    file.write_bytes(wav(TONE[:300]))
    got, faults = windows(source(file, Wanted(length=1000)))
    assert (len(got), faults) == (1, [])
    np.testing.assert_allclose(got[0].values[:300, 0], TONE[:300], atol=1e-4)
    assert not got[0].values[300:].any()


def test_the_rest_of_a_long_file_is_counted(tmp_path: Path) -> None:
    file = tmp_path / "a.wav"
    file.write_bytes(wav(TONE))
    audio = source(file, Wanted(length=900))
    got, _ = windows(audio)
    assert len(got) == 2
    assert audio.tally.unused == 200


def test_a_file_that_is_cut_off_is_used_and_told(tmp_path: Path) -> None:
    whole = wav(TONE)
    file = tmp_path / "a.wav"
    file.write_bytes(whole[:-2000])
    got, faults = windows(source(file, Wanted(length=500)))
    assert len(got) == 2
    assert len(faults) == 1
    assert f"{file}: cut off: the last 0.12 s" in faults[0]


def test_not_a_number_becomes_silence(tmp_path: Path) -> None:
    values = TONE.copy()
    values[100] = np.nan
    values[200] = np.inf
    file = tmp_path / "a.wav"
    file.write_bytes(wav(values, kind=3, bits=32))
    got, _ = windows(source(file, Wanted(length=2000)))
    assert np.isfinite(got[0].values).all()
    assert got[0].values[100, 0] == 0


def test_looping_goes_round(tmp_path: Path) -> None:
    file = tmp_path / "a.wav"
    file.write_bytes(wav(TONE))
    audio = source(file, Wanted(length=1000), loop=True)
    audio.open()
    got, positions = [], []
    for _ in range(5):
        got.append(audio.read())
        positions.append(audio.position_s)
    audio.close()
    assert np.array_equal(got[0].values, got[2].values)
    assert [window.number for window in got] == [1, 2, 3, 4, 5]
    np.testing.assert_allclose(np.diff(positions), 0.125)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "empty"),
        (b"just words, no sound at all", "is no WAV file"),
        (wav(TONE)[:30], "format chunk is cut off|has no samples"),
        (wav(TONE)[:44], "has no samples"),
        (wav(TONE, kind=7, bits=8), "µ-law is not supported"),
        (wav(TONE, kind=1, bits=16).replace(b"\x10\0LIST", b"\x0c\0LIST"), "12-bit"),
        (wav(TONE[:0]), "has no samples"),
        (b"RIFF\x04\0\0\0WAVEdata\x04\0\0\0aaaa", "format chunk is missing"),
    ],
)
def test_bad_files_are_explained(tmp_path: Path, data: bytes, words: str) -> None:
    file = tmp_path / "a.wav"
    file.write_bytes(data)
    audio = source(file, Wanted(length=500))
    with pytest.raises(InputError, match=words) as caught:
        audio.open()
        while True:
            audio.read()
    assert str(file) in str(caught.value)


def test_configuration_that_does_not_fit(tmp_path: Path) -> None:
    file = tmp_path / "a.wav"
    file.write_bytes(wav(TONE))
    with pytest.raises(ConfigError, match=r"sources\.mic\.channel: 3 does not exist: .* has 1"):
        source(file, channel=3).open()
    with pytest.raises(ConfigError, match="the model wants 2"):
        source(file, Wanted(channels=("l", "r"))).open()
    with pytest.raises(NotFound):
        source(tmp_path / "none.wav").open()


@given(st.data())
def test_mutations_never_crash(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    raw = bytearray(wav(STEREO[:50], bits=data.draw(st.sampled_from([8, 16, 24, 32]))))
    for _ in range(data.draw(st.integers(1, 6))):
        raw[data.draw(st.integers(0, min(len(raw), 60) - 1))] = data.draw(st.integers(0, 255))
    file = tmp_path_factory.getbasetemp() / "mutated.wav"
    file.write_bytes(raw[: data.draw(st.integers(0, len(raw)))])
    audio = source(file, Wanted(length=20))
    try:
        got, _ = windows(audio)
    except EdgeAgentError:
        return
    finally:
        audio.close()
    assert all(window.values.shape == (20, 1) for window in got)


def test_real_recordings(assets: Path) -> None:
    files = sorted((assets / "audio").rglob("*.wav"))
    assert files
    for file in files:
        got, faults = windows(source(file, Wanted(rate_hz=16000, length=16000)))
        assert got
        assert not faults, faults
        assert max(float(np.abs(window.values).max()) for window in got) <= 1.0
