"""Reading the structure of a .tflite file, without trusting it.

LiteRT verifies a file before it reads it; tflite-runtime does not, and a file cut short takes
the process with it (22 % of damaged files did). `read_graph` follows the offsets of the
FlatBuffer within the file's bounds and gives the operators' names, which also serve where a
model is to be recognised without a runtime.

Format: https://flatbuffers.dev/internals; table fields: tensorflow/lite/schema/schema.fbs.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

from msgspec import Struct

from edgeagent.errors import ModelError
from edgeagent.infer.modelfile import TFLITE, damaged, read_head

# table → {field number: what it is}. Numbers are widths in bytes of a vector's elements;
# `text` is a string; a name is a table, a name in a list a vector of tables. Scalars need no
# check of their own: they lie inside their table.
_TABLES: dict[str, dict[int, Any]] = {
    "Model": {1: ["OperatorCode"], 2: ["SubGraph"], 3: "text", 4: ["Buffer"], 5: 4,
              6: ["Metadata"], 7: ["Signature"]},
    "OperatorCode": {1: "text"},
    "SubGraph": {0: ["Tensor"], 1: 4, 2: 4, 3: ["Operator"], 4: "text"},
    "Tensor": {0: 4, 3: "text", 4: "Quantization", 6: "Opaque", 7: 4},
    "Quantization": {0: 4, 1: 4, 2: 4, 3: 8, 5: "Opaque"},
    "Operator": {1: 4, 2: 4, 4: "Opaque", 5: 1, 7: 1, 8: 4},
    "Buffer": {0: 1},
    "Metadata": {0: "text"},
    "Signature": {0: ["TensorMap"], 1: ["TensorMap"], 2: "text"},
    "TensorMap": {0: "text"},
    "Opaque": {},
}  # fmt: skip


class Graph(Struct, frozen=True):
    """What a .tflite file holds, by name."""

    custom: tuple[str, ...]
    """Names of its custom operators, such as ``TFLite_Detection_PostProcess``."""
    operators: int
    """Nodes of the main graph."""
    signatures: tuple[str, ...]


def read_graph(path: Path) -> Graph:
    """The structure of a .tflite file, once every offset in it has been followed.

    Raises:
        ModelError: the file is missing, no TFLite model, or points outside itself.
    """
    read_head(path, TFLITE)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ModelError(f"{path}: can't be read: {error.strerror}") from error
    try:
        return _Reader(data).graph()
    except (struct.error, _Outside, UnicodeDecodeError) as error:
        raise damaged(path, TFLITE, f"its tables point outside the file ({error})") from error


class _Outside(Exception):
    pass


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self._seen: set[tuple[int, str]] = set()

    def graph(self) -> Graph:
        model = self._table(self._u32(0), "Model")
        codes = self._children(model, 1)
        subgraphs = self._children(model, 2)
        if not subgraphs:
            raise _Outside("no graph")
        names = (self._text(self._follow(code, 1)) for code in codes if self._field(code, 1))
        signatures = self._children(model, 7)
        return Graph(
            custom=tuple(name for name in names if name),
            operators=len(self._children(subgraphs[0], 3)),
            signatures=tuple(
                self._text(self._follow(one, 2)) for one in signatures if self._field(one, 2)
            ),
        )

    def _table(self, at: int, kind: str) -> int:
        if (at, kind) in self._seen:
            return at
        self._seen.add((at, kind))
        vtable = at - self._number("<i", at)
        self._within(vtable, self._number("<H", vtable))
        self._within(at, self._number("<H", vtable + 2))
        for number, what in _TABLES[kind].items():
            if not self._field(at, number):
                continue
            target = self._follow(at, number)
            if isinstance(what, list):
                for child in self._vector(target):
                    self._table(child, what[0])
            elif isinstance(what, int):
                self._within(target + 4, what * self._u32(target))
            elif what == "text":
                self._text(target)
            else:
                self._table(target, what)
        if kind == "Buffer":
            self._far(at)
        return at

    def _far(self, at: int) -> None:
        # Files over 2 GB keep their weights behind the FlatBuffer: fields 1 and 2 are an
        # absolute offset and a size of 64 bits.
        first, second = self._field(at, 1), self._field(at, 2)
        if first and second:
            self._within(self._number("<Q", at + first), self._number("<Q", at + second))

    def _field(self, at: int, number: int) -> int:
        """Place of a field within its table; 0 = it is absent."""
        vtable = at - self._number("<i", at)
        place = 4 + 2 * number
        if place + 2 > self._number("<H", vtable):
            return 0
        return self._number("<H", vtable + place)

    def _follow(self, at: int, number: int) -> int:
        place = at + self._field(at, number)
        return place + self._u32(place)

    def _children(self, at: int, number: int) -> list[int]:
        return self._vector(self._follow(at, number)) if self._field(at, number) else []

    def _vector(self, at: int) -> list[int]:
        count = self._u32(at)
        self._within(at + 4, 4 * count)
        offsets = struct.unpack_from(f"<{count}I", self._data, at + 4)
        return [at + 4 + 4 * index + offset for index, offset in enumerate(offsets)]

    def _text(self, at: int) -> str:
        count = self._u32(at)
        self._within(at + 4, count)
        return self._data[at + 4 : at + 4 + count].decode()

    def _u32(self, at: int) -> int:
        return self._number("<I", at)

    def _number(self, form: str, at: int) -> int:
        self._within(at, 0)
        value: int = struct.unpack_from(form, self._data, at)[0]
        return value

    def _within(self, at: int, count: int) -> None:
        # unpack_from takes negative places as counted from the end, so they are refused here.
        if at < 0 or at + count > len(self._data):
            raise _Outside(f"{count} bytes at {at} of {len(self._data)}")
