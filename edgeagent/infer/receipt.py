"""Where a model's operators really run: counted, not believed.

Both runtimes take a delegate or provider, use it for nothing, and say nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from msgspec import Struct

from edgeagent.infer.delegates import title_of
from edgeagent.infer.session import Receipt

DELEGATE = "DELEGATE"
XNNPACK = "XNNPACK"
PLAIN = "builtin"
"""LiteRT's own kernels, without any delegate."""


class Node(Struct, frozen=True):
    """One node of LiteRT's execution graph: its operator and tensor numbers."""

    operator: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


def nodes_of(interpreter: Any) -> list[Node]:
    """Nodes of LiteRT's main graph; empty where a later library no longer tells them."""
    wrapper: Any = getattr(interpreter, "_interpreter", None)
    if not hasattr(wrapper, "NumNodes"):
        return []
    return [
        Node(
            wrapper.NodeName(index),
            tuple(int(tensor) for tensor in wrapper.NodeInputs(index)),
            tuple(int(tensor) for tensor in wrapper.NodeOutputs(index)),
        )
        for index in range(wrapper.NumNodes())
    ]


def partitions(interpreter: Any) -> int:
    """How many parts of the main graph delegates have taken so far."""
    return sum(node.operator == DELEGATE for node in nodes_of(interpreter))


class Tally(Struct, frozen=True):
    """Operators by place, and by type those that stayed on the plain kernels."""

    placement: dict[str, int]
    left: dict[str, int]


def tally_litert(nodes: Sequence[Node], places: Sequence[str]) -> Tally:
    """Count which of the model's operators run where; arguments as of `place_litert`."""
    placed = place_litert(nodes, places)
    return Tally(
        dict(Counter(place for _, place in placed)),
        dict(Counter(node.operator for node, place in placed if place == PLAIN)),
    )


def place_litert(nodes: Sequence[Node], places: Sequence[str]) -> list[tuple[Node, str]]:
    """Which of the model's operators each delegate partition covers, in the order of the model.

    LiteRT keeps the original nodes and appends one node ``DELEGATE`` per partition with the
    tensors at its border, so what a partition covers is found by walking back from its
    outputs to its inputs over the original producers.

    Args:
        nodes: all nodes after allocation, in LiteRT's order.
        places: who made each of the ``DELEGATE`` nodes, in that order.
    """
    producers = {
        tensor: index
        for index, node in enumerate(nodes)
        if node.operator != DELEGATE
        for tensor in node.outputs
    }
    where: dict[int, str] = {}
    partitions = [node for node in nodes if node.operator == DELEGATE]
    for partition, place in zip(partitions, places, strict=True):
        for index in _covered(partition, nodes, producers):
            where.setdefault(index, place)
    return [
        (node, where.get(index, PLAIN))
        for index, node in enumerate(nodes)
        if node.operator != DELEGATE
    ]


def _covered(partition: Node, nodes: Sequence[Node], producers: dict[int, int]) -> set[int]:
    border = set(partition.inputs)
    covered: set[int] = set()
    todo = list(partition.outputs)
    while todo:
        tensor = todo.pop()
        index = producers.get(tensor)
        if index is None or index in covered or tensor in border:
            continue
        covered.add(index)
        todo.extend(nodes[index].inputs)
    return covered


def tally_onnx(assigned: Iterable[tuple[str, Sequence[str]]], wanted: str) -> Tally:
    """Count ONNX Runtime's own account of (provider, operators of one subgraph)."""
    placement: Counter[str] = Counter()
    left: Counter[str] = Counter()
    for provider, operators in assigned:
        placement[provider] += len(operators)
        if provider != wanted:
            left.update(operators)
    return Tally(dict(placement), dict(left))


def shortfall(tally: Tally, place: str) -> str:
    """Why ``place`` counts as not used; empty = it runs operators, or nobody can tell."""
    if tally.placement.get(place) or not tally.placement:
        return ""
    return f"{place} takes none of the model's {sum(tally.placement.values())} operators"


class Account(Struct):
    """What became of the delegate that a LiteRT session was asked to use."""

    asked: str
    fallback: str
    """Why it is not used, as far as that was known before the model was ready."""
    loaded: bool
    """An external delegate was applied to the graph."""
    partitions: int = 0
    """Partitions that it made: those there before XNNPACK, which comes with allocation."""

    def makers(self, nodes: Sequence[Node]) -> list[str]:
        """Who made each of the partitions, in their order."""
        total = sum(node.operator == DELEGATE for node in nodes)
        return [title_of(self.asked)] * min(self.partitions, total) + [XNNPACK] * (
            total - self.partitions
        )

    def receipt(self, nodes: Sequence[Node], runtime: str, threads: int) -> Receipt:
        """The receipt for a graph whose memory is planned; without nodes the operators are
        unknown."""
        title = title_of(self.asked)
        tally = tally_litert(nodes, self.makers(nodes))
        wanted = title if self.loaded else XNNPACK if self.asked == "xnnpack" else ""
        return Receipt(
            runtime=runtime,
            asked=self.asked or "xnnpack",
            placement=tally.placement,
            threads=threads,
            fallback=self.fallback or (shortfall(tally, wanted) if wanted else ""),
            left=tally.left,
        )
