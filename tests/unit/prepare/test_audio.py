"""Front ends against reference features, a reference library's output, and the real models."""

from __future__ import annotations

import wave
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeagent.errors import InputError, PackageError
from edgeagent.manifest import InputSpec
from edgeagent.prepare.audio import Lfbe, LogMel, LogSpectrum, Mfcc, front_end
from edgeagent.prepare.spectrum import log_spectrum
from edgeagent.prepare.window import WindowPreparer
from edgeagent.types import Quantization, TensorSpec, Window

KWS = TensorSpec("mfcc", (1, 49, 10, 1), "int8", Quantization(0.5847029089927673, 83))


def read_wav(file: Path, channel: int = 0) -> Any:
    """float32 (n, 1) in −1..1."""
    with wave.open(str(file)) as sound:
        raw = np.frombuffer(sound.readframes(sound.getnframes()), np.int16)
        return (raw.reshape(-1, sound.getnchannels())[:, channel : channel + 1] / 32768).astype(
            np.float32
        )


def window(values: Any, rate: float = 16000) -> Window:
    return Window("mic", 1, np.asarray(values, np.float32), rate, ("mono",), 0, 0.0)


def audio(**keys: Any) -> InputSpec:
    return InputSpec("sound", "audio", rate_hz=16000, **keys)


def tone(hertz: float, seconds: float = 1.0, rate: int = 16000) -> Any:
    return (0.5 * np.sin(2 * np.pi * hertz * np.arange(int(seconds * rate)) / rate))[:, None]


# --- MFCC ----------------------------------------------------------------------------------


def test_mfcc_equals_the_reference_features(assets: Path) -> None:
    reference = np.fromfile(assets / "audio/kws01_mfcc_int8_1000x490.bin", np.int8).reshape(-1, 490)
    prepare = WindowPreparer(audio(window_ms=1000, frontend="mfcc"), KWS)
    files = sorted((assets / "audio/kws_wav").glob("tst_*.wav"))
    apart = []
    for file in files:
        values, _, features = prepare(window(read_wav(file)))
        row = reference[int(file.name[4:10])].astype(int)
        apart.append(np.abs(values.reshape(-1).astype(int) - row))
        assert features.shape == (1, 49, 10, 1) and features.dtype == np.float32
    difference = np.concatenate(apart)
    assert len(files) == 36
    assert (difference == 0).mean() >= 0.996
    assert (difference <= 1).mean() >= 0.9999


def test_rounding_instead_of_truncation_is_another_front_end(assets: Path) -> None:
    reference = np.fromfile(assets / "audio/kws01_mfcc_int8_1000x490.bin", np.int8).reshape(-1, 490)
    table = {"kind": "mfcc", "rounding": "round"}
    prepare = WindowPreparer(audio(window_ms=1000, frontend=table), KWS)
    file = sorted((assets / "audio/kws_wav").glob("tst_*.wav"))[0]
    values, _, _ = prepare(window(read_wav(file)))
    same = (values.reshape(-1) == reference[int(file.name[4:10])]).mean()
    assert 0.3 < same < 0.7


def test_mfcc_of_silence_is_finite_and_loudness_does_not_matter() -> None:
    extract = Mfcc().extractor(16000)
    assert np.isfinite(extract(np.zeros((16000, 1), np.float32))).all()
    assert np.isfinite(extract(np.full((16000, 1), -0.5, np.float32))).all()
    loud, quiet = extract(tone(440)), extract(tone(440) / 100)
    assert np.allclose(loud, quiet, atol=1e-3)
    plain = front_end({"kind": "mfcc", "normalise": "none"}).extractor(16000)
    assert not np.allclose(plain(tone(440)), plain(tone(440) / 100), atol=1.0)


# --- log-mel -------------------------------------------------------------------------------

# librosa 0.11.0: 10 · log10(melspectrogram(y, sr=16000, n_fft=1024, hop_length=512,
# n_mels=128, power=2.0) + sys.float_info.epsilon), frame 4, every eighth band.
LIBROSA = [
    -68.2101, -56.164, -7.4684, -43.8825, -65.9574, -77.7804, -86.4829, -94.4276,
    -101.805, -108.6455, -115.1421, 14.3093, -127.3027, -133.2795, -138.7129, -144.797,
]  # fmt: skip


def test_log_mel_equals_librosa() -> None:
    t = np.arange(4096) / 16000
    sound = 0.5 * np.sin(2 * np.pi * 440 * t) + 0.25 * np.sin(2 * np.pi * 3000 * t)
    features = LogMel().extractor(16000)(sound[:, None].astype(np.float32))
    assert features.shape == (9, 128)
    assert features[4, ::8] == pytest.approx(LIBROSA, abs=2e-2)


