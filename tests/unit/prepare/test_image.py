"""Pictures into tensors: geometry, colour, layout, stored values."""

from __future__ import annotations

import itertools
import time
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeagent.errors import InputError, PackageError
from edgeagent.manifest import InputSpec
from edgeagent.prepare.image import ImagePreparer
from edgeagent.types import Frame, Quantization, TensorSpec, Window

RNG = np.random.default_rng(7)


def frame(pixels: Any) -> Frame:
    return Frame("cam", 1, np.asarray(pixels), 0, 0.0)


def picture(width: int, height: int, channels: int = 3) -> Any:
    shape = (height, width, channels) if channels > 1 else (height, width)
    return RNG.integers(0, 256, shape, dtype=np.uint8)


def tensor(shape: tuple[int, ...], dtype: str = "uint8", quantization: Any = None) -> TensorSpec:
    return TensorSpec("x", shape, dtype, quantization)


def spec(**keys: Any) -> InputSpec:
    return InputSpec("image", "image", **keys)


# --- geometry ------------------------------------------------------------------------------

sizes = st.integers(1, 400)
fits = st.sampled_from(["letterbox", "stretch", "crop"])
edge = st.floats(-0.5, 1.5)


@given(width=sizes, height=sizes, across=sizes, down=sizes, fit=fits, box=st.tuples(*[edge] * 4))
@settings(max_examples=200, deadline=None)
def test_placement_there_and_back(
    width: int, height: int, across: int, down: int, fit: str, box: Any
) -> None:
    prepare = ImagePreparer(spec(fit=fit), tensor((1, down, across, 3)))
    _, placement, _ = prepare(frame(np.zeros((height, width, 3), np.uint8)))
    assert placement.to_frame(placement.to_tensor(box)) == pytest.approx(box, abs=1e-9)
    assert placement.to_tensor(placement.to_frame(box)) == pytest.approx(box, abs=1e-9)


@given(data=st.data(), fit=fits, resample=st.sampled_from(["linear", "area", "nearest"]))
@settings(max_examples=150, deadline=None)
def test_a_drawn_rectangle_is_found_where_the_placement_says(
    data: Any, fit: str, resample: str
) -> None:
    width, height = data.draw(st.integers(60, 500)), data.draw(st.integers(60, 500))
    across, down = data.draw(st.integers(40, 300)), data.draw(st.integers(40, 300))
    prepare = ImagePreparer(spec(fit=fit, resample=resample), tensor((1, down, across, 3)))
    _, placement, _ = prepare(frame(np.zeros((height, width, 3), np.uint8)))
    # A rectangle well inside what the tensor shows, and large enough to be seen in it.
    seen = placement.to_frame((0.0, 0.0, 1.0, 1.0))
    left, top = max(0.0, seen[0]), max(0.0, seen[1])
    right, bottom = min(1.0, seen[2]), min(1.0, seen[3])
    x1 = round((left + (right - left) * 0.25) * width)
    x2 = round((left + (right - left) * 0.75) * width)
    y1 = round((top + (bottom - top) * 0.25) * height)
    y2 = round((top + (bottom - top) * 0.75) * height)
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[y1:y2, x1:x2] = 255
    values, placement, _ = prepare(frame(pixels))
    found = np.argwhere(values[0, :, :, 0] > 127)
    want = placement.to_tensor((x1 / width, y1 / height, x2 / width, y2 / height))
    want_pixels = np.array(want) * (across, down, across, down)
    (top_row, left_col), (bottom_row, right_col) = found.min(axis=0), found.max(axis=0) + 1
    have = np.array([left_col, top_row, right_col, bottom_row])
    assert np.abs(have - want_pixels).max() <= 1.0 + 1e-9


def test_letterbox_is_black_around_and_stays_so_when_the_frame_changes_shape() -> None:
    prepare = ImagePreparer(spec(), tensor((1, 60, 60, 3)))
    wide, _, _ = prepare(frame(np.full((50, 100, 3), 255, np.uint8)))
    assert (wide[0, :15] == 0).all() and (wide[0, 15:45] == 255).all() and (wide[0, 45:] == 0).all()
    tall, _, _ = prepare(frame(np.full((100, 50, 3), 255, np.uint8)))
    assert (tall[0, :, :15] == 0).all() and (tall[0, :, 15:45] == 255).all()
    assert (tall[0, :, 45:] == 0).all()
    grey, _, _ = prepare(frame(np.full((50, 100), 255, np.uint8)))
    assert (grey[0, :15] == 0).all() and (grey[0, 15:45] == 255).all()


