"""What batches bring, what HTTP adds, and what pipelines notice of ten times too many requests.

``python -m benchmarks.serving.burden [--seconds 60]``
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.models import ASSETS, SSD
from benchmarks.models import package as ssd_package
from benchmarks.process import memory_mb
from benchmarks.serving.load import Run, loop, post
from edgeagent.prove.predict import Predictor
from edgeagent.testing.agent import AgentProcess
from edgeagent.testing.broker import free_port
from edgeagent.testing.onnxgraph import dense_package, echo_package
from edgeagent.update.library import Library

SSD_FILE = "coco_ssd_mobilenet_v1_quant.tflite"
WIDTH, LAYERS = 1024, 4
DELAY_MS = 5
CONFIG = """
[serve]
listen = "127.0.0.1:{port}"
queue = 32
[serve.models.alone]
at_start = true
[serve.models.together]
at_start = true
max_batch = 16
max_delay = "{delay} ms"
"""
PIPELINE = """
[sources.belt]
kind = "synthetic"
fps = 10
[pipelines.parts]
source = "belt"
model = "parts"
"""


def binary(model: str, array: Any, name: str = "x", datatype: str = "FP32") -> bytes:
    """A request with one tensor in binary, and the answer likewise."""
    head = json.dumps({
        "inputs": [{"name": name, "shape": array.shape, "datatype": datatype,
                    "parameters": {"binary_data_size": array.nbytes}}],
        "parameters": {"binary_data_output": True},
    }).encode()  # fmt: skip
    return post(f"/v2/models/{model}/infer", head + array.tobytes(),
                Inference_Header_Content_Length=str(len(head)))  # fmt: skip


def dense(model: str) -> list[bytes]:
    rng = np.random.default_rng(5)
    return [binary(model, rng.random((1, WIDTH), np.float32)) for _ in range(32)]


def ready(port: int, model: str) -> None:
    """Have a model opened before it is measured."""
    urllib.request.urlopen(f"http://127.0.0.1:{port}/v2/models/{model}/ready").read()


def stats(port: int, model: str) -> Any:
    url = f"http://127.0.0.1:{port}/v2/models/{model}/stats"
    return json.load(urllib.request.urlopen(url))["model_stats"][0]


def batching(port: int, span_s: float) -> dict[str, dict[str, float]]:
    """One by one and in batches, at 16 connections, in turns."""
    runs: dict[str, list[Run]] = {"alone": [], "together": []}
    for model in runs:
        ready(port, model)
    for turn in range(4):
        for model, done in runs.items():
            run = loop(port, dense(model), 16, span_s if turn else 1.0)
            assert set(run.statuses) == {200}, run.statuses
            if turn:
                done.append(run)
    rows = {}
    for model, done in runs.items():
        rows[f"16 connections, {model}"] = {
            "per_s": statistics.median(run.rate for run in done),
            "p50_ms": statistics.median(run.quantile_us(0.5) for run in done) / 1e3,
            "p99_ms": statistics.median(run.quantile_us(0.99) for run in done) / 1e3,
        }
    batches = stats(port, "together")["batch_stats"]
    full = max(batches, key=lambda its: its["compute_infer"]["count"])
    took_ms = full["compute_infer"]["ns"] / full["compute_infer"]["count"] / 1e6
    rows["most frequent batch"] = {"rows": full["batch_size"], "took_ms": round(took_ms, 2),
                                   "bound_ms": round(DELAY_MS + 2 * took_ms, 2)}  # fmt: skip
    return rows


def added(port: int, made: Path, rounds: int) -> dict[str, dict[str, float]]:
    """SSD on 300 × 300 × 3 in this process and by HTTP, in turns: medians and their difference."""
    models = Library([made / "data" / "models"])
    rng = np.random.default_rng(5)
    small = _small()
    took: dict[str, list[float]] = {its: [] for its in ("in process", "binary", "JPEG in process",
                                                        "JPEG", "nothing, binary")}  # fmt: skip
    for model in ("ssd", "picture"):
        ready(port, model)
    with Predictor(models.find("ssd")) as predictor:
        name = predictor.session.inputs[0].name

        def local(work: Any) -> float:
            began = time.perf_counter()
            work()
            return time.perf_counter() - began

        def asked(request: bytes) -> float:
            return statistics.median(loop(port, [request], 1, 1.0).took)

        for _ in range(rounds):
            array = rng.integers(0, 256, (1, 300, 300, 3)).astype(np.uint8)
            took["in process"].append(statistics.median(
                local(lambda: predictor.session.run([array])) for _ in range(10)  # noqa: B023
            ))  # fmt: skip
            took["binary"].append(asked(binary("ssd", array, name, "UINT8")))
            took["JPEG in process"].append(statistics.median(
                local(lambda: predictor(_frame(small))) for _ in range(10)
            ))  # fmt: skip
            took["JPEG"].append(asked(post("/api/models/ssd/predict", small,
                                           Content_Type="image/jpeg")))  # fmt: skip
            took["nothing, binary"].append(asked(binary("picture", array, "x", "UINT8")))
    middle = {its: statistics.median(times) * 1e3 for its, times in took.items()}
    return {
        **{f"300 x 300 x 3, {its}": {"p50_ms": round(ms, 3)} for its, ms in middle.items()},
        "HTTP adds": {
            "binary_ms": round(_difference(took["binary"], took["in process"]), 3),
            "jpeg_ms": round(_difference(took["JPEG"], took["JPEG in process"]), 3),
        },
    }


def _difference(more: list[float], less: list[float]) -> float:
    """Median of the rounds' differences, ms."""
    return statistics.median(a - b for a, b in zip(more, less, strict=True)) * 1e3


