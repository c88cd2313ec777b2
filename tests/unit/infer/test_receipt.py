"""Where operators run: counted on graphs drawn by hand and on real ones."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeagent.errors import InferenceError, ModelError
from edgeagent.infer.delegates import library_of, same_delegate, title_of
from edgeagent.infer.litert import open_litert
from edgeagent.infer.receipt import Node, Tally, shortfall, tally_litert, tally_onnx
from edgeagent.infer.session import Options, Receipt


def chain(*operators: str) -> list[Node]:
    """Operators one after the other over tensors 0, 1, 2 …"""
    return [Node(name, (n,), (n + 1,)) for n, name in enumerate(operators)]


def test_a_partition_covers_what_lies_between_its_borders() -> None:
    nodes = chain("CONV_2D", "ADD", "SOFTMAX", "RESHAPE")
    nodes.append(Node("DELEGATE", (0, 90, 91), (2,)))
    tally = tally_litert(nodes, ["XNNPACK"])
    assert tally == Tally({"XNNPACK": 2, "builtin": 2}, {"SOFTMAX": 1, "RESHAPE": 1})


def test_a_branch_inside_a_partition_is_counted_once() -> None:
    nodes = [
        Node("SPLIT", (0,), (1, 2)),
        Node("CONV_2D", (1,), (3,)),
        Node("CONV_2D", (2,), (4,)),
        Node("ADD", (3, 4), (5,)),
        Node("SOFTMAX", (5,), (6,)),
        Node("DELEGATE", (0,), (5,)),
    ]
    assert tally_litert(nodes, ["npu"]).placement == {"npu": 4, "builtin": 1}


def test_a_vendor_before_xnnpack() -> None:
    nodes = chain("RESHAPE", "CONV_2D", "RESHAPE", "SOFTMAX")
    nodes += [
        Node("DELEGATE", (0,), (1,)),
        Node("DELEGATE", (2,), (3,)),
        Node("DELEGATE", (1,), (2,)),
    ]
    tally = tally_litert(nodes, ["npu", "npu", "XNNPACK"])
    assert tally.placement == {"npu": 2, "XNNPACK": 1, "builtin": 1}


def test_no_delegate_and_no_nodes() -> None:
    assert tally_litert(chain("ADD", "MUL"), []).placement == {"builtin": 2}
    assert tally_litert([], []) == Tally({}, {})


@settings(deadline=None)
@given(st.lists(st.sampled_from(["ADD", "MUL", "CONV_2D"]), min_size=1, max_size=30), st.data())
def test_every_operator_has_one_place(operators: list[str], data: st.DataObject) -> None:
    nodes = chain(*operators)
    cuts = sorted(data.draw(st.sets(st.integers(0, len(operators)), max_size=6)))
    borders = list(pairwise(cuts))[::2]
    nodes += [Node("DELEGATE", (low,), (high,)) for low, high in borders]
    tally = tally_litert(nodes, ["XNNPACK"] * len(borders))
    covered = sum(high - low for low, high in borders)
    assert tally.placement.get("XNNPACK", 0) == covered
    assert sum(tally.placement.values()) == len(operators)
    assert sum(tally.left.values()) == len(operators) - covered


def test_onnx_subgraphs() -> None:
    assigned = [("NpuExecutionProvider", ["Conv", "Relu"]), ("CPUExecutionProvider", ["Softmax"])]
    tally = tally_onnx(assigned, "NpuExecutionProvider")
    assert tally.placement == {"NpuExecutionProvider": 2, "CPUExecutionProvider": 1}
    assert tally.left == {"Softmax": 1}
    assert shortfall(tally, "NpuExecutionProvider") == ""
    assert "takes none of the model's 3" in shortfall(tally, "OtherExecutionProvider")
    assert shortfall(Tally({}, {}), "OtherExecutionProvider") == ""


def test_sentences() -> None:
    receipt = Receipt("litert 2.3.0", "xnnpack", {"XNNPACK": 11, "builtin": 2}, 1)
    assert receipt.sentence() == "litert 2.3.0, 11 of 13 operators on XNNPACK, 1 thread"
    receipt = Receipt("onnxruntime 1.32.0", "X", {}, 2, fallback="no X")
    assert receipt.sentence() == (
        "onnxruntime 1.32.0, operators unknown, 2 threads (fell back: no X)"
    )


@pytest.mark.assets
@pytest.mark.parametrize(
    ("name", "total", "xnnpack", "left"),
    [
        ("kws_ref_model", 13, 11, {"AVERAGE_POOL_2D": 1, "SOFTMAX": 1}),
        ("ic_resnet8_int8", 16, 14, {"AVERAGE_POOL_2D": 1, "SOFTMAX": 1}),
        ("vww_96_int8", 31, 29, {"AVERAGE_POOL_2D": 1, "SOFTMAX": 1}),
        ("ad01_int8", 10, 10, {}),
        (
            "coco_ssd_mobilenet_v1_quant",
            64,
            61,
            {"CONCATENATION": 2, "TFLite_Detection_PostProcess": 1},
        ),
    ],
)
def test_xnnpack_on_and_off_against_hand_counts(
    assets: Path, xnnpack_int8: bool, name: str, total: int, xnnpack: int, left: dict[str, int]
) -> None:
    path = assets / "models" / f"{name}.tflite"
    on = open_litert(path, Options()).receipt
    off = open_litert(path, Options(delegate="none")).receipt
    assert (off.asked, off.placement, off.fallback) == ("none", {"builtin": total}, "")
    assert on.asked == "xnnpack"
    if xnnpack_int8:
        expected = {"XNNPACK": xnnpack, "builtin": total - xnnpack}
        assert on.placement == {place: n for place, n in expected.items() if n}
        assert on.left == left
    else:
        assert on.placement == {"builtin": total}


@pytest.mark.assets
def test_xnnpack_may_be_required(assets: Path, xnnpack_int8: bool) -> None:
    path = assets / "models" / "kws_ref_model.tflite"
    asked = Options(delegate="xnnpack", require=True)
    if xnnpack_int8:
        assert open_litert(path, asked).receipt.fallback == ""
    else:
        with pytest.raises(ModelError, match="XNNPACK takes none of the model's 13"):
            open_litert(path, asked)
        receipt = open_litert(path, Options(delegate="xnnpack")).receipt
        assert "takes none" in receipt.fallback
    with_reshape_left = open_litert(assets / "models" / "kws_ref_model_float32.tflite", asked)
    assert with_reshape_left.receipt.placement["XNNPACK"] >= 8


# --- external delegates: a toy compiled against the C interface ----------------------------


@pytest.fixture
def keywords(assets: Path) -> Path:
    return assets / "models" / "kws_ref_model.tflite"


def sample() -> list[np.ndarray]:
    return [np.random.default_rng(6).integers(-30, 120, (1, 49, 10, 1), np.int8)]


@pytest.mark.parametrize("require", [False, True])
def test_a_delegate_that_takes_one_operator(
    keywords: Path, toy: Path, xnnpack_int8: bool, require: bool
) -> None:
    plain = open_litert(keywords, Options())
    session = open_litert(keywords, Options(delegate=str(toy), require=require))
    receipt = session.receipt
    assert receipt.asked == str(toy)
    assert receipt.fallback == ""
    if xnnpack_int8:
        assert receipt.placement == {"libtoy.so": 1, "XNNPACK": 10, "builtin": 2}
    else:
        assert receipt.placement == {"libtoy.so": 1, "builtin": 12}
    assert "RESHAPE" not in receipt.left
    assert np.array_equal(session.run(sample())[0], plain.run(sample())[0])
    session.close()


def test_a_delegate_with_wrong_numbers_shows_in_the_answer(keywords: Path, toy: Path) -> None:
    plain = open_litert(keywords, Options()).run(sample())[0]
    session = open_litert(keywords, Options(delegate=str(toy), extra={"add": "100"}))
    assert not np.array_equal(session.run(sample())[0], plain)


def test_a_delegate_that_takes_nothing(keywords: Path, toy: Path) -> None:
    options = Options(delegate=str(toy), extra={"take": "-1"})
    session = open_litert(keywords, options)
    assert session.receipt.fallback == "libtoy.so takes none of the model's 13 operators"
    assert "libtoy.so" not in session.receipt.placement
    with pytest.raises(ModelError, match=r"takes none of the model's 13") as caught:
        open_litert(keywords, Options(delegate=str(toy), extra={"take": "-1"}, require=True))
    assert caught.value.remedy


@pytest.mark.parametrize(
    ("fail", "words"),
    [("create", "refuses to start: toy: no device found"), ("prepare", "toy: no such firmware")],
)
def test_a_delegate_that_fails_leaves_the_cpu(
    keywords: Path, toy: Path, fail: str, words: str
) -> None:
    plain = open_litert(keywords, Options())
    session = open_litert(keywords, Options(delegate=str(toy), extra={"fail": fail}))
    assert words in session.receipt.fallback
    assert session.receipt.placement == plain.receipt.placement
    assert np.array_equal(session.run(sample())[0], plain.run(sample())[0])
    with pytest.raises(ModelError) as caught:
        open_litert(keywords, Options(delegate=str(toy), extra={"fail": fail}, require=True))
    assert words in str(caught.value)


def test_a_delegate_that_loses_its_device(keywords: Path, toy: Path) -> None:
    session = open_litert(keywords, Options(delegate=str(toy), extra={"fail": "invoke"}))
    with pytest.raises(InferenceError, match=r"toy: device lost\. Node number 13") as caught:
        session.run(sample())
    assert caught.value.retry == "reopen"


@pytest.mark.parametrize(
    ("delegate", "words"),
    [
        ("/nowhere/libnpu.so", "can't be loaded"),
        ("edgetpu", "delegate libedgetpu.so.1 can't be loaded"),
        ("libm.so.6", "no TFLite delegate: it lacks tflite_plugin_create_delegate"),
    ],
)
def test_libraries_that_are_not_there_or_no_delegates(
    keywords: Path, delegate: str, words: str, capfd: pytest.CaptureFixture[str]
) -> None:
    session = open_litert(keywords, Options(delegate=delegate))
    assert words in session.receipt.fallback
    assert len(session.run(sample())) == 1
    with pytest.raises(ModelError) as caught:
        open_litert(keywords, Options(delegate=delegate, require=True))
    assert words in str(caught.value)
    assert caught.value.remedy
    # The runtimes' own loaders print a traceback from a destructor here.
    assert capfd.readouterr().err == ""


def test_a_file_that_is_no_library(keywords: Path, tmp_path: Path) -> None:
    library = tmp_path / "libbroken.so"
    library.write_bytes(b"\x7fELF")
    session = open_litert(keywords, Options(delegate=str(library)))
    assert "can't be loaded" in session.receipt.fallback


def test_a_model_compiled_for_a_delegate_that_is_missing(assets: Path, tmp_path: Path) -> None:
    # The name of an Edge TPU program in place of another custom operator of a real model.
    data = (assets / "models/coco_ssd_mobilenet_v1_quant.tflite").read_bytes()
    old, new = b"TFLite_Detection_PostProcess", b"edgetpu-custom-op"
    marked = len(old).to_bytes(4, "little") + old
    assert marked in data
    patched = len(new).to_bytes(4, "little") + new.ljust(len(old), b"\0")
    path = tmp_path / "ssd_edgetpu.tflite"
    path.write_bytes(data.replace(marked, patched))
    with pytest.raises(ModelError, match="compiled for the delegate 'edgetpu'") as caught:
        open_litert(path, Options())
    assert 'runtime.delegate = "edgetpu"' in caught.value.remedy
    with pytest.raises(ModelError, match="libedgetpu") as caught:
        open_litert(path, Options(delegate="edgetpu"))
    assert "can't be loaded" in str(caught.value), "both halves of the story are told"


def test_names_of_delegates() -> None:
    assert library_of("edgetpu") == "libedgetpu.so.1"
    assert library_of("/opt/libvx_delegate.so") == "/opt/libvx_delegate.so"
    assert title_of("/opt/libvx_delegate.so") == "libvx_delegate.so"
    assert title_of("edgetpu") == "edgetpu"
    assert same_delegate("edgetpu", "/usr/lib/libedgetpu.so.1")
    assert not same_delegate("edgetpu", "vx")
