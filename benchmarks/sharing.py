"""Four pipelines at one session beside a bare loop, alternating in one process; what as many
sessions of their own cost, and whether batches would pay.

``python -m benchmarks.sharing`` prints one JSON document.
"""

from __future__ import annotations

import json
import statistics
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from benchmarks.bare import interpreter
from benchmarks.models import ASSETS, SSD, package
from benchmarks.step import Nowhere
from edgeagent.agent.stages import stages_for
from edgeagent.config.model import Pipeline as PipelineConfig
from edgeagent.config.model import Runtime
from edgeagent.device.health import pss_bytes
from edgeagent.infer import Session, open_package
from edgeagent.infer.sharing import Sharing
from edgeagent.manifest import Package, Variant
from edgeagent.pipeline import Pipeline, Stages
from edgeagent.prove.predict import Opens
from edgeagent.types import Frame, Prepared

PIPELINES = 4


def stages_of(pack: Package, opens: Opens, tensor: Any) -> Stages:
    """Stages whose tensor is given, so that what is compared is the session."""
    stages = stages_for("bench", pack, PipelineConfig(model=pack.name, source="s"), opens=opens)
    given = Prepared([tensor])
    stages.prepare = lambda _sample: given
    return stages


def rates(all_stages: list[Stages], seconds: float) -> list[float]:
    """Steps per second of pipelines that always have a sample."""
    counts = [0] * len(all_stages)
    sample = Frame("s", 1, np.zeros((1, 1, 3), np.uint8), time.time_ns(), 0.0)
    begin, end = threading.Barrier(len(all_stages) + 1), threading.Event()

    def work(place: int) -> None:
        stages = all_stages[place]
        stages.session.hand_over()
        pipeline = Pipeline("bench", None, Nowhere(), lambda: stages)  # type: ignore[arg-type]
        begin.wait()
        while not end.is_set():
            pipeline.step(stages, sample)
            counts[place] += 1
        stages.session.hand_over()

    threads = [threading.Thread(target=work, args=(place,)) for place in range(len(all_stages))]
    for thread in threads:
        thread.start()
    begin.wait()
    began = time.perf_counter()
    end.wait(seconds)
    end.set()
    for thread in threads:
        thread.join()
    took = time.perf_counter() - began
    return [count / took for count in counts]


def bare_rate(model: Any, tensor: Any, seconds: float) -> float:
    """Runs per second of a loop that does nothing else."""
    entry = model.get_input_details()[0]["index"]
    outs = [out["index"] for out in model.get_output_details()]
    began = time.perf_counter()
    count = 0
    while (took := time.perf_counter() - began) < seconds:
        model.set_tensor(entry, tensor)
        model.invoke()
        for out in outs:
            model.get_tensor(out)
        count += 1
    return count / took


def measure(folder: Path, rounds: int = 40, seconds: float = 0.4) -> dict[str, Any]:
    """Throughput, fairness and memory."""
    names = "coco_ssd_labelmap_90.txt"
    pack = package(folder / "ssd", SSD, "coco_ssd_mobilenet_v1_quant.tflite", names)
    tensor = np.random.default_rng(1).integers(0, 255, (1, 300, 300, 3), np.uint8)
    sharing = Sharing(1)

    def weighed(weight: float) -> Opens:
        def opens(pack: Package, runtime: Runtime) -> tuple[Session, Variant]:
            return sharing.open(pack, runtime, weight)

        return opens

    bare = interpreter(str(pack.path(pack.manifest.variant[0].file)))
    at_first = pss_bytes() or 0
    together = [stages_of(pack, weighed(1.0), tensor) for _ in range(PIPELINES)]
    rates(together, 0.5)
    shared_mb = ((pss_bytes() or 0) - at_first) / 2**20
    # Short turns: whatever else the machine does meets both alike.
    whole = []
    for _ in range(rounds):
        alone = bare_rate(bare, tensor, seconds)
        whole.append(sum(rates(together, seconds)) / alone)
    first, _, third = statistics.quantiles(whole, n=4)
    # A long one: of six runs in a short turn one more or less would be a sixth.
    each = rates(together, 25 * seconds)
    for stages in together:
        stages.session.close()
    several = [stages_of(pack, weighed(weight), tensor) for weight in (1.0, 1.0, 2.0, 4.0)]
    weighted = rates(several, 10 * seconds)
    for stages in several:
        stages.session.close()
    before = pss_bytes() or 0
    own = [stages_of(pack, open_package, tensor) for _ in range(PIPELINES)]
    rates(own, 0.5)
    own_mb = ((pss_bytes() or 0) - before) / 2**20
    apart = sum(rates(own, 5 * seconds)) / bare_rate(bare, tensor, 5 * seconds)
    for stages in own:
        stages.session.close()
    return {
        "shared_to_bare": round(statistics.median(whole), 4),
        "shared_to_bare_middle_half": [round(first, 3), round(third, 3)],
        "spread_of_rates": round((max(each) - min(each)) / statistics.mean(each), 4),
        "rates_by_weight_1_1_2_4": [round(rate / weighted[0], 2) for rate in weighted],
        "own_sessions_to_bare": round(apart, 3),
        "shared_pss_mb": round(shared_mb, 1),
        "own_pss_mb": round(own_mb, 1),
    }


def batching(size: int = 4, rounds: int = 15) -> dict[str, float]:
    """What a sample costs in a batch beside alone, one thread, alternating: whether it would pay to
    put requests together."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        ASSETS / "models" / "mobilenetv2-12-int8.onnx", options, providers=["CPUExecutionProvider"]
    )
    name = session.get_inputs()[0].name
    many = np.random.default_rng(1).random((size, 3, 224, 224), np.float32)
    took: dict[int, list[float]] = {1: [], size: []}
    for _ in range(rounds):
        for count, its in took.items():
            began = time.perf_counter()
            for first in range(0, size, count):
                session.run(None, {name: many[first : first + count]})
            its.append((time.perf_counter() - began) / size)
    alone, together = (statistics.median(its) * 1e3 for its in took.values())
    return {"alone_ms": round(alone, 2), "in_fours_ms": round(together, 2)}


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        found = {**measure(Path(place)), "batching": batching()}
        print(json.dumps(found, indent=2))
