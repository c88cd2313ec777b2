"""Whole processes beside bare scripts: memory (PSS), start to first inference, CPU per frame.

Each pair runs one after the other, several times; medians are compared.
"""

from __future__ import annotations

import compileall
import contextlib
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.models import ASSETS, ROOT, SSD, package
from edgeagent.testing.agent import AgentProcess
from edgeagent.testing.broker import Mosquitto

BARE = [sys.executable, str(ROOT / "benchmarks" / "bare.py")]


def family(root_pid: int) -> Iterator[int]:
    """A process and all that it started and that still runs."""
    waiting = [root_pid]
    while waiting:
        pid = waiting.pop()
        yield pid
        for task in Path(f"/proc/{pid}/task").glob("*/children"):
            with contextlib.suppress(OSError):
                waiting += [int(kid) for kid in task.read_text().split()]


def memory_mb(root_pid: int, kind: str = "Pss") -> float:
    """Memory of a process and its children, MB; ``kind`` as in smaps_rollup."""
    total = 0
    for pid in family(root_pid):
        with contextlib.suppress(OSError):
            rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
            lines = (line.split() for line in rollup.splitlines())
            total += next(int(line[1]) for line in lines if line[0] == f"{kind}:")
    return total / 1024


def cpu_s(root_pid: int) -> float:
    """User and system time of a process and its living children so far, seconds."""
    ticks = 0
    for pid in family(root_pid):
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def idle_memory(folder: Path) -> dict[str, float]:
    """An agent without pipelines, connected, beside the imports it can't do without."""
    with Mosquitto(folder / "broker") as broker:
        bare = subprocess.Popen(
            [*BARE, "idle", "--port", str(broker.port)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert bare.stdout is not None and bare.stdin is not None
        bare.stdout.readline()
        bare_mb = memory_mb(bare.pid)
        bare.stdin.close()
        bare.wait()
        config = f'[mqtt]\nhost = "127.0.0.1"\nport = {broker.port}\n'
        with AgentProcess(config, folder) as agent:
            agent.until(lambda status: status["link"]["state"] == "up")
            agent.until(lambda status: status["uptime_s"] > 5)  # it has given memory back
            ours_mb = memory_mb(agent.pid)
    return {"ours_mb": round(ours_mb, 1), "bare_mb": round(bare_mb, 1)}


def working_memory(folder: Path) -> dict[str, float]:
    """LiteRT + OpenCV + SSD + MQTT, all processes."""
    package(folder / "models" / "ssd" / "1.0.0", SSD, "coco_ssd_mobilenet_v1_quant.tflite",
            "coco_ssd_labelmap_90.txt")  # fmt: skip
    clip = ASSETS / "video" / "one-by-one-person-detection.mp4"
    with Mosquitto(folder / "broker") as broker:
        config = f"""
[mqtt]
host = "127.0.0.1"
port = {broker.port}
[models]
path = ["{folder}/models"]
[sources.clip]
kind = "video"
path = "{clip}"
loop = true
pace = "true"
fps = 5
[pipelines.street]
source = "clip"
model = "ssd"
record = {{ every = 1 }}
"""
        with AgentProcess(config, folder) as agent:
            agent.until(lambda status: status["pipelines"]["street"]["steps"] > 25)
            return {"ours_mb": round(memory_mb(agent.pid), 1)}


def start(folder: Path, rounds: int = 5) -> dict[str, float]:
    """Process start to first inference, beside a script that imports, opens and infers once."""
    parts = sorted((ROOT / "models" / "parts").iterdir())[-1]
    picture, model = next((parts / "golden").glob("*.png")), str(next(parts.glob("*.tflite")))
    config = f"""
[sources.pictures]
kind = "images"
path = "{picture}"
[pipelines.belt]
source = "pictures"
model = "parts"
record = {{ every = 1 }}
"""
    ours, bare = [], []
    for index in range(rounds):
        began = time.perf_counter()
        script = subprocess.Popen(
            [*BARE, "first", "--model", model, "--picture", str(picture)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert script.stdout is not None and script.stdin is not None
        script.stdout.readline()
        bare.append(time.perf_counter() - began)
        script.stdin.close()
        script.wait()
        began = time.perf_counter()
        with AgentProcess(config, folder / str(index)) as agent:
            agent.until(lambda status: status["pipelines"]["belt"]["steps"] > 0)
            ours.append(time.perf_counter() - began)
    a, b = statistics.median(ours) * 1e3, statistics.median(bare) * 1e3
    return {"ours_ms": round(a), "bare_ms": round(b), "difference_ms": round(a - b)}


def cpu_per_frame(folder: Path, clip: Path, rounds: int = 3) -> dict[str, float]:
    """User and system time of the whole process per frame, with rules and outbox, beside a loop.

    The time of a start without frames is taken off on our side, the bare loop measures itself.
    """
    parts = sorted((ROOT / "models" / "parts").iterdir())[-1]
    model = str(next(parts.glob("*.tflite")))
    config = """
[sources.belt]
kind = "video"
path = "{}"
[pipelines.belt]
source = "belt"
model = "parts"
record = {{ every = 10 }}
[pipelines.belt.zones.exit]
polygon = [[0.5, 0], [1, 0], [1, 1], [0.5, 1]]
[[pipelines.belt.rules]]
when = "label != 'whole' and zone == 'exit' and score > 0.6"
do = ["event"]
"""
    short = folder / "short.mp4"
    subprocess.run(["ffmpeg", "-v", "error", "-y", "-i", str(clip), "-frames:v", "2", "-c", "copy",
                    str(short)], check=True)  # fmt: skip
    ours, bare = [], []
    for index in range(rounds):
        done = subprocess.run(
            [*BARE, "loop", "--model", model, "--video", str(clip), "--out", str(folder / "o")],
            check=True, capture_output=True, text=True,
        )  # fmt: skip
        figures = json.loads(done.stdout)
        frames = figures["frames"]
        bare.append(figures["cpu_s"] / frames)
        whole = _cpu_of_run(folder / f"long{index}", config.format(clip))
        started = _cpu_of_run(folder / f"short{index}", config.format(short))
        ours.append((whole - started) / (frames - 2))
    a, b = statistics.median(ours) * 1e3, statistics.median(bare) * 1e3
    return {"ours_ms": round(a, 3), "bare_ms": round(b, 3), "ratio": round(a / b, 3)}


def _cpu_of_run(folder: Path, config: str) -> float:
    folder.mkdir(parents=True)
    file = folder / "agent.toml"
    file.write_text(config)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(
        [sys.executable, "-m", "edgeagent.agent", "--config", str(file), "--data-dir",
         str(folder / "data"), "--until-done", "--log-level", "warning"],
        check=True, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def belt_clip(folder: Path, frames: int = 600) -> Path:
    """Our belt as a clip, made by ffmpeg from rendered frames."""
    from edgeagent.capture.synthetic import BeltScene

    scene = BeltScene(3, size=(640, 480))
    clip = folder / "belt.mp4"
    encoder = subprocess.Popen(
        ["ffmpeg", "-v", "error", "-y", "-f", "rawvideo", "-pix_fmt", "bgr24", "-s", "640x480",
         "-r", "10", "-i", "-", "-pix_fmt", "yuv420p", "-c:v", "libx264", "-preset", "veryfast",
         str(clip)], stdin=subprocess.PIPE)  # fmt: skip
    assert encoder.stdin is not None
    for number in range(frames):
        encoder.stdin.write(scene.render(number)[0].tobytes())
    encoder.stdin.close()
    if encoder.wait():
        raise RuntimeError("ffmpeg could not make the clip")
    return clip


def measure(folder: Path) -> dict[str, dict[str, float]]:
    """All rows.

    Our modules are compiled first, as an installation does it: an environment that forbids Python
    to keep bytecode would have them compiled at each start, which takes time and memory.
    """
    compileall.compile_dir(ROOT / "edgeagent", quiet=2)
    rows = {
        "memory without pipelines (PSS)": idle_memory(folder / "idle"),
        "start to first inference": start(folder / "start"),
    }
    clips = folder / "clips"
    clips.mkdir()
    rows["CPU per frame, belt with rules and outbox"] = cpu_per_frame(clips, belt_clip(clips))
    if (ASSETS / "models").is_dir():
        rows["memory with LiteRT, OpenCV, SSD, MQTT (PSS)"] = working_memory(folder / "ssd")
    return rows
