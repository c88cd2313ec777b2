"""What capture costs a process that does not use it: imports are pinned."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest


def loaded(repository: Path, program: str) -> set[str]:
    """Top-level modules and ours after running a program in a fresh interpreter."""
    program += "; import sys, json; print(json.dumps(sorted(sys.modules)))"
    command = [
        sys.executable,
        "-c",
        f"import sys; sys.path.insert(0, {str(repository)!r}); {program}",
    ]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    return set(json.loads(run.stdout))


def test_units_need_no_numpy(repository: Path) -> None:
    modules = loaded(
        repository,
        "import edgeagent.capture.unit, edgeagent.capture.mailbox, edgeagent.capture.source",
    )
    assert not modules & {"numpy", "cv2"}


@pytest.mark.parametrize(
    "source",
    [
        "rtsp.RtspSource('cam', model.RtspConfig(url='rtsp://127.0.0.1/x'))",
        "camera.CameraSource('cam', model.CameraConfig())",
        "files.VideoSource('clip', model.VideoConfig(path='x.mp4'))",
        "audio.AudioSource('mic', model.AudioConfig(path='x.wav'))",
    ],
)
def test_sources_that_are_not_open_have_not_loaded_opencv(repository: Path, source: str) -> None:
    module = source.split(".")[0]
    imports = f"from edgeagent.capture import {module}; from edgeagent.config import model; "
    assert "cv2" not in loaded(repository, imports + source)


def test_a_child_loads_its_decoder_only(repository: Path) -> None:
    modules = loaded(
        repository,
        "import edgeagent.capture.child, edgeagent.capture.ffmpeg, edgeagent.capture.v4l2",
    )
    assert not modules & {"msgspec", "numpy", "cv2", "edgeagent.types", "edgeagent.config"}


def test_who_has_no_sensor_has_loaded_nothing_of_them(repository: Path) -> None:
    modules = loaded(repository, "import edgeagent.agent.build, edgeagent.config.sense")
    assert not modules & {"numpy", "serial", "pymodbus", "soundfile"}
    assert not [its for its in modules if its.startswith("edgeagent.capture.sensor")]


def test_sensors_of_the_kernel_need_no_library(repository: Path) -> None:
    modules = loaded(repository, "import edgeagent.capture.sensor.sysfs")
    assert not modules & {"serial", "pymodbus", "soundfile", "cv2", "paho"}