def test_crop_takes_the_middle() -> None:
    pixels = np.zeros((100, 300, 3), np.uint8)
    pixels[:, 100:200] = 255
    values, placement, _ = ImagePreparer(spec(fit="crop"), tensor((1, 50, 50, 3)))(frame(pixels))
    assert (values == 255).all()
    assert placement.to_frame((0, 0, 1, 1)) == pytest.approx((1 / 3, 0, 2 / 3, 1))


@pytest.mark.parametrize("size", [(1, 1), (20000, 1), (1, 20000), (2, 9000)])
@pytest.mark.parametrize("fit", ["letterbox", "stretch", "crop"])
def test_extreme_frames(size: tuple[int, int], fit: str) -> None:
    values, placement, _ = ImagePreparer(spec(fit=fit), tensor((1, 32, 32, 3)))(
        frame(np.full((size[1], size[0], 3), 9, np.uint8))
    )
    assert values.max() == 9
    assert placement.width > 0 and placement.height > 0


# --- values: every dtype, layout and colour against a plain recalculation ------------------


def expected(
    pixels: Any, want: InputSpec, spec_: TensorSpec, size: tuple[int, int], planar: bool
) -> Any:
    small = cv2.resize(pixels, size, interpolation=cv2.INTER_LINEAR)
    if pixels.ndim == 2:
        small = (
            np.repeat(small[..., None], 3, axis=2) if want.colour != "gray" else small[..., None]
        )
    elif want.colour == "gray":
        small = cv2.cvtColor(small, cv2.COLOR_BGR2GRAY)[..., None]
    elif want.colour == "rgb":
        small = small[..., ::-1]
    real = small.astype(np.float64)
    dtype = np.dtype(spec_.dtype)
    if not want.mean and not want.scale and dtype.itemsize == 1:
        stored = real if dtype == np.uint8 else real - 128
    else:
        real = (real - np.array(want.mean or [0.0])) / np.array(want.scale or [1.0])
        stored = real
        if dtype.kind in "iu":
            quantization = spec_.quantization or Quantization(1.0, 0)
            stored = np.float32(real) / np.float32(quantization.scale) + quantization.zero_point
            limits = np.iinfo(dtype)
            stored = np.clip(np.rint(stored), limits.min, limits.max)
    stored = stored.astype(dtype)
    return np.moveaxis(stored, 2, 0)[None] if planar else stored[None]


SCALINGS: list[dict[str, Any]] = [
    {},
    {"mean": [127.5], "scale": [127.5]},
    {"mean": [0, 0, 0], "scale": [255, 255, 255]},
    {"mean": [123.675, 116.28, 103.53], "scale": [58.395, 57.12, 57.375]},
]
TENSORS = [
    ("uint8", Quantization(1 / 128, 128)),
    ("uint8", None),
    ("int8", Quantization(1 / 255, -128)),
    ("int8", Quantization(0.0186, -14)),
    ("int16", Quantization(0.0005, 0)),
    ("uint16", Quantization(0.0005, 100)),
    ("float32", None),
    ("float16", None),
    ("float64", None),
    ("int32", None),
]


@pytest.mark.parametrize("planar", [False, True])
@pytest.mark.parametrize("colour", ["rgb", "bgr", "gray"])
@pytest.mark.parametrize(("dtype", "quantization"), TENSORS)
def test_stored_values(dtype: str, quantization: Any, colour: str, planar: bool) -> None:
    channels = 1 if colour == "gray" else 3
    shape = (1, channels, 24, 31) if planar else (1, 24, 31, channels)
    for scaling, grey in itertools.product(SCALINGS, (False, True)):
        if len(scaling.get("mean", [])) == 3 and channels == 1:
            continue
        want = spec(fit="stretch", colour=colour, **scaling)
        target = tensor(shape, dtype, quantization)
        pixels = picture(90, 70, 1 if grey else 3)
        values, _, _ = ImagePreparer(want, target)(frame(pixels))
        assert values.dtype == np.dtype(dtype) and values.shape == shape
        reference = expected(pixels, want, target, (31, 24), planar)
        if np.dtype(dtype).kind == "f":
            assert np.allclose(values, reference, rtol=1e-3 if dtype == "float16" else 1e-6)
        else:
            # float32 and float64 may fall on either side of a half.
            assert np.abs(values.astype(np.int64) - reference.astype(np.int64)).max() <= 1
            assert (values == reference).mean() > 0.99


