"""`devices try` and `devices add`."""

from __future__ import annotations

import json
import os
import threading
import time
import tty
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edgeagent.cli import meant
from edgeagent.cli.attached import Attached
from edgeagent.config.toml import parse_text
from edgeagent.errors import NotFound

CONFIG = """
[sources.belt]
kind = "synthetic"
fps = 20
[sources.imu]
kind = "iio"
root = "{root}"
rate_hz = 50
[sources.gone]
kind = "hwmon"
root = "{root}"
device = "nothing"
[pipelines.belt]
source = "belt"
model = "parts"
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    folder = tmp_path / "sys/bus/iio/devices/iio:device2"
    folder.mkdir(parents=True)
    for name, text in {"name": "adxl", "in_accel_x_raw": 100, "in_accel_scale": 0.01}.items():
        (folder / name).write_text(f"{text}\n")
    file = tmp_path / "etc" / "agent.toml"
    file.parent.mkdir()
    file.write_text(CONFIG.format(root=tmp_path / "sys"))
    return file


class Talker:
    """A serial line on which lines are spoken."""

    def __init__(self, *lines: str) -> None:
        self.handle, held = os.openpty()
        tty.setraw(held)
        self.path = os.ttyname(held)
        self._held = held
        self._lines = lines
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._speak)
        self._thread.start()

    def _speak(self) -> None:
        number = 0
        while not self._ended.wait(0.02):
            os.write(self.handle, f"{self._lines[number % len(self._lines)]}\r\n".encode())
            number += 1

    def close(self) -> None:
        self._ended.set()
        self._thread.join()
        os.close(self.handle)
        os.close(self._held)


@pytest.fixture
def talker() -> Iterator[Any]:
    made: list[Talker] = []

    def make(*lines: str) -> Talker:
        made.append(Talker(*lines))
        return made[-1]

    yield make
    for its in made:
        its.close()


def test_a_sensor_at_work(invoke: Any, config: Path) -> None:
    done = invoke("devices", "try", "imu", "-s", 1, "--config", config, "--json")
    assert done.exit_code == 0, done.output
    report = json.loads(done.stdout)
    assert report["kind"] == "iio" and report["by"] == "itself" and report["state"] == "ok"
    assert report["rate_hz"] == pytest.approx(50, rel=0.1)
    assert report["jitter_ms"]["p95"] < 20
    channel = report["channels"]["in_accel_x"]
    assert (channel["value"], channel["unit"], channel["max"]) == (1.0, "m/s²", 1.0)


def test_a_scene_and_its_picture(invoke: Any, config: Path, tmp_path: Path) -> None:
    file = tmp_path / "picture.jpg"
    done = invoke("devices", "try", "belt", "-s", 1, "-c", config, "--save", file)
    assert done.exit_code == 0, done.output
    assert file.read_bytes()[:3] == b"\xff\xd8\xff"
    assert "320 × 240" in done.stdout and f"Saved to {file}." in done.stderr


@pytest.mark.parametrize("words", ['pictures = "never"', 'pictures = "asked"'])
def test_pictures_leave_as_the_configuration_says(
    invoke: Any, config: Path, tmp_path: Path, words: str
) -> None:
    config.write_text(config.read_text() + f"[privacy]\n{words}\n")
    file = tmp_path / "picture.jpg"
    done = invoke("devices", "try", "belt", "-s", 0.5, "-c", config, "--save", file)
    if "never" in words:
        assert done.exit_code == 77 and not file.exists()
        assert 'privacy.pictures = "never"' in done.stderr
    else:
        assert done.exit_code == 0 and file.exists()


def test_what_is_hidden_is_hidden(invoke: Any, config: Path, tmp_path: Path) -> None:
    """The whole parts of the belt are painted over, by the pipeline's own redaction."""
    cv2 = pytest.importorskip("cv2")
    plain, hidden = tmp_path / "plain.png", tmp_path / "hidden.jpg"
    assert invoke("devices", "try", "belt", "-s", 1, "-c", config, "--save", plain).exit_code == 0
    labels = (
        'redact = { labels = ["whole", "cracked", "missing"], method = "fill", hold = "200 ms" }'
    )
    config.write_text(config.read_text() + labels + "\n")
    done = invoke("devices", "try", "belt", "-s", 2, "-c", config, "--save", hidden)
    assert done.exit_code == 0, done.output
    dark = [float((cv2.imread(str(its), 0) < 8).mean()) for its in (plain, hidden)]
    assert dark[1] > dark[0] + 0.005


def test_a_source_that_gives_nothing(invoke: Any, config: Path) -> None:
    done = invoke("devices", "try", "gone", "-s", 1, "-c", config)
    assert done.exit_code == 69
    assert "hwmon nothing: is not there" in done.stderr


def test_a_name_that_nobody_knows(invoke: Any, config: Path) -> None:
    done = invoke("devices", "try", "bel", "-c", config)
    assert done.exit_code == 3 and "Did you mean the source belt?" in done.stderr


