"""Eight channels at 1 kHz through the bearing model: CPU of the agent beside a bare script.

    python benchmarks/sensors.py [--seconds 20] [--runs 3]

Rows come through a FIFO as JSON lines, through a pseudo terminal as CSV (a serial line), and as
files of an IIO device that is polled. Each of eight pipelines runs the bearing autoencoder on one
channel: windows of 1024 rows every 512. The model's package is rewritten for 1 kHz (bands at an
eighth of its frequencies), which costs the same as the original at 8 kHz. The bare script reads
the same FIFO and does the least: json, numpy, one interpreter.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import tty
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from edgeagent.testing.agent import AgentProcess

ROOT = Path(__file__).resolve().parent.parent
BARE = [sys.executable, str(ROOT / "benchmarks" / "bare.py")]
CHANNELS = [f"c{number}" for number in range(1, 9)]
RATE = 1000
BATCH_S = 0.02


def rows(csv: bool) -> list[bytes]:
    """A second of rows in batches, as a sensor board would send them."""
    rng = np.random.default_rng(1)
    at = np.arange(RATE)[:, None] / RATE
    tones = np.sin(2 * np.pi * at * np.array([[25, 33, 50, 61, 77, 90, 120, 140]]))
    values = 0.4 * tones + 0.05 * rng.standard_normal((RATE, 8))
    lines = [
        (",".join(f"{its:.5f}" for its in row) if csv
         else json.dumps(dict(zip(CHANNELS, (round(float(its), 5) for its in row), strict=True))))
        + "\n"
        for row in values
    ]  # fmt: skip
    size = round(RATE * BATCH_S)
    return ["".join(lines[at : at + size]).encode() for at in range(0, RATE, size)]


class Board:
    """Sends batches at their times until it is closed."""

    def __init__(self, handle: int, csv: bool) -> None:
        self._handle = handle
        self._batches = rows(csv)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._send)
        self._thread.start()

    def _send(self) -> None:
        began, count = time.monotonic(), 0
        while not self._ended.wait(max(0.0, began + count * BATCH_S - time.monotonic())):
            try:
                os.write(self._handle, self._batches[count % len(self._batches)])
            except BlockingIOError:
                pass  # nobody reads yet, or any more
            count += 1

    def close(self) -> None:
        self._ended.set()
        self._thread.join()


def package(folder: Path) -> None:
    """The bearing model for 1 kHz."""
    place = folder / "bearing-1k" / "1.0.0"
    place.mkdir(parents=True)
    source = ROOT / "models" / "bearing" / "1.0.0"
    text = (source / "model.toml").read_text()
    text = text[: text.index("[golden]")]
    for before, after in (("name = \"bearing\"", "name = \"bearing-1k\""),
                          ("rate_hz = 8000", "rate_hz = 1000"),
                          ("fmin_hz = 50", "fmin_hz = 6.25"),
                          ("fmax_hz = 4000", "fmax_hz = 500")):  # fmt: skip
        assert before in text, before
        text = text.replace(before, after)
    variants, first = text.split("[[variant]]")[0], text.split("[[variant]]")[1]
    (place / "model.toml").write_text(f"{variants}[[variant]]{first}")
    (place / "bearing-int8.tflite").write_bytes((source / "bearing-int8.tflite").read_bytes())


def config(folder: Path, source: str) -> str:
    pipelines = "".join(
        f"""
[pipelines.{channel}]
source = "board"
model = "bearing-1k"
channels = {{ x = "{channel}" }}
"""
        for channel in CHANNELS
    )
    return f'[models]\npath = ["{folder}/models"]\n[sources.board]\n{source}\n{pipelines}'


def cpu_s(pid: int) -> float:
    """CPU time of a process, seconds."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def share(pid: int, seconds: float) -> float:
    """Of one core, percent."""
    before, began = cpu_s(pid), time.monotonic()
    time.sleep(seconds)
    return 100 * (cpu_s(pid) - before) / (time.monotonic() - began)


