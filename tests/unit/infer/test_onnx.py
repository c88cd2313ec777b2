"""The ONNX session's manners: shapes, scalars, providers, words of its refusals."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnxruntime")

from edgeagent.errors import InferenceError, ModelError
from edgeagent.infer.onnx import CPU, open_onnx
from edgeagent.infer.session import Options

FIXTURES = Path(__file__).parent / "models"


@pytest.fixture
def digits(repository: Path) -> Path:
    return repository / "models" / "digits" / "1.0.0" / "digits-int8.onnx"


def test_specs_and_receipt(digits: Path) -> None:
    session = open_onnx(digits, Options(threads=2))
    (into,), (out,) = session.inputs, session.outputs
    assert (into.shape, into.dtype, into.quantization) == ((1, 8, 8, 1), "float32", None)
    assert (out.shape, out.dtype) == ((1, 10), "float32")
    receipt = session.receipt
    assert receipt.runtime.startswith("onnxruntime ")
    assert (receipt.asked, receipt.threads, receipt.fallback) == (CPU, 2, "")
    if receipt.placement:
        assert set(receipt.placement) == {CPU}
        assert receipt.left == {}
        assert f"operators on {CPU}, 2 threads" in receipt.sentence()


def test_open_dimensions_and_single_values() -> None:
    session = open_onnx(FIXTURES / "sum.onnx", Options())
    assert session.inputs[0].shape == (-1,)
    assert session.outputs[0].shape == ()
    for length in (3, 7):
        (total,) = session.run([np.arange(length, dtype=np.float32)])
        assert isinstance(total, np.ndarray)
        assert (total.shape, float(total)) == ((), sum(range(length)))


def test_16_bit_floats() -> None:
    session = open_onnx(FIXTURES / "halves.onnx", Options())
    assert session.inputs[0].dtype == "float16"
    (answer,) = session.run([np.array([[0.5, -2]], np.float16)])
    assert (answer.dtype, answer.tolist()) == (np.float16, [[-0.5, 2]])


def test_texts() -> None:
    session = open_onnx(FIXTURES / "words.onnx", Options())
    assert session.inputs[0].dtype == session.outputs[0].dtype == "object"
    assert session.run([np.array(["crack ä"], object)])[0].tolist() == ["crack ä"]
    with pytest.raises(InferenceError, match="takes object 1, got float32 1"):
        session.run([np.zeros(1, np.float32)])


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("bfloat.onnx", "tensor(bfloat16)"),
        ("teleport.onnx", "operator"),
    ],
)
def test_models_beyond_it_are_refused(name: str, words: str) -> None:
    with pytest.raises(ModelError) as caught:
        open_onnx(FIXTURES / name, Options())
    assert words in str(caught.value)
    assert name in str(caught.value)
    assert caught.value.remedy


@pytest.mark.parametrize(
    ("tensors", "words"),
    [
        ([np.zeros((1, 8, 8, 1), np.float64)], "takes float32 1×8×8×1, got float64 1×8×8×1"),
        ([np.zeros((8, 8), np.float32)], "takes float32 1×8×8×1, got float32 8×8"),
        ([np.zeros((2, 8, 8, 1), np.float32)], "got float32 2×8×8×1"),
        ([], "takes 1 inputs"),
        ([np.zeros((1, 8, 8, 1), np.float32)] * 2, "got 2"),
        ([None], "takes an array, got NoneType"),
        ([[[1.0]]], "takes an array, got list"),
    ],
)
def test_wrong_tensors_are_explained(digits: Path, tensors: list[Any], words: str) -> None:
    session = open_onnx(digits, Options())
    with pytest.raises(InferenceError) as caught:
        session.run(tensors)
    assert words in str(caught.value)
    assert str(digits) in str(caught.value)
    assert len(session.run([np.zeros((1, 8, 8, 1), np.float32)])) == 1


def test_any_thread_may_run_it_and_outputs_are_the_callers(digits: Path) -> None:
    session = open_onnx(digits, Options())
    rng = np.random.default_rng(4)
    samples = rng.random((8, 1, 8, 8, 1), np.float32)
    expected = [session.run([sample])[0].copy() for sample in samples]
    wrong: list[int] = []

    def work() -> None:
        for _ in range(20):
            for number, sample in enumerate(samples):
                (answer,) = session.run([sample])
                if not np.array_equal(answer, expected[number]):
                    wrong.append(number)
                answer[:] = -1

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_closed_is_closed(digits: Path) -> None:
    session = open_onnx(digits, Options())
    session.reset()
    session.hand_over()
    session.close()
    session.close()
    with pytest.raises(InferenceError, match="closed"):
        session.run([np.zeros((1, 8, 8, 1), np.float32)])


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("provider", ["CUDAExecutionProvider", "InventedExecutionProvider"])
def test_a_provider_that_is_not_there(
    digits: Path, provider: str, capfd: pytest.CaptureFixture[str]
) -> None:
    session = open_onnx(digits, Options(provider=provider))
    assert provider in session.receipt.fallback
    assert session.receipt.asked == provider
    assert f"fell back: {provider} is not in the installed onnxruntime" in (
        session.receipt.sentence()
    )
    with pytest.raises(ModelError, match=provider) as caught:
        open_onnx(digits, Options(provider=provider, require=True))
    assert caught.value.remedy
    assert capfd.readouterr() == ("", "")


def test_plugins_that_are_none(
    digits: Path, tmp_path: Path, toy_provider: Callable[..., Path]
) -> None:
    library = tmp_path / "libempty.so"
    library.touch()
    for plugin, words in (
        (tmp_path / "libnone.so", "cannot open shared object file"),
        (library, "file too short"),
        (toy_provider(), "libtoyprovider.so finds no device here"),
    ):
        for _ in range(2):
            session = open_onnx(digits, Options(provider=str(plugin)))
            assert words in session.receipt.fallback
            assert session.receipt.asked == str(plugin)
            assert set(session.receipt.placement) <= {CPU}
        with pytest.raises(ModelError, match=words):
            open_onnx(digits, Options(provider=str(plugin), require=True))


def test_a_library_without_providers(digits: Path, toy: Path) -> None:
    session = open_onnx(digits, Options(provider=str(toy)))
    assert "undefined symbol: CreateEpFactories" in session.receipt.fallback


def test_a_provider_that_takes_nothing(digits: Path) -> None:
    import onnxruntime

    azure = "AzureExecutionProvider"
    if azure not in onnxruntime.get_available_providers():
        pytest.skip("this onnxruntime has no provider that takes nothing")
    if not open_onnx(digits, Options()).receipt.placement:
        pytest.skip("this onnxruntime does not tell which provider runs what")
    session = open_onnx(digits, Options(provider=azure))
    assert set(session.receipt.placement) == {CPU}
    assert f"{azure} takes none of the model's" in session.receipt.fallback
    assert sum(session.receipt.left.values()) == sum(session.receipt.placement.values())
    with pytest.raises(ModelError, match="takes none"):
        open_onnx(digits, Options(provider=azure, require=True))


def test_nothing_reaches_the_terminal(tmp_path: Path, digits: Path) -> None:
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(digits.read_bytes()[:20000])
    code = f"""
from pathlib import Path
import numpy as np
from edgeagent.errors import ModelError
from edgeagent.infer.onnx import open_onnx
from edgeagent.infer.session import Options
session = open_onnx(Path({str(digits)!r}), Options(provider="CUDAExecutionProvider"))
for call in (
    lambda: session.run([np.zeros((3, 3), np.float32)]),
    lambda: open_onnx(Path({str(broken)!r}), Options()),
    lambda: open_onnx(Path({str(FIXTURES / "teleport.onnx")!r}), Options()),
):
    try:
        call()
    except ModelError:
        continue
    raise SystemExit("not refused")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
