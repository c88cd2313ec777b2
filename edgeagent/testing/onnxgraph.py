"""An ONNX graph that is added to: nodes after the output, tensors that are carried along.

Field numbers: https://github.com/onnx/onnx/blob/main/onnx/onnx.proto (IR version 8).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgeagent.testing import wire
from edgeagent.testing.wire import Field, block, integer, message, text

DTYPES = {
    "float32": 1, "uint8": 2, "int8": 3, "uint16": 4, "int16": 5, "int32": 6, "int64": 7,
    "bool": 9, "float16": 10, "float64": 11, "uint32": 12, "uint64": 13,
    "object": 8,
}  # fmt: skip
"""numpy name → TensorProto.DataType; ``object`` = texts."""
_MODEL_GRAPH = 7
_NODE, _INITIALIZER, _INPUT, _OUTPUT = 1, 5, 11, 12
_NODE_INPUT, _NODE_OUTPUT = 1, 2
FLOAT, INT64, BOOL = 1, 7, 9
_NUMPY = {"float32": FLOAT, "int64": INT64, "bool": BOOL}


def echo(dtype: str, shape: Sequence[int]) -> bytes:
    """A model file that gives its input ``x`` back as ``y``; a dimension of −1 is any."""
    graph = [
        block(_NODE, _node("Identity", ["x"], ["y"], {})),
        text(2, "echo"),
        block(_INPUT, _value("x", shape, DTYPES[dtype])),
        block(_OUTPUT, _value("y", shape, DTYPES[dtype])),
    ]
    opset = message([text(1, ""), integer(2, 13)])
    return message([integer(1, 8), block(_MODEL_GRAPH, message(graph)), block(8, opset)])


def echo_package(
    models: Path,
    name: str,
    *,
    dtype: str = "float32",
    shape: Sequence[int] = (-1, 4),
    version: str = "1.0.0",
) -> Path:
    """A package of `echo` in a folder of models, which takes tensors as they are; its folder."""
    folder = models / name / version
    folder.mkdir(parents=True)
    (folder / "echo.onnx").write_bytes(echo(dtype, shape))
    (folder / "model.toml").write_text(
        f'name = "{name}"\nversion = "{version}"\ntask = "regress"\nlicence = "none"\n'
        '[[input]]\nname = "x"\nkind = "tensor"\n[output]\ndecoder = "none"\n'
        '[[variant]]\nfile = "echo.onnx"\nruntime = "onnx"\n'
    )
    return folder


def dense_package(models: Path, name: str, width: int, layers: int) -> Path:
    """A package of fully connected layers, whose batch is open: reading their weights is most of
    a run's work, so that a batch takes hardly longer than one row."""
    folder = echo_package(models, name, shape=(-1, width))
    graph = Graph(folder / "echo.onnx")
    rng = np.random.default_rng(3)
    told = graph.good
    for _ in range(layers):
        weights = graph.constant(rng.standard_normal((width, width)) / np.sqrt(width))
        told = graph.node("Relu", [graph.node("MatMul", [told, weights])])
    graph.node("Identity", [told], graph.output)
    graph.write(folder / "echo.onnx")
    return folder


class Graph:
    """The graph of a model file with one output, which may be replaced by what new nodes make.

    `good` is what the model said; make a tensor called `output` of it.
    """

    def __init__(self, file: Path) -> None:
        self._model = wire.fields(file.read_bytes())
        self._place = next(at for at, its in enumerate(self._model) if its[0] == _MODEL_GRAPH)
        self._fields = wire.fields(_bytes(self._model[self._place]))
        self.output = _named(next(its for its in self._fields if its[0] == _OUTPUT))
        self.good = f"{self.output}_good"
        self._rename(self.output, self.good)
        self._count = 0

    def node(self, kind: str, inputs: Sequence[str], output: str = "", **attributes: Any) -> str:
        """Add a node; the name of what it makes."""
        output = output or self._name()
        self._fields.append(block(_NODE, _node(kind, inputs, [output], attributes)))
        return output

    def constant(self, values: Any, dtype: str = "float32") -> str:
        """Add a tensor with these values; its name."""
        name = self._name()
        self._fields.append(block(_INITIALIZER, _tensor(name, np.asarray(values, dtype))))
        return name

    def carried(self, name: str, shape: Sequence[int], made: str) -> None:
        """Take a tensor ``name`` in, and give ``made`` out for the next run as ``{name}_out``.

        A dimension of −1 is any.
        """
        self.node("Identity", [made], f"{name}_out")
        self._fields.append(block(_INPUT, _value(name, shape)))
        self._fields.append(block(_OUTPUT, _value(f"{name}_out", shape)))

    def write(self, file: Path) -> None:
        self._model[self._place] = block(_MODEL_GRAPH, message(self._fields))
        file.write_bytes(message(self._model))

    def loop(self, times: str, start: str) -> str:
        """Count up from ``start`` so many times, one by one; what it comes to."""
        one = block(_INITIALIZER, _tensor("one", np.ones(1, np.float32)))
        body = message([
            block(_NODE, _node("Identity", ["go"], ["go_on"], {})),
            block(_NODE, _node("Add", ["sum", "one"], ["more"], {})),
            text(2, "body"),
            one,
            block(_INPUT, _value("turn", [], INT64)),
            block(_INPUT, _value("go", [], BOOL)),
            block(_INPUT, _value("sum", [1])),
            block(_OUTPUT, _value("go_on", [], BOOL)),
            block(_OUTPUT, _value("more", [1])),
        ])  # fmt: skip
        return self.node("Loop", [times, "", start], body=body)

    def _name(self) -> str:
        self._count += 1
        return f"added_{self._count}"

    def _rename(self, was: str, now: str) -> None:
        for at, (number, _, value) in enumerate(self._fields):
            if number == _NODE and isinstance(value, bytes):
                node = [
                    text(its[0], now)
                    if its[0] in (_NODE_INPUT, _NODE_OUTPUT) and its[2] == was.encode()
                    else its
                    for its in wire.fields(value)
                ]
                self._fields[at] = block(_NODE, message(node))


def _node(
    kind: str, inputs: Sequence[str], outputs: Sequence[str], attributes: dict[str, Any]
) -> bytes:
    content = [text(_NODE_INPUT, name) for name in inputs]
    content += [text(_NODE_OUTPUT, name) for name in outputs]
    content.append(text(4, kind))
    for name, value in attributes.items():
        if isinstance(value, bytes):
            its = [text(1, name), block(6, value), integer(20, 5)]
        elif isinstance(value, int):
            its = [text(1, name), integer(3, value), integer(20, 2)]
        else:
            its = [text(1, name), *(integer(8, one) for one in value), integer(20, 7)]
        content.append(block(5, message(its)))
    return message(content)


def _tensor(name: str, values: Any) -> bytes:
    return message([
        *(integer(1, length) for length in values.shape),
        integer(2, _NUMPY[values.dtype.name]),
        text(8, name),
        block(9, values.tobytes()),
    ])  # fmt: skip


def _value(name: str, shape: Sequence[int], kind: int = FLOAT) -> bytes:
    dims = [
        block(1, message([text(2, "any") if length < 0 else integer(1, length)]))
        for length in shape
    ]
    tensor = message([integer(1, kind), block(2, message(dims))])
    return message([text(1, name), block(2, message([block(1, tensor)]))])


def _named(field: Field) -> str:
    return next(_bytes(its).decode() for its in wire.fields(_bytes(field)) if its[0] == 1)


def _bytes(field: Field) -> bytes:
    value = field[2]
    if not isinstance(value, bytes):
        raise ValueError(f"field {field[0]} is no message")
    return value