def test_a_recording_is_tried(invoke: Any, config: Path, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("x,y\n" + "1,2\n" * 20)
    done = invoke("devices", "try", tmp_path / "a.csv", "-c", config, "--json")
    report = json.loads(done.stdout)
    assert report["samples"] == 20 and report["channels"]["y"]["max"] == 2
    done = invoke("devices", "try", tmp_path / "a.csv", "-c", config, "--save", tmp_path / "a.jpg")
    assert done.exit_code == 2 and "no pictures" in done.stderr


@pytest.mark.parametrize(
    ("lines", "form", "channel"),
    [
        (("1.5,2.5,3", "1.6,2.4,4"), "csv", "column2"),
        (('{"t": 21.5, "h": 40}',), "json", "t"),
        (("temp=21.5 rpm=1480",), "text", "rpm"),
        (("$GPGGA,123519,4807.038,N,01131.000,E,1,08,0.9,545.4,M,46.9,M,,*47",), "nmea", "lat"),
    ],
)
def test_a_serial_line_is_heard_out(
    invoke: Any, config: Path, talker: Any, lines: tuple[str, ...], form: str, channel: str
) -> None:
    pytest.importorskip("serial")
    line = talker(*lines)
    done = invoke("devices", "try", line.path, "-s", 0.5, "-c", config, "--json")
    assert done.exit_code == 0, done.output
    report = json.loads(done.stdout)
    assert (report["kind"] == "serial" and report["heard"][0] == lines[0]) or len(lines) > 1
    assert report["channels"][channel]["value"] is not None
    added = invoke("devices", "add", line.path, "-c", config, "--name", "s", "--json")
    assert json.loads(added.stdout)["table"]["format"] == form
    again = invoke("devices", "try", "s", "-s", 0.5, "-c", config, "--json")
    assert json.loads(again.stdout)["channels"][channel]["value"] is not None


# --- add -------------------------------------------------------------------------------------


def test_a_camera_is_added_with_a_pipeline(invoke: Any, config: Path) -> None:
    done = invoke("devices", "add", "/dev/video3", "--fps", 5, "--model", "parts", "-c", config)
    assert done.exit_code == 0, done.output
    file = config.parent / "conf.d" / "50-cam0.toml"
    assert parse_text(file.read_text(), "x")[0] == {
        "sources": {"cam0": {"kind": "camera", "device": "/dev/video3", "fps": 5.0}},
        "pipelines": {"cam0": {"source": "cam0", "model": "parts"}},
    }
    assert file.stat().st_mode & 0o777 == 0o640
    assert invoke("config", "check", config).exit_code == 0
    assert invoke("devices", "add", "/dev/video4", "-c", config).exit_code == 0
    assert (config.parent / "conf.d" / "50-cam1.toml").exists()


def test_what_would_not_be_sound_is_not_kept(invoke: Any, config: Path) -> None:
    done = invoke("devices", "add", "rtsp://u:secret@cam/1", "-c", config)
    assert done.exit_code == 78
    assert "nothing was written" in done.stderr and "password_file" in done.stderr
    assert "secret" not in done.output
    assert not list((config.parent / "conf.d").glob("*"))


def test_it_may_only_be_printed(invoke: Any, config: Path) -> None:
    done = invoke("devices", "add", "hw:CARD=Mic", "-c", config, "--print")
    assert parse_text(done.stdout, "x")[0] == {
        "sources": {"mic0": {"kind": "audio", "device": "hw:CARD=Mic"}}
    }
    assert not (config.parent / "conf.d").exists()


def test_names_are_not_taken_twice(invoke: Any, config: Path) -> None:
    done = invoke("devices", "add", "hwmon:cpu", "--name", "imu", "-c", config)
    assert done.exit_code == 2 and "has a source 'imu' already" in done.stderr
    done = invoke("devices", "add", "iio:imu", "-c", config, "--json")
    assert json.loads(done.stdout)["source"] == "imu1"


def test_without_a_configuration(invoke: Any, tmp_path: Path) -> None:
    done = invoke("devices", "add", "iio:imu", "-c", tmp_path / "none.toml")
    assert done.exit_code == 2 and "--print" in done.stderr


def test_a_folder_that_may_not_be_written(invoke: Any, config: Path) -> None:
    (config.parent / "conf.d").write_text("a file")
    done = invoke("devices", "add", "iio:imu", "-c", config)
    assert done.exit_code in (2, 3, 77, 78) and "conf.d" in done.stderr


@pytest.mark.parametrize(
    ("text", "table"),
    [
        ("/dev/v4l/by-id/usb-x", {"kind": "camera", "device": "/dev/v4l/by-id/usb-x"}),
        ("HD Cam", {"kind": "camera", "device": "/dev/v4l/by-id/usb-y"}),
        ("plughw:CARD=Mic", {"kind": "audio", "device": "plughw:CARD=Mic"}),
        ("w1:28-01", {"kind": "w1", "device": "28-01"}),
        ("https://cam/v.mjpg", {"kind": "mjpeg", "url": "https://cam/v.mjpg"}),
        ("socket://gw:4001", {"kind": "serial", "device": "socket://gw:4001"}),
    ],
)
def test_what_is_meant(text: str, table: dict[str, Any]) -> None:
    here = [Attached("camera", "/dev/v4l/by-id/usb-y", "HD Cam")]
    assert meant.table_of(text, here) == table


def test_a_fifo_is_live(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "f")
    assert meant.table_of(str(tmp_path / "f"), []) == {"kind": "jsonl", "path": str(tmp_path / "f")}
    with pytest.raises(NotFound, match="no attached device"):
        meant.table_of("/nothing/here", [])


def test_it_does_not_take_longer_than_said(invoke: Any, config: Path) -> None:
    began = time.monotonic()
    invoke("devices", "try", "belt", "-s", 1, "-c", config)
    assert time.monotonic() - began < 4


def test_what_is_configured_is_marked(config: Path, tmp_path: Path) -> None:
    from edgeagent.cli.trying import told_by_agent

    config.write_text('[sources.motor]\nkind = "iio"\ndevice = "adxl"\n')
    here = [Attached("iio", "adxl", "adxl"), Attached("iio", "other", "other")]
    mine, other = told_by_agent(here, config, tmp_path / "data")
    assert mine.used_by == ("source motor (configured, not running)",) and not other.used_by
