"""Models that end early: an inner tensor becomes the output, what comes after it is left out.

Both formats allow it without their libraries. An ONNX file is a protobuf message, in which
fields may be dropped and appended (https://protobuf.dev/programming-guides/encoding/, numbers
from onnx.proto). In a .tflite file (https://flatbuffers.dev/internals, numbers from
schema.fbs) the list of outputs is replaced by one at the file's end, and the list of operators,
which are in the order of their running, is shortened.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from pathlib import Path

from edgeagent.errors import ModelError

# onnx.proto: ModelProto.graph, GraphProto.node and .output, NodeProto.output, ValueInfoProto.name
_GRAPH, _NODE, _OUTPUT, _MADE, _NAME = 7, 1, 12, 2, 1
# schema.fbs: Model.subgraphs, .signature_defs; SubGraph.outputs, .operators; Operator.outputs
_SUBGRAPHS, _SIGNATURES, _OUTPUTS, _OPERATORS, _MAKES = 2, 7, 2, 3, 2


def inner(file: Path) -> list[str]:
    """What operators make, in the order of their running: names in an ONNX file, numbers of
    tensors in a .tflite file. Raises ModelError."""
    data = _read(file)
    try:
        return _onnx_made(data) if _is_onnx(file) else [str(at) for at in _Lite(data).made()]
    except (IndexError, struct.error, UnicodeDecodeError) as error:
        raise ModelError(f"{file}: its structure can't be read ({error})") from error


def ending_at(file: Path, tensors: Sequence[str]) -> bytes:
    """The model with these inner tensors, as `inner` calls them, for its outputs.

    Raises ModelError.
    """
    data = _read(file)
    try:
        return _onnx_cut(data, tensors) if _is_onnx(file) else _Lite(data).cut(tensors)
    except (IndexError, struct.error, UnicodeDecodeError, ValueError) as error:
        raise ModelError(f"{file}: its structure can't be read ({error})") from error


def _is_onnx(file: Path) -> bool:
    return file.suffix.lower() == ".onnx"


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise ModelError(f"{file}: can't be read: {error.strerror}") from error


# --- protobuf --------------------------------------------------------------------------------


def _fields(message: bytes) -> Iterator[tuple[int, bytes, bytes]]:
    """Number, whole field, and its content where it has a length."""
    at = 0
    while at < len(message):
        start = at
        key, at = _varint(message, at)
        content = b""
        if key & 7 == 2:
            length, at = _varint(message, at)
            content = message[at : at + length]
            at += length
        elif key & 7 == 0:
            _, at = _varint(message, at)
        elif key & 7 in (1, 5):
            at += 8 if key & 7 == 1 else 4
        else:
            raise IndexError(f"wire type {key & 7}")
        yield key >> 3, message[start:at], content


def _varint(message: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[at]
        at += 1
        value |= (byte & 127) << shift
        shift += 7
        if not byte & 128:
            return value, at


def _field(number: int, content: bytes) -> bytes:
    return _number(number << 3 | 2) + _number(len(content)) + content


def _number(value: int) -> bytes:
    parts = []
    while True:
        value, part = value >> 7, value & 127
        parts.append(part | (128 if value else 0))
        if not value:
            return bytes(parts)


def _onnx_made(data: bytes) -> list[str]:
    graphs = [content for number, _, content in _fields(data) if number == _GRAPH]
    if not graphs:
        raise IndexError("it has no graph")
    graph = graphs[0]
    return [
        name.decode()
        for number, _, node in _fields(graph)
        if number == _NODE
        for what, _, name in _fields(node)
        if what == _MADE and name
    ]


def _onnx_cut(data: bytes, tensors: Sequence[str]) -> bytes:
    outputs = b"".join(_field(_OUTPUT, _field(_NAME, name.encode())) for name in tensors)
    model = []
    if missing := set(tensors) - set(_onnx_made(data)):
        raise ValueError(f"no operator makes {sorted(missing)[0]!r}")
    for number, whole, content in _fields(data):
        if number == _GRAPH:
            # The runtime leaves out by itself what no output needs.
            kept = [one for its, one, _ in _fields(content) if its != _OUTPUT]
            whole = _field(_GRAPH, b"".join(kept) + outputs)
        model.append(whole)
    return b"".join(model)


# --- FlatBuffers -----------------------------------------------------------------------------


class _Lite:
    """The tables of a .tflite file that a runtime has opened, and so verified, before."""

    def __init__(self, data: bytes) -> None:
        self._data = bytearray(data)
        self._model = self._u32(0)
        self._graph = self._children(self._model, _SUBGRAPHS)[0]

    def made(self) -> list[int]:
        return [tensor for makes in self._operators() for tensor in makes]

    def cut(self, tensors: Sequence[str]) -> bytes:
        wanted = [int(tensor) for tensor in tensors]
        makes = self._operators()
        last = max(at for at, made in enumerate(makes) if set(made) & set(wanted))
        self._shorten(self._graph, _OPERATORS, last + 1)
        if self._place(self._model, _SIGNATURES):
            self._shorten(self._model, _SIGNATURES, 0)
        place = self._place(self._graph, _OUTPUTS)
        self._data += bytes(-len(self._data) % 4)
        struct.pack_into("<I", self._data, place, len(self._data) - place)
        self._data += struct.pack(f"<I{len(wanted)}i", len(wanted), *wanted)
        return bytes(self._data)

    def _operators(self) -> list[list[int]]:
        found = []
        for operator in self._children(self._graph, _OPERATORS):
            at = self._follow(operator, _MAKES)
            found.append(list(struct.unpack_from(f"<{self._u32(at)}i", self._data, at + 4)))
        return found

    def _shorten(self, table: int, field: int, count: int) -> None:
        struct.pack_into("<I", self._data, self._follow(table, field), count)

    def _children(self, table: int, field: int) -> list[int]:
        at = self._follow(table, field)
        offsets = struct.unpack_from(f"<{self._u32(at)}I", self._data, at + 4)
        return [at + 4 + 4 * index + offset for index, offset in enumerate(offsets)]

    def _follow(self, table: int, field: int) -> int:
        place = self._place(table, field)
        return place + self._u32(place)

    def _place(self, table: int, field: int) -> int:
        """Where a field of a table lies; 0 = it is absent."""
        vtable: int = table - struct.unpack_from("<i", self._data, table)[0]
        if 4 + 2 * field >= struct.unpack_from("<H", self._data, vtable)[0]:
            return 0
        offset: int = struct.unpack_from("<H", self._data, vtable + 4 + 2 * field)[0]
        return table + offset if offset else 0

    def _u32(self, at: int) -> int:
        value: int = struct.unpack_from("<I", self._data, at)[0]
        return value
