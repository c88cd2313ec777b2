"""What a Session costs over the bare runtime: same process, same model, calls alternating.

    python benchmarks/session.py MODEL.tflite|MODEL.onnx … [--calls 3000] [--json]

Per model: median and 99th percentile of one call in microseconds, bare and ours, their
difference and ratio. Medians are taken per round and the median of rounds is shown, so that
a busy machine shifts both sides alike.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from edgeagent.infer.litert import find_library, open_litert
from edgeagent.infer.onnx import open_onnx
from edgeagent.infer.session import Options, Session

Call = Callable[[], Any]
ROUNDS = 9


def main() -> None:
    """Measure each model that is named and print a table or JSON."""
    parser = argparse.ArgumentParser(description="Session against bare runtime")
    parser.add_argument("models", nargs="+", type=Path)
    parser.add_argument("--calls", type=int, default=3000, help="calls per model and side")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    rows = [measure(model, arguments.calls) for model in arguments.models]
    if arguments.json:
        print(json.dumps(rows))
        return
    print(f"{'model':32} {'bare µs':>9} {'ours µs':>9} {'+ µs':>6} {'ratio':>6} {'p99':>9}")
    for row in rows:
        print(
            f"{row['model'][:32]:32} {row['bare_us']:9.2f} {row['ours_us']:9.2f} "
            f"{row['extra_us']:6.2f} {row['ratio']:6.3f} {row['ours_p99_us']:9.1f}"
        )


def measure(model: Path, calls: int) -> dict[str, Any]:
    """Alternate bare and our calls on one model."""
    litert = model.suffix == ".tflite"
    session: Session = (open_litert if litert else open_onnx)(model, Options())
    rng = np.random.default_rng(1)
    tensors = [
        _random(rng, tuple(1 if n < 0 else n for n in spec.shape), spec.dtype)
        for spec in session.inputs
    ]
    bare = (bare_litert if litert else bare_onnx)(model, tensors)

    def ours() -> Any:
        return session.run(tensors)

    for _ in range(20):
        bare()
        ours()
    sides: dict[str, list[list[int]]] = {"bare": [], "ours": []}
    for _ in range(ROUNDS):
        taken: dict[str, list[int]] = {"bare": [], "ours": []}
        for _ in range(max(1, calls // ROUNDS)):
            taken["bare"].append(_timed(bare))
            taken["ours"].append(_timed(ours))
        for side, times in taken.items():
            sides[side].append(times)
    bare_us, ours_us = (_median_us(sides[side]) for side in ("bare", "ours"))
    every = sorted(chain.from_iterable(sides["ours"]))
    return {
        "model": model.name,
        "runtime": session.receipt.runtime,
        "bare_us": round(bare_us, 2),
        "ours_us": round(ours_us, 2),
        "extra_us": round(ours_us - bare_us, 2),
        "ratio": round(ours_us / bare_us, 4),
        "ours_p99_us": round(every[int(len(every) * 0.99)] / 1e3, 1),
    }


def bare_litert(model: Path, tensors: list[Any]) -> Call:
    """Set the inputs, invoke, get the outputs: what anybody writes."""
    interpreter = find_library().interpreter.Interpreter(model_path=str(model), num_threads=1)
    interpreter.allocate_tensors()
    ins = [detail["index"] for detail in interpreter.get_input_details()]
    outs = [detail["index"] for detail in interpreter.get_output_details()]

    def call() -> Any:
        for index, tensor in zip(ins, tensors, strict=True):
            interpreter.set_tensor(index, tensor)
        interpreter.invoke()
        return [interpreter.get_tensor(index) for index in outs]

    return call


def bare_onnx(model: Path, tensors: list[Any]) -> Call:
    """The same with ONNX Runtime."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    names = [node.name for node in session.get_inputs()]

    def call() -> Any:
        return session.run(None, dict(zip(names, tensors, strict=True)))

    return call


def _random(rng: np.random.Generator, shape: tuple[int, ...], dtype: str) -> Any:
    kind = np.dtype(dtype)
    if kind.kind == "f":
        return rng.random(shape, np.float32).astype(kind)
    limits = np.iinfo(kind)
    return rng.integers(max(limits.min, -128), min(limits.max, 127), shape, kind)


def _timed(call: Call) -> int:
    started = time.perf_counter_ns()
    call()
    return time.perf_counter_ns() - started


def _median_us(rounds: list[list[int]]) -> float:
    return statistics.median(statistics.median(times) for times in rounds) / 1e3


if __name__ == "__main__":
    main()
