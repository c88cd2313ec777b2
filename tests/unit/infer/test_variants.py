"""From a package to a session: order, reasons, hashes, machines, missing runtimes."""

from __future__ import annotations

import platform
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edgeagent.config.model import Runtime
from edgeagent.errors import ModelError, NotFound, PackageError, RuntimeMissing
from edgeagent.infer import check_file, open_package
from edgeagent.manifest import Package, StateSpec, Variant, load_package

TFLITE, ONNX = "digits-int8.tflite", "digits-int8.onnx"


@pytest.fixture
def package(repository: Path, tmp_path: Path) -> Package:
    """A copy of our digits package: an int8 .tflite first, an int8 .onnx second."""
    folder = tmp_path / "digits" / "1.0.0"
    shutil.copytree(repository / "models" / "digits" / "1.0.0", folder)
    return load_package(folder)


@pytest.fixture
def without(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Make modules look as if they were not installed."""

    def hide(*names: str) -> None:
        for name in names:
            for loaded in [n for n in sys.modules if n == name or n.startswith(f"{name}.")]:
                monkeypatch.delitem(sys.modules, loaded)
            monkeypatch.setitem(sys.modules, name, None)

    return hide


def test_the_first_variant_runs(package: Package) -> None:
    session, variant = open_package(package, Runtime())
    assert variant.file == TFLITE
    assert session.receipt.skipped == ()
    assert session.receipt.threads == 1
    session.close()


@pytest.mark.parametrize("wanted", ["onnx", ONNX])
def test_the_configured_variant_runs(package: Package, wanted: str) -> None:
    session, variant = open_package(package, Runtime(variant=wanted, threads=2))
    assert variant.file == ONNX
    assert session.receipt.runtime.startswith("onnxruntime")
    assert (session.receipt.threads, session.receipt.skipped) == (2, ())
    session.close()


def test_what_is_put_aside_is_not_loaded(package: Package) -> None:
    """A library that is not there would be told otherwise."""
    aside = {"/opt/libnpu.so": "libnpu.so is put aside: it crashed"}
    asked = Runtime(delegate="/opt/libnpu.so", options={"a": "b"})
    session, variant = open_package(package, asked, aside)
    assert variant.file == TFLITE
    assert session.receipt.fallback == "libnpu.so is put aside: it crashed"
    assert session.receipt.asked == "/opt/libnpu.so"
    assert "libnpu.so" not in session.receipt.placement
    session.close()
    with pytest.raises(ModelError, match=r"libnpu\.so is put aside: it crashed"):
        open_package(
            package, Runtime(delegate="/opt/libnpu.so", require=True, variant=TFLITE), aside
        )


def test_a_variant_that_needs_what_is_put_aside_is_passed_over(package: Package) -> None:
    first, second = package.manifest.variant
    needs = Variant(first.file, first.runtime, first.precision, {"delegate": "edgetpu"})
    package.manifest.variant = [needs, second]
    session, variant = open_package(package, Runtime(), {"edgetpu": "edgetpu is put aside"})
    assert variant.file == second.file
    assert session.receipt.skipped == (f"{TFLITE}: edgetpu is put aside",)
    assert session.receipt.fallback == ""
    session.close()


def test_an_unknown_variant(package: Package) -> None:
    with pytest.raises(NotFound, match=rf"no variant 'fp32'; it has: {TFLITE} \(litert\)"):
        open_package(package, Runtime(variant="fp32"))


def test_a_damaged_first_variant_is_skipped_with_its_reason(package: Package) -> None:
    path = package.path(TFLITE)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    session, variant = open_package(package, Runtime())
    assert variant.file == ONNX
    (reason,) = session.receipt.skipped
    assert TFLITE in reason
    assert "other sha256" in reason
    session.close()
    # Asked for by name there is nothing to fall back to.
    with pytest.raises(ModelError, match=r"not the file that model\.toml describes"):
        open_package(package, Runtime(variant="litert"))


def test_hashes(package: Package) -> None:
    variant = package.manifest.variant[0]
    check_file(package, variant)
    path = package.path(TFLITE)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(PackageError, match="100 bytes instead of") as caught:
        check_file(package, variant)
    assert "lint --fix" in caught.value.remedy
    path.unlink()
    with pytest.raises(PackageError, match="is missing"):
        check_file(package, variant)
    package.manifest.files.clear()
    check_file(package, variant)
    with pytest.raises(ModelError, match="is missing"):
        open_package(package, Runtime(variant="litert"))


def test_files_outside_the_package(package: Package) -> None:
    package.manifest.variant[:] = [Variant(file="../../x.tflite", runtime="litert")]
    with pytest.raises(ModelError, match="lies outside the package"):
        open_package(package, Runtime())


def test_without_litert_the_other_variant_runs(
    package: Package, without: Callable[..., None]
) -> None:
    without("ai_edge_litert", "tflite_runtime")
    session, variant = open_package(package, Runtime())
    assert variant.file == ONNX
    assert "neither ai-edge-litert nor tflite-runtime" in session.receipt.skipped[0]
    session.close()


def test_without_onnxruntime(package: Package, without: Callable[..., None]) -> None:
    without("onnxruntime")
    session, _ = open_package(package, Runtime())
    session.close()
    with pytest.raises(RuntimeMissing, match=r"digits@1.0.0: ONNX models can't run") as caught:
        open_package(package, Runtime(variant="onnx"))
    assert caught.value.remedy == "Install it: pip install 'edgeagent[onnx]'"
    assert caught.value.exit_code == 69


def test_without_any_runtime(package: Package, without: Callable[..., None]) -> None:
    without("ai_edge_litert", "tflite_runtime", "onnxruntime")
    with pytest.raises(RuntimeMissing, match="none of its variants runs here") as caught:
        open_package(package, Runtime())
    text = str(caught.value)
    assert text.count("\n") == 2
    assert TFLITE in text
    assert ONNX in text
    assert "pip install" in caught.value.remedy


def test_a_broken_installation_tells_why(
    package: Package, without: Callable[..., None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    without("tflite_runtime")
    for name in [n for n in sys.modules if n.split(".")[0] == "ai_edge_litert"]:
        monkeypatch.delitem(sys.modules, name)
    broken = tmp_path / "ai_edge_litert"
    broken.mkdir()
    (broken / "__init__.py").write_text("")
    (broken / "interpreter.py").write_text("raise ImportError('GLIBC_2.38 not found')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(RuntimeMissing, match=r"GLIBC_2\.38 not found"):
        open_package(package, Runtime(variant="litert"))
    for name in [n for n in sys.modules if n.split(".")[0] == "ai_edge_litert"]:
        del sys.modules[name]  # Not by monkeypatch, which would bring the broken one back.


@pytest.mark.parametrize(
    ("requires", "words"),
    [
        ({"arch": "riscv64"}, "requires the architecture riscv64"),
        ({"memory": "9000 GiB"}, "requires 9000 GiB of memory"),
        ({"memory": "lots"}, "'lots' is not a size"),
        ({"delegate": "edgetpu"}, "libedgetpu.so.1 can't be loaded"),
    ],
)
def test_requirements_that_are_not_met(
    package: Package, requires: dict[str, str], words: str
) -> None:
    package.manifest.variant[0].requires = requires
    session, variant = open_package(package, Runtime())
    assert variant.file == ONNX
    assert words in session.receipt.skipped[0]
    session.close()


def test_requirements_that_are_met(package: Package) -> None:
    package.manifest.variant[0].requires = {"arch": platform.machine(), "memory": "1 MiB"}
    session, variant = open_package(package, Runtime())
    assert variant.file == TFLITE
    session.close()
    alias = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine())
    if alias:
        package.manifest.variant[0].requires = {"arch": alias}
        session, variant = open_package(package, Runtime())
        assert variant.file == TFLITE
        session.close()


def test_a_configured_delegate_against_a_required_one(package: Package) -> None:
    package.manifest.variant[0].requires = {"delegate": "edgetpu"}
    with pytest.raises(ModelError, match="requires the delegate 'edgetpu', and 'vx' is"):
        open_package(package, Runtime(variant="litert", delegate="vx"))
    with pytest.raises(ModelError, match="can't be loaded"):
        open_package(package, Runtime(variant="litert", delegate="/usr/lib/libedgetpu.so.1"))


def test_a_required_delegate_is_no_wish(package: Package, toy: Path) -> None:
    package.manifest.variant[:] = package.manifest.variant[:1]
    runtime = Runtime(delegate=str(toy), options={"take": "-1"})
    session, _ = open_package(package, runtime)
    assert "takes none" in session.receipt.fallback
    session.close()
    runtime.require = True
    with pytest.raises(ModelError, match="takes none"):
        open_package(package, runtime)


def test_a_provider_is_for_onnx_only(package: Package) -> None:
    session, _ = open_package(package, Runtime(provider="CUDAExecutionProvider"))
    assert session.receipt.fallback == ""
    session.close()
    session, _ = open_package(package, Runtime(variant="onnx", provider="CUDAExecutionProvider"))
    assert "CUDAExecutionProvider" in session.receipt.fallback
    session.close()


def test_state_is_carried(package: Package, assets: Path) -> None:
    shutil.copy(assets / "models/silero_vad.onnx", package.folder / "vad.onnx")
    package.manifest.variant[:] = [Variant(file="vad.onnx", runtime="onnx")]
    package.manifest.state = [StateSpec("state", "stateN")]
    session, _ = open_package(package, Runtime())
    assert [spec.name for spec in session.inputs] == ["input", "sr"]
    silence = [np.zeros((1, 576), np.float32), np.array(16000)]
    first = session.run(silence)[0]
    assert not np.array_equal(session.run(silence)[0], first)
    session.reset()
    assert np.array_equal(session.run(silence)[0], first)
    session.close()
    package.manifest.state = [StateSpec("hidden", "stateN")]
    with pytest.raises(ModelError, match=r"model.toml: \[\[state\]\] in = 'hidden'"):
        open_package(package, Runtime())


def test_an_unknown_runtime_plugin(package: Package) -> None:
    package.manifest.variant[:] = [
        Variant(file=TFLITE, runtime="plugin", requires={"plugin": "abacus"})
    ]
    with pytest.raises(ModelError, match="no runtime 'abacus'"):
        open_package(package, Runtime())


def test_opening_imports_nothing_before_it_is_needed() -> None:
    import subprocess

    code = (
        "import sys, edgeagent.infer, edgeagent.update.library;"
        "print([n for n in ('numpy','cv2','onnxruntime','ai_edge_litert','tflite_runtime')"
        " if n in sys.modules])"
    )
    root = Path(__file__).resolve().parents[3]
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=root, check=True
    )
    assert done.stdout.strip() == "[]"
