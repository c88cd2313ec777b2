"""Lines of text, frames at their own size, parts of frames, and what stands around."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeagent.errors import InputError, PackageError
from edgeagent.manifest import InputSpec
from edgeagent.prepare.crop import box_of, quad_of
from edgeagent.prepare.image import ImagePreparer
from edgeagent.prepare.line import LinePreparer
from edgeagent.types import Frame, Placement, Quantization, TensorSpec

RNG = np.random.default_rng(3)
SCALED: dict[str, Any] = {"mean": [127.5], "scale": [127.5], "pad": [127.5]}


def frame(width: int, height: int) -> Frame:
    return Frame("cam", 1, RNG.integers(0, 256, (height, width, 3), dtype=np.uint8), 0, 0.0)


def spec(**keys: Any) -> InputSpec:
    return InputSpec("x", "image", **keys)


def reference(pixels: Any, ratio: float) -> Any:
    """PaddleOCR's resize_norm_img, in our own words."""
    width = int(48 * ratio)
    inner = min(width, int(np.ceil(48 * pixels.shape[1] / pixels.shape[0])))
    out = np.zeros((3, 48, width), np.float32)
    small = cv2.resize(pixels, (inner, 48)).astype(np.float32).transpose(2, 0, 1)
    out[:, :, :inner] = (small / 255 - 0.5) / 0.5
    return out


@given(width=st.integers(1, 900), height=st.integers(1, 100))
@settings(deadline=None, max_examples=80)
def test_a_line_is_as_wide_as_it_needs(width: int, height: int) -> None:
    sample = frame(width, height)
    prepare = LinePreparer(
        spec(size=(320, 48), fit="line", colour="bgr", **SCALED),
        TensorSpec("x", (-1, 3, -1, -1), "float32"),
    )
    values, placement, _ = prepare(sample)
    ratio = max(320 / 48, min(width / height, 80))
    want = reference(sample.pixels, ratio)
    if width / height > 80:
        assert values.shape == (1, 3, 48, 48 * 80)
        return
    assert values.shape[1:] == want.shape
    assert np.allclose(values[0], want, atol=1e-6)
    assert placement.to_frame((0, 0, placement.width, 1))[2] == pytest.approx(1)


def test_a_batch_of_lines_is_as_wide_as_the_widest() -> None:
    keys = spec(size=(64, 16), fit="line", colour="bgr", pad=[10, 20, 30])
    for shape, axis in [((-1, 16, -1, 3), 2), ((-1, 3, 16, -1), 3)]:
        prepare = LinePreparer(keys, TensorSpec("x", shape, "uint8"))
        samples = [frame(60, 16), frame(160, 16), frame(32, 32)]
        each = [prepare(sample)[0] for sample in samples]
        batch = prepare.join(each)
        assert batch.shape[0] == 3 and batch.shape[axis] == 160
        rows = batch if axis == 2 else batch.transpose(0, 2, 3, 1)
        assert np.array_equal(rows[0, :, :60], samples[0].pixels)
        assert np.array_equal(rows[1], samples[1].pixels)
        assert (rows[0, :, 64:] == (10, 20, 30)).all() and (rows[2, :, 16:] == (10, 20, 30)).all()


def test_a_line_for_a_tensor_of_one_width_is_squeezed() -> None:
    prepare = LinePreparer(
        spec(size=(64, 16), fit="line", colour="gray"), TensorSpec("x", (1, 16, 64, 1), "uint8")
    )
    sample = frame(320, 16)
    values, placement, _ = prepare(sample)
    grey = cv2.cvtColor(cv2.resize(sample.pixels, (64, 16)), cv2.COLOR_BGR2GRAY)
    assert np.array_equal(values[0, ..., 0], grey)
    assert placement == Placement()


def test_what_does_not_fit_a_line() -> None:
    tensor = TensorSpec("x", (-1, 3, 48, -1), "float32")
    with pytest.raises(PackageError, match="size is missing"):
        LinePreparer(spec(fit="line"), tensor)
    with pytest.raises(InputError):
        LinePreparer(spec(fit="line", size=(320, 48)), tensor)(
            Frame("c", 1, np.zeros((0, 3, 3), np.uint8), 0, 0.0)
        )


@pytest.mark.parametrize(
    ("frame_size", "tensor_size"),
    [((640, 480), (992, 736)), ((1920, 1080), (1920, 1088)), ((100, 4000), (736, 29440)),
     ((33, 33), (736, 736))],
)  # fmt: skip
def test_a_whole_frame_in_steps_of_32_pixels(
    frame_size: tuple[int, int], tensor_size: tuple[int, int]
) -> None:
    if tensor_size[1] > 20000:
        frame_size, tensor_size = (100, 400), (736, 2944)
    prepare = ImagePreparer(
        spec(size=(736, 736), fit="whole", colour="bgr"),
        TensorSpec("x", (-1, 3, -1, -1), "uint8"),
    )
    sample = frame(*frame_size)
    values, placement, _ = prepare(sample)
    assert values.shape == (1, 3, tensor_size[1], tensor_size[0])
    assert placement == Placement()
    assert np.array_equal(values[0].transpose(1, 2, 0), cv2.resize(sample.pixels, tensor_size))
    again, _, _ = prepare(frame(64, 64))  # another size, through the same preparer
    assert again.shape == (1, 3, 736, 736)