@pytest.mark.parametrize("planar", [False, True])
@pytest.mark.parametrize("colour", ["rgb", "bgr", "gray"])
@pytest.mark.parametrize(("dtype", "quantization"), TENSORS)
def test_stored_values_with_bars_around_the_frame(
    dtype: str, quantization: Any, colour: str, planar: bool
) -> None:
    channels = 1 if colour == "gray" else 3
    shape = (1, channels, 24, 31) if planar else (1, 24, 31, channels)
    target = tensor(shape, dtype, quantization)
    for scaling in SCALINGS[: 4 if channels == 3 else 3]:
        if len(scaling.get("mean", [])) == 3 and channels == 1:
            continue
        prepare = ImagePreparer(spec(colour=colour, **scaling), target)
        # Frames of changing form and colour through one preparer, some of them twice.
        for width, height, depth in [(93, 24, 3), (93, 24, 3), (20, 80, 3), (62, 16, 1), (9, 9, 1)]:
            pixels = picture(width, height, depth)
            values, _, _ = prepare(frame(pixels))
            ratio = min(31 / width, 24 / height)
            size = (max(1, round(width * ratio)), max(1, round(height * ratio)))
            inner = cv2.resize(pixels, size, interpolation=cv2.INTER_LINEAR)
            left, top = (31 - size[0]) // 2, (24 - size[1]) // 2
            canvas = np.zeros((24, 31, *pixels.shape[2:]), np.uint8)
            canvas[top : top + size[1], left : left + size[0]] = inner
            want = expected(canvas, spec(colour=colour, **scaling), target, (31, 24), planar)
            near = 1e-3 if np.dtype(dtype).kind == "f" else 1
            assert values.dtype == want.dtype and values.shape == want.shape
            assert np.allclose(values.astype(np.float64), want.astype(np.float64), 1e-3, near)
            assert (np.isclose(values, want)).mean() > 0.99


@pytest.mark.parametrize(
    ("keys", "dtype", "quantization"),
    [
        ({}, "uint8", Quantization(1 / 128, 128)),
        ({}, "uint8", Quantization(0.0, 0)),
        ({}, "uint8", None),
        ({}, "int8", Quantization(1 / 255, -128)),
        ({}, "int8", Quantization(1.0, -128)),
        ({"scale": [255]}, "uint8", Quantization(1 / 255, 0)),
        ({"mean": [128], "scale": [128]}, "uint8", Quantization(1 / 128, 128)),
        ({"mean": [0, 0, 0], "scale": [255, 255, 255]}, "int8", Quantization(1 / 255, -128)),
        ({"mean": [128], "scale": [128]}, "int8", Quantization(1 / 128, 0)),
    ],
)
def test_equivalent_scaling_feeds_the_pixels_themselves(
    keys: dict[str, Any], dtype: str, quantization: Any
) -> None:
    target = tensor((1, 20, 20, 3), dtype, quantization)
    pixels = picture(20, 20)
    values, _, _ = ImagePreparer(spec(colour="bgr", **keys), target)(frame(pixels))
    want = pixels if dtype == "uint8" else (pixels.astype(np.int16) - 128).astype(np.int8)
    assert np.array_equal(values[0], want)