def agent(folder: Path, name: str, source: str, seconds: float) -> dict[str, float]:
    with AgentProcess(config(folder, source), folder / name) as its:
        its.until(lambda status: all(one["steps"] >= 2 for one in status["pipelines"].values()), 60)
        its.until(lambda status: status["uptime_s"] > 6)
        before = its.client.status()
        began = time.monotonic()
        found = share(its.pid, seconds)
        after = its.client.status()
        span = time.monotonic() - began
        steps = sum(after["pipelines"][name]["steps"] - before["pipelines"][name]["steps"]
                    for name in CHANNELS)  # fmt: skip
        return {"percent": round(found, 2), "windows_per_s": round(steps / span, 1),
                "dropped": after["sources"]["board"]["dropped"]}  # fmt: skip


@contextmanager
def fifo(folder: Path) -> Iterator[str]:
    path = folder / "fifo"
    os.mkfifo(path)
    handle = os.open(path, os.O_RDWR | os.O_NONBLOCK)
    board = Board(handle, csv=False)
    yield f'kind = "jsonl"\npath = "{path}"\nrate_hz = {RATE}'
    board.close()
    os.close(handle)


@contextmanager
def serial(_folder: Path) -> Iterator[str]:
    handle, held = os.openpty()
    tty.setraw(held)
    os.set_blocking(handle, False)
    board = Board(handle, csv=True)
    channels = "".join(f"\n[sources.board.channels.{name}]" for name in CHANNELS)
    yield (f'kind = "serial"\ndevice = "{os.ttyname(held)}"\nbaud = 921600\nformat = "csv"\n'
           f"rate_hz = {RATE}{channels}")  # fmt: skip
    board.close()
    os.close(handle)
    os.close(held)


@contextmanager
def iio(folder: Path) -> Iterator[str]:
    device = folder / "sys/bus/iio/devices/iio:device0"
    device.mkdir(parents=True)
    (device / "name").write_text("board\n")
    for number in range(8):
        (device / f"in_voltage{number}_raw").write_text("1234\n")
    channels = "".join(
        f'\n[sources.board.channels.{name}]\nread = "in_voltage{number}"'
        for number, name in enumerate(CHANNELS)
    )
    yield f'kind = "iio"\nroot = "{folder}/sys"\nrate_hz = {RATE}{channels}'


def bare(folder: Path, seconds: float) -> float:
    """The same rows and the same model by a script; percent of a core."""
    path = folder / "bare-fifo"
    os.mkfifo(path)
    handle = os.open(path, os.O_RDWR | os.O_NONBLOCK)
    board = Board(handle, csv=False)
    model = folder / "models/bearing-1k/1.0.0/bearing-int8.tflite"
    process = subprocess.Popen(
        [*BARE, "sensors", "--model", str(model), "--fifo", str(path)], stdout=subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(2)
        return share(process.pid, seconds)
    finally:
        process.kill()
        process.wait()
        board.close()
        os.close(handle)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--runs", type=int, default=3)
    arguments = parser.parse_args()
    found: dict[str, list[float]] = {}
    for number in range(arguments.runs):
        with tempfile.TemporaryDirectory(prefix="edgeagent-bench-") as made:
            folder = Path(made)
            package(folder / "models")
            found.setdefault("bare script", []).append(bare(folder, arguments.seconds))
            for name, way in (("JSON lines", fifo), ("serial CSV", serial), ("IIO, polled", iio)):
                with way(folder) as source:
                    its = agent(folder, name, source, arguments.seconds)
                found.setdefault(name, []).append(its["percent"])
                print(f"run {number + 1}  {name:12} {its}", flush=True)
    machine = f"{platform.machine()}, Python {platform.python_version()}"
    base = statistics.median(found["bare script"])
    print(f"\n8 channels at 1 kHz, 8 bearing pipelines, % of one core ({machine})")
    for name, values in found.items():
        middle = statistics.median(values)
        print(f"{name:12} {middle:5.2f} %   {middle / base:.2f} × the bare script")


if __name__ == "__main__":
    main()
