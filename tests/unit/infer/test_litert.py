"""The LiteRT session's manners: threads, shapes, copies, closing, words of its refusals."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeagent.errors import InferenceError, ModelError
from edgeagent.infer.litert import find_library, open_litert
from edgeagent.infer.session import Options
from edgeagent.types import Quantization

FIXTURES = Path(__file__).parent / "models"


@pytest.fixture
def digits(repository: Path) -> Path:
    return repository / "models" / "digits" / "1.0.0" / "digits-int8.tflite"


def in_thread(work: Callable[[], Any], name: str = "other") -> Any:
    """Run on a new thread; its answer or its exception."""
    answer: list[Any] = []

    def run() -> None:
        try:
            answer.append(work())
        except Exception as error:
            answer.append(error)

    thread = threading.Thread(target=run, name=name)
    thread.start()
    thread.join()
    return answer[0]


def test_specs_come_from_the_file(digits: Path) -> None:
    session = open_litert(digits, Options())
    (into,), (out,) = session.inputs, session.outputs
    assert (into.shape, into.dtype) == ((1, 8, 8, 1), "int8")
    assert into.quantization == Quantization(pytest.approx(1 / 255, abs=1e-6), -128)
    assert (out.shape, out.dtype) == ((1, 10), "int8")
    assert out.quantization == Quantization(1 / 256, -128)
    assert session.receipt.runtime == find_library().name
    session.close()


def test_a_second_thread_is_refused_by_name(digits: Path) -> None:
    session = open_litert(digits, Options())
    ran = threading.Event()
    done = threading.Event()
    tensor = np.zeros((1, 8, 8, 1), np.int8)

    def own() -> None:
        session.run([tensor])
        ran.set()
        done.wait(10)

    owner = threading.Thread(target=own, name="pipeline:door")
    owner.start()
    assert ran.wait(10)
    with pytest.raises(InferenceError, match="belongs to thread 'pipeline:door'") as caught:
        session.run([tensor])
    assert "hand this one over" in caught.value.remedy
    with pytest.raises(InferenceError, match="belongs to thread 'pipeline:door'"):
        session.reset()
    done.set()
    owner.join()
    # An owner that is gone can't be in anybody's way.
    assert len(session.run([tensor])) == 1


def test_it_may_be_handed_over(digits: Path) -> None:
    session = open_litert(digits, Options())
    tensor = np.zeros((1, 8, 8, 1), np.int8)
    (mine,) = session.run([tensor])
    assert isinstance(in_thread(lambda: session.run([tensor])), InferenceError)
    session.hand_over()
    (theirs,) = in_thread(lambda: session.run([tensor]))
    assert np.array_equal(mine, theirs)


def test_outputs_belong_to_the_caller(digits: Path) -> None:
    session = open_litert(digits, Options())
    rng = np.random.default_rng(1)
    first_in, second_in = rng.integers(-128, 127, (2, 1, 8, 8, 1), np.int8)
    (first,) = session.run([first_in])
    kept = first.copy()
    (second,) = session.run([second_in])
    assert not np.array_equal(first, second)
    assert np.array_equal(first, kept)
    first[:] = 0
    assert np.array_equal(session.run([first_in])[0], kept)
    assert first.flags.owndata


def test_arrays_need_not_be_contiguous_or_writable(digits: Path) -> None:
    session = open_litert(digits, Options())
    rng = np.random.default_rng(2)
    wide = rng.integers(-128, 127, (1, 8, 16, 1), np.int8)
    view = wide[:, :, ::2]
    straight = np.ascontiguousarray(view)
    straight.flags.writeable = False
    assert np.array_equal(session.run([view])[0], session.run([straight])[0])


@pytest.mark.parametrize(
    ("tensors", "words"),
    [
        ([np.zeros((1, 8, 8, 1), np.float32)], "takes int8 1×8×8×1, got float32 1×8×8×1"),
        ([np.zeros((1, 8, 8, 1), np.uint8)], "takes int8 1×8×8×1, got uint8 1×8×8×1"),
        ([np.zeros((8, 8), np.int8)], "takes int8 1×8×8×1, got int8 8×8"),
        ([np.zeros((2, 8, 8, 1), np.int8)], "takes int8 1×8×8×1, got int8 2×8×8×1"),
        ([np.zeros((1, 8, 9, 1), np.int8)], "takes int8 1×8×8×1, got int8 1×8×9×1"),
        ([np.zeros((), np.int8)], "got int8 a single value"),
        ([], "takes 1 inputs"),
        ([np.zeros((1, 8, 8, 1), np.int8)] * 2, "got 2"),
        ([[[0]]], "takes an array, got list"),
        ([None], "takes an array, got NoneType"),
    ],
)
def test_wrong_tensors_are_explained(digits: Path, tensors: list[Any], words: str) -> None:
    session = open_litert(digits, Options())
    with pytest.raises(InferenceError) as caught:
        session.run(tensors)
    assert words in str(caught.value)
    assert str(digits) in str(caught.value)
    assert "model.toml" in caught.value.remedy
    # The session goes on.
    assert len(session.run([np.zeros((1, 8, 8, 1), np.int8)])) == 1


def test_closed_is_closed(digits: Path) -> None:
    session = open_litert(digits, Options())
    session.run([np.zeros((1, 8, 8, 1), np.int8)])
    session.close()
    session.close()
    for call in (lambda: session.run([np.zeros((1, 8, 8, 1), np.int8)]), session.reset):
        with pytest.raises(InferenceError, match="closed"):
            call()


@pytest.mark.assets
@pytest.mark.parametrize(
    ("name", "shape"),
    [("ad01_int8", (3, 640)), ("kws_ref_model", (4, 49, 10, 1)), ("hello_world_float", (5, 1))],
)
def test_a_batch_gives_what_single_samples_give(
    assets: Path, name: str, shape: tuple[int, ...]
) -> None:
    session = open_litert(assets / "models" / f"{name}.tflite", Options())
    spec = session.inputs[0]
    assert spec.shape == (-1, *shape[1:])
    rng = np.random.default_rng(3)
    batch = rng.normal(0, 20, shape).clip(-128, 127).astype(spec.dtype)
    single = np.concatenate([session.run([row[None]])[0] for row in batch])
    (together,) = session.run([batch])
    assert together.shape[0] == shape[0]
    # One step of quantization: batched kernels sum in another order.
    limit = 1 if spec.dtype == "int8" else 1e-4
    assert np.abs(together.astype(np.float64) - single).max() <= limit
    assert np.array_equal(session.run([batch[:1]])[0], single[:1])
    with pytest.raises(InferenceError, match="got"):
        session.run([batch[..., None]])
    assert session.run([batch])[0].shape[0] == shape[0]


def test_a_batch_of_none_is_refused_and_the_session_goes_on(assets: Path) -> None:
    session = open_litert(assets / "models" / "hello_world_float.tflite", Options())
    before = session.run([np.ones((1, 1), np.float32)])[0]
    try:
        (empty,) = session.run([np.zeros((0, 1), np.float32)])
        assert empty.size == 0
    except InferenceError as error:
        assert "hello_world_float" in str(error)
    assert np.array_equal(session.run([np.ones((1, 1), np.float32)])[0], before)


def test_signatures_give_argument_names(assets: Path) -> None:
    path = assets / "models" / "hello_world_float.tflite"
    plain = open_litert(path, Options())
    named = open_litert(path, Options(signature="serving_default"))
    assert plain.inputs[0].name == "serving_default_dense_input:0"
    assert (named.inputs[0].name, named.outputs[0].name) == ("dense_input", "dense_2")
    x = np.array([[1.5]], np.float32)
    assert np.array_equal(plain.run([x])[0], named.run([x])[0])
    with pytest.raises(ModelError, match=r"no signature 'train'.*serving_default"):
        open_litert(path, Options(signature="train"))


@pytest.mark.parametrize("signature", ["double", "square"])
def test_signatures_of_their_own_graph(signature: str) -> None:
    session = open_litert(FIXTURES / "two_signatures.tflite", Options(signature=signature))
    assert [spec.name for spec in session.inputs] == ["x"]
    assert [spec.name for spec in session.outputs] == [signature]
    for batch in (1, 3, 1):
        x = np.arange(1, 1 + 2 * batch, dtype=np.float32).reshape(batch, 2)
        (answer,) = session.run([x])
        assert np.allclose(answer, 2 * x if signature == "double" else x * x)
    with pytest.raises(InferenceError, match="takes float32"):
        session.run([np.zeros((1, 2), np.int8)])
    session.reset()
    assert np.allclose(session.run([np.ones((1, 2), np.float32)])[0], 2 - (signature == "square"))


def test_16_bit_types() -> None:
    session = open_litert(FIXTURES / "halves.tflite", Options())
    assert (session.inputs[0].dtype, session.outputs[0].dtype) == ("float16", "float32")
    x = np.array([[0.5, -2.0]], np.float16)
    assert session.run([x])[0].tolist() == [[0.5, -2.0]]
    session = open_litert(FIXTURES / "shorts.tflite", Options())
    assert session.inputs[0].dtype == "int16"
    assert session.inputs[0].quantization == Quantization(pytest.approx(1 / 32767, rel=1e-3), 0)
    (answer,) = session.run([np.array([[-5, 32767]], np.int16)])
    assert answer.tolist() == [[0, 32767]]


def test_a_default_shape_that_cannot_be_planned_waits_for_the_first_input() -> None:
    # Declared [1, 1] with both dimensions open: its convolution is longer than that.
    session = open_litert(FIXTURES / "long_input.tflite", Options())
    assert session.inputs[0].shape == (-1, -1)
    assert session.receipt.placement == {}
    assert session.receipt.sentence().endswith("operators unknown, 1 thread")
    (answer,) = session.run([np.ones((1, 16), np.float32)])
    assert answer.shape == (1, 1, 9, 1)
    assert np.allclose(answer, 8)
    assert sum(session.receipt.placement.values()) > 0
    with pytest.raises(InferenceError, match="long_input"):
        session.run([np.ones((1, 4), np.float32)])
    assert session.run([np.ones((1, 32), np.float32)])[0].shape == (1, 1, 25, 1)


def test_text_tensors_are_refused() -> None:
    with pytest.raises(ModelError, match=r"holds .*not numbers") as caught:
        open_litert(FIXTURES / "words.tflite", Options())
    assert caught.value.remedy


def test_nothing_reaches_the_terminal(digits: Path) -> None:
    code = f"""
import json, threading, os
from pathlib import Path
from edgeagent.infer.litert import open_litert
from edgeagent.infer.session import Options
stop = threading.Event()
def talk():
    n = 0
    while not stop.is_set():
        os.write(2, b"line %d\\n" % n)
        n += 1
        stop.wait(0.0002)
    os.write(2, b"said %d\\n" % n)
talker = threading.Thread(target=talk)
talker.start()
for _ in range(5):
    open_litert(Path({str(digits)!r}), Options()).close()
stop.set()
talker.join()
print(json.dumps({{"threads": [t.name for t in threading.enumerate()]}}))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == '{"threads": ["MainThread"]}\n'
    lines = done.stderr.splitlines()
    # All lines of the other thread, and not one of the library's.
    count = int(lines.pop().removeprefix("said "))
    assert sorted(lines) == sorted(f"line {n}" for n in range(count))
