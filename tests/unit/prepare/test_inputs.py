"""Which [[input]] feeds which tensor."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeagent.errors import InputError, PackageError
from edgeagent.manifest import InputSpec, Manifest, OutputSpec, Package, StateSpec, Variant
from edgeagent.prepare.inputs import Prepare
from edgeagent.types import Frame, TensorSpec, Window

PIXELS = np.random.default_rng(1).integers(0, 256, (40, 50, 3), dtype=np.uint8)
FRAME = Frame("cam", 1, PIXELS, 0, 0.0)


def package(*inputs: InputSpec, states: list[StateSpec] | None = None) -> Package:
    manifest = Manifest(
        "m", "1.0.0", "classify", OutputSpec("none"), list(inputs), [Variant("f", "onnx")],
        state=states or [],
    )  # fmt: skip
    return Package(Path("models/m"), manifest, ())


def tensor(name: str, shape: tuple[int, ...], dtype: str = "float32") -> TensorSpec:
    return TensorSpec(name, shape, dtype)


def test_one_picture() -> None:
    prepare = Prepare(package(InputSpec("image", "image")), (tensor("input_1", (1, 20, 20, 3)),))
    prepared = prepare(FRAME)
    assert [values.shape for values in prepared.tensors] == [(1, 20, 20, 3)]
    assert prepared.placement.height == pytest.approx(0.8)
    assert prepared.features is None


def test_constants_names_positions_and_state() -> None:
    inputs = (
        tensor("sr", (), "int64"),
        tensor("h0", (2, 1, 128)),
        tensor("audio", (1, 5)),
        tensor("gain", (-1, 1)),
    )
    prepare = Prepare(
        package(
            InputSpec("sound", "audio", tensor="audio"),
            InputSpec("gain", "tensor", value=0.5),
            InputSpec("rate", "tensor", value=16000),
            states=[StateSpec("h0", "hn")],
        ),
        inputs,
    )
    window = Window("mic", 1, np.ones((5, 1), np.float32), 16000, ("a",), 0, 0.0)
    prepared = prepare(window)
    rate, audio, gain = prepared.tensors
    assert rate.shape == () and rate.dtype == np.int64 and rate == 16000
    assert isinstance(rate, np.ndarray)  # runtimes refuse numpy's scalars
    assert audio.tolist() == [[1.0] * 5]
    assert gain.tolist() == [[0.5]]
    assert prepared.features is not None and prepared.features.shape == (1, 5)


def test_two_pictures_of_one_frame() -> None:
    prepare = Prepare(
        package(InputSpec("small", "image"), InputSpec("large", "image", fit="stretch")),
        (tensor("a", (1, 10, 10, 3)), tensor("b", (1, 3, 30, 30))),
    )
    prepared = prepare(FRAME)
    assert [values.shape for values in prepared.tensors] == [(1, 10, 10, 3), (1, 3, 30, 30)]
    assert prepared.placement.height == pytest.approx(0.8)  # the first picture's


def test_raw_tensor_from_a_window() -> None:
    prepare = Prepare(package(InputSpec("x", "tensor")), (tensor("x", (1, 4)),))
    window = Window("s", 1, np.arange(4, dtype=np.float32)[:, None], 1.0, ("a",), 0, 0.0)
    assert prepare(window).tensors[0].tolist() == [[0.0, 1.0, 2.0, 3.0]]


@pytest.mark.parametrize(
    ("inputs", "tensors", "words"),
    [
        (
            [InputSpec("image", "image")],
            [("a", (1, 9, 9, 3)), ("sr", ())],
            "1 [[input]] for a model with 2 inputs (a, sr)",
        ),
        (
            [InputSpec("image", "image", tensor="b")],
            [("a", (1, 9, 9, 3))],
            "input.image.tensor = 'b' is no input of the model",
        ),
        (
            [InputSpec("one", "image", tensor="a"), InputSpec("two", "image", tensor="a")],
            [("a", (1, 9, 9, 3)), ("b", (1, 9, 9, 3))],
            "input.two: 'one' already feeds tensor 'a'",
        ),
        ([InputSpec("x", "tensor", value=1)], [("a", (1,))], "nothing is fed"),
        ([InputSpec("image", "image", size=(8, 8))], [("a", (1, 9, 9, 3))], "input.image.size"),
    ],
)
def test_mismatches_name_file_and_key(inputs: Any, tensors: Any, words: str) -> None:
    with pytest.raises(PackageError) as caught:
        Prepare(package(*inputs), tuple(tensor(*each) for each in tensors))
    assert str(caught.value).startswith("models/m/model.toml: ")
    assert words in str(caught.value)
    assert caught.value.remedy


def test_names_go_before_positions() -> None:
    prepare = Prepare(
        package(
            InputSpec("rate", "tensor", value=7),
            InputSpec("gain", "tensor", tensor="g", value=0.5),
            InputSpec("x", "tensor"),
        ),
        (tensor("g", (1,)), tensor("x", (1, 1)), tensor("sr", (1,))),
    )
    window = Window("s", 1, np.full((1, 1), 3, np.float32), 1.0, ("a",), 0, 0.0)
    assert [values.ravel().tolist() for values in prepare(window).tensors] == [[0.5], [3.0], [7.0]]


def test_texts_and_truth_values_are_for_requests_only(tmp_path: Path) -> None:
    from edgeagent.manifest import load_package
    from edgeagent.prove.predict import Predictor
    from edgeagent.testing.onnxgraph import echo_package

    for dtype, says in (("object", "takes texts"), ("bool", "takes truth values")):
        folder = echo_package(tmp_path, f"echo-{dtype}", dtype=dtype, shape=(2,))
        with Predictor(load_package(folder)) as predictor:
            sent = np.array(["ä", ""], object) if dtype == "object" else np.array([True, False])
            assert predictor.session.run([sent])[0].tolist() == sent.tolist()
            with pytest.raises(InputError, match=says) as caught:
                predictor(Window("s", 1, np.zeros((2, 1), np.float32), 1.0, ("a",), 0, 0.0))
            assert "HTTP" in caught.value.remedy
        text = (folder / "model.toml").read_text().replace('"none"\n[[', '"regress"\n[[')
        (folder / "model.toml").write_text(text)
        if dtype == "object":
            with pytest.raises(PackageError, match="is text, and regress reads numbers"):
                Predictor(load_package(folder))
