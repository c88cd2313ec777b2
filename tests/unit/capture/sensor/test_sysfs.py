"""Sensors of the kernel, on a tree of files like its own."""

from __future__ import annotations

import errno
import os
import shutil
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from edgeagent.capture.sensor import sysfs
from edgeagent.capture.sensor.attributes import attributes
from edgeagent.capture.sensor.sysfs import devices, find, open_sysfs
from edgeagent.capture.source import Wanted
from edgeagent.config.channels import SysfsChannel
from edgeagent.config.sensors import HwmonConfig, IioConfig, ThermalConfig, W1Config
from edgeagent.errors import ConfigError, SourceLost

ACCEL: dict[str, object] = {
    "name": "adxl345", "in_accel_x_raw": 100, "in_accel_y_raw": -200, "in_accel_scale": 0.01,
}  # fmt: skip


def test_iio_values_have_offset_scale_and_unit(tree: Any) -> None:
    folder = tree.device(
        "bus/iio/devices/iio:device0", name="bmp280", in_temp_raw=500, in_temp_offset=-20,
        in_temp_scale=10, in_pressure_input=101.3, in_voltage0_raw=2, in_voltage_scale=500,
        in_voltage1_raw=3, in_voltage1_scale=1000, in_temp_input_not=1,
    )  # fmt: skip
    found = attributes("iio", folder)
    read = {name: its.value((folder / its.file).read_text()) for name, its in found.items()}
    assert read == {
        "in_temp": pytest.approx(4.8), "in_pressure": 101.3, "in_voltage0": 1.0, "in_voltage1": 3.0,
    }  # fmt: skip
    assert {name: its.unit for name, its in found.items()} == {
        "in_temp": "°C", "in_pressure": "kPa", "in_voltage0": "V", "in_voltage1": "V",
    }  # fmt: skip


def test_hwmon_is_read_by_file_or_label(tree: Any) -> None:
    folder = tree.device(
        "class/hwmon/hwmon3", name="coretemp", temp1_input=45000, temp1_label="Package id 0",
        fan1_input=1200, in0_input=12000, power1_input=2_500_000,
    )  # fmt: skip
    found = attributes("hwmon", folder)
    read = {name: its.value((folder / its.file).read_text()) for name, its in found.items()}
    assert read == {"temp1": 45.0, "Package id 0": 45.0, "fan1": 1200, "in0": 12.0, "power1": 2.5}


def test_power_supplies(tree: Any) -> None:
    folder = tree.device(
        "class/power_supply/BAT0", type="Battery", online=1, capacity=87, voltage_now=12_600_000,
        current_now=-500_000, capacity_level="Normal", status="Discharging", temp=251,
    )  # fmt: skip
    found = attributes("power_supply", folder)
    assert {name: its.value((folder / its.file).read_text()) for name, its in found.items()} == {
        "online": 1, "capacity": 87, "voltage_now": 12.6, "current_now": -0.5,
        "temp": pytest.approx(25.1),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("files", "value"),
    [
        ({"temperature": "21437"}, 21.437),
        ({"temperature": "85000"}, "before it has measured"),
        ({"temperature": ""}, "no number"),
        ({"w1_slave": "6a 01 : crc=6a YES\n6a 01 4b 46 t=22625"}, 22.625),
        ({"w1_slave": "6a 01 : crc=6a NO\n6a 01 4b 46 t=22625"}, "check sum"),
        ({"w1_slave": "50 05 : crc=1c YES\n50 05 4b 46 t=85000"}, "before it has measured"),
        ({"temperature": "-1250", "w1_slave": "nonsense"}, -1.25),
    ],
)
def test_one_wire(tree: Any, files: dict[str, str], value: float | str) -> None:
    folder = tree.device("bus/w1/devices/28-0316", **files)
    its = attributes("w1", folder)["temperature"]
    text = (folder / its.file).read_text()
    if isinstance(value, str):
        with pytest.raises(ValueError, match=value):
            its.value(text)
    else:
        assert its.value(text) == pytest.approx(value)