def _small() -> bytes:
    """A street, 300 × 300, as JPEG."""
    import cv2

    pixels = cv2.imread(str(ASSETS / "images" / "street_people_dog_cars.jpg"))
    return bytes(cv2.imencode(".jpg", cv2.resize(pixels, (300, 300)))[1])


def _frame(jpeg: bytes) -> Any:
    from edgeagent.capture.pictures import decode_picture
    from edgeagent.types import Frame

    return Frame("bench", 1, decode_picture(jpeg, "it"), 0, 0.0)


@contextmanager
def watched(pid: int) -> Iterator[list[float]]:
    """Memory of a process, MB, each two seconds."""
    memory: list[float] = []
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(2.0):
            memory.append(memory_mb(pid))

    watching = threading.Thread(target=watch)
    watching.start()
    try:
        yield memory
    finally:
        ended.set()
        watching.join()


def small(made: Path, span_s: float, rounds: int) -> dict[str, dict[str, float]]:
    """Pipelines without and with ten times what a model of about a millisecond can answer: agents
    in turns, medians over the rounds."""
    kinds: dict[str, list[dict[str, float]]] = {"small, quiet": [], "small, ten times": []}
    dense_package(made / "models", "alone", WIDTH, LAYERS)
    for turn in range(rounds):
        for name, its in kinds.items():
            port = free_port()
            config = PIPELINE.replace("fps = 10", "fps = 25")
            config += f'[serve]\nlisten = "127.0.0.1:{port}"\nqueue = 16\n'
            config += f'[models]\npath = ["{made / "models"}"]\n'
            with AgentProcess(config, made / f"{name.split()[1]}{turn}") as agent:
                agent.until(lambda s: s.get("serve") and s["pipelines"]["parts"]["steps"] > 10)
                ready(port, "alone")
                with watched(agent.pid) as memory:
                    rate = loop(port, dense("alone"), 1, 1.0).rate if "ten" in name else 0.0
                    row = _stretch(port, dense("alone"), span_s, 10 * rate)
                its.append({**_pipeline(agent), "pss_mb": round(memory[-1], 1), **row})
    rows = {
        name: {key: statistics.median(row[key] for row in its) for key in its[0]}
        for name, its in kinds.items()
    }
    quiet, loaded = rows.values()
    ratios = [b["p95_ms"] / a["p95_ms"] for a, b in zip(*kinds.values(), strict=True)]
    rows["small, loaded / quiet"] = {
        "p95": round(loaded["p95_ms"] / quiet["p95_ms"], 3),
        "age": round(loaded["age_p95_ms"] / quiet["age_p95_ms"], 3),
        **{f"round_{turn}": round(ratio, 2) for turn, ratio in enumerate(ratios)},
    }
    return rows


