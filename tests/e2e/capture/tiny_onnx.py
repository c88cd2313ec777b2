"""ONNX models of a few nodes, written out: means of their inputs. Needs no library.

Field numbers: https://github.com/onnx/onnx/blob/main/onnx/onnx.proto (IR version 8).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path


def _varint(value: int) -> bytes:
    out = b""
    while value > 0x7F:
        out += bytes((value & 0x7F | 0x80,))
        value >>= 7
    return out + bytes((value,))


def _block(field: int, content: bytes | str) -> bytes:
    data = content.encode() if isinstance(content, str) else content
    return _varint(field << 3 | 2) + _varint(len(data)) + data


def _int(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _node(kind: str, inputs: Sequence[str], output: str, **attributes: int) -> bytes:
    content = b"".join(_block(1, name) for name in inputs) + _block(2, output) + _block(4, kind)
    for name, value in attributes.items():
        content += _block(5, _block(1, name) + _int(3, value) + _int(20, 2))
    return _block(1, content)


def _value(name: str, shape: Sequence[int]) -> bytes:
    dims = b"".join(_block(1, _int(1, length)) for length in shape)
    tensor = _int(1, 1) + _block(2, dims)
    return _block(1, name) + _block(2, _block(1, tensor))


def means(inputs: Mapping[str, Sequence[int]]) -> bytes:
    """A model that gives ``means`` (1, inputs): the mean of each float input."""
    nodes = b""
    for name in inputs:
        nodes += _node("Flatten", [name], f"{name}_flat", axis=0)
        nodes += _node("ReduceMean", [f"{name}_flat"], f"{name}_mean", keepdims=1)
    nodes += _node("Concat", [f"{name}_mean" for name in inputs], "means", axis=1)
    graph = nodes + _block(2, "means")
    graph += b"".join(_block(11, _value(name, shape)) for name, shape in inputs.items())
    graph += _block(12, _value("means", [1, len(inputs)]))
    return _int(1, 8) + _block(7, graph) + _block(8, _block(1, "") + _int(2, 13))


def package(folder: Path, name: str, inputs: str, shapes: Mapping[str, Sequence[int]]) -> None:
    """A model package ``folder/name/1.0.0`` of it; ``inputs`` are the ``[[input]]`` tables."""
    place = folder / name / "1.0.0"
    place.mkdir(parents=True)
    (place / "means.onnx").write_bytes(means(shapes))
    (place / "model.toml").write_text(
        f'name = "{name}"\nversion = "1.0.0"\ntask = "regress"\nlicence = "none"\n{inputs}\n'
        '[output]\ndecoder = "none"\n[[variant]]\nfile = "means.onnx"\nruntime = "onnx"\n'
    )
