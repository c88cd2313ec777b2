"""Bad models, made of good ones when they are needed: for tests, the demo, and for people who
want to see what an agent does about a model that is wrong in a given way.

Each function writes a whole package: a copy of a good one with another version, one spoilt
model file, and hashes and golden answers that agree with it, as a trainer who noticed nothing
would have published it.
"""

from __future__ import annotations

import contextlib
import copy
import random
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from msgspec.structs import replace

from edgeagent.errors import EdgeAgentError
from edgeagent.manifest import Package, StateSpec, Variant, load_package
from edgeagent.prove.golden import write_golden
from edgeagent.prove.lint import write_files
from edgeagent.prove.tomltext import table_text
from edgeagent.testing.onnxgraph import Graph

_FIRST_SCORE = 4
"""In a row of a yolo output: what stands before it is the box."""


def labels_permuted(good: Package, folder: Path, *, after: int = 0) -> Package:
    """Each label is called by the name of the next one: as when classes were sorted anew.

    ``after``: right for so many runs, and only then wrong.
    """

    def spoil(graph: Graph) -> None:
        count = len(good.labels)
        order = [*range(_FIRST_SCORE), *(_FIRST_SCORE + (n + 1) % count for n in range(count))]
        wrong = graph.node("Gather", [graph.good, graph.constant(order, "int64")], axis=2)
        _say(graph, wrong, after)

    return _with_onnx(good, folder, spoil, state=bool(after))


def biased(
    good: Package, folder: Path, label: str, *, share: float = 0.9, after: int = 0
) -> Package:
    """Whatever there is looks like ``label`` as well, nearly as sure: as after training on too
    few other things.

    ``share`` of the best score of a place is the least that ``label`` scores there.
    """

    def spoil(graph: Graph) -> None:
        names = [f"{part}" for part in (_FIRST_SCORE, _FIRST_SCORE + len(good.labels))]
        begin, end = (graph.constant([int(name)], "int64") for name in names)
        axis = graph.constant([2], "int64")
        scores = graph.node("Slice", [graph.good, begin, end, axis])
        best = graph.node("ReduceMax", [scores], axes=[2])
        only = [0.0] * (_FIRST_SCORE + len(good.labels))
        only[_FIRST_SCORE + good.labels.index(label)] = share
        least = graph.node("Mul", [best, graph.constant([[only]])])
        # The others are taken down a little, so that the label wins where it is wrong.
        less = [0.8 if n >= _FIRST_SCORE and not value else 1.0 for n, value in enumerate(only)]
        damped = graph.node("Mul", [graph.good, graph.constant([[less]])])
        _say(graph, graph.node("Max", [damped, least]), after)

    return _with_onnx(good, folder, spoil, state=bool(after))


def blind(good: Package, folder: Path, *, after: int = 0) -> Package:
    """It sees nothing any more: all scores fall to a tenth."""

    def spoil(graph: Graph) -> None:
        factors = [1.0] * _FIRST_SCORE + [0.1] * len(good.labels)
        _say(graph, graph.node("Mul", [graph.good, graph.constant([[factors]])]), after)

    return _with_onnx(good, folder, spoil, state=bool(after))


def slow_at(good: Package, folder: Path, run: int, *, turns: int = 4_000_000) -> Package:
    """As fast as ever but for one run, in which it counts to ``turns``."""

    def spoil(graph: Graph) -> None:
        now = graph.node("Equal", [_calls(graph), graph.constant([float(run)])])
        times = graph.node(
            "Where", [now, graph.constant([turns], "int64"), graph.constant([0], "int64")]
        )
        scalar = graph.node("Squeeze", [times])
        sum_ = graph.loop(scalar, graph.constant([0.0]))
        graph.node("Add", [graph.good, graph.node("Mul", [sum_, graph.constant([0.0])])],
                   graph.output)  # fmt: skip

    return _with_onnx(good, folder, spoil, state=True)


def slow(good: Package, folder: Path, *, turns: int = 20_000, after: int = 0) -> Package:
    """Every run takes longer, by counting to ``turns``; from run ``after`` on."""

    def spoil(graph: Graph) -> None:
        late = graph.node("Greater", [_calls(graph), graph.constant([float(after)])])
        times = graph.node(
            "Where", [late, graph.constant([turns], "int64"), graph.constant([0], "int64")]
        )
        sum_ = graph.loop(graph.node("Squeeze", [times]), graph.constant([0.0]))
        graph.node("Add", [graph.good, graph.node("Mul", [sum_, graph.constant([0.0])])],
                   graph.output)  # fmt: skip

    return _with_onnx(good, folder, spoil, state=True)


