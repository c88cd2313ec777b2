"""Pictures from other programs: real ones, and what becomes of them."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeagent.capture.command import CommandSource
from edgeagent.config.model import CommandConfig
from edgeagent.errors import ConfigError, NotFound, SourceLost

FFMPEG = ["ffmpeg", "-loglevel", "error", "-re", "-f", "lavfi", "-i"]
TEST = "testsrc2=size=320x240:rate=20"


@pytest.fixture
def play() -> Iterator[Callable[..., CommandSource]]:
    made: list[CommandSource] = []

    def make(*command: str, **keys: Any) -> CommandSource:
        source = CommandSource("cam", CommandConfig(command=list(command), **keys))
        made.append(source)
        return source

    yield make
    for source in made:
        source.close()


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def until(condition: Callable[[], bool], timeout: float = 5.0) -> None:
    end = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.01)


def grandchild(source: CommandSource) -> int:
    """The program's process."""
    children = Path(f"/proc/{source.pid}/task/{source.pid}/children").read_text().split()
    assert len(children) == 1
    return int(children[0])


@pytest.mark.parametrize(
    ("format", "output"),
    [
        ("mjpeg", ["-c:v", "mjpeg", "-f", "image2pipe"]),
        ("h264", ["-c:v", "libx264", "-preset", "ultrafast", "-tune", "zerolatency", "-g", "10",
                  "-pix_fmt", "yuv420p", "-f", "h264"]),
        ("bgr24", ["-pix_fmt", "bgr24", "-f", "rawvideo"]),
        ("rgb24", ["-pix_fmt", "rgb24", "-f", "rawvideo"]),
        ("yuv420", ["-pix_fmt", "yuv420p", "-f", "rawvideo"]),
        ("nv12", ["-pix_fmt", "nv12", "-f", "rawvideo"]),
        ("yuyv", ["-pix_fmt", "yuyv422", "-f", "rawvideo"]),
        ("gray", ["-pix_fmt", "gray", "-f", "rawvideo"]),
    ],
)  # fmt: skip
def test_every_format_shows_the_same_scene(
    play: Callable[..., CommandSource], format: str, output: list[str]
) -> None:
    scene = "color=c=0x2080E0:size=64x48:rate=20,drawbox=x=32:w=32:h=48:color=0xF0F0F0:t=fill"
    size = None if format in ("mjpeg", "h264") else (64, 48)
    source = play(*FFMPEG, scene, *output, "-", format=format, size=size)
    source.open()
    frame = source.read()
    left, right = frame.pixels[10:40, 4:28], frame.pixels[10:40, 36:60]
    if format == "gray":
        assert frame.pixels.shape == (48, 64)
        assert 90 < left.mean() < 130
    else:
        assert frame.pixels.shape == (48, 64, 3)
        assert np.abs(left.mean((0, 1)) - (0xE0, 0x80, 0x20)).max() < 14
    assert np.abs(right.mean() - 0xF0) < 14


def test_h265_of_a_command(play: Callable[..., CommandSource]) -> None:
    source = play(
        *FFMPEG, TEST, "-c:v", "libx265", "-preset", "ultrafast", "-tune", "zerolatency",
        "-x265-params", "keyint=10:log-level=none", "-f", "hevc", "-", format="h265",
    )  # fmt: skip
    source.open()
    assert source.read().pixels.shape == (240, 320, 3)


def test_a_reader_that_is_late_gets_the_newest_picture(play: Callable[..., CommandSource]) -> None:
    source = play(*FFMPEG, TEST, "-c:v", "mjpeg", "-f", "image2pipe", "-")
    source.open()
    source.read()
    os.kill(source.pid, signal.SIGSTOP)
    time.sleep(1.2)
    os.kill(source.pid, signal.SIGCONT)
    ages = []
    for _ in range(6):
        frame = source.read()
        ages.append(time.clock_gettime(time.CLOCK_BOOTTIME) * 1e3 - frame.mono_ms)
    assert source.tally.dropped >= 10
    assert np.median(ages) < 300


def test_how_a_command_ends_is_told_in_its_own_words(play: Callable[..., CommandSource]) -> None:
    said = "import sys; print('no cameras available', file=sys.stderr); sys.exit(255)"
    with pytest.raises(SourceLost, match=r"code 255|no cameras available") as caught:
        broken = play(sys.executable, "-c", said)
        broken.open()
        broken.read()
    assert "no cameras available" in str(caught.value)
    ended = play(sys.executable, "-c", "pass", format="bgr24", size=(8, 8))
    ended.open()
    with pytest.raises(SourceLost, match="ended with code 0"):
        ended.read()


def test_a_program_that_is_not_there_is_named_with_the_remedy(
    play: Callable[..., CommandSource],
) -> None:
    with pytest.raises(NotFound, match="no program 'rpicam-vid-9'") as caught:
        play("rpicam-vid-9", "-o", "-").open()
    assert "Install it" in caught.value.remedy


def test_raw_pictures_need_a_size(play: Callable[..., CommandSource]) -> None:
    with pytest.raises(ConfigError, match=r"sources\.cam\.size"):
        play("x", format="nv12")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_the_program_ends_with_the_child_however_that_ends(
    play: Callable[..., CommandSource], number: signal.Signals
) -> None:
    # It ignores the usual hints, and is not told that nobody listens, as it writes nothing.
    stubborn = (
        "import signal, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
        "signal.signal(signal.SIGPIPE, signal.SIG_IGN); time.sleep(3600)"
    )
    source = play(sys.executable, "-c", stubborn, format="bgr24", size=(8, 8))
    source.open()
    program = grandchild(source)
    os.kill(source.pid, number)
    until(lambda: not alive(program))


def test_closing_ends_the_program(play: Callable[..., CommandSource]) -> None:
    source = play(*FFMPEG, TEST, "-c:v", "mjpeg", "-f", "image2pipe", "-")
    source.open()
    source.read()
    program = grandchild(source)
    source.close()
    until(lambda: not alive(program))


def test_a_command_with_a_shell_pipeline_dies_whole(play: Callable[..., CommandSource]) -> None:
    source = play("sh", "-c", " ".join(FFMPEG) + f" {TEST} -c:v mjpeg -f image2pipe - | cat")
    source.open()
    assert source.read().pixels.shape == (240, 320, 3)
    group = grandchild(source)
    source.close()

    def gone() -> bool:
        members = [
            pid for pid in os.listdir("/proc") if pid.isdigit() and _group_of(pid) == group
        ]  # fmt: skip
        return not [pid for pid in members if alive(int(pid))]

    until(gone)


def _group_of(pid: str) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[2])
    except (FileNotFoundError, ProcessLookupError):
        return -1