def test_a_device_is_found_by_its_name_whatever_its_number(tree: Any) -> None:
    tree.device("bus/iio/devices/iio:device0", name="other")
    tree.device("bus/iio/devices/iio:device7", **ACCEL)
    found = find("iio", tree.root, "adxl345", "sources.imu.device")
    assert found.folder.name == "iio:device7"
    with pytest.raises(SourceLost, match=r"did you mean \"adxl345\""):
        find("iio", tree.root, "adxl354", "sources.imu.device")


def test_two_of_a_name_are_told_apart_by_their_address(tree: Any) -> None:
    for number, address in enumerate(("1-0053", "1-001d")):
        real = tree.device(f"devices/i2c/{address}/iio:device{number}", **ACCEL)
        link = tree.root / f"bus/iio/devices/iio:device{number}"
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(real)
    with pytest.raises(ConfigError, match="2 devices would fit") as told:
        find("iio", tree.root, "adxl345", "sources.imu.device")
    assert "1-001d" in str(told.value)
    found = find("iio", tree.root, "1-001d", "sources.imu.device")
    assert found.folder.name == "iio:device1"


def test_all_kinds_are_listed(tree: Any) -> None:
    tree.device("class/thermal/thermal_zone0", type="cpu-thermal", temp=40000)
    tree.device("class/power_supply/BAT0", type="Battery")
    tree.device("bus/w1/devices/28-0316", temperature=1)
    tree.device("bus/w1/devices/w1_bus_master1", name="w1")
    names = [its.name for kind in sysfs.FOLDERS for its in devices(kind, tree.root)]
    assert names == ["cpu-thermal", "BAT0", "28-0316"]


# --- running ---------------------------------------------------------------------------------


def test_windows_of_a_device(tree: Any, running: Any) -> None:
    tree.device("bus/iio/devices/iio:device0", **ACCEL)
    config = IioConfig(root=str(tree.root), rate_hz=100)
    its = running("imu", open_sysfs("imu", config, Wanted(length=20, hop=10)), config)
    first, second = its.window(), its.window()
    assert first.channels == ("in_accel_x", "in_accel_y")
    assert first.values.shape == (20, 2) and first.rate_hz == 100
    assert first.values[0].tolist() == [1.0, -2.0]
    assert second.mono_ms - first.mono_ms == pytest.approx(100, abs=1)
    now_ms = time.clock_gettime(time.CLOCK_BOOTTIME) * 1e3
    assert 0 < now_ms - second.mono_ms < 2000


def test_channels_are_renamed_calibrated_and_of_several_devices(tree: Any, running: Any) -> None:
    tree.device("bus/iio/devices/iio:device0", **ACCEL)
    tree.device("bus/iio/devices/iio:device1", name="bmp280", in_temp_input=21000)
    config = IioConfig(
        root=str(tree.root), rate_hz=50, device="adxl345",
        channels={
            "t": SysfsChannel(read="in_temp", device="bmp280", offset=1.0),
            "x": SysfsChannel(read="in_accel_x", scale=10.0),
        },
    )  # fmt: skip
    wanted = Wanted(channels=("x", "t"), length=5)
    its = running("imu", open_sysfs("imu", config, wanted), config)
    assert its.window().values[0].tolist() == [10.0, 22.0]


