"""Pictures and videos from files."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgeagent.capture.files import ImagesSource, VideoSource, natural, picture_files
from edgeagent.config.model import ImagesConfig, VideoConfig
from edgeagent.errors import InputError, NotFound, SourceEnded
from edgeagent.testing.capture import Alone
from edgeagent.types import Frame


def shade(file: Path, value: int) -> None:
    done, data = cv2.imencode(".png", np.full((6, 8, 3), value, np.uint8))
    assert done
    file.write_bytes(data.tobytes())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in (1, 2, 10):
        shade(tmp_path / f"p{number}.png", number)
    (tmp_path / "notes.txt").write_text("no picture")
    return tmp_path


def everything(source: ImagesSource | VideoSource) -> tuple[list[Frame], list[str]]:
    frames, faults = [], []
    source.open()
    while True:
        try:
            frames.append(source.read())
        except InputError as error:
            faults.append(str(error))
        except SourceEnded:
            source.close()
            return frames, faults


# --- pictures ------------------------------------------------------------------------------


def test_natural_order() -> None:
    names = ["p10.png", "p2.png", "a/9.png", "a/10.png", "p1b2.png", "p1b10.png"]
    ordered = [str(path) for path in sorted(map(Path, names), key=natural)]
    assert ordered == ["a/9.png", "a/10.png", "p1b2.png", "p1b10.png", "p2.png", "p10.png"]


def test_a_folder_is_read_in_natural_order(folder: Path) -> None:
    frames, faults = everything(ImagesSource("s", ImagesConfig(path=str(folder))))
    assert [int(frame.pixels[0, 0, 0]) for frame in frames] == [1, 2, 10]
    assert [frame.number for frame in frames] == [1, 2, 3]
    assert frames[2].origin == str(folder / "p10.png")
    assert not faults


def test_a_glob_and_a_single_file(folder: Path) -> None:
    frames, _ = everything(ImagesSource("s", ImagesConfig(path=str(folder / "p1*.png"))))
    assert [int(frame.pixels[0, 0, 0]) for frame in frames] == [1, 10]
    frames, _ = everything(ImagesSource("s", ImagesConfig(path=str(folder / "p2.png"))))
    assert len(frames) == 1


def test_a_broken_picture_is_told_and_skipped(folder: Path) -> None:
    (folder / "p3.png").write_text("this is text")
    (folder / "p4.png").write_bytes(b"")
    frames, faults = everything(ImagesSource("s", ImagesConfig(path=str(folder))))
    assert [int(frame.pixels[0, 0, 0]) for frame in frames] == [1, 2, 10]
    assert len(faults) == 2
    assert "p3.png" in faults[0]
    assert "text file" in faults[0]
    assert "0 bytes" in faults[1]


def test_a_picture_that_vanished_is_told_and_skipped(folder: Path) -> None:
    source = ImagesSource("s", ImagesConfig(path=str(folder)))
    source.open()
    source.read()
    (folder / "p2.png").unlink()
    with pytest.raises(InputError, match=r"p2\.png"):
        source.read()
    assert int(source.read().pixels[0, 0, 0]) == 10


@pytest.mark.parametrize(
    ("path", "words"),
    [("none", "no such file or folder"), ("none/*.png", "no file matches"), ("", "no pictures")],
)
def test_nothing_there(tmp_path: Path, path: str, words: str) -> None:
    with pytest.raises(NotFound, match=words):
        picture_files(str(tmp_path / path))


def test_looping_goes_round_and_ends_where_nothing_is_usable(folder: Path) -> None:
    source = ImagesSource("s", ImagesConfig(path=str(folder), loop=True))
    source.open()
    values = [int(source.read().pixels[0, 0, 0]) for _ in range(7)]
    assert values == [1, 2, 10, 1, 2, 10, 1]
    for file in folder.glob("*.png"):
        file.write_text("broken")
    faults = 0
    with pytest.raises(SourceEnded):
        while True:
            try:
                source.read()
            except InputError:
                faults += 1
    assert 3 <= faults <= 6


def test_fps_sets_the_pace_of_pictures(folder: Path) -> None:
    source = ImagesSource("s", ImagesConfig(path=str(folder), fps=4))
    assert source.paced
    source.open()
    positions = []
    for _ in range(3):
        source.read()
        positions.append(source.position_s)
    assert positions == [0.0, 0.25, 0.5]


# --- videos --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seconds of moving test pictures in several containers."""
    folder = tmp_path_factory.mktemp("clips")

    def ffmpeg(*arguments: str) -> None:
        command = ["ffmpeg", "-loglevel", "error", "-y", *arguments]
        try:
            subprocess.run(command, check=True, cwd=folder, stdin=subprocess.DEVNULL)
        except FileNotFoundError:
            pytest.skip("ffmpeg is not installed")

    ffmpeg(
        "-f", "lavfi", "-i", "testsrc2=size=160x120:rate=15", "-t", "2", "-c:v", "libx264",
        "-g", "15", "-pix_fmt", "yuv420p", "-movflags", "faststart", "fast.mp4",
    )  # fmt: skip
    ffmpeg("-i", "fast.mp4", "-c", "copy", "slow.mp4")
    ffmpeg("-i", "fast.mp4", "-c", "copy", "clip.mkv")
    ffmpeg("-i", "fast.mp4", "-c:v", "mjpeg", "clip.avi")
    ffmpeg("-i", "fast.mp4", "-c", "copy", "clip.h264")
    ffmpeg("-f", "lavfi", "-i", "sine=duration=1", "sound.mp4")
    return folder