def test_log_mel_without_centring_has_only_full_frames() -> None:
    sound = tone(1000, 3072 / 16000)
    framed = LogMel(centre=False).extractor(16000)(sound)
    assert framed.shape == (5, 128)
    centred = LogMel().extractor(16000)(sound)
    # Frame 0 of the one stands where frame 1 of the other does.
    assert np.allclose(framed[0], centred[1], atol=1e-3)


# --- log filter-bank -----------------------------------------------------------------------


def test_lfbe_lies_in_0_to_1_and_peaks_at_the_tone() -> None:
    extract = Lfbe().extractor(16000)
    features = extract(tone(1000, 15872 / 16000))
    assert features.shape == (30, 40)
    assert features.min() >= 0 and features.max() <= 1
    # 40 bands on a mel scale to 8 kHz: 1 kHz is 1000 / 2840 mel of the way.
    assert abs(int(features.mean(axis=0).argmax()) - round(40 * 1000 / 2840)) <= 1


# --- log-spectrum --------------------------------------------------------------------------


def test_log_spectrum_is_the_shared_function_over_all_channels() -> None:
    values = np.random.default_rng(1).normal(size=(1024, 3)).astype(np.float32)
    table = {"kind": "log-spectrum", "bands": 16, "fmin_hz": 20.0, "fmax_hz": 400.0}
    spec = InputSpec(
        "vib", "window", channels=["x", "y", "z"], rate_hz=1000, length=1024, frontend=table
    )
    prepare = WindowPreparer(spec, TensorSpec("in", (1, 48), "float32"))
    _, _, features = prepare(Window("imu", 1, values, 1000, ("x", "y", "z"), 0, 0.0))
    want = log_spectrum(values, 1000, bands=16, fmin_hz=20.0, fmax_hz=400.0)
    assert np.allclose(features.reshape(-1), want)


# --- tables --------------------------------------------------------------------------------


def test_front_end_by_name_or_table() -> None:
    assert front_end("mfcc") == Mfcc()
    assert front_end({"kind": "lfbe", "bins": 20}) == Lfbe(bins=20)
    assert isinstance(front_end("log-spectrum"), LogSpectrum)


@pytest.mark.parametrize(
    ("table", "word"),
    [
        ("mfc", "mfc"),
        ({"kind": "mfcc", "coeficients": 3}, "coeficients"),
        ({"kind": "mfcc", "bins": "many"}, "bins"),
        ({"bins": 3}, "kind"),
        ({"kind": "mfcc", "fft": 256}, "fft = 256 must hold the frame"),
        ({"kind": "mfcc", "step_ms": 0.0}, "0 samples"),
        ({"kind": "mfcc", "high_hz": 9000.0}, "0..8000 Hz"),
        ({"kind": "log-mel", "low_hz": -1.0}, "0..8000 Hz"),
    ],
)
def test_faults_of_a_table_name_the_key(table: Any, word: str) -> None:
    with pytest.raises(PackageError) as caught:
        WindowPreparer(audio(window_ms=1000, frontend=table), KWS)
    assert "input.sound.frontend" in str(caught.value) and word in str(caught.value)


def test_front_end_that_does_not_make_the_tensor() -> None:
    with pytest.raises(PackageError, match="do not make this tensor"):
        WindowPreparer(audio(window_ms=500, frontend="mfcc"), KWS)
    with pytest.raises(PackageError, match="rate_hz of the input must be given"):
        WindowPreparer(InputSpec("sound", "audio", length=16000, frontend="mfcc"), KWS)
    with pytest.raises(PackageError, match="takes one"):
        WindowPreparer(audio(channels=["l", "r"], length=16000, frontend="mfcc"), KWS)
    with pytest.raises(PackageError, match="do not fill a frame"):
        WindowPreparer(audio(length=100, frontend="mfcc"), KWS)


def test_a_short_clip_is_filled_with_silence_and_stereo_is_refused() -> None:
    prepare = WindowPreparer(audio(window_ms=1000, frontend="mfcc"), KWS)
    short = tone(440, 0.5).astype(np.float32)
    padded = np.concatenate([short, np.zeros((8000, 1), np.float32)])
    one, two = prepare(window(short))[0].copy(), prepare(window(padded))[0]
    assert np.array_equal(one, two)
    with pytest.raises(InputError, match="16001 values"):
        prepare(window(np.zeros((16001, 1))))
    stereo = Window("mic", 1, np.zeros((16000, 2), np.float32), 16000, ("l", "r"), 0, 0.0)
    with pytest.raises(InputError, match="2 channels"):
        prepare(stereo)
