"""Time and place of each operator of a model.

ONNX Runtime measures that itself (its profile). LiteRT's Python package has no profiler, so the
model is cut off behind each operator in turn and timed: what a longer beginning takes more than
the one before is that operator's. Delegates fuse operators, and such differences are small against
the noise of a busy device: they are estimates, and told as such.
"""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from msgspec import Struct, field
from msgspec.structs import replace

from edgeagent.config.model import Runtime
from edgeagent.errors import EdgeAgentError, ModelError
from edgeagent.infer import open_package
from edgeagent.infer.state import Carrying
from edgeagent.manifest import Manifest, OutputSpec, Package, Variant
from edgeagent.prove.cut import ending_at

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgeagent.infer.litert import LiteRtSession
    from edgeagent.prove.bench.subject import Subject

_LEAST_RUNS = 5
_RUNS = 200


class Operator(Struct):
    """One operator."""

    operator: str
    place: str
    ms: float
    name: str = ""


class Operators(Struct):
    """All of a model."""

    total_ms: float
    """Of one run of the model while its operators were timed."""
    estimated: bool
    """By differences, see above."""
    each: list[Operator] = field(default_factory=list)
    """In the order of the model."""


def time_operators(
    subject: Subject, runtime: Runtime, scratch: Path, seconds: float, tell: Callable[..., None]
) -> Operators:
    """Time every operator, in about so many seconds.

    Args:
        subject: open; it is run.
        runtime: how it was opened.
        scratch: a folder for files that may be written.
        tell: told what is being done.

    Raises:
        ModelError: this model's operators can't be told apart.
    """
    session: Any = subject.session
    if isinstance(session, Carrying):
        raise ModelError(f"{subject.file}: operators of a model that carries state are not timed")
    tensors = subject.tensors(0)
    if hasattr(session, "operators"):
        return _by_beginnings(subject.file, session, tensors, runtime, scratch, seconds, tell)
    if subject.file.suffix.lower() == ".onnx":
        return _by_profile(subject.file, tensors, runtime, scratch, seconds)
    raise ModelError(f"{subject.file}: its runtime does not tell what an operator takes")


def _by_profile(
    file: Path, tensors: list[NDArray[Any]], runtime: Runtime, scratch: Path, seconds: float
) -> Operators:
    from edgeagent.infer.onnx import open_onnx
    from edgeagent.infer.session import Options

    options = Options(
        threads=runtime.threads or 1, provider=runtime.provider, extra=dict(runtime.options),
        profile=str(scratch / "operators"),
    )  # fmt: skip
    session = open_onnx(file, options)
    took = _run(lambda: session.run(tensors), seconds)
    session.close()
    written = sorted(scratch.glob("operators*.json"))
    if not written:
        raise ModelError(f"{file}: onnxruntime wrote no profile")
    events = json.loads(written[-1].read_text(encoding="utf-8"))
    durations: dict[str, list[float]] = defaultdict(list)
    about: dict[str, tuple[str, str]] = {}
    for event in events:
        told = event.get("args") or {}
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
            durations[event["name"]].append(event["dur"] / 1e3)
            about[event["name"]] = told.get("op_name", "?"), told.get("provider", "?")
    each = [
        Operator(*about[name], round(median(its), 5), name.removesuffix("_kernel_time"))
        for name, its in durations.items()
    ]
    return Operators(round(median(took) * 1e3, 4), estimated=False, each=each)


def _by_beginnings(
    file: Path, session: LiteRtSession, tensors: list[NDArray[Any]], runtime: Runtime,
    scratch: Path, seconds: float, tell: Callable[..., None],
) -> Operators:  # fmt: skip
    placed = session.operators()
    if not placed:
        raise ModelError(f"{file}: LiteRT does not tell this model's operators")
    share = seconds / len(placed)
    until: list[float] = []
    for number, (node, _) in enumerate(placed[:-1]):
        tell(doing=f"was timed operator by operator ({number + 1} of {len(placed)})")
        took = _beginning(file, node.outputs, tensors, runtime, scratch, share)
        until.append(until[-1] if took is None and until else took or 0.0)
    until.append(_quick(_run(lambda: session.run(tensors), share)))
    grown = never_falling(until)
    each = [
        Operator(node.operator, place, round(after - before, 5))
        for (node, place), before, after in zip(placed, [0.0, *grown], grown, strict=False)
    ]
    return Operators(round(grown[-1], 4), estimated=True, each=each)


def never_falling(values: Sequence[float]) -> list[float]:
    """The nearest values (by squares) of which none is less than the one before it.

    Source: the pool adjacent violators algorithm, Ayer et al. 1955.
    """
    pools: list[tuple[float, int]] = []
    for value in values:
        total, count = value, 1
        while pools and pools[-1][0] / pools[-1][1] > total / count:
            before = pools.pop()
            total, count = total + before[0], count + before[1]
        pools.append((total, count))
    return [total / count for total, count in pools for _ in range(count)]


def _beginning(
    file: Path, ends: tuple[int, ...], tensors: list[NDArray[Any]], runtime: Runtime,
    scratch: Path, seconds: float,
) -> float | None:  # fmt: skip
    """Milliseconds of the model up to an operator; None where it can't end there."""
    part = scratch / "beginning.tflite"
    try:
        part.write_bytes(ending_at(file, [str(tensor) for tensor in ends]))
        variant = Variant(file=part.name, runtime="litert")
        manifest = Manifest("part", "0.0.0", "embed", OutputSpec(decoder="none"), [], [variant])
        session, _ = open_package(
            Package(scratch, manifest, ()), replace(runtime, variant="", require=False)
        )
    except EdgeAgentError:
        return None
    try:
        return _quick(_run(lambda: session.run(tensors), seconds))
    except EdgeAgentError:
        return None
    finally:
        session.close()
        part.unlink()


def _quick(took: Sequence[float]) -> float:
    """Milliseconds of a run that nothing disturbed: a median moves with whatever else runs, and
    differences of two medians still more."""
    return sorted(took)[len(took) // 5] * 1e3


def _run(once: Callable[[], Any], seconds: float) -> list[float]:
    """Seconds of each run, after a first one that does not count."""
    once()
    took: list[float] = []
    end = time.perf_counter() + seconds
    while len(took) < _LEAST_RUNS or (time.perf_counter() < end and len(took) < _RUNS):
        began = time.perf_counter()
        once()
        took.append(time.perf_counter() - began)
    return took
