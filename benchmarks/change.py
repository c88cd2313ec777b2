"""What a change of model costs a running pipeline: frames lost, and times during the change.

    python benchmarks/change.py [--changes 20] [--fps 30]

A pipeline of the shipped parts detector on the synthetic belt, live. It is changed to another
version (and back) again and again; steps from the beginning of an activation to two seconds after
it are compared with the steps in quiet. One process, alternating, so that ratios hold on a busy
machine.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import msgspec

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from edgeagent.agent.build import Built, Surroundings, build  # noqa: E402
from edgeagent.agent.change import LiveStage  # noqa: E402
from edgeagent.config.model import Config  # noqa: E402
from edgeagent.config.toml import Places  # noqa: E402
from edgeagent.manifest import load_package  # noqa: E402
from edgeagent.pipeline import Pipeline  # noqa: E402
from edgeagent.supervisor import Supervisor  # noqa: E402
from edgeagent.testing import spoil  # noqa: E402
from edgeagent.update.library import Library  # noqa: E402

AFTER_S = 2.0


class Nowhere:
    """Takes records, and the number of each frame."""

    seq = None

    def __init__(self) -> None:
        self.frames: list[int] = []
        self.lost: list[tuple[float, int]] = []
        """When frames were missing, and how many."""

    def append(self, draft: Any) -> Nowhere:
        if draft.kind == "result":
            missing = draft.frame - self.frames[-1] - 1 if self.frames else 0
            if missing > 0:
                self.lost.append((time.perf_counter(), missing))
            self.frames.append(draft.frame)
        return self


def quantile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(share * len(values)))] if values else 0.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--changes", type=int, default=20)
    parser.add_argument("--fps", type=float, default=30.0)
    parser.add_argument("--runtime", choices=("litert", "onnx"), default="litert")
    given = parser.parse_args()
    good = load_package(ROOT / "models" / "parts" / "1.0.0")
    with tempfile.TemporaryDirectory() as folder:
        other = spoil.version(good, Path(folder) / "parts" / "1.1.0")
        sink = Nowhere()
        config = msgspec.convert(
            {
                "sources": {"belt": {"kind": "synthetic", "fps": given.fps}},
                "pipelines": {"door": {"source": "belt", "model": "parts", "record": {"every": 1},
                                       "runtime": {"variant": given.runtime}}},
            },
            Config,
        )  # fmt: skip
        around = Surroundings(config, "-", Library([ROOT / "models"]), sink)
        supervisor, built = Supervisor(), Built()
        made = build(around)
        built.pipelines.update(made.pipelines)
        built.sources.update(made.sources)
        stage = LiveStage(around, Places(), built, supervisor)
        for unit in (*made.pipelines.values(), *made.sources.values()):
            supervisor.start(unit)
        pipeline = built.pipelines["door"]
        assert isinstance(pipeline, Pipeline)
        measure(pipeline, stage, [other, good], given.changes, sink)
        stage.release("parts")
        supervisor.stop(5)


def measure(
    pipeline: Pipeline, stage: LiveStage, packages: list[Any], changes: int, sink: Nowhere
) -> None:
    steps: list[tuple[float, float]] = []
    took = pipeline.meter.took

    def note(started: float, prepared: float, inferred: float, ended: float) -> None:
        steps.append((ended, ended - started))
        took(started, prepared, inferred, ended)

    pipeline.meter.took = note  # type: ignore[method-assign]
    pipeline.settled.wait(30)
    time.sleep(2 * AFTER_S)
    spans, opened = [], []
    for number in range(changes):
        time.sleep(AFTER_S)
        began = time.perf_counter()
        stage.activate(packages[number % 2])
        opened.append(time.perf_counter() - began)
        time.sleep(AFTER_S)
        spans.append((began, time.perf_counter()))
        stage.release("parts")  # each change opens anew
    during = [t for at, t in steps if any(a <= at <= b for a, b in spans)]
    quiet = [t for at, t in steps[60:] if not any(a <= at <= b for a, b in spans)]
    frames = sink.frames
    each = [sum(n for at, n in sink.lost if a <= at <= b) for a, b in spans]
    rest = sum(n for _, n in sink.lost) - sum(each)
    print(f"{changes} changes, {len(frames)} frames; lost in the 2 s around a change: {sum(each)} "
          f"in all, {max(each)} at worst; lost in quiet: {rest}; seen twice: "
          f"{len(frames) - len(set(frames))}")  # fmt: skip
    print(f"activate: median {quantile(opened, 0.5) * 1e3:.0f} ms, worst "
          f"{max(opened) * 1e3:.0f} ms")  # fmt: skip
    for name, values in (("quiet", quiet), ("during", during)):
        told = ", ".join(f"p{s * 100:g} {quantile(values, s) * 1e3:.2f} ms"
                         for s in (0.5, 0.95, 0.99))  # fmt: skip
        print(f"{name:7}{len(values):6} steps: {told}")
    print(f"p99 during / quiet: {quantile(during, 0.99) / quantile(quiet, 0.99):.2f}")


if __name__ == "__main__":
    main()
