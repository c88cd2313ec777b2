"""Entry points of a TFLite model: the main graph, or a signature by its name.

A signature gives its tensors argument names (``audio``) in place of graph names
(``serving_default_audio:0``) and may live in a subgraph of its own, which the interpreter's
public methods can't reach; the wrapper below them can.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from edgeagent.errors import ModelError

Named = list[tuple[str, dict[str, Any]]]
"""Tensor names with the interpreter's details, in order."""


class Entry(Protocol):
    """What a session needs of an entry point."""

    primary: bool
    """It is the model's main graph."""

    def inputs(self) -> Named: ...
    def outputs(self) -> Named: ...
    def resize(self, index: int, shape: Sequence[int]) -> None: ...
    def allocate(self) -> None: ...
    def set(self, index: int, value: Any) -> None: ...
    def invoke(self) -> None: ...
    def get(self, index: int) -> Any: ...


def open_entry(interpreter: Any, signature: str) -> Entry:
    """The entry point called ``signature``; empty = the main graph. Raises ModelError."""
    if not signature:
        return Main(interpreter)
    known = interpreter._get_full_signature_list()
    if signature not in known:
        names = ", ".join(sorted(known)) or "none"
        raise ModelError(
            f"there is no signature {signature!r} in the model; it has: {names}",
            remedy="Correct `signature` in model.toml, [[variant]], or leave it out.",
        )
    subgraph = interpreter._interpreter.GetSubgraphIndexFromSignature(signature)
    ins, outs = known[signature]["inputs"], known[signature]["outputs"]
    if subgraph == 0:
        return Main(interpreter, ins, outs)
    return Subgraph(interpreter, subgraph, ins, outs)


class Main:
    """The main graph; ``ins`` and ``outs`` rename and order its tensors."""

    primary = True

    def __init__(
        self,
        interpreter: Any,
        ins: dict[str, int] | None = None,
        outs: dict[str, int] | None = None,
    ) -> None:
        self._interpreter = interpreter
        self._ins = ins
        self._outs = outs
        # The interpreter's own methods, not wrappers around them: they are the hot path.
        self.set = interpreter.set_tensor
        self.invoke = interpreter.invoke
        self.get = interpreter.get_tensor
        self.allocate = interpreter.allocate_tensors

    def inputs(self) -> Named:
        return _named(self._interpreter.get_input_details(), self._ins)

    def outputs(self) -> Named:
        return _named(self._interpreter.get_output_details(), self._outs)

    def resize(self, index: int, shape: Sequence[int]) -> None:
        self._interpreter.resize_tensor_input(index, shape, strict=True)


class Subgraph:
    """A signature outside the main graph.

    The wrapper is fetched at each call: the interpreter refuses to work while anybody else
    holds a reference to it.
    """

    primary = False

    def __init__(
        self, interpreter: Any, number: int, ins: dict[str, int], outs: dict[str, int]
    ) -> None:
        self._interpreter = interpreter
        self._number = number
        self._ins = ins
        self._outs = outs

    def inputs(self) -> Named:
        return self._details(self._ins)

    def outputs(self) -> Named:
        return self._details(self._outs)

    def resize(self, index: int, shape: Sequence[int]) -> None:
        import numpy as np

        self._interpreter._interpreter.ResizeInputTensor(
            index, np.asarray(shape, np.int32), True, self._number
        )

    def allocate(self) -> None:
        self._interpreter._interpreter.AllocateTensors(self._number)

    def set(self, index: int, value: Any) -> None:
        self._interpreter._interpreter.SetTensor(index, value, self._number)

    def invoke(self) -> None:
        self._interpreter._interpreter.Invoke(self._number)

    def get(self, index: int) -> Any:
        return self._interpreter._interpreter.GetTensor(index, self._number)

    def _details(self, places: dict[str, int]) -> Named:
        return [
            (name, self._interpreter._get_tensor_details(index, self._number))
            for name, index in places.items()
        ]


def _named(details: list[dict[str, Any]], places: dict[str, int] | None) -> Named:
    if places is None:
        return [(detail["name"], detail) for detail in details]
    by_index = {detail["index"]: detail for detail in details}
    return [(name, by_index[index]) for name, index in places.items()]
