"""The whole agent beside a detector process behind a queue: same clip, same model, in turns.

``python -m benchmarks.peers --rounds 3`` prints a row for one and for three cameras at 5 frames a
second. Ours does more (tracks, records into the outbox, publishes); the pair only detects.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.models import ASSETS, CLIP, ROOT, SSD, package
from benchmarks.process import cpu_s, memory_mb
from edgeagent.testing.agent import AgentProcess
from edgeagent.testing.broker import Mosquitto

MODEL = ASSETS / "models" / "coco_ssd_mobilenet_v1_quant.tflite"
FPS = 5.0


def pair(cameras: int, frames: int) -> dict[str, float]:
    """What `benchmarks.pair` says of itself."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.pair", "--model", str(MODEL), "--video", str(CLIP),
         "--cameras", str(cameras), "--fps", str(FPS), "--frames", str(frames)],
        check=True, capture_output=True, text=True, cwd=ROOT,
    )  # fmt: skip
    return dict(json.loads(done.stdout.splitlines()[-1]))


def ours(folder: Path, cameras: int, frames: int) -> dict[str, float]:
    """An agent with as many pipelines, its broker beside it (not counted)."""
    package(folder / "models" / "ssd" / "1.0.0", SSD, MODEL.name, "coco_ssd_labelmap_90.txt")
    each = "".join(
        f"""
[sources.cam{n}]
kind = "video"
path = "{CLIP}"
loop = true
pace = "true"
fps = {FPS}
[pipelines.street{n}]
source = "cam{n}"
model = "ssd"
record = {{ every = 1 }}
"""
        for n in range(cameras)
    )
    with Mosquitto(folder / "broker") as broker:
        link = f'[mqtt]\nhost = "127.0.0.1"\nport = {broker.port}\n'
        with AgentProcess(f'{link}[models]\npath = ["{folder}/models"]\n{each}', folder) as agent:
            agent.until(lambda s: min(_steps(s), default=0) > frames / 2 + 10, 120)
            before = cpu_s(agent.pid)
            first = sum(_steps(agent.client.status()))
            pss = memory_mb(agent.pid)
            time.sleep(frames / 4 / FPS)
            status = agent.client.status()
            spent = cpu_s(agent.pid) - before
            looked = sum(_steps(status)) - first
            return {
                "latency_p50_ms": max(its["p50_ms"] for its in status["pipelines"].values()),
                "latency_p95_ms": max(its["p95_ms"] for its in status["pipelines"].values()),
                "cpu_per_frame_ms": round(spent * 1e3 / looked, 2),
                "pss_mb": round(pss, 1),
            }


def _steps(status: dict[str, Any]) -> list[int]:
    return [its["steps"] for its in status["pipelines"].values()]


def measure(folder: Path, rounds: int = 3, frames: int = 100) -> dict[str, dict[str, float]]:
    """Medians of both sides, taken in turns."""
    rows: dict[str, dict[str, float]] = {}
    if not CLIP.is_file():
        return rows
    for cameras in (1, 3):
        sides: dict[str, list[dict[str, float]]] = {"pair": [], "ours": []}
        for number in range(rounds):
            sides["pair"].append(pair(cameras, frames))
            sides["ours"].append(ours(folder / f"{cameras}-{number}", cameras, frames))
        many = f"{cameras} camera{'s' if cameras > 1 else ''}"
        for side, title in (("ours", "edgeagent"), ("pair", "detector process behind a queue")):
            rows[f"{many}, {title}"] = {
                key: statistics.median(its[key] for its in sides[side]) for key in sides[side][0]
                if key != "objects"
            }  # fmt: skip
    return rows


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--frames", type=int, default=100)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="edgeagent-peers-") as made:
        for name, figures in measure(Path(made), arguments.rounds, arguments.frames).items():
            print(f"{name:45} " + "  ".join(f"{key} {value:g}" for key, value in figures.items()))
