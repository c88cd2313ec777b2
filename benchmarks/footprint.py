"""What an agent weighs, part by part, beside bare scripts with the same libraries and model; what
it writes at rest.

Memory is proportional set size (PSS) of all processes: a page that several processes map counts in
parts, so what else runs on the machine makes it smaller, on both sides alike. What is a process's
own (anonymous memory) stands beside it and does not depend on anybody: that is what is guarded.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.models import ASSETS, CLIP, ROOT, ssd, yunet
from benchmarks.process import belt_clip, memory_mb, script, written_bytes
from edgeagent.testing.agent import AgentProcess
from edgeagent.testing.broker import Mosquitto

_SETTLED_S = 5.0
"""By then an agent has given back what its start took."""
_DAY_S = 86_400
_MINUTE_S = 60.0
_STARTED_S = 62.0


@dataclass(frozen=True)
class Part:
    """Something that an agent may need."""

    name: str
    config: str = ""
    model: Path | None = None
    """What the bare script opens."""
    video: Path | None = None
    linked: bool = True


def parts(folder: Path) -> list[Part]:
    """What can be measured here."""
    bearing = sorted((ROOT / "models" / "bearing").iterdir())[-1]
    belts = sorted((ROOT / "models" / "parts").iterdir())[-1]
    clip = belt_clip(folder)
    found = [
        Part("at rest", linked=False),
        Part("+ MQTT"),
        Part("+ LiteRT", _vibration("litert"), bearing / "bearing-int8.tflite"),
        Part("+ ONNX Runtime", _vibration("onnx"), bearing / "bearing-int8.onnx"),
        Part("+ LiteRT, OpenCV", watching(clip, "parts", "litert"),
             belts / "parts-int8.tflite", clip),
    ]  # fmt: skip
    if (ASSETS / "models").is_dir():
        ssd(folder / "models" / "ssd" / "1.0.0")
        faces = yunet(folder / "models")
        found += [
            Part("+ LiteRT, OpenCV, SSD", watching(CLIP, "ssd", "litert", folder / "models"),
                 ASSETS / "models" / "coco_ssd_mobilenet_v1_quant.tflite", CLIP),
            Part("+ ONNX Runtime, OpenCV, YuNet",
                 watching(CLIP, faces.name, "onnx", folder / "models"),
                 ASSETS / "models" / "yunet_n_320_320.onnx", CLIP),
        ]  # fmt: skip
    return found


def _vibration(runtime: str) -> str:
    return f"""
[sources.sensor]
kind = "synthetic"
scene = "vibration"
pace = "true"
[pipelines.looking]
source = "sensor"
model = "bearing"
runtime = {{ variant = "{runtime}" }}
"""


def watching(clip: Path, model: str, runtime: str, models: Path | None = None) -> str:
    """Configuration of a pipeline that looks at a clip at 5 frames a second."""
    path = f'[models]\npath = ["{models}"]\n' if models else ""
    return f"""
{path}[sources.clip]
kind = "video"
path = "{clip}"
loop = true
pace = "true"
fps = 5
[pipelines.looking]
source = "clip"
model = "{model}"
runtime = {{ variant = "{runtime}" }}
"""


def measure(folder: Path) -> dict[str, dict[str, float]]:
    """Memory of each part."""
    folder.mkdir(parents=True, exist_ok=True)
    return {part.name: _weigh(part, folder / str(n)) for n, part in enumerate(parts(folder))}


def _weigh(part: Part, folder: Path) -> dict[str, float]:
    """One after the other, so that neither shares its pages with the other one."""
    with ExitStack() as stack:
        port = stack.enter_context(Mosquitto(folder / "broker")).port if part.linked else 0
        arguments = ["--port", str(port)]
        if part.model:
            arguments += ["--model", str(part.model)]
            arguments += ["--video", str(part.video)] if part.video else []
        with script("camera" if part.model else "idle", *arguments) as bare:
            time.sleep(1.0)  # a few frames, so that what is made at the first one is there
            bare_mb, bare_own = memory_mb(bare.pid), memory_mb(bare.pid, "Anonymous")
        link = f'[mqtt]\nhost = "127.0.0.1"\nport = {port}\n' if part.linked else ""
        with AgentProcess(link + part.config, folder) as agent:
            agent.until(lambda status: _works(status, part), 180)
            ours_mb, own = memory_mb(agent.pid), memory_mb(agent.pid, "Anonymous")
    return {
        "pss_mb": round(ours_mb, 1), "bare_mb": round(bare_mb, 1),
        "more_mb": round(ours_mb - bare_mb, 1), "own_mb": round(own, 1),
        "bare_own_mb": round(bare_own, 1),
    }  # fmt: skip


def _works(status: dict[str, Any], part: Part) -> bool:
    linked = not part.linked or status["link"]["state"] == "up"
    steps = not part.config or status["pipelines"]["looking"]["steps"] > 20
    return bool(linked and steps and status["uptime_s"] > _SETTLED_S)


class Rest:
    """An agent that is connected and has nothing to do; what it writes meanwhile, once the minute
    is over in which it notes that its start went well."""

    def __init__(self, agent: AgentProcess) -> None:
        self._pid = agent.pid
        self._began = self._before = 0.0
        self._timer = threading.Timer(_STARTED_S, self._begin)
        self._timer.start()

    def _begin(self) -> None:
        self._before, self._began = written_bytes(self._pid), time.monotonic()

    def close(self) -> None:
        """Not measured any more."""
        self._timer.cancel()

    def measure(self) -> dict[str, dict[str, float]]:
        """Bytes that a day like the whole minutes so far would write; waits for the first one."""
        self._timer.join()
        passed = time.monotonic() - self._began
        time.sleep((max(1, -(-passed // _MINUTE_S)) * _MINUTE_S) - passed)
        seconds = time.monotonic() - self._began
        written = written_bytes(self._pid) - self._before
        return {
            "written at rest": {
                "mb_a_day": round(written * _DAY_S / seconds / 1e6, 1),
                "seconds": round(seconds), "bytes": written,
            }
        }  # fmt: skip


@contextmanager
def at_rest(folder: Path) -> Iterator[Rest]:
    """Have an agent run that does nothing."""
    with Mosquitto(folder / "broker") as broker:
        config = f'[mqtt]\nhost = "127.0.0.1"\nport = {broker.port}\n'
        with AgentProcess(config, folder) as agent:
            agent.until(lambda status: status["link"]["state"] == "up")
            agent.until(lambda status: status["uptime_s"] > 2 * _SETTLED_S)
            with closing(Rest(agent)) as rest:
                yield rest
