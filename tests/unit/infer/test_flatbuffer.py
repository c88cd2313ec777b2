"""The structure of .tflite files, followed within their bounds."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgeagent.errors import ModelError
from edgeagent.infer.flatbuffer import read_graph

FIXTURES = Path(__file__).parent / "models"


def test_what_a_file_holds(repository: Path) -> None:
    graph = read_graph(repository / "models/digits/1.0.0/digits-int8.tflite")
    assert graph.operators == 6
    assert graph.custom == ()
    graph = read_graph(FIXTURES / "two_signatures.tflite")
    assert sorted(graph.signatures) == ["double", "square"]


def test_custom_operators_by_name(assets: Path) -> None:
    graph = read_graph(assets / "models/coco_ssd_mobilenet_v1_quant.tflite")
    assert (graph.custom, graph.operators) == (("TFLite_Detection_PostProcess",), 64)
    graph = read_graph(assets / "models/audio_preprocessor_int8.tflite")
    assert graph.custom[0] == "SignalWindow"


def test_every_real_file_passes(assets: Path) -> None:
    files = sorted((assets / "models").glob("*.tflite"))
    assert len(files) > 20
    assert all(read_graph(file).operators > 0 for file in files)


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150, deadline=None
)
@given(data=st.data())
def test_no_damage_leads_outside(tmp_path: Path, data: st.DataObject) -> None:
    content = bytearray((FIXTURES / "two_signatures.tflite").read_bytes())
    for _ in range(data.draw(st.integers(1, 12))):
        at = data.draw(st.integers(8, len(content) - 1))
        content[at] = data.draw(st.integers(0, 255))
    length = data.draw(st.integers(9, len(content)))
    path = tmp_path / "m.tflite"
    path.write_bytes(content[:length])
    try:
        graph = read_graph(path)
    except ModelError as error:
        assert str(path) in str(error)
        assert error.remedy
    else:
        assert graph.operators >= 0


def test_a_vector_longer_than_the_file(tmp_path: Path) -> None:
    content = bytearray((FIXTURES / "halves.tflite").read_bytes())
    for at in range(8, len(content) - 3):
        damaged = content.copy()
        damaged[at : at + 4] = b"\xff\xff\xff\x7f"
        path = tmp_path / "m.tflite"
        path.write_bytes(damaged)
        try:
            read_graph(path)
        except ModelError:
            continue


@pytest.mark.parametrize("length", [8, 9, 20, 100, 200, 300])
def test_cut_short(tmp_path: Path, length: int) -> None:
    path = tmp_path / "m.tflite"
    path.write_bytes((FIXTURES / "halves.tflite").read_bytes()[:length])
    with pytest.raises(ModelError, match="not a whole TFLite model"):
        read_graph(path)
