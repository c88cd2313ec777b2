"""Five frames a second: processor time of an agent beside a bare loop that sleeps between frames.

Both run at the same time on the same clip with the same model, one thread each, and both decode in
the process that is measured. Neither does anything else at once, so that what the machine does hits
both alike.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from benchmarks.footprint import watching
from benchmarks.models import ASSETS, CLIP, ROOT, SSD_FILE, ssd, yunet
from benchmarks.process import belt_clip, cpu_s, script
from edgeagent.testing.agent import AgentProcess
from edgeagent.testing.broker import Mosquitto

FPS = 5.0
_WARM_UP_STEPS = 15


def measure(folder: Path, *, seconds: float) -> dict[str, dict[str, float]]:
    """A row for each model."""
    folder.mkdir(parents=True, exist_ok=True)
    belts = sorted((ROOT / "models" / "parts").iterdir())[-1]
    clip = belt_clip(folder)
    cases = [("parts, 640 × 480", watching(clip, "parts", "litert"),
              belts / "parts-int8.tflite", clip)]  # fmt: skip
    if (ASSETS / "models").is_dir():
        ssd(folder / "models" / "ssd" / "1.0.0")
        faces, own = yunet(folder / "models").name, folder / "models"
        for title, name, runtime, file in (
            ("SSD", "ssd", "litert", SSD_FILE),
            ("YuNet 320", faces, "onnx", "yunet_n_320_320.onnx"),
        ):
            cases.append((f"{title}, 768 × 432", watching(CLIP, name, runtime, own),
                          ASSETS / "models" / file, CLIP))  # fmt: skip
    return {
        name: _beside(folder / str(n), config, model, its, seconds)
        for n, (name, config, model, its) in enumerate(cases)
    }


def _beside(folder: Path, config: str, model: Path, clip: Path, seconds: float) -> dict[str, float]:
    with Mosquitto(folder / "broker") as broker:
        link = f'[mqtt]\nhost = "127.0.0.1"\nport = {broker.port}\n'
        bare = ("--model", str(model), "--video", str(clip), "--port", str(broker.port))
        with script("camera", *bare) as other, AgentProcess(link + config, folder) as agent:
            agent.until(lambda status: _steps(status) > _WARM_UP_STEPS, 180)
            before, began = (cpu_s(agent.pid), cpu_s(other.pid)), time.monotonic()
            first = _steps(agent.client.status())
            time.sleep(seconds)
            after, took = (cpu_s(agent.pid), cpu_s(other.pid)), time.monotonic() - began
            frames = _steps(agent.client.status()) - first
    ours, theirs = ((one - other) / took for one, other in zip(after, before, strict=True))
    return {
        "ours_percent": round(ours * 100, 2), "bare_percent": round(theirs * 100, 2),
        "ratio": round(ours / theirs, 3), "more_percent": round((ours - theirs) * 100, 2),
        "fps": round(frames / took, 2), "seconds": round(took),
    }  # fmt: skip


def _steps(status: dict[str, Any]) -> int:
    return int(status["pipelines"]["looking"]["steps"])
