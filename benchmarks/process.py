"""Whole processes beside bare scripts: start to first result, CPU per frame; what the kernel tells
of a process.

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

from benchmarks.models import ROOT
from edgeagent.testing.agent import AgentProcess

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


def written_bytes(root_pid: int) -> int:
    """What a process and its living children had the medium write so far."""
    total = 0
    for pid in family(root_pid):
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/{pid}/io").read_text().splitlines():
                name, _, value = line.partition(":")
                total += int(value) if name == "write_bytes" else 0
    return total


@contextlib.contextmanager
def script(kind: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A bare script that has said that it is ready; it ends at the end."""
    process = subprocess.Popen(
        [*BARE, kind, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None and process.stdin is not None
    try:
        if not process.stdout.readline():
            raise RuntimeError(f"benchmarks/bare.py {kind} ended at once")
        yield process
    finally:
        process.stdin.close()
        process.wait()


def start(folder: Path, rounds: int = 5) -> dict[str, float]:
    """Process start to first result, beside a script that imports, opens and infers once, in turns:
    on the clock and in processor time."""
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
        with script("first", "--model", model, "--picture", str(picture)) as other:
            bare.append((time.perf_counter() - began, cpu_s(other.pid)))
        began = time.perf_counter()
        with AgentProcess(config, folder / str(index)) as agent:
            agent.until(lambda status: status["pipelines"]["belt"]["steps"] > 0)
            ours.append((time.perf_counter() - began, cpu_s(agent.pid)))
    (a, a_cpu), (b, b_cpu) = (
        [statistics.median(its) * 1e3 for its in zip(*side, strict=True)] for side in (ours, bare)
    )
    return {"ours_ms": round(a), "bare_ms": round(b), "later_ms": round(a - b),
            "ours_cpu_ms": round(a_cpu), "bare_cpu_ms": round(b_cpu),
            "later_cpu_ms": round(a_cpu - b_cpu)}  # fmt: skip


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
    """The whole process: its start, and what a frame costs it."""
    compiled()
    clips = folder / "clips"
    clips.mkdir()
    return {
        "first result, parts": start(folder / "start"),
        "frame of a belt, rules and outbox": cpu_per_frame(clips, belt_clip(clips)),
    }


def compiled() -> None:
    """Compile our modules, as an installation does it: an environment that forbids Python to keep
    bytecode would have them compiled at each start, which takes time and memory."""
    compileall.compile_dir(ROOT / "edgeagent", quiet=2)