def _pipeline(agent: AgentProcess) -> dict[str, float]:
    its = agent.client.status()["pipelines"]["parts"]
    return {key: its[key] for key in ("p50_ms", "p95_ms", "age_p95_ms", "steps")}


def overload(made: Path, span_s: float) -> dict[str, dict[str, float]]:
    """Pipelines without and with ten times the pictures that the device can answer."""
    ssd_package(made / "models" / "ssd" / "1.0.0", SSD, SSD_FILE, "coco_ssd_labelmap_90.txt")
    picture = [post("/api/models/ssd/predict", _small(), Content_Type="image/jpeg")]
    rows: dict[str, dict[str, float]] = {}
    for name, times in (("quiet", 0), ("ten times too much", 10)):
        port = free_port()
        config = PIPELINE + f'[serve]\nlisten = "127.0.0.1:{port}"\nqueue = 16\n'
        config += f'[models]\npath = ["{made / "models"}"]\n'
        with AgentProcess(config, made / name.split()[0]) as agent:
            agent.until(lambda its: its.get("serve") and its["pipelines"]["parts"]["steps"] > 10)
            ready(port, "ssd")
            capacity = loop(port, picture, 1, 3.0)
            with watched(agent.pid) as memory:
                row = _stretch(port, picture, span_s, times * capacity.rate)
            its = agent.client.status()["pipelines"]["parts"]
            rows[name] = {
                "p95_ms": its["p95_ms"], "age_p95_ms": its["age_p95_ms"], "steps": its["steps"],
                "pss_first_mb": round(memory[2], 1), "pss_last_mb": round(memory[-1], 1),
                "before_p50_us": capacity.quantile_us(0.5), **row,
            }  # fmt: skip
    return rows


def _stretch(port: int, bodies: list[bytes], span_s: float, rate: float) -> dict[str, float]:
    """A quiet one, or one with so many requests a second, and what follows it."""
    if not rate:
        time.sleep(span_s)
        return {}
    # The client stands for other machines: it must not take the processor from the pipelines.
    with ProcessPoolExecutor(1, initializer=os.nice, initargs=(15,)) as aside:
        run = aside.submit(loop, port, bodies, 64, span_s, rate).result()
    after = loop(port, bodies, 1, 3.0)
    shed = run.statuses.get(429, 0) + run.statuses.get(503, 0)
    answered = run.statuses.get(200, 0)
    return {
        "wanted_per_s": round(rate, 1), "offered_per_s": run.rate,
        "answered_per_s": round(answered / run.span_s, 1), "shed": shed,
        "other": sum(run.statuses.values()) - answered - shed,
        "after_p50_us": after.quantile_us(0.5),
    }  # fmt: skip


def tell(rows: dict[str, dict[str, float]]) -> None:
    for name, row in rows.items():
        print(
            f"{name:32} {'  '.join(f'{key} {value:g}' for key, value in row.items())}", flush=True
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="of each stretch of overload")
    parser.add_argument("--rounds", type=int, default=5, help="of the small model")
    parser.add_argument("--parts", default="batching,added,overload,small")
    given = parser.parse_args()
    wanted = given.parts.split(",")
    with tempfile.TemporaryDirectory(prefix="edgeagent-bench-") as name:
        made = Path(name)
        if "overload" in wanted:
            tell(overload(made / "overload", given.seconds))
        if "small" in wanted:
            tell(small(made / "small", given.seconds, given.rounds))
        if not {"batching", "added"} & set(wanted):
            return
        models = made / "data" / "models"
        for its in ("alone", "together"):
            dense_package(models, its, WIDTH, LAYERS)
        echo_package(models, "picture", dtype="uint8", shape=(1, 300, 300, 3))
        ssd_package(models / "ssd" / "1.0.0", SSD, SSD_FILE, "coco_ssd_labelmap_90.txt")
        port = free_port()
        config = CONFIG.format(port=port, delay=DELAY_MS)
        with AgentProcess(config, made) as agent:
            agent.until(lambda status: status["state"] == "online")
            if "batching" in wanted:
                tell(batching(port, 4.0))
            if "added" in wanted:
                tell(added(port, made, 10))


if __name__ == "__main__":
    main()
