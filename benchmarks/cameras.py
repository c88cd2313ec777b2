"""Cameras beside ffmpeg: processor time and memory of eight streams, and what a hand-over costs.

``python -m benchmarks.cameras [SECONDS]``. Needs ffmpeg and GStreamer's RTSP server for the
system's Python (see tests/e2e/capture/conftest.py). Both sides read the same streams at the same
time.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.process import memory_mb
from edgeagent.capture.child import Opened
from edgeagent.capture.decoder import DecoderSource
from edgeagent.capture.rtsp import RtspSource
from edgeagent.capture.sight.sight import Sight, SightSettings
from edgeagent.config.model import RtspConfig
from edgeagent.errors import SourceEnded
from edgeagent.testing.capture import Alone

HERE = Path(__file__).resolve().parent.parent / "tests" / "e2e" / "capture"
SYSTEM_PYTHON = os.environ.get("EDGEAGENT_SYSTEM_PYTHON", "/usr/bin/python3")
STREAMS = 8
SIZE, FPS = (640, 360), 5
_TICK = os.sysconf("SC_CLK_TCK")


def cpu_s(pid: int) -> float:
    """User and system time of one process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICK


class Reader:
    """A camera as the agent runs it, with somebody who takes each picture."""

    def __init__(self, url: str) -> None:
        config = RtspConfig(url=url)
        self.source = RtspSource("cam", config)
        self.unit = Alone("cam", self.source, config, Sight("cam", SightSettings()))
        self._mailbox = self.unit.subscribe()
        self._thread = threading.Thread(target=self._take)
        self.seen = 0
        self._thread.start()
        self.unit.start()

    def _take(self) -> None:
        try:
            while True:
                self.seen += self._mailbox.get(1.0) is not None
        except SourceEnded:
            return

    def stop(self) -> None:
        self.unit.stop()
        self.unit.wait(3)
        self._thread.join(3)


def streams(seconds: float) -> dict[str, Any]:
    """Eight RTSP streams of a sub-stream's size at 5 fps, ours beside ffmpeg to raw BGR."""
    server = subprocess.Popen(
        [SYSTEM_PYTHON, str(HERE / "rtsp_gst.py"), "0", *map(str, SIZE), str(FPS)],
        stdout=subprocess.PIPE, text=True, env={**os.environ, "TEST_PATTERN": "smpte"},
    )  # fmt: skip
    assert server.stdout is not None
    url = f"rtsp://127.0.0.1:{int(server.stdout.readline())}/live"
    command = ["ffmpeg", "-loglevel", "quiet", "-rtsp_transport", "tcp", "-i", url, "-pix_fmt",
               "bgr24", "-f", "rawvideo", "-y", "/dev/null"]  # fmt: skip
    theirs = [subprocess.Popen(command, stdin=subprocess.DEVNULL) for _ in range(STREAMS)]
    ours = [Reader(url) for _ in range(STREAMS)]
    try:
        until = time.monotonic() + 60
        while not all(reader.seen > 3 * FPS for reader in ours):
            if time.monotonic() > until:
                raise RuntimeError("the streams do not run")
            time.sleep(0.1)
        # They have learned their views, which is a little more work at the beginning.
        time.sleep(20.0)
        pids = [reader.source.pid for reader in ours]
        began, seen = time.monotonic(), sum(reader.seen for reader in ours)
        before = cpu_s(os.getpid()), sum(map(cpu_s, pids)), sum(cpu_s(its.pid) for its in theirs)
        time.sleep(seconds)
        after = cpu_s(os.getpid()), sum(map(cpu_s, pids)), sum(cpu_s(its.pid) for its in theirs)
        span = time.monotonic() - began
        frames = sum(reader.seen for reader in ours) - seen
        parent, children, ffmpeg = ((b - a) / span for a, b in zip(before, after, strict=True))
        memory = [memory_mb(pid) for pid in pids]
        return {
            "frames_per_s": round(frames / span, 1),
            "ours_core_share": round(parent + children, 4),
            "of_it_parent": round(parent, 4),
            "ffmpeg_core_share": round(ffmpeg, 4),
            "ratio": round((parent + children) / ffmpeg, 2),
            "child_pss_mb_max": round(max(memory), 1),
            "child_pss_mb_mean": round(statistics.mean(memory), 1),
        }
    finally:
        for reader in ours:
            reader.stop()
        for process in (*theirs, server):
            process.kill()
            process.wait()


class Stamped:
    """1080p pictures that hold the moment at which they were complete."""

    def __init__(self) -> None:
        self._due = 0.0
        self._shade = 0

    def open(self) -> Opened:
        self._due = time.monotonic()
        return Opened(30.0, "")

    def grab(self) -> None:
        self._due += 1 / 30
        time.sleep(max(0.0, self._due - time.monotonic()))

    def picture(self, into: Any) -> Any:
        fits = into is not None and into.shape == (1080, 1920, 3)
        out = into if fits else np.empty((1080, 1920, 3), np.uint8)
        self._shade += 1
        out[...] = self._shade % 256
        out.reshape(-1)[:8] = np.frombuffer(time.monotonic_ns().to_bytes(8, "little"), np.uint8)
        return out

    def close(self) -> None:
        return


def hand_over(frames: int = 300) -> dict[str, float]:
    """From a complete 1080p picture in the child to an array in the parent; in one process that
    is nothing, so this is what the child costs over in-process decoding."""
    source = DecoderSource("cam", "benchmarks.cameras:Stamped", origin="stamped")
    source.open()
    took = []
    try:
        for _ in range(frames):
            frame = source.read()
            now = time.monotonic_ns()
            stamp = int.from_bytes(frame.pixels.reshape(-1)[:8].tobytes(), "little")
            took.append((now - stamp) / 1e6)
            del frame
    finally:
        source.close()
    took = took[10:]
    return {
        "median_ms": round(statistics.median(took), 3),
        "p95_ms": round(float(np.quantile(took, 0.95)), 3),
    }


def measure(seconds: float = 30.0) -> dict[str, dict[str, Any]]:
    """All rows."""
    return {
        "hand-over of 1080p pictures": hand_over(),
        f"{STREAMS} RTSP streams, {SIZE[0]}x{SIZE[1]} at {FPS} fps": streams(seconds),
    }


if __name__ == "__main__":
    print(json.dumps(measure(float(sys.argv[1]) if len(sys.argv) > 1 else 30.0), indent=1))
