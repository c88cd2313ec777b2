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


@pytest.mark.parametrize("dtype", sorted(DATATYPES))
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
