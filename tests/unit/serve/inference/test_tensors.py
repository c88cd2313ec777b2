"""Tensors on the wire: what was sent is what arrives, and what lies about its size does not."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from edgeagent.serve.http.exchange import Refused
from edgeagent.serve.inference.tensors import DATATYPES, Asked, express, of_json, understand
from edgeagent.types import TensorSpec

SPECS = [TensorSpec("a", (-1, 4), "float32"), TensorSpec("b", (2,), "int8")]
OUTPUTS = [TensorSpec("y", (-1, 4), "float32"), TensorSpec("z", (2,), "int8")]


def body(*tensors: dict[str, Any], data: bytes = b"", **keys: Any) -> tuple[bytes, str]:
    head = json.dumps({"inputs": tensors, **keys}).encode()
    return head + data, str(len(head))


@pytest.mark.parametrize("dtype", sorted(DATATYPES.keys() - {"object"}))
@settings(max_examples=15)
@given(data=st.data())
def test_every_dtype_there_and_back_to_the_bit(dtype: str, data: Any) -> None:
    array = data.draw(arrays.arrays(dtype, arrays.array_shapes(min_dims=2, max_dims=2)))
    spec = [TensorSpec("x", (-1, -1), dtype)]
    tensor = {"name": "x", "shape": list(array.shape), "datatype": DATATYPES[dtype]}
    binary = {**tensor, "parameters": {"binary_data_size": array.nbytes}}
    sent, length = body(binary, data=array.tobytes())
    got = understand(sent, length, spec, spec).tensors[0]
    assert (got.dtype, got.tobytes()) == (array.dtype, array.tobytes())
    for wanted in ([(0, True)], [(0, False)]):
        reply = express(Asked("", [], wanted, {}), "m", "1", spec, [array])
        size = int(dict(reply.headers).get(b"inference-header-content-length", len(reply.body)))
        told = json.loads(reply.body[:size])["outputs"][0]
        assert told["shape"] == list(array.shape)
        if wanted[0][1]:
            assert reply.body[size:] == array.tobytes()
            assert told["parameters"]["binary_data_size"] == array.nbytes
        elif np.isfinite(array.astype(np.float64)).all():
            back = of_json(told["data"], dtype, array.size, "x")
            assert back.tobytes() == array.tobytes()


def test_the_order_of_inputs_and_outputs_is_the_clients() -> None:
    a, b = np.ones((1, 4), np.float32), np.array([1, 2], np.int8)
    sent, length = body(
        {"name": "b", "shape": [2], "datatype": "INT8", "parameters": {"binary_data_size": 2}},
        {"name": "a", "shape": [1, 4], "datatype": "FP32",
         "parameters": {"binary_data_size": 16}},
        data=b.tobytes() + a.tobytes(), id="7",
        outputs=[{"name": "z"}, {"name": "y", "parameters": {"binary_data": True}}],
    )  # fmt: skip
    asked = understand(sent, length, SPECS, OUTPUTS)
    assert [tensor.tolist() for tensor in asked.tensors] == [a.tolist(), b.tolist()]
    reply = express(asked, "m", "1", OUTPUTS, [a, b])
    size = int(dict(reply.headers)[b"inference-header-content-length"])
    told = json.loads(reply.body[:size])
    assert told["id"] == "7"
    assert [its["name"] for its in told["outputs"]] == ["z", "y"]
    assert reply.body[size:] == a.tobytes()


A = {"name": "a", "shape": [1, 4], "datatype": "FP32", "data": [1, 2, 3, 4]}
B = {"name": "b", "shape": [2], "datatype": "INT8", "data": [1, 2]}


@pytest.mark.parametrize(
    "tensors",
    [
        (A,), (A, A), (A, B, {**B, "name": "c"}), ({**A, "name": "c"}, B), (),
        ({**A, "data": [1, 2, 3]}, B), ({**A, "data": "abcd"}, B), ({**A, "data": None}, B),
        ({**A, "data": [[1, 2], [3]]}, B), ({**A, "data": [1, 2, "3", 4]}, B),
        (A, {**B, "data": [1, 128]}), (A, {**B, "data": [1.5, 2]}),
        (A, {**B, "data": [True, False]}),
        (A, {**B, "data": [10**30, 1]}), ({**A, "shape": [4]}, B), ({**A, "shape": [-1, 4]}, B),
        ({**A, "shape": [2**62, 4]}, B), ({**A, "shape": [1] * 99}, B),
        ({**A, "datatype": "FP64"}, B), ({**A, "datatype": "BYTES"}, B),
        ({**A, "parameters": {"binary_data_size": 16}}, B),
        ({**A, "data": None, "parameters": {"binary_data_size": 16}}, B),
    ],
)  # fmt: skip
def test_what_does_not_fit_the_model_is_refused(tensors: tuple[dict[str, Any], ...]) -> None:
    sent, length = body(*tensors)
    with pytest.raises(Refused) as refused:
        understand(sent, length, SPECS, OUTPUTS)
    assert refused.value.status == 400


@pytest.mark.parametrize(
    "outputs",
    [[{"name": "x"}], [{"name": "y"}, {"name": "y"}],
     [{"name": "y", "parameters": {"classification": 3}}]],
)  # fmt: skip
def test_outputs_that_are_not_there_are_refused(outputs: list[Any]) -> None:
    sent, length = body(A, B, outputs=outputs)
    with pytest.raises(Refused):
        understand(sent, length, SPECS, OUTPUTS)


@settings(max_examples=40)
@given(st.binary(max_size=200), st.text(max_size=10), st.integers(0, 60))
def test_bytes_of_any_kind_are_refused_or_understood(noise: bytes, length: str, at: int) -> None:
    sent, right = body(A, B)
    for data, said in ((noise, length), (sent[:at] + noise + sent[at:], right),
                       (sent + noise, right)):  # fmt: skip
        try:
            understand(data, said, SPECS, OUTPUTS)
        except Refused as error:
            assert error.status == 400


TEXTS = [TensorSpec("x", (-1,), "object")]


def asked_texts(data: bytes, count: int, **tensor: Any) -> Asked:
    given = {"name": "x", "shape": [count], "datatype": "BYTES",
             "parameters": {"binary_data_size": len(data)}, **tensor}  # fmt: skip
    sent, length = body(given, data=data)
    return understand(sent, length, TEXTS, TEXTS)


@settings(max_examples=30)
@given(st.lists(st.text(max_size=20), max_size=6))
def test_texts_there_and_back(texts: list[str]) -> None:
    array = np.array([*texts, None], object)[:-1]
    for binary in (True, False):
        reply = express(Asked("", [], [(0, binary)], {}), "m", "1", TEXTS, [array])
        size = int(dict(reply.headers).get(b"inference-header-content-length", len(reply.body)))
        told = json.loads(reply.body[:size])["outputs"][0]
        if binary:
            back = asked_texts(reply.body[size:], len(texts)).tensors[0]
        else:
            back = of_json(told["data"], "object", len(texts), "x")
        assert back.tolist() == texts and back.dtype == object


@pytest.mark.parametrize(
    ("data", "count", "says"),
    [
        (b"\x02\0\0\0ab", 2, "can't hold 2 elements"),
        (b"\x02\0\0\0ab\0\0\0", 1, "3 bytes follow the last element"),
        (b"\x09\0\0\0ab", 1, "element 0 has 9 bytes, 2 follow"),
        (b"\xff\xff\xff\xff", 1, "element 0 has 4294967295 bytes"),
        (b"\x04\0\0\0abcd\0\0", 2, "the bytes end before element 1"),
        (b"\x02\0\0\0\xff\xfe", 1, "not UTF-8"),
        (b"", 1 << 39, "can't hold"),
    ],
)
def test_texts_that_lie_about_their_size(data: bytes, count: int, says: str) -> None:
    with pytest.raises(Refused, match=says):
        asked_texts(data, count)


@pytest.mark.parametrize(
    "data", [[1], [None], [{"b64": "?"}], [{"b64": "//8="}], [["a"], ["b", "c"]], "a", [{}]]
)  # fmt: skip
def test_what_is_no_text(data: Any) -> None:
    with pytest.raises(Refused):
        of_json(data, "object", None, "x")
    assert of_json([{"b64": "w6Q="}], "object", 1, "x").tolist() == ["ä"]


def test_truth_values_are_what_is_not_zero() -> None:
    spec = [TensorSpec("x", (4,), "bool")]
    tensor = {"name": "x", "shape": [4], "datatype": "BOOL", "parameters": {"binary_data_size": 4}}
    sent, length = body(tensor, data=b"\x00\x01\x02\xff")
    got = understand(sent, length, spec, spec).tensors[0]
    assert got.dtype == bool and got.tobytes() == b"\x00\x01\x01\x01"
