"""Windows of sensor values into tensors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edgeagent.errors import InputError, PackageError
from edgeagent.manifest import InputSpec
from edgeagent.prepare.window import WindowPreparer
from edgeagent.types import WHOLE, Frame, Quantization, TensorSpec, Window

RNG = np.random.default_rng(3)


def window(values: Any, channels: tuple[str, ...] = ("x", "y"), rate: float = 10.0) -> Window:
    return Window("imu", 1, np.asarray(values, np.float32), rate, channels, 0, 0.0)


def spec(**keys: Any) -> InputSpec:
    return InputSpec("vib", "window", **keys)


def tensor(shape: tuple[int, ...], dtype: str = "float32", quantization: Any = None) -> TensorSpec:
    return TensorSpec("t", shape, dtype, quantization)


VALUES = RNG.normal(size=(5, 2)).astype(np.float32)


@pytest.mark.parametrize(
    ("shape", "keys", "turned"),
    [
        ((1, 5, 2), {}, False),
        ((-1, 5, 2), {}, False),
        ((1, 10), {}, False),
        ((10,), {}, False),
        ((1, 5, 1, 2), {}, False),
        ((1, 2, 5), {}, True),
        ((1, 10), {"layout": "nchw"}, True),
        ((1, 1, 2, 5), {}, True),
    ],
)
def test_layouts(shape: tuple[int, ...], keys: dict[str, Any], turned: bool) -> None:
    prepare = WindowPreparer(spec(**keys), tensor(shape))
    values, placement, features = prepare(window(VALUES))
    want = VALUES.T if turned else VALUES
    assert values.shape == tuple(1 if axis == -1 else axis for axis in shape)
    assert np.array_equal(values.reshape(-1), want.reshape(-1))
    assert np.array_equal(features, values)
    assert placement is WHOLE


def test_scaling_then_quantization_and_features_are_before_it() -> None:
    keys = {"mean": [1.0, -1.0], "scale": [2.0, 0.5]}
    prepare = WindowPreparer(spec(**keys), tensor((1, 10), "int8", Quantization(0.1, 3)))
    values, _, features = prepare(window(VALUES))
    real = (VALUES - np.array([1.0, -1.0])) / np.array([2.0, 0.5])
    assert np.allclose(features.reshape(5, 2), real, atol=1e-6)
    assert features.dtype == np.float32
    stored = np.clip(np.rint(real / 0.1 + 3), -128, 127).reshape(1, 10)
    assert np.array_equal(values, stored.astype(np.int8))


def test_one_scale_for_each_feature() -> None:
    every = RNG.normal(size=10).astype(np.float32)
    prepare = WindowPreparer(spec(mean=every.tolist()), tensor((1, 10)))
    values, _, _ = prepare(window(VALUES))
    assert np.allclose(values.reshape(-1), VALUES.reshape(-1) - every)


def test_scaling_by_channel_where_channels_come_first() -> None:
    prepare = WindowPreparer(spec(mean=[1.0, -1.0]), tensor((1, 2, 5)))
    values, _, _ = prepare(window(VALUES))
    assert np.allclose(values[0], (VALUES - np.array([1.0, -1.0])).T)


def test_channels_by_name_in_the_models_order() -> None:
    prepare = WindowPreparer(spec(channels=["y", "x"]), tensor((1, 5, 2)))
    values, _, _ = prepare(window(VALUES))
    assert np.array_equal(values[0], VALUES[:, ::-1])
    three = np.column_stack([VALUES, VALUES[:, 0]])
    values, _, _ = prepare(window(three, ("x", "other", "y")))
    assert np.array_equal(values[0], three[:, [2, 0]])
    with pytest.raises(InputError, match="has no channel y; it has x, z"):
        prepare(window(VALUES, ("x", "z")))


def test_open_length() -> None:
    prepare = WindowPreparer(spec(), tensor((1, -1)))
    for length in (4, 9):
        values, _, _ = prepare(window(np.ones((length, 1)), ("a",)))
        assert values.shape == (1, length)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_is_refused(bad: float) -> None:
    prepare = WindowPreparer(spec(), tensor((1, 10)))
    values = VALUES.copy()
    values[3, 1] = bad
    with pytest.raises(InputError, match="NaN or infinity"):
        prepare(window(values))
    prepare(window(np.full((5, 2), 3e38)))  # huge, but numbers


@pytest.mark.parametrize(
    ("keys", "sample", "words"),
    [
        ({"length": 6}, window(VALUES), "holds 5 values a channel, input 'vib' takes 6"),
        ({"length": 4}, window(VALUES), "holds 5 values a channel, input 'vib' takes 4"),
        ({}, window(VALUES[:4]), "4×2 values do not fill"),
        ({}, window(np.zeros((0, 2))), "holds no values"),
        ({"rate_hz": 100.0}, window(VALUES), "10 values a second, input 'vib' was trained on 100"),
        ({}, Frame("cam", 1, np.zeros((2, 2), np.uint8), 0, 0.0), "'cam' gives pictures"),
    ],
)
def test_samples_that_do_not_fit(keys: dict[str, Any], sample: Any, words: str) -> None:
    with pytest.raises(InputError) as caught:
        WindowPreparer(spec(**keys), tensor((1, 10)))(sample)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("keys", "shape", "words"),
    [
        ({"length": 6, "channels": ["x", "y"]}, (1, 10), "windows of 6 values × 2 channels"),
        ({}, (1, -1, -1), "more than one dimension open"),
        ({"mean": [float("nan")]}, (1, 10), "input.vib.mean holds NaN"),
        ({"length": 5, "channels": ["x", "y"], "mean": [1.0] * 3}, (1, 10), "input.vib"),
    ],
)
def test_packages_that_do_not_fit(keys: dict[str, Any], shape: Any, words: str) -> None:
    with pytest.raises(PackageError) as caught:
        WindowPreparer(spec(**keys), tensor(shape))
    assert words in str(caught.value)


def test_the_samples_values_are_not_written_to() -> None:
    values = VALUES.copy()
    values.setflags(write=False)
    prepare = WindowPreparer(spec(mean=[1.0], scale=[3.0]), tensor((1, 10), "int8"))
    prepare(window(values))
    assert np.array_equal(values, VALUES)


def test_lengths_in_milliseconds() -> None:
    sound = InputSpec("s", "audio", rate_hz=16000, window_ms=975, hop_ms=487.5)
    assert (sound.rows, sound.step) == (15600, 7800)
    assert (spec(length=5, hop=2).rows, spec(length=5, hop=2).step) == (5, 2)
    assert (spec().rows, spec().step) == (0, 0)