@pytest.mark.parametrize("name", ["fast.mp4", "slow.mp4", "clip.mkv", "clip.avi", "clip.h264"])
def test_every_frame_is_read_with_its_time(clips: Path, name: str) -> None:
    source = VideoSource("s", VideoConfig(path=str(clips / name)))
    source.open()
    positions = []
    try:
        while True:
            frame = source.read()
            positions.append(source.position_s)
    except SourceEnded:
        pass
    assert len(positions) == 30
    assert frame.number == 30
    assert frame.pixels.shape == (120, 160, 3)
    rate = 25.0 if name.endswith("h264") else 15.0
    np.testing.assert_allclose(positions, np.arange(30) / rate, atol=0.003)


@pytest.mark.parametrize("name", ["fast.mp4", "clip.mkv", "clip.avi"])
def test_a_video_that_breaks_in_the_middle_is_told(clips: Path, tmp_path: Path, name: str) -> None:
    whole = (clips / name).read_bytes()
    cut = tmp_path / name
    cut.write_bytes(whole[: len(whole) // 2])
    frames, faults = everything(VideoSource("s", VideoConfig(path=str(cut))))
    assert 5 < len(frames) < 27
    assert len(faults) == 1
    told = re.search(r"cut off after frame (\d+) of about 30 .* (\d+) can't be read", faults[0])
    assert told
    assert 5 < int(told[1]) <= len(frames)
    assert int(told[2]) == 30 - len(frames)
    assert str(cut) in faults[0]


def test_a_video_overwritten_in_the_middle_is_told(clips: Path, tmp_path: Path) -> None:
    raw = bytearray((clips / "fast.mp4").read_bytes())
    middle = len(raw) // 2
    raw[middle:] = bytes(len(raw) - middle)
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(raw)
    frames, faults = everything(VideoSource("s", VideoConfig(path=str(broken))))
    assert 5 < len(frames) < 27
    assert len(faults) == 1


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", r"empty \(0 bytes\)"),
        (b"no video, just text" * 100, "is no video"),
        ("slow.mp4", "index is cut off"),
        ("sound.mp4", "is no video"),
    ],
    ids=["empty", "text", "cut before the index", "only sound"],
)
def test_what_is_no_video(
    clips: Path, tmp_path: Path, content: bytes | str, words: str, capfd: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "x.mp4"
    if isinstance(content, str):
        content = (clips / content).read_bytes()
        content = content[: len(content) // 2] if "index" in words else content
    file.write_bytes(content)
    source = VideoSource("s", VideoConfig(path=str(file)))
    with pytest.raises(InputError, match=words):
        source.open()
    assert capfd.readouterr() == ("", "")


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no such file"):
        VideoSource("s", VideoConfig(path=str(tmp_path / "none.mp4"))).open()
    with pytest.raises(InputError, match="can't be read"):
        VideoSource("s", VideoConfig(path=str(tmp_path))).open()


def test_looping_goes_on_in_time(clips: Path) -> None:
    source = VideoSource("s", VideoConfig(path=str(clips / "fast.mp4"), loop=True))
    source.open()
    positions = []
    for _ in range(65):
        frame = source.read()
        positions.append(source.position_s)
    source.close()
    assert frame.number == 65
    np.testing.assert_allclose(np.diff(positions), 1 / 15, atol=0.003)


def test_pace_true_follows_the_time_stamps(clips: Path) -> None:
    config = VideoConfig(path=str(clips / "fast.mp4"), pace="true", fps=5)
    unit = Alone("s", VideoSource("s", config), config)
    box = unit.subscribe()
    unit.start()
    stamps = []
    try:
        while True:
            sample = box.get(5)
            assert sample is not None
            stamps.append(sample.mono_ms)
    except SourceEnded:
        unit.stop()
    assert len(stamps) == 10
    assert 1500 < stamps[-1] - stamps[0] < 2500


def test_real_clips(assets: Path) -> None:
    for file in sorted((assets / "video").glob("*.*")):
        source = VideoSource("s", VideoConfig(path=str(file)))
        source.open()
        shapes = {source.read().pixels.shape for _ in range(10)}
        source.close()
        assert len(shapes) == 1
