"""Receipts on a real execution provider, against counts made by hand: OpenVINO's, on the processor.

Once as a wheel in place of onnxruntime's (``uv pip install onnxruntime-openvino openvino msgspec
numpy opencv-python-headless``), once as a plugin library beside it (``onnxruntime
onnxruntime-ep-openvino …``): each in an environment of its own, whose Python EDGEAGENT_OPENVINO and
EDGEAGENT_OPENVINO_PLUGIN name.
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


@pytest.fixture(scope="module", params=["EDGEAGENT_OPENVINO", "EDGEAGENT_OPENVINO_PLUGIN"])
def variable(request: pytest.FixtureRequest) -> str:
    """That names an environment; it is one of the two sorts."""
    name = str(request.param)
    if not os.environ.get(name):
        pytest.skip(f"{name} names no Python that has OpenVINO's provider")
    return name


@pytest.fixture(scope="module")
def ask(variable: str, repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Ask:
    """Asks the other environment about model files."""
    python = os.environ[variable]
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


def test_it_is_found(told: dict[str, Any], variable: str) -> None:
    assert told["providers"] == [OPENVINO]
    wheel = variable == "EDGEAGENT_OPENVINO"
    assert told["runtimes"]["onnx"].endswith("(onnxruntime-openvino)") is wheel


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


def test_an_operator_that_it_leaves_is_told(told: dict[str, Any], variable: str) -> None:
    its = told["models"]["mixed.onnx"]
    if variable == "EDGEAGENT_OPENVINO_PLUGIN":
        # The plugin has a newer OpenVINO, which has learnt it.
        assert its["placement"] == {OPENVINO: 23}
        return
    assert its["placement"] == {OPENVINO: 22, CPU: 1}
    assert its["left"] == {"Hardmax": 1}
    assert its["fallback"] == its["required"] == ""
    assert set(its["shares"]) == {OPENVINO, CPU}
    assert its["shares"][OPENVINO] > its["shares"][CPU] > 0


@pytest.mark.assets
def test_a_model_that_it_can_not_run_stays_on_the_processor(
    ask: Ask, assets: Path, variable: str
) -> None:
    file = assets / "models" / "mobilenetv2-12-int8.onnx"
    its = ask(file)["models"][file.name]
    if variable == "EDGEAGENT_OPENVINO_PLUGIN":
        # Nor does the newer one run more than a little of it.
        assert its["placement"] == {OPENVINO: 3, CPU: 65} and sum(its["left"].values()) == 65
        assert "65 of 68 operators on CPUExecutionProvider" in its["sentence"]
        return
    assert its["placement"] == {CPU: 73}
    assert its["fallback"].startswith(f"{OPENVINO} can't open this model: ")
    assert "dynamic rank" in its["fallback"]
    assert "onnxruntime can't open it" in its["required"]


def test_require_refuses_what_would_run_elsewhere(told: dict[str, Any], variable: str) -> None:
    wheel = variable == "EDGEAGENT_OPENVINO"
    for its in told["models"].values():
        # The wheel says nothing of a device that is not there, and takes nothing.
        said = "takes none of the model's" if wheel else "finds CPU, not GPU here"
        assert said in its["no such device"]
        assert (
            "CUDAExecutionProvider is not in the installed onnxruntime" in its["another provider"]
        )
