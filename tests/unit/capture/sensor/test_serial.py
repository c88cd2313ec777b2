"""Serial lines on a pseudo terminal: formats, garbage, unplugging."""

from __future__ import annotations

import os
import time
import tty
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edgeagent.capture.source import Wanted
from edgeagent.config.channels import Channel
from edgeagent.config.model import SerialConfig
from edgeagent.errors import ConfigError

pytest.importorskip("serial")
from edgeagent.capture.sensor.serial import open_serial


class Line:
    """A device at ``/dev/serial/by-id/…``, which may be unplugged."""

    def __init__(self, link: Path) -> None:
        self.link = link
        self.handle = -1
        self._held = -1
        self.plug()

    def plug(self) -> None:
        self.handle, self._held = os.openpty()
        tty.setraw(self._held)
        self.link.symlink_to(os.ttyname(self._held))

    def unplug(self) -> None:
        self.link.unlink()
        os.close(self.handle)
        os.close(self._held)
        self.handle = -1

    def send(self, data: bytes) -> None:
        os.write(self.handle, data)


@pytest.fixture
def line(tmp_path: Path) -> Iterator[Line]:
    its = Line(tmp_path / "usb-Sensor")
    yield its
    if its.handle >= 0:
        its.unplug()


def config_of(line: Line, **keys: Any) -> SerialConfig:
    return SerialConfig(device=str(line.link), baud=115200, **keys)


def started(running: Any, line: Line, config: SerialConfig, wanted: Wanted) -> Any:
    its = running("s", open_serial("s", config, wanted), config)
    its.health(lambda health: health.state == "ok")
    return its


def test_rows_of_csv_at_an_even_rate(line: Line, running: Any) -> None:
    config = config_of(line, format="csv", rate_hz=100, channels={"x": Channel(), "y": Channel()})
    its = started(running, line, config, Wanted(channels=("y", "x"), length=50, rate_hz=100))
    line.send(b"9.25\n")  # the rest of a line
    for number in range(100):
        line.send(b"%d,%d\r\n" % (number, -number))
    first, second = its.window(), its.window()
    assert first.values[:2].tolist() == [[0, 0], [-1, 1]]
    assert second.values[-1].tolist() == [-99, 99]


def test_garbage_ends_a_window_and_the_next_begins_behind_it(line: Line, running: Any) -> None:
    config = config_of(line, format="csv", rate_hz=100, channels={"x": Channel()})
    its = started(running, line, config, Wanted(length=10, rate_hz=100))
    line.send(b"\n" + b"".join(b"%d\n" % number for number in range(5)))
    line.send(b"\xff\x80 4;;7\n" + b"".join(b"%d\n" % number for number in range(100, 110)))
    assert its.window().values[:, 0].tolist() == list(range(100, 110))
    told = its.health(lambda health: health.detail["corrupt"] == 1)
    assert told.detail["unused"] == 5


def test_unplugged_and_back_under_another_number(line: Line, running: Any) -> None:
    config = config_of(line, format="json", rate_hz=100)
    its = started(running, line, config, Wanted(channels=("t",), length=5, rate_hz=100))
    line.send(b"\n" + b'{"t": 1.5}\n' * 5)
    assert its.window().values[0, 0] == 1.5
    line.unplug()
    told = its.health(lambda health: health.state == "down")
    assert "usb-Sensor" in told.reason
    line.plug()
    began = time.monotonic()
    its.health(lambda health: health.state == "down" or health.detail["lost"])
    while time.monotonic() - began < 10 and its.unit.reopened == 0:
        line.send(b'\n{"t": 2.5}\n' * 5)
        its.mailbox.get(0.1)
    assert its.unit.reopened == 1 and time.monotonic() - began < 4


def test_nmea_with_broken_sums(line: Line, running: Any) -> None:
    config = config_of(
        line, format="nmea", channels={"lat": Channel(), "alt": Channel(read="altitude")}
    )
    its = started(running, line, config, Wanted(length=2, rate_hz=10))
    gga = b"$GPGGA,123519,4807.038,N,01131.000,E,1,08,0.9,545.4,M,46.9,M,,*47\r\n"
    deadline = time.monotonic() + 10
    line.send(b"\r\n" + gga.replace(b"4807", b"4907"))
    window = None
    while window is None and time.monotonic() < deadline:
        line.send(gga)
        window = its.mailbox.get(0.1)
    assert window is not None
    assert window.values[0].tolist() == pytest.approx([48.1173, 545.4], abs=1e-3)
    told = its.health(lambda health: health.detail["corrupt"] == 1)
    assert told.state == "ok"


def test_text_by_a_pattern(line: Line, running: Any) -> None:
    config = config_of(
        line, pattern=r"T=(?P<t>\S+)", rate_hz=50, channels={"t": Channel(scale=0.1)}
    )
    its = started(running, line, config, Wanted(length=3, rate_hz=50))
    line.send(b"\n" + b"12:00 T=215 ok\n" * 3)
    assert its.window().values[:, 0].tolist() == pytest.approx([21.5] * 3)


def test_a_line_in_use_is_told(line: Line, running: Any) -> None:
    import serial

    with serial.Serial(str(line.link), 9600, exclusive=True):
        config = config_of(line)
        its = running("s", open_serial("s", config, Wanted(length=1)), config)
        told = its.health(lambda health: health.state == "down")
        assert "is in use" in told.reason


def test_a_line_that_is_not_there(tmp_path: Path, running: Any) -> None:
    config = SerialConfig(device=str(tmp_path / "nothing"))
    its = running("s", open_serial("s", config, Wanted(length=1)), config)
    told = its.health(lambda health: health.state == "down")
    assert told.reason.endswith("nothing: is not connected")


def test_a_column_that_is_not_there() -> None:
    config = SerialConfig(
        device="/dev/x", format="csv", columns=["a"], channels={"x": Channel(read="b")}
    )
    with pytest.raises(ConfigError, match=r"sources\.s\.columns: has no b"):
        open_serial("s", config)