def test_a_file_that_errs_costs_its_channel_only(
    tree: Any, running: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """EBUSY while somebody reads the buffer: the other channel goes on, and windows come back."""
    folder = tree.device("bus/iio/devices/iio:device0", **ACCEL)
    busy = threading.Event()
    really = os.pread

    def pread(handle: int, count: int, place: int) -> bytes:
        if busy.is_set() and os.readlink(f"/proc/self/fd/{handle}").endswith("y_raw"):
            raise OSError(errno.EBUSY, "Device or resource busy")
        return really(handle, count, place)

    monkeypatch.setattr(sysfs.os, "pread", pread)
    config = IioConfig(
        root=str(tree.root), rate_hz=50, gap="100 ms",
        channels={"x": SysfsChannel(read="in_accel_x"), "y": SysfsChannel(read="in_accel_y")},
    )  # fmt: skip
    its = running("imu", open_sysfs("imu", config, Wanted(length=5)), config)
    its.window()
    busy.set()
    told = its.health(lambda health: "y: no value" in health.reason)
    assert told.state == "degraded" and "Device or resource busy" in told.reason
    assert told.detail["channels"]["x"]["value"] == 1.0
    assert "x:" not in told.reason
    (folder / "in_accel_x_raw").write_text("300\n")
    busy.clear()
    assert its.until(lambda window: window.values[0, 0] == 3.0).values[-1].tolist() == [3.0, -2.0]
    told = its.health(lambda health: health.state == "ok")
    assert told.detail["windows_skipped"] > 0 and told.detail["corrupt"] > 0


def test_a_dead_device_is_filled_and_the_other_goes_on(tree: Any, running: Any) -> None:
    tree.device("class/hwmon/hwmon0", name="board", temp1_input=40000)
    gone = tree.device("class/hwmon/hwmon1", name="fan", fan1_input=900)
    config = HwmonConfig(
        root=str(tree.root), rate_hz=50, gap="100 ms",
        channels={
            "t": SysfsChannel(read="temp1", device="board"),
            "rpm": SysfsChannel(read="fan1", device="fan", fill=-1.0),
        },
    )  # fmt: skip
    its = running("box", open_sysfs("box", config, Wanted(length=5)), config)
    assert its.until(lambda window: window.values[-1, 1] == 900).values[-1].tolist() == [
        40.0,
        900.0,
    ]
    shutil.rmtree(gone)
    assert its.until(lambda window: window.values[-1, 1] == -1).values[-1].tolist() == [40.0, -1.0]
    told = its.health(lambda health: "is not there" in health.reason)
    assert told.state == "degraded" and told.reason.startswith("hwmon fan")
    tree.device("class/hwmon/hwmon5", name="fan", fan1_input=1000)  # another number
    began = time.monotonic()
    its.until(lambda window: window.values[-1, 1] == 1000)
    assert time.monotonic() - began < 4


def test_unplugged_and_plugged_in_anew_under_another_number(tree: Any, running: Any) -> None:
    folder = tree.device("bus/iio/devices/iio:device0", **ACCEL)
    config = IioConfig(root=str(tree.root), rate_hz=50, device="adxl345")
    its = running("imu", open_sysfs("imu", config, Wanted(length=5)), config)
    its.window()
    shutil.rmtree(folder)
    told = its.health(lambda health: health.state == "down")
    assert "is not there" in told.reason
    time.sleep(0.3)
    tree.device("bus/iio/devices/iio:device4", **{**ACCEL, "in_accel_x_raw": 700})
    began = time.monotonic()
    its.until(lambda window: window.values[0, 0] == 7.0)
    assert time.monotonic() - began < 3, "local devices are back within two seconds"
    assert its.unit.reopened == 1


def test_a_slow_thermometer_holds_up_no_other(
    tree: Any, running: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree.device("bus/w1/devices/28-01", temperature=20000)
    tree.device("bus/w1/devices/28-02", temperature=30000)
    stuck = threading.Event()
    really = os.pread

    def pread(handle: int, count: int, place: int) -> bytes:
        if "28-01" in os.readlink(f"/proc/self/fd/{handle}"):
            stuck.wait(30)
        return really(handle, count, place)

    monkeypatch.setattr(sysfs.os, "pread", pread)
    config = W1Config(
        root=str(tree.root), rate_hz=20,
        channels={
            "in": SysfsChannel(read="temperature", device="28-01", fill=0.0),
            "out": SysfsChannel(read="temperature", device="28-02"),
        },
    )  # fmt: skip
    its = running("temps", open_sysfs("temps", config, Wanted(length=4)), config)
    assert its.window().values[-1].tolist() == [0.0, 30.0]
    stuck.set()
    assert its.until(lambda window: window.values[-1, 0] == 20).values[-1].tolist() == [20.0, 30.0]


def test_a_disabled_zone_is_missing_and_comes_back(tree: Any, running: Any) -> None:
    folder = tree.device("class/thermal/thermal_zone0", type="tj-thermal", temp="")
    config = ThermalConfig(root=str(tree.root), rate_hz=20, gap="100 ms")
    its = running("zone", open_sysfs("zone", config, Wanted(length=3)), config)
    told = its.health(lambda health: "no value" in health.reason)
    assert "temp is empty" in told.reason
    (folder / "temp").write_text("51500\n")
    assert its.window().values[-1].tolist() == [51.5]


def test_a_channel_that_is_not_there_is_told_with_what_is(tree: Any, running: Any) -> None:
    tree.device("bus/iio/devices/iio:device0", **ACCEL)
    config = IioConfig(root=str(tree.root), channels={"x": SysfsChannel(read="in_accel_xx")})
    its = running("imu", open_sysfs("imu", config), config)
    its.join()
    assert isinstance(its.error, ConfigError)
    assert "sources.imu.channels.x: adxl345 has no in_accel_xx" in str(its.error)
    assert 'did you mean "in_accel_x"' in str(its.error)


def test_the_model_s_channels_must_be_there(tree: Any, running: Any) -> None:
    tree.device("bus/iio/devices/iio:device0", **ACCEL)
    config = IioConfig(root=str(tree.root))
    its = running("imu", open_sysfs("imu", config, Wanted(channels=("x",), length=5)), config)
    its.join()
    assert isinstance(its.error, ConfigError)
    assert "has no channel x, which its model wants; it has in_accel_x" in str(its.error)
    assert "[sources.imu.channels.x]" in its.error.remedy


def test_nothing_is_left_behind(tree: Any, running: Any, tmp_path: Path) -> None:
    tree.device("bus/iio/devices/iio:device0", **ACCEL)
    config = IioConfig(root=str(tree.root), rate_hz=50)
    before = len(os.listdir("/proc/self/fd")), threading.active_count()
    for _ in range(3):
        its = running("imu", open_sysfs("imu", config, Wanted(length=2)), config)
        its.window()
        its.stop()
    assert (len(os.listdir("/proc/self/fd")), threading.active_count()) == before


def test_a_bug_in_one_probe_is_no_end_of_the_others(
    tree: Any, running: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree.device("bus/w1/devices/28-01", temperature=20000)
    tree.device("bus/w1/devices/28-02", temperature=30000)
    really = sysfs.SysfsProbe.read

    def read(self: Any, until: float) -> Any:
        if self.name.endswith("28-01"):
            raise ZeroDivisionError("oops")
        return really(self, until)

    monkeypatch.setattr(sysfs.SysfsProbe, "read", read)
    config = W1Config(
        root=str(tree.root), rate_hz=20,
        channels={
            "in": SysfsChannel(read="temperature", device="28-01", fill=0.0),
            "out": SysfsChannel(read="temperature", device="28-02"),
        },
    )  # fmt: skip
    its = running("temps", open_sysfs("temps", config, Wanted(length=4)), config)
    assert its.window().values[-1].tolist() == [0.0, 30.0]
    told = its.health(lambda health: "ZeroDivisionError: oops" in health.reason)
    assert told.state == "degraded"


def test_windows_of_minutes_do_not_hold_every_reading(
    tree: Any, running: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgeagent.capture.sensor.source._MOST_ROWS", 256)
    tree.device("bus/iio/devices/iio:device0", **ACCEL)
    config = IioConfig(root=str(tree.root), rate_hz=1000)
    its = running("imu", open_sysfs("imu", config, Wanted(length=1_000_000)), config)
    its.health(lambda health: its.source._rows >= 256)
    assert max(len(track.times) for track in its.source._grid._tracks) < 1024
    assert its.unit.health().state == "ok"
