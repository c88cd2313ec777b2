"""IIO by the kernel's buffer: a tree of files, and a FIFO in place of the device's node."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeagent.capture.sensor.buffered import Element, frame_of
from edgeagent.capture.sensor.sysfs import open_sysfs
from edgeagent.capture.source import Wanted
from edgeagent.config.channels import SysfsChannel
from edgeagent.config.sensors import IioConfig
from edgeagent.errors import ConfigError

RATE = 100.0


@pytest.mark.parametrize(
    ("layout", "stored", "value"),
    [
        ("le:s12/16>>4", struct.pack("<h", -100 << 4), -100),
        ("be:s16/16>>0", struct.pack(">h", -5), -5),
        ("le:u12/16", struct.pack("<H", 0xF00A), 10),
        ("be:u24/32>>8", struct.pack(">I", 0x12345678), 0x123456),
        ("le:s24/32>>8", struct.pack("<i", -1 << 8), -1),
        ("le:u64/64>>0", struct.pack("<Q", 2**63), 2**63),
        ("le:s8/8", b"\xff", -1),
    ],
)
def test_elements(layout: str, stored: bytes, value: int) -> None:
    its = Element.of("0", layout)
    frame = frame_of({"x": its})
    assert its.values(np.frombuffer(stored, frame)["x"]).tolist() == [value]


@given(st.lists(st.integers(-2048, 2047), min_size=1, max_size=20), st.integers(0, 4))
def test_twelve_bits_anywhere_in_sixteen(values: list[int], shift: int) -> None:
    its = Element.of("0", f"le:s12/16>>{shift}")
    # What stands beside the twelve bits is noise.
    stored = [
        ((value & 0xFFF) << shift) | (0xFFFF & ~(0xFFF << shift) & 0x5555) for value in values
    ]
    data = struct.pack(f"<{len(stored)}H", *stored)
    assert its.values(np.frombuffer(data, frame_of({"x": its}))["x"]).tolist() == values


def test_a_frame_is_aligned_as_the_kernel_does() -> None:
    frame = frame_of({
        "t": Element.of("3", "le:s64/64"), "x": Element.of("0", "le:s16/16"),
        "y": Element.of("1", "le:s32/32"),
    })  # fmt: skip
    fields = frame.fields or {}
    assert [fields[name][1] for name in ("x", "y", "t")] == [0, 4, 8] and frame.itemsize == 16


def test_what_is_no_layout() -> None:
    with pytest.raises(ValueError, match="no layout"):
        Element.of("0", "le:s12/17>>4")


class Chip:
    """A device with a buffer; what is written to its FIFO are its samples."""

    def __init__(self, tree: Any) -> None:
        self.root = tree.root
        self.folder: Path = tree.device(
            "bus/iio/devices/iio:device3", name="adxl", in_accel_x_raw=1, in_accel_y_raw=2,
            in_accel_scale=0.5, sampling_frequency=RATE,
            sampling_frequency_available="12.5 25 50 100",
        )  # fmt: skip
        tree.device(
            "bus/iio/devices/iio:device3/scan_elements", in_accel_x_en=0, in_accel_x_index=0,
            in_accel_x_type="le:s12/16>>4", in_accel_y_en=0, in_accel_y_index=1,
            in_accel_y_type="le:s12/16>>4", in_timestamp_en=1, in_timestamp_index=2,
            in_timestamp_type="le:s64/64>>0",
        )  # fmt: skip
        tree.device("bus/iio/devices/iio:device3/buffer", enable=0, length=2)
        node = self.root.parent / "dev" / "iio:device3"
        node.parent.mkdir()
        os.mkfifo(node)
        self._handle = os.open(node, os.O_RDWR | os.O_NONBLOCK)

    def sample(self, *rows: tuple[int, int]) -> None:
        os.write(self._handle, b"".join(struct.pack("<hh", x << 4, y << 4) for x, y in rows))

    def said(self, name: str) -> str:
        return (self.folder / name).read_text().strip()

    def close(self) -> None:
        os.close(self._handle)


@pytest.fixture
def chip(tree: Any) -> Iterator[Chip]:
    its = Chip(tree)
    yield its
    its.close()


def test_every_sample_at_the_device_s_pace(chip: Chip, running: Any) -> None:
    config = IioConfig(root=str(chip.root), rate_hz=RATE, buffer=True)
    its = running("imu", open_sysfs("imu", config, Wanted(length=4, rate_hz=RATE)), config)
    its.health(lambda health: health.state == "ok" and chip.said("buffer/enable") == "1")
    assert chip.said("scan_elements/in_accel_x_en") == "1"
    assert chip.said("scan_elements/in_timestamp_en") == "0"
    assert chip.said("buffer/length") == "100"
    chip.sample(*((number, -number) for number in range(8)))
    first, second = its.window(), its.window()
    assert first.channels == ("in_accel_x", "in_accel_y")
    assert first.values.tolist() == [[0, 0], [0.5, -0.5], [1, -1], [1.5, -1.5]]
    assert second.values[-1].tolist() == [3.5, -3.5]
    its.stop()
    assert chip.said("buffer/enable") == "0", "the device is left as it was found"


def test_only_what_is_asked_for_is_sampled(chip: Chip, running: Any) -> None:
    channels = {"y": SysfsChannel(read="in_accel_y")}
    config = IioConfig(root=str(chip.root), rate_hz=RATE, buffer=True, channels=channels)
    its = running("imu", open_sysfs("imu", config, Wanted(length=1)), config)
    its.health(lambda health: chip.said("buffer/enable") == "1")
    assert chip.said("scan_elements/in_accel_x_en") == "0"
    os.write(chip._handle, struct.pack("<h", 7 << 4))
    assert its.window().values.tolist() == [[3.5]]


def test_a_rate_that_the_device_does_not_have(chip: Chip, running: Any) -> None:
    (chip.folder / "sampling_frequency").chmod(0o444)
    config = IioConfig(root=str(chip.root), rate_hz=80, buffer=True)
    source = open_sysfs("imu", config, Wanted(length=1))
    probe = source._probes[0]
    really = probe._write

    def write(name: str, text: str) -> None:
        if name == "sampling_frequency":
            raise ConfigError("does not take this")  # EINVAL, as drivers answer
        really(name, text)

    probe._write = write
    its = running("imu", source, config)
    its.join()
    assert isinstance(its.error, ConfigError)
    assert "sources.imu.rate_hz: iio adxl samples at 100 Hz, not 80" in str(its.error)
    assert its.error.remedy == "It can: 12.5 25 50 100."


def test_a_device_without_a_buffer(tree: Any, running: Any) -> None:
    tree.device("bus/iio/devices/iio:device0", name="bmp280", in_temp_input=21000)
    config = IioConfig(root=str(tree.root), rate_hz=10, buffer=True)
    its = running("t", open_sysfs("t", config, Wanted(length=1)), config)
    its.join()
    assert "has no buffer" in str(its.error)
