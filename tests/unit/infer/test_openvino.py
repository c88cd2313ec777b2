"""Receipts on a real execution provider, against counts made by hand: OpenVINO's, on the processor.

Its wheel takes the place of onnxruntime's, so it lives in an environment of its own, whose Python
EDGEAGENT_OPENVINO names: `uv venv DIR; uv pip install --python DIR onnxruntime-openvino openvino
msgspec numpy opencv-python-headless`.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgeagent.testing.onnxgraph import Graph

OPENVINO, CPU = "OpenVINOExecutionProvider", "CPUExecutionProvider"

COUNTED = {
    "bearing-int8.onnx": 22,  # 13 DequantizeLinear, 5 QuantizeLinear, 4 Gemm
    "digits-int8.onnx": 34,  # 32 in the file, and two DequantizeLinear that have two readers each
    "parts-int8.onnx": 99,  # 95 in the file, and four such
}
"""Counted in listings of the graphs. ONNX Runtime gives each reader a DequantizeLinear of its own
before it shares operators out."""


Ask = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def ask(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Ask:
    """Asks the other environment about model files."""
    python = os.environ.get("EDGEAGENT_OPENVINO", "")
    if not python:
        pytest.skip("EDGEAGENT_OPENVINO does not name a Python that has onnxruntime-openvino")
    found = subprocess.run(
        [python, "-c", "import onnxruntime as o; print(o.get_available_providers())"],
        capture_output=True, text=True,
    )  # fmt: skip
    if OPENVINO not in found.stdout:
        pytest.skip(f"{python} has no onnxruntime-openvino: {found.stderr[-300:]}")
    scratch = tmp_path_factory.mktemp("scratch")

    def told(*files: Path) -> dict[str, Any]:
        script = Path(__file__).with_name("openvino_in_child.py")
        ended = subprocess.run(
            [python, str(script), str(repository), str(scratch), *map(str, files)],
            capture_output=True, text=True, timeout=120,
        )  # fmt: skip
        assert ended.returncode == 0, ended.stderr[-3000:]
        answer: dict[str, Any] = json.loads(ended.stdout)
        return answer

    return told


@pytest.fixture(scope="module")
def told(ask: Ask, repository: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    files = [next((repository / "models").glob(f"*/1.0.0/{name}")) for name in COUNTED]
    # An operator that OpenVINO lacks, behind those of a whole model.
    graph = Graph(files[0])
    graph.node("Hardmax", [graph.good], graph.output)
    mixed = tmp_path_factory.mktemp("mixed") / "mixed.onnx"
    graph.write(mixed)
    return ask(*files, mixed)


def test_the_wheel_is_told_by_its_name(told: dict[str, Any]) -> None:
    assert told["providers"] == [OPENVINO]
    assert told["runtimes"]["onnx"].endswith("(onnxruntime-openvino)")


@pytest.mark.parametrize("name", COUNTED)
def test_it_takes_all_of_the_shipped_models(told: dict[str, Any], name: str) -> None:
    its = told["models"][name]
    assert its["asked"] == OPENVINO
    assert its["placement"] == {OPENVINO: COUNTED[name]}
    assert (its["left"], its["fallback"], its["required"]) == ({}, "", "")
    assert f"{COUNTED[name]} of {COUNTED[name]} operators on {OPENVINO}" in its["sentence"]
    assert its["shares"] == {OPENVINO: 1.0}
    # Of outputs between 0 and 1, or the steps of their quantization.
    assert its["apart"] <= 1 / 255 + 1e-6


def test_an_operator_that_it_leaves_is_told(told: dict[str, Any]) -> None:
    its = told["models"]["mixed.onnx"]
    assert its["placement"] == {OPENVINO: 22, CPU: 1}
    assert its["left"] == {"Hardmax": 1}
    assert its["fallback"] == its["required"] == ""
    assert set(its["shares"]) == {OPENVINO, CPU}
    assert its["shares"][OPENVINO] > its["shares"][CPU] > 0


@pytest.mark.assets
def test_a_model_that_it_can_not_run_stays_on_the_processor(ask: Ask, assets: Path) -> None:
    file = assets / "models" / "mobilenetv2-12-int8.onnx"
    its = ask(file)["models"][file.name]
    assert its["placement"] == {CPU: 73}
    assert its["fallback"].startswith(f"{OPENVINO} can't open this model: ")
    assert "dynamic rank" in its["fallback"]
    assert "onnxruntime can't open it" in its["required"]


def test_require_refuses_what_would_run_elsewhere(told: dict[str, Any]) -> None:
    for its in told["models"].values():
        # Of a device that is not there the provider says nothing: it takes nothing.
        assert f"{OPENVINO} takes none of the model's" in its["no such device"]
        assert (
            "CUDAExecutionProvider is not in the installed onnxruntime" in its["another provider"]
        )
