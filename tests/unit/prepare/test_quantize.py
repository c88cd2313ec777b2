"""Real values to stored ones."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeagent.prepare.quantize import Quantize
from edgeagent.types import Quantization, TensorSpec


@given(
    values=st.lists(st.floats(-1e4, 1e4, width=32), min_size=1, max_size=50),
    scale=st.floats(1e-3, 10.0),
    zero=st.integers(-128, 127),
    truncate=st.booleans(),
)
def test_int8_against_plain_arithmetic(
    values: list[float], scale: float, zero: int, truncate: bool
) -> None:
    quantize = Quantize(
        TensorSpec("x", (len(values),), "int8", Quantization(scale, zero)),
        "truncate" if truncate else "round",
    )
    real = np.array(values, np.float32)
    stored = np.zeros(real.shape, np.int8)
    quantize(real, stored)
    exact = real / np.float32(scale) + np.float32(zero)
    whole = np.trunc(exact) if truncate else np.rint(exact)
    assert np.array_equal(stored, np.clip(whole, -128, 127).astype(np.int8))


def test_half_goes_to_even() -> None:
    stored = np.zeros(4, np.int8)
    Quantize(TensorSpec("x", (4,), "int8"))(np.array([0.5, 1.5, 2.5, -0.5], np.float32), stored)
    assert stored.tolist() == [0, 2, 2, 0]


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "uint16", "int32", "int64"])
def test_clips_at_the_ends_of_the_dtype(dtype: str) -> None:
    stored = np.zeros(2, dtype)
    Quantize(TensorSpec("x", (2,), dtype))(np.array([-1e30, 1e30]), stored)
    limits = np.iinfo(dtype)
    assert stored[0] == limits.min
    # float64 has no 2⁶³ − 1: the next lower number that it has is as good as the end.
    assert limits.max - stored[1] <= (1023 if dtype == "int64" else 0)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_floats_are_only_cast(dtype: str) -> None:
    stored = np.zeros(2, dtype)
    Quantize(TensorSpec("x", (2,), dtype, Quantization(0.0, 0)))(np.array([1.5, -2.0]), stored)
    assert stored.tolist() == [1.5, -2.0]
