"""What is attached, read from a tree of files like the kernel's."""

from __future__ import annotations

from pathlib import Path

from edgeagent.cli.attached import Attached, attached


def write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)


def test_a_camera_is_named_by_its_id_and_once(tmp_path: Path) -> None:
    write(tmp_path, {
        "dev/video0": "", "dev/video1": "", "dev/video2": "",
        "sys/class/video4linux/video0/name": "HD Cam\n",
        "sys/class/video4linux/video0/index": "0\n",
        "sys/class/video4linux/video1/index": "1\n",
        "sys/class/video4linux/video2/index": "0\n",
        "sys/class/video4linux/video2/name": "Other\n",
    })  # fmt: skip
    link = tmp_path / "dev" / "v4l" / "by-id" / "usb-HD_Cam-video-index0"
    link.parent.mkdir(parents=True)
    link.symlink_to("../../video0")
    assert attached(tmp_path) == [
        Attached("camera", "/dev/v4l/by-id/usb-HD_Cam-video-index0", "HD Cam"),
        Attached("camera", "/dev/video2", "Other"),
    ]


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
