"""Models that end at an inner tensor answer there what the whole model computes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgeagent.config.model import Runtime
from edgeagent.errors import ModelError
from edgeagent.infer import Session, open_package
from edgeagent.manifest import Manifest, OutputSpec, Package, Variant
from edgeagent.prove.cut import ending_at, inner

MODELS = {
    "parts-int8.tflite": "models/parts/1.0.0",
    "parts-int8.onnx": "models/parts/1.0.0",
    "digits-int8.tflite": "models/digits/1.0.0",
    "digits-int8.onnx": "models/digits/1.0.0",
}


def opened(file: Path) -> Session:
    runtime = "onnx" if file.suffix == ".onnx" else "litert"
    manifest = Manifest(
        "m", "1.0.0", "embed", OutputSpec("none"), [], [Variant(file.name, runtime)]
    )  # type: ignore[arg-type]
    return open_package(Package(file.parent, manifest, ()), Runtime())[0]


@pytest.fixture(params=sorted(MODELS))
def source(request: pytest.FixtureRequest, repository: Path) -> Path:
    pytest.importorskip("onnxruntime" if request.param.endswith("onnx") else "ai_edge_litert")
    return repository / MODELS[request.param] / request.param


def answers(session: Session) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(4)
    (spec,) = session.inputs
    shape = tuple(1 if axis < 0 else axis for axis in spec.shape)
    values = rng.integers(0, 100, shape) if "int" in spec.dtype else rng.uniform(0, 1, shape)
    outputs = session.run([values.astype(spec.dtype)])
    names = [its.name for its in session.outputs]
    session.close()
    return dict(zip(names, outputs, strict=True))


def test_the_last_tensor_is_the_whole_model(source: Path, tmp_path: Path) -> None:
    """Ending at what the model ends at changes nothing, and at one before is less."""
    (output,) = opened(source).outputs
    names = inner(source)
    assert len(names) == len(set(names)) > 4
    whole = answers(opened(source))[output.name]
    if source.suffix == ".onnx":
        last = output.name
        assert last in names
    else:
        last = names[-1]
    file = tmp_path / source.name
    file.write_bytes(ending_at(source, [last]))
    assert answers(opened(file))[output.name] == pytest.approx(whole)


def test_every_inner_tensor_at_once_and_one_alone_agree(source: Path, tmp_path: Path) -> None:
    names = inner(source)
    file = tmp_path / source.name
    file.write_bytes(ending_at(source, names))
    session = opened(file)
    assert len(session.outputs) == len(names)
    everything = answers(session)
    place = len(names) // 2
    alone = tmp_path / f"one{source.suffix}"
    alone.write_bytes(ending_at(source, [names[place]]))
    ((name, values),) = answers(opened(alone)).items()
    # Fusing differs with what must be shown: a step of quantization, no more.
    spread = float(np.ptp(values.astype(np.float64))) or 1.0
    far = np.abs(everything[name].astype(np.float64) - values.astype(np.float64)).max()
    assert far <= 0.05 * spread + 1e-6


@pytest.mark.parametrize("name", ["m.onnx", "m.tflite"])
def test_files_whose_structure_is_none(tmp_path: Path, name: str) -> None:
    file = tmp_path / name
    with pytest.raises(ModelError, match="can't be read"):
        inner(file)
    for content in (b"", b"\xff" * 40, b"\x00" * 3):
        file.write_bytes(content)
        for look in (lambda: inner(file), lambda: ending_at(file, ["1"])):
            with pytest.raises(ModelError, match="structure"):
                look()


def test_a_tensor_that_no_operator_makes(repository: Path) -> None:
    with pytest.raises(ModelError, match="structure"):
        ending_at(repository / MODELS["parts-int8.tflite"] / "parts-int8.tflite", ["9999"])
