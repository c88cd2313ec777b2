"""What could be tried, on boards with and without something to try."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeagent.device.profile import Accelerator, Node, Profile
from edgeagent.manifest import InputSpec, Manifest, OutputSpec, Package, Variant
from edgeagent.prove.bench.plan import Candidate
from edgeagent.prove.tune.space import space

pytest.importorskip("ai_edge_litert")
pytest.importorskip("onnxruntime")


def package(*variants: Variant) -> Package:
    manifest = Manifest(
        "m", "1.0.0", "classify", OutputSpec("classify"), [InputSpec("i", "image")],
        list(variants),
    )  # fmt: skip
    return Package(Path("/models/m/1.0.0"), manifest, ())


def settings(candidates: list[Candidate]) -> list[str]:
    return [its.settings() for its in candidates]


LITE = Variant("m.tflite", "litert", "int8")
PLAIN = Profile("generic", "A board")


def test_a_plain_board_has_kernels_and_threads() -> None:
    assert settings(space(package(LITE), PLAIN, 3)) == [
        "defaults",
        "m.tflite, 1 thread", "m.tflite, 2 threads", "m.tflite, 3 threads",
        "m.tflite, none, 1 thread", "m.tflite, none, 2 threads", "m.tflite, none, 3 threads",
    ]  # fmt: skip
    assert settings(space(package(LITE), PLAIN, 1)) == [
        "defaults", "m.tflite, 1 thread", "m.tflite, none, 1 thread",
    ]  # fmt: skip


def test_an_accelerator_is_tried_where_its_node_and_library_are(tmp_path: Path) -> None:
    library = tmp_path / "usr" / "libvx.so"
    library.parent.mkdir()
    library.touch()
    (tmp_path / "dev").mkdir()
    vx = Accelerator("npu", "litert", library=str(library), options={"cache": "1"},
                     node=Node("/dev/galcore"))  # fmt: skip
    board = Profile("imx8mp", "With an NPU", accelerator=[vx])
    absent = settings(space(package(LITE), board, 1, root=tmp_path))
    assert not any("libvx" in its for its in absent)
    (tmp_path / "dev" / "galcore").touch()
    there = settings(space(package(LITE), board, 1, root=tmp_path))
    assert there[-1] == "m.tflite, libvx.so, 1 thread, cache=1"
    library.unlink()
    assert settings(space(package(LITE), board, 1, root=tmp_path)) == absent


def test_providers_take_the_options_of_the_board() -> None:
    vino = Accelerator("gpu", "onnx", provider="OpenVINO", options={"device_type": "GPU"})
    board = Profile("n100", "A mini PC", accelerator=[vino])
    told = settings(space(package(Variant("m.onnx", "onnx")), board, 1, providers=["OpenVINO"]))
    assert told == ["defaults", "m.onnx, 1 thread", "m.onnx, OpenVINO, 1 thread, device_type=GPU"]


def test_what_was_made_for_a_delegate_runs_on_nothing_else() -> None:
    coral = Variant("m_edgetpu.tflite", "litert", "int8", requires={"delegate": "edgetpu"})
    assert settings(space(package(coral), PLAIN, 1)) == ["defaults", "m_edgetpu.tflite, 1 thread"]


def test_batches_are_for_throughput_and_for_onnx() -> None:
    both = package(LITE, Variant("m.onnx", "onnx"))
    told = settings(space(both, PLAIN, 1, throughput=True))
    assert [its for its in told if "batch" in its] == [
        f"m.onnx, 1 thread, batch {count}" for count in (2, 4, 8)
    ]