@pytest.mark.parametrize(
    ("shape", "keys", "held"),
    [
        ((1, 28, 28), {"colour": "gray"}, (1, 28, 28)),
        ((-1, 28, 28), {"colour": "gray"}, (1, 28, 28)),
        ((-1, 28, 30, 3), {}, (1, 28, 30, 3)),
        ((28, 30, 3), {}, (28, 30, 3)),
        ((3, 28, 30), {}, (3, 28, 30)),
        ((28, 30, 1), {"colour": "gray"}, (28, 30, 1)),
        ((1, -1, -1, 3), {"size": (30, 28)}, (1, 28, 30, 3)),
        ((-1, 3, -1, -1), {"size": (30, 28)}, (1, 3, 28, 30)),
        ((-1, -1, -1, -1), {"size": (30, 28), "layout": "nchw"}, (1, 3, 28, 30)),
        ((1, 64), {"size": (8, 8), "colour": "gray"}, (1, 64)),
        ((192,), {"size": (8, 8)}, (192,)),
    ],
)
def test_forms(shape: tuple[int, ...], keys: dict[str, Any], held: tuple[int, ...]) -> None:
    values, _, _ = ImagePreparer(spec(**keys), tensor(shape))(frame(picture(50, 40)))
    assert values.shape == held
    assert values.any()


def test_flat_tensor_has_rows_of_pixels() -> None:
    pixels = picture(8, 8, 1)
    want = spec(size=(8, 8), colour="gray", scale=[255])
    values, _, _ = ImagePreparer(want, tensor((1, 64), "float32"))(frame(pixels))
    assert np.allclose(values, pixels.reshape(1, 64) / 255)


# --- what does not fit ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "keys", "words"),
    [
        ((1, 300, 300, 3), {"size": (320, 240)}, "input.image.size = [320, 240]"),
        ((1, 300, 300, 1), {}, "input.image.colour = 'rgb' means 3 channels"),
        ((1, 300, 300, 3), {"colour": "gray"}, "means 1 channel,"),
        ((1, 300, 300, 3), {"layout": "nchw"}, "input.image.layout = 'nchw'"),
        ((4, 300, 300, 3), {}, "takes 4 pictures at once"),
        ((1, -1, -1, 3), {}, "input.image.size is missing"),
        ((1, 490), {"size": (8, 8)}, "input.image.size is [8, 8]"),
        ((1, 490), {}, "input.image.size is absent"),
        ((1, 2, 300, 300, 3), {}, "3 or 4 dimensions"),
        ((1, 20, 20, 3), {"mean": [1.0, 2.0]}, "input.image.mean has 2 values for 3 channels"),
        ((1, 20, 20, 3), {"size": (0, 20)}, "must be above 0"),
        ((), {}, "3 or 4 dimensions"),
    ],
)
def test_package_that_does_not_fit(
    shape: tuple[int, ...], keys: dict[str, Any], words: str
) -> None:
    with pytest.raises(PackageError) as caught:
        ImagePreparer(spec(**keys), tensor(shape))
    assert words in str(caught.value)


def test_tensor_of_strings_is_refused() -> None:
    with pytest.raises(PackageError, match="only numbers"):
        ImagePreparer(spec(scale=[2]), tensor((1, 20, 20, 3), "bool"))


@pytest.mark.parametrize(
    "pixels",
    [
        np.zeros((10, 10, 4), np.uint8),
        np.zeros((10, 10, 3), np.uint16),
        np.zeros((0, 10, 3), np.uint8),
        np.zeros((10,), np.uint8),
    ],
)
def test_unusable_pictures(pixels: Any) -> None:
    with pytest.raises(InputError):
        ImagePreparer(spec(), tensor((1, 20, 20, 3)))(frame(pixels))


def test_window_into_a_picture_model() -> None:
    window = Window("mic", 1, np.zeros((5, 1), np.float32), 10.0, ("a",), 0, 0.0)
    with pytest.raises(InputError, match="takes pictures, but 'mic' gives windows"):
        ImagePreparer(spec(), tensor((1, 20, 20, 3)))(window)


def test_the_frame_is_not_written_to() -> None:
    pixels = picture(64, 48)
    pixels.setflags(write=False)
    before = pixels.copy()
    for fit in ("letterbox", "stretch", "crop"):
        ImagePreparer(spec(fit=fit), tensor((1, 48, 64, 3), "int8"))(frame(pixels))
    assert np.array_equal(pixels, before)


def test_cost_of_a_full_hd_frame() -> None:
    prepare = ImagePreparer(spec(), tensor((1, 300, 300, 3)))
    sample = frame(picture(1920, 1080))
    best = float("inf")
    for _ in range(30):
        started = time.perf_counter()
        prepare(sample)
        best = min(best, time.perf_counter() - started)
    assert best < 2e-3  # 0.2 ms on the machine where the target of 0.7 ms was measured
