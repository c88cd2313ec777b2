"""What has never run here is tried in a process of its own, once."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from edgeagent.config.model import Runtime
from edgeagent.errors import ModelError
from edgeagent.manifest import Package, load_package
from edgeagent.prove import child
from edgeagent.testing import spoil
from edgeagent.update.proven import Proven, harmless, mark_of

pytest.importorskip("onnxruntime")


@pytest.fixture
def good(repository: Path) -> Package:
    return load_package(repository / "models" / "parts" / "1.0.0")


def test_a_model_that_crashes_is_not_run(good: Package, tmp_path: Path) -> None:
    pytest.importorskip("ai_edge_litert", reason="its schema is what writes the model")
    bad = spoil.crashing(good, tmp_path / "parts" / "1.1.0")
    proven = Proven(tmp_path / "proven.json")
    with pytest.raises(ModelError, match="is not run: tried in a process of its own") as caught:
        proven.ensure(bad, Runtime())
    assert "SIGSEGV" in str(caught.value)
    assert not (tmp_path / "proven.json").exists()


def test_a_model_is_tried_once_for_each_form(
    good: Package, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = spoil.version(good, tmp_path / "parts" / "1.1.0")
    tried: list[Path] = []
    real = child.prove_in_child

    def counted(folder: Path, **more: object) -> object:
        tried.append(folder)
        return real(folder, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(child, "prove_in_child", counted)
    file = tmp_path / "proven.json"
    Proven(file).ensure(package, Runtime())
    Proven(file).ensure(package, Runtime())
    assert len(tried) == 1
    Proven(file).ensure(package, Runtime(threads=2))
    os.utime(package.path("parts-int8.tflite"), (1, 1))
    Proven(file).ensure(package, Runtime())
    assert len(tried) == 3
    file.write_text("{", encoding="utf-8")
    Proven(file).ensure(package, Runtime())
    assert len(tried) == 4
    Proven(file).ensure(package, Runtime())
    assert len(tried) == 4


def test_what_only_answers_wrongly_is_run_as_it_was(good: Package, tmp_path: Path) -> None:
    """Golden answers were no condition for what people copy themselves."""
    package = spoil.labels_permuted(good, tmp_path / "parts" / "1.1.0")
    expected = good.folder / "golden" / "expected.json"
    (package.folder / "golden" / "expected.json").write_bytes(expected.read_bytes())
    Proven(tmp_path / "proven.json").ensure(package, Runtime())


def test_what_is_shipped_needs_no_proof_on_plain_kernels(good: Package, tmp_path: Path) -> None:
    assert harmless(good, Runtime())
    assert not harmless(good, Runtime(delegate="edgetpu"))
    assert not harmless(spoil.version(good, tmp_path / "parts" / "1.1.0"), Runtime())


def test_a_place_that_can_not_be_written_to_costs_proofs_only(
    good: Package, tmp_path: Path
) -> None:
    package = spoil.version(good, tmp_path / "parts" / "1.1.0")
    proven = Proven(tmp_path / "none" / "proven.json")
    proven.add(mark_of(package, Runtime()))
    proven.ensure(package, Runtime())
