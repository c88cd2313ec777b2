"""What is attached, read from a tree of files like the kernel's."""

from __future__ import annotations

import errno
import os
import struct
from pathlib import Path

from edgeagent.capture.devices import CAN_CAPTURE, CAN_STREAM, QUERYCAP, Devices
from edgeagent.cli.attached import Attached, attached


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

    assert attached(tmp_path, Devices(str(tmp_path), ioctl)) == [
        Attached("camera", "/dev/v4l/by-id/usb-HD_Cam-video-index0", "HD Cam"),
        Attached("camera", "/dev/video2", "Other"),
        Attached("camera", "/dev/video10", "Third"),
    ]


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
        "sys/bus/iio/devices/iio:device0/name": "adxl345\n",
        "sys/class/hwmon/hwmon3/name": "coretemp\n",
        "dev/serial/by-id/usb-GPS": "",
        "sys/bus/w1/devices/28-0316/temperature": "21437",
    })  # fmt: skip
    assert [(its.kind, its.path) for its in attached(tmp_path)] == [
        ("audio", "hw:CARD=Mic"),
        ("serial", "/dev/serial/by-id/usb-GPS"),
        ("iio", "adxl345"),
        ("hwmon", "coretemp"),
        ("1-wire", "/sys/bus/w1/devices/28-0316"),
    ]


def test_nothing_attached(tmp_path: Path) -> None:
    assert attached(tmp_path) == []
