"""How old a picture is once all is decided about it, by a clock that is in the picture."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeagent import clock
from edgeagent.agent.stages import stages_for
from edgeagent.capture.rtsp import RtspSource
from edgeagent.config.model import Pipeline as PipelineConfig
from edgeagent.config.model import RtspConfig
from edgeagent.manifest import load_package
from edgeagent.pipeline import Pipeline
from edgeagent.testing.capture import Alone
from edgeagent.types import Draft, Frame

HERE = Path(__file__).parent
BARE = """
import os, sys, time
os.environ["OPENCV_FFMPEG_CAPTURE_OPTIONS"] = "rtsp_transport;tcp"
import cv2
video = cv2.VideoCapture(sys.argv[1], cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
for number in range(int(sys.argv[2])):
    pixels = video.read()[1]
    now = int(time.clock_gettime(time.CLOCK_BOOTTIME) * 1000)
    bits = pixels[200:280, :, 1].reshape(80, 32, 20)[:, :, 5:15].mean((0, 2)) > 128
    print(now - sum(int(bit) << place for place, bit in enumerate(bits)))
"""


def burnt_in(pixels: np.ndarray) -> int:
    bits = pixels[200:280, :, 1].reshape(80, 32, 20)[:, :, 5:15].mean((0, 2)) > 128
    return sum(int(bit) << place for place, bit in enumerate(bits))


class Nowhere:
    seq = None

    def append(self, draft: Draft) -> Nowhere:
        return self


@pytest.mark.parametrize("codec", ["h264", "h265"])
def test_age_at_the_result(
    start: Callable[..., Any], repository: Path, codec: str, full: bool
) -> None:  # fmt: skip
    server = start("clock_gst.py", "30", codec)
    url = f"rtsp://{server.address}"
    config = RtspConfig(url=url)
    unit = Alone("cam", RtspSource("cam", config), config)
    package = load_package(sorted((repository / "models" / "parts").iterdir())[-1])
    stages = stages_for("p", package, PipelineConfig(model="parts", source="cam"))
    ages: list[float] = []
    stamped: list[float] = []
    decide = stages.decide

    def decided(sample: Any, predictions: Any) -> Any:
        drafts = decide(sample, predictions)
        assert isinstance(sample, Frame)
        made = burnt_in(sample.pixels)
        ages.append(clock.mono_ms() - made)
        stamped.append(sample.mono_ms - made)
        return drafts

    stages.decide = decided
    pipeline = Pipeline("p", unit.subscribe(), Nowhere(), lambda: stages)
    thread = threading.Thread(target=pipeline.run)
    thread.start()
    unit.start()
    # A bare loop on the same stream at the same time: the stream's own delay.
    bare = subprocess.run(
        [sys.executable, "-c", BARE, url, "150"], capture_output=True, text=True, check=True,
        timeout=60,
    )  # fmt: skip
    end = time.monotonic() + 30
    while len(ages) < 150:
        assert time.monotonic() < end, unit.health()
        time.sleep(0.05)
    figures = pipeline.figures()
    unit.stop()
    assert unit.wait(3)
    thread.join(3)
    own = float(np.median([int(line) for line in bare.stdout.split()][-100:]))
    # Beside other tests the slowest of a hundred tell about those.
    over = float(np.quantile(ages[-100:], 0.95 if full else 0.5)) - own
    print(f"{codec}: stream {own:.0f} ms, at the result {np.median(ages[-100:]):.0f} ms median, "
          f"{over:+.0f} ms over the stream; told {figures['age_p95_ms']} ms")  # fmt: skip
    assert over <= 150
    # What is told as age is what lies between the picture's arrival and its result.
    assert np.median(stamped[-100:]) < own + 60
    assert figures["age_p50_ms"] < 150
