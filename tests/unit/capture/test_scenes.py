"""The synthetic scenes as sources."""

from __future__ import annotations

import numpy as np
import pytest

from edgeagent.capture.scenes import SyntheticSource
from edgeagent.capture.source import Source, Timed, Wanted
from edgeagent.capture.synthetic import BeltScene, VibrationScene
from edgeagent.config.model import SyntheticConfig
from edgeagent.errors import ConfigError, SourceEnded
from edgeagent.types import Frame, Window


def test_the_belt_gives_frames_with_their_truth() -> None:
    source = SyntheticSource("belt", SyntheticConfig(seed=3, size=(160, 120), count=4, fps=10))
    assert isinstance(source, Source)
    assert isinstance(source, Timed)
    source.open()
    frames = [source.read() for _ in range(4)]
    with pytest.raises(SourceEnded):
        source.read()
    source.close()
    scene = BeltScene(3, (160, 120), fault_rate=0.25)
    for number, frame in enumerate(frames):
        assert isinstance(frame, Frame)
        pixels, truths = scene.render(number)
        assert np.array_equal(frame.pixels, pixels)
        assert frame.truth == truths
        assert frame.number == number + 1
    assert source.position_s == pytest.approx(0.3)


def test_the_bearing_gives_windows_that_overlap() -> None:
    wanted = Wanted(("x",), 8000.0, 512, 256)
    config = SyntheticConfig(scene="vibration", seed=2, count=3, healthy_s=0.0, failing_s=1.0)
    source = SyntheticSource("bearing", config, wanted)
    source.open()
    windows = [source.read() for _ in range(3)]
    for window in windows:
        assert isinstance(window, Window)
        assert window.values.shape == (512, 1)
        assert window.values.dtype == np.float32
        assert window.channels == ("x",)
    assert np.allclose(windows[0].values[256:], windows[1].values[:256], atol=1e-4)
    scene = VibrationScene(2, rate_hz=8000.0, healthy_s=0.0, fail_s=1.0)
    assert windows[2].truth == scene.severity((512 + 256) / 8000)
    assert source.position_s == pytest.approx((2 * 256 + 512) / 8000)


def test_true_pace_is_live_and_max_loses_nothing() -> None:
    assert SyntheticSource("s", SyntheticConfig()).live
    assert not SyntheticSource("s", SyntheticConfig(pace="max")).live


def test_channels_that_the_scene_has_not() -> None:
    source = SyntheticSource("s", SyntheticConfig(scene="vibration"), Wanted(("a", "b")))
    with pytest.raises(ConfigError, match=r"sources\.s: channels"):
        source.open()
