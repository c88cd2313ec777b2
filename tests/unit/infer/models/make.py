"""Make the small models beside this file: tensor kinds that real models rarely have.

python make.py        (needs TensorFlow: the [train] extra)
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
import onnx
import tensorflow as tf
from onnx import TensorProto, helper
from tensorflow.lite.python import schema_py_generated as schema

HERE = Path(__file__).parent


class TwoSignatures(tf.Module):
    """``double`` and ``square`` of x, each a graph of its own."""

    @tf.function(input_signature=[tf.TensorSpec((None, 2), tf.float32, name="x")])
    def double(self, x: Any) -> dict[str, Any]:
        return {"double": x + x}

    @tf.function(input_signature=[tf.TensorSpec((None, 2), tf.float32, name="x")])
    def square(self, x: Any) -> dict[str, Any]:
        return {"square": x * x}


class LongInput(tf.Module):
    """A row of any length, summed over eight neighbours: too long for a row of one."""

    @tf.function(input_signature=[tf.TensorSpec((None, None), tf.float32, name="x")])
    def sums(self, x: Any) -> dict[str, Any]:
        row = tf.reshape(x, (1, 1, -1, 1))
        return {"sums": tf.nn.conv2d(row, tf.ones((1, 8, 1, 1)), 1, "VALID")}


def converted(module: tf.Module, *names: str) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        signatures = {name: getattr(module, name) for name in names}
        tf.saved_model.save(module, folder, signatures=signatures)
        converter = tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=list(names))
        return bytes(converter.convert())


def unary(
    operator: int, version: int, kind: int, scale: float = 0.0, made: int | None = None
) -> bytes:
    """A model of one operator without options, (1, 2) of ``kind`` to (1, 2) of ``made``."""
    tensors = []
    for number, name in enumerate((b"x", b"y")):
        tensor = schema.TensorT()
        kind = kind if made is None or not number else made
        tensor.shape, tensor.type, tensor.name, tensor.buffer = [1, 2], kind, name, number + 1
        if scale:
            tensor.quantization = schema.QuantizationParametersT()
            tensor.quantization.scale, tensor.quantization.zeroPoint = [scale], [0]
        tensors.append(tensor)
    node = schema.OperatorT()
    node.opcodeIndex, node.inputs, node.outputs = 0, [0], [1]
    graph = schema.SubGraphT()
    graph.tensors, graph.inputs, graph.outputs, graph.operators = tensors, [0], [1], [node]
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = operator
    code.version = version
    model = schema.ModelT()
    model.version, model.operatorCodes, model.subgraphs = 3, [code], [graph]
    model.buffers = [schema.BufferT() for _ in range(3)]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def one_node(
    operator: str, kind: int, given: list[Any] | None, made: list[Any], **how: Any
) -> bytes:
    """An ONNX model ``y = operator(x)``; open dimensions are names."""
    x = helper.make_tensor_value_info("x", kind, given)
    y = helper.make_tensor_value_info("y", kind, made)
    node = helper.make_node(operator, ["x"], ["y"], **how)
    graph = helper.make_graph([node], operator.lower(), [x], [y])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def unknown_operator() -> bytes:
    """A well-formed ONNX model whose operator belongs to a domain that nobody has."""
    x, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, [1]) for n in "xy")
    node = helper.make_node("Teleport", ["x"], ["y"], domain="example.org")
    opsets = [helper.make_opsetid("", 13), helper.make_opsetid("example.org", 1)]
    graph = helper.make_graph([node], "teleport", [x], [y])
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    return bytes(model.SerializeToString())


def main() -> None:
    ops, kinds = schema.BuiltinOperator, schema.TensorType
    models = {
        "two_signatures": converted(TwoSignatures(), "double", "square"),
        "long_input": converted(LongInput(), "sums"),
        "halves": unary(ops.DEQUANTIZE, 3, kinds.FLOAT16, made=kinds.FLOAT32),
        "shorts": unary(ops.RELU, 2, kinds.INT16, float(np.float32(1 / 32767))),
        "words": unary(ops.RESHAPE, 1, kinds.STRING),
    }
    models = {f"{name}.tflite": data for name, data in models.items()} | {
        "sum.onnx": one_node("ReduceSum", TensorProto.FLOAT, ["n"], [], keepdims=0),
        "halves.onnx": one_node("Neg", TensorProto.FLOAT16, ["n", 2], ["n", 2]),
        "words.onnx": one_node("Identity", TensorProto.STRING, [1], [1]),
        "bfloat.onnx": one_node("Identity", TensorProto.BFLOAT16, [1], [1]),
        "teleport.onnx": unknown_operator(),
    }
    for name, data in models.items():
        (HERE / name).write_bytes(data)
        print(f"{name}: {len(data)} bytes")


if __name__ == "__main__":
    main()