def leaking(good: Package, folder: Path, *, each: int = 64 << 10) -> Package:
    """Each run keeps ``each`` bytes more than the one before."""

    def spoil(graph: Graph) -> None:
        more = graph.constant([0.0] * (each // 4))
        graph.carried("heap", [-1], graph.node("Concat", ["heap", more], axis=0))
        graph.node("Identity", [graph.good], graph.output)

    return _with_onnx(good, folder, spoil, states=("heap",))


def wrong_shape(good: Package, folder: Path) -> Package:
    """One score too few in each row: as after training with a class less."""

    def spoil(graph: Graph) -> None:
        keep = list(range(_FIRST_SCORE + len(good.labels) - 1))
        graph.node("Gather", [graph.good, graph.constant(keep, "int64")], graph.output, axis=2)

    return _with_onnx(good, folder, spoil)


def crashing(good: Package, folder: Path) -> Package:
    """A .tflite whose loop has itself as its condition: LiteRT plans it until its stack ends.

    Needs ai-edge-litert and flatbuffers.
    """
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    variant = next(one for one in good.manifest.variant if one.file.endswith(".tflite"))
    model = schema.ModelT.InitFromPackedBuf(good.path(variant.file).read_bytes(), 0)
    graph = model.subgraphs[0]
    model.subgraphs.append(copy.deepcopy(graph))
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.WHILE
    code.version = 1
    model.operatorCodes.append(code)
    made = copy.copy(graph.tensors[graph.inputs[0]])
    made.name = b"again"
    graph.tensors.append(made)
    loop = schema.OperatorT()
    loop.opcodeIndex = len(model.operatorCodes) - 1
    loop.inputs, loop.outputs = list(graph.inputs), [len(graph.tensors) - 1]
    loop.builtinOptionsType = schema.BuiltinOptions.WhileOptions
    loop.builtinOptions = schema.WhileOptionsT()
    loop.builtinOptions.condSubgraphIndex, loop.builtinOptions.bodySubgraphIndex = 0, 1
    graph.operators.insert(0, loop)
    builder = flatbuffers.Builder(1 << 16)
    builder.Finish(model.Pack(builder), b"TFL3")
    _copy(good, folder, variant)
    (folder / variant.file).write_bytes(bytes(builder.Output()))
    return _published(folder, golden=False)


def damaged(good: Package, folder: Path, seed: int) -> Package:
    """One variant damaged before its hash was taken, the others empty, so that nothing makes up
    for it. The golden answers are those of the good one."""
    package = version(good, folder)
    files = [package.path(variant.file) for variant in package.manifest.variant]
    first = files[seed % len(files)]
    first.write_bytes(_damage(first.read_bytes(), random.Random(seed)))
    for file in files:
        if file != first:
            file.write_bytes(b"")
    write_files(package)
    return load_package(folder)


def _damage(data: bytes, rng: random.Random) -> bytes:
    """One to 64 bytes changed, a page zeroed, a piece cut off or taken out."""
    content = bytearray(data)
    kind = rng.randrange(4)
    if kind == 0:
        for _ in range(rng.choice((1, 4, 16, 64))):
            content[rng.randrange(len(content))] = rng.randrange(256)
    elif kind == 1:
        at = rng.randrange(len(content))
        content[at : at + 4096] = bytes(len(content[at : at + 4096]))
    elif kind == 2:
        del content[rng.randrange(1, len(content)) :]
    else:
        at = rng.randrange(len(content) - 64)
        del content[at : at + rng.randrange(1, 64)]
    return bytes(content)


def label_renamed(good: Package, folder: Path, was: str, now: str) -> Package:
    """The same model, with another word for one of its labels."""
    _copy(good, folder)
    text = "".join(f"{now if label == was else label}\n" for label in good.labels)
    (folder / "labels.txt").write_text(text, encoding="utf-8")
    return _published(folder)


def version(good: Package, folder: Path) -> Package:
    """A good copy under another version."""
    _copy(good, folder)
    return _published(folder)


# --- how -----------------------------------------------------------------------------------


def _calls(graph: Graph) -> str:
    """The number of this run, from 1."""
    number = graph.node("Add", ["calls", graph.constant([1.0])])
    graph.carried("calls", [1], number)
    return number


def _say(graph: Graph, wrong: str, after: int) -> None:
    if not after:
        graph.node("Identity", [wrong], graph.output)
        return
    late = graph.node("Greater", [_calls(graph), graph.constant([float(after)])])
    graph.node("Where", [late, wrong, graph.good], graph.output)


def _with_onnx(
    good: Package,
    folder: Path,
    spoil: Callable[[Graph], None],
    *,
    state: bool = False,
    states: Sequence[str] = (),
) -> Package:
    variant = next(one for one in good.manifest.variant if one.runtime == "onnx")
    graph = Graph(good.path(variant.file))
    spoil(graph)
    carried = ["calls", *states] if state else states
    _copy(good, folder, variant, [StateSpec(name, f"{name}_out") for name in carried])
    graph.write(folder / variant.file)
    return _published(folder)


def _copy(
    good: Package, folder: Path, only: Variant | None = None, states: Sequence[StateSpec] = ()
) -> None:
    """A copy under the version that the folder is called by; ``only`` = its one variant."""
    dropped = [one.file for one in good.manifest.variant if only and one.file != only.file]
    shutil.copytree(good.folder, folder, ignore=lambda *_: ["model.toml", *dropped])
    # A copy of files that may not be written to can't be written to either.
    for file in (folder, *folder.rglob("*")):
        file.chmod(0o755 if file.is_dir() else 0o644)
    manifest = replace(
        good.manifest,
        version=folder.name,
        variant=[only] if only else good.manifest.variant,
        state=[*good.manifest.state, *states],
        files={},
        provenance={},
    )
    (folder / "model.toml").write_text(table_text(manifest), encoding="utf-8")


def _published(folder: Path, *, golden: bool = True) -> Package:
    """Golden answers by the model as it is, and hashes of the files as they are."""
    if golden:
        # What does not even run keeps the golden answers of the good one.
        with contextlib.suppress(EdgeAgentError):
            write_golden(load_package(folder))
    write_files(load_package(folder))
    return load_package(folder)