def test_a_tensor_of_one_size_takes_no_whole_frames() -> None:
    with pytest.raises(PackageError, match="fixes the picture's size"):
        ImagePreparer(spec(fit="whole", size=(32, 32)), TensorSpec("x", (1, 32, 32, 3), "uint8"))


@pytest.mark.parametrize(
    ("dtype", "quantization", "keys", "want"),
    [
        ("uint8", None, {"pad": [114]}, [114, 114, 114]),
        ("uint8", None, {"pad": [1, 2, 3]}, [1, 2, 3]),
        ("int8", None, {"pad": [114]}, [-14, -14, -14]),
        ("int8", Quantization(1 / 255, -128), {"pad": [114], "scale": [255]}, [-14, -14, -14]),
        ("float32", None, {"pad": [114], "scale": [255]}, [114 / 255] * 3),
        ("float32", None, {"pad": [127.5], "mean": [127.5], "scale": [127.5]}, [0, 0, 0]),
        ("float16", None, {"pad": [51], "scale": [255]}, [0.2] * 3),
    ],
)
@pytest.mark.parametrize("planar", [False, True])
def test_the_colour_around_a_frame(
    dtype: str, quantization: Any, keys: dict[str, Any], want: list[float], planar: bool
) -> None:
    shape = (1, 3, 40, 40) if planar else (1, 40, 40, 3)
    prepare = ImagePreparer(spec(**keys), TensorSpec("x", shape, dtype, quantization))
    for size in [(40, 20), (20, 40), (40, 20)]:
        values, _, _ = prepare(frame(*size))
        rows = values[0].transpose(1, 2, 0) if planar else values[0]
        bars = rows[:10] if size[0] > size[1] else rows[:, :10]
        assert np.allclose(bars.astype(float), want, atol=1e-3)


def test_pad_of_too_many_values() -> None:
    with pytest.raises(PackageError, match="pad has 2 values for 3 channels"):
        ImagePreparer(spec(pad=[1, 2]), TensorSpec("x", (1, 40, 40, 3), "uint8"))


# --- parts ---------------------------------------------------------------------------------


@given(
    box=st.tuples(*[st.floats(-0.5, 1.5)] * 4), margin=st.floats(0, 1),
    size=st.tuples(st.integers(1, 300), st.integers(1, 300)),
)  # fmt: skip
@settings(deadline=None)
def test_a_part_lies_where_its_placement_says(box: Any, margin: float, size: Any) -> None:
    pixels = np.zeros((size[1], size[0], 3), np.uint8)
    cut = box_of(pixels, box, margin)
    if cut is None:
        x1, y1, x2, y2 = box
        across, down = (x2 - x1) * margin, (y2 - y1) * margin
        left, right = max(0, x1 - across), min(1, x2 + across)
        top, bottom = max(0, y1 - down), min(1, y2 + down)
        assert left >= right or top >= bottom
        return
    part, placement = cut
    x1, y1, x2, y2 = placement.to_frame((0.0, 0.0, 1.0, 1.0))
    assert (x2 - x1) * size[0] == pytest.approx(part.shape[1])
    assert (y2 - y1) * size[1] == pytest.approx(part.shape[0])
    assert x1 >= -1e-9 and y1 >= -1e-9 and x2 <= 1 + 1e-9 and y2 <= 1 + 1e-9
    assert np.shares_memory(part, pixels)


def test_a_part_that_is_nowhere() -> None:
    pixels = np.zeros((10, 10, 3), np.uint8)
    assert box_of(pixels, (1.2, 0, 1.5, 1)) is None
    assert box_of(pixels, (float("nan"), 0, 1, 1)) is None
    assert quad_of(pixels, [(0.5, 0.5)] * 4) is None
    assert quad_of(pixels, [(float("inf"), 0), (1, 0), (1, 1), (0, 1)]) is None


def test_a_turned_line_comes_out_straight() -> None:
    picture = np.zeros((400, 400, 3), np.uint8)
    picture[180:220, 100:300] = 255
    picture[185:195, 110:130] = (0, 0, 255)  # a mark near the top left
    turn = cv2.getRotationMatrix2D((200, 200), 25, 1.0)
    turned = cv2.warpAffine(picture, turn, (400, 400))
    corners = np.array([(100, 180, 1), (300, 180, 1), (300, 220, 1), (100, 220, 1)])
    points = [(x / 400, y / 400) for x, y in corners @ turn.T]
    part = quad_of(turned, points)
    assert part is not None
    assert abs(part.shape[1] - 200) <= 2 and abs(part.shape[0] - 40) <= 2
    assert part[:, 40:].mean() > 240
    assert part[8:13, 14:26, 2].mean() > 200 and part[8:13, 14:26, 0].mean() < 60
    downwards = np.ascontiguousarray(np.rot90(picture))
    upright = quad_of(downwards, [(0.45, 0.25), (0.55, 0.25), (0.55, 0.75), (0.45, 0.75)])
    assert upright is not None and upright.shape[1] > upright.shape[0]
