"""What is attached, read from a tree of files like the kernel's."""

from __future__ import annotations

import errno
import os
import struct
import sys
from pathlib import Path

from edgeagent.capture.devices import CAN_CAPTURE, CAN_STREAM, QUERYCAP, Devices
from edgeagent.cli.attached import attached

sys.path.insert(0, str(Path(__file__).parents[1] / "capture"))
from fake_cameras import Machine, Node


def write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)


def test_a_camera_is_named_by_its_id_and_once(tmp_path: Path) -> None:
    write(tmp_path, {"dev/video0": "", "dev/video1": "", "dev/video10": "", "dev/video2": ""})
    link = tmp_path / "dev" / "v4l" / "by-id" / "usb-HD_Cam-video-index0"
    link.parent.mkdir(parents=True)
    link.symlink_to("../../video0")
    cards = {"video0": b"HD Cam", "video2": b"Other", "video10": b"Third"}

    def ioctl(handle: int, request: int, data: bytearray) -> int:
        """As the kernel: video1 gives metadata only."""
        name = Path(os.readlink(f"/proc/self/fd/{handle}")).name
        if request != QUERYCAP or name not in cards:
            raise OSError(errno.EINVAL, "no")
        able = CAN_CAPTURE | CAN_STREAM
        struct.pack_into("16s32s32sIII12x", data, 0, b"uvc", cards[name], b"usb", 1, able, able)
        return 0

    found = attached(tmp_path, Devices(str(tmp_path), ioctl))
    assert [(its.kind, its.path, its.name) for its in found] == [
        ("camera", "/dev/v4l/by-id/usb-HD_Cam-video-index0", "HD Cam"),
        ("camera", "/dev/video2", "Other"),
        ("camera", "/dev/video10", "Third"),
    ]
    assert not any(its.verified for its in found), "no real camera was at hand"


def test_formats_of_a_camera_and_who_has_it(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    machine.plug(0, Node(), "HD_Cam")
    machine.hold(0, 4711, "cheese")
    (its,) = attached(tmp_path, machine.devices())
    assert its.detail == "YUYV, MJPG" and its.used_by == ("cheese (4711)",)


def test_a_camera_that_may_not_be_opened_is_still_there(tmp_path: Path) -> None:
    write(tmp_path, {"dev/video0": ""})

    def ioctl(*_: object) -> int:
        raise PermissionError(errno.EACCES, "no")

    (found,) = attached(tmp_path, Devices(str(tmp_path), ioctl))
    assert found.path == "/dev/video0"
    assert "may not open it" in found.name


def test_sensors_sound_and_serial_lines(tmp_path: Path) -> None:
    write(tmp_path, {
        "proc/asound/card0/id": "Mic\n",
        "proc/asound/card0/pcm0c/info": "card: 0\nname: USB Audio\n",
        "proc/asound/card1/id": "HDMI\n",
        "proc/asound/card1/pcm3p/info": "name: HDMI 0\n",
        "sys/bus/iio/devices/iio:device0/name": "adxl345\n",
        "sys/bus/iio/devices/iio:device0/in_accel_x_raw": "100\n",
        "sys/bus/iio/devices/iio:device0/in_accel_scale": "0.01\n",
        "sys/class/hwmon/hwmon3/name": "coretemp\n",
        "sys/class/hwmon/hwmon3/temp1_input": "45000\n",
        "sys/class/hwmon/hwmon3/temp2_input": "",
        "sys/class/thermal/thermal_zone0/type": "cpu-thermal\n",
        "sys/class/power_supply/BAT0/capacity": "87\n",
        "dev/serial/by-id/usb-GPS": "",
        "dev/ttyUSB3": "",
        "sys/bus/w1/devices/28-0316/temperature": "21437",
    })  # fmt: skip
    assert [(its.kind, its.path, its.name, its.detail) for its in attached(tmp_path)] == [
        ("audio", "hw:CARD=Mic", "USB Audio", ""),
        ("serial", "/dev/serial/by-id/usb-GPS", "usb-GPS", ""),
        ("serial", "/dev/ttyUSB3", "ttyUSB3", ""),
        ("iio", "adxl345", "adxl345", "in_accel_x 1 m/s²"),
        ("hwmon", "coretemp", "coretemp", "temp1 45 °C, temp2 –"),
        ("thermal", "cpu-thermal", "cpu-thermal", ""),
        ("power_supply", "BAT0", "BAT0", "capacity 87 %"),
        ("w1", "28-0316", "28-0316", ""),
    ]


def test_nothing_attached(tmp_path: Path) -> None:
    assert attached(tmp_path) == []
