"""Figures of the kernel, read from made-up trees and from this machine."""

from __future__ import annotations

import multiprocessing
import os
from pathlib import Path

import pytest

from edgeagent.device import health


def write(root: Path, name: str, text: str) -> None:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_text(text)


def zone(root: Path, number: int, kind: str, temp: str) -> None:
    write(root, f"sys/class/thermal/thermal_zone{number}/type", kind + "\n")
    write(root, f"sys/class/thermal/thermal_zone{number}/temp", temp + "\n")


def test_temperatures_by_zone(tmp_path: Path) -> None:
    zone(tmp_path, 0, "cpu-thermal", "61200")
    zone(tmp_path, 1, "gpu-thermal", "65000")
    zone(tmp_path, 2, "tj-thermal", "")  # switched off
    zone(tmp_path, 3, "odd", "-273150")
    zone(tmp_path, 10, "cpu-thermal", "70000")
    assert health.temperatures(tmp_path) == {"cpu-thermal": 70.0, "gpu-thermal": 65.0}
    assert health.temperature((), tmp_path) == ("cpu-thermal", 70.0)
    assert health.temperature(("tj-thermal", "gpu-thermal"), tmp_path) == ("gpu-thermal", 65.0)
    assert health.temperature(("none",), tmp_path) == ("cpu-thermal", 70.0)


def test_unknown_is_none_not_zero(tmp_path: Path) -> None:
    assert health.temperature((), tmp_path) is None
    assert health.throttle(tmp_path) is None
    assert health.pressure(tmp_path) == {}
    assert health.memory(tmp_path) == {}
    assert health.pss_bytes(tmp_path) is None
    assert health.written_bytes(tmp_path) is None
    assert health.wear(tmp_path) == {}
    assert "temperature_c" not in health.snapshot(tmp_path, (), tmp_path)


@pytest.mark.parametrize(
    "name",
    [
        "sys/devices/platform/soc/soc:firmware/get_throttled",
        "sys/devices/platform/soc@107c000000/soc@107c000000:firmware/get_throttled",
    ],
)
@pytest.mark.parametrize(
    ("bits", "now", "ever"),
    [
        ("0", (), ()),
        ("50005", ("under-voltage", "throttled"), ("under-voltage", "throttled")),
        ("e0000", (), ("frequency capped", "throttled", "soft temperature limit")),
        ("2", ("frequency capped",), ()),
    ],
)
def test_throttling_of_a_pi(
    tmp_path: Path, name: str, bits: str, now: tuple[str, ...], ever: tuple[str, ...]
) -> None:
    write(tmp_path, name, bits + "\n")
    assert health.throttle(tmp_path) == health.Throttle(now, ever, f"/{name}")


def test_under_voltage_by_hwmon(tmp_path: Path) -> None:
    write(tmp_path, "sys/class/hwmon/hwmon1/name", "rpi_volt\n")
    write(tmp_path, "sys/class/hwmon/hwmon1/in0_lcrit_alarm", "0\n")
    assert health.throttle(tmp_path) is None
    write(tmp_path, "sys/class/hwmon/hwmon1/in0_lcrit_alarm", "1\n")
    slow = health.throttle(tmp_path)
    assert slow is not None and slow.now == ("under-voltage",)


def test_cooling_by_a_lower_clock(tmp_path: Path) -> None:
    write(tmp_path, "sys/class/thermal/cooling_device0/type", "thermal-cpufreq-0\n")
    write(tmp_path, "sys/class/thermal/cooling_device0/cur_state", "0\n")
    write(tmp_path, "sys/class/thermal/cooling_device1/type", "pwm-fan\n")
    write(tmp_path, "sys/class/thermal/cooling_device1/cur_state", "3\n")
    assert health.throttle(tmp_path) == health.Throttle((), (), "/sys/class/thermal")
    write(tmp_path, "sys/class/thermal/cooling_device0/cur_state", "2\n")
    slow = health.throttle(tmp_path)
    assert slow is not None and slow.now == ("thermal-cpufreq-0 at step 2",)


def test_throttling_counts_of_x86(tmp_path: Path) -> None:
    folder = "sys/devices/system/cpu/cpu0/thermal_throttle"
    write(tmp_path, f"{folder}/core_throttle_count", "0\n")
    write(tmp_path, f"{folder}/package_throttle_count", "12\n")
    slow = health.throttle(tmp_path)
    assert slow is not None
    assert (slow.now, slow.ever) == ((), ("package throttled 12 times",))


def test_pressure(tmp_path: Path) -> None:
    write(
        tmp_path, "proc/pressure/memory",
        "some avg10=12.50 avg60=1.00 avg300=0.00 total=1\n"
        "full avg10=9.00 avg60=0 avg300=0 total=1\n",
    )  # fmt: skip
    assert health.pressure(tmp_path) == {"memory": 12.5}


def test_memory_with_a_control_group(tmp_path: Path) -> None:
    write(tmp_path, "proc/meminfo", "MemTotal:  1000 kB\nMemFree: 1 kB\nMemAvailable:  600 kB\n")
    write(tmp_path, "proc/self/cgroup", "0::/system.slice/edgeagent.service\n")
    group = "sys/fs/cgroup/system.slice/edgeagent.service"
    write(tmp_path, f"{group}/memory.max", "max\n")
    write(tmp_path, f"{group}/memory.current", "4096\n")
    assert health.memory(tmp_path) == {"total": 1024000, "available": 614400, "used": 4096}
    write(tmp_path, f"{group}/memory.max", "8192\n")
    assert health.memory(tmp_path)["limit"] == 8192


def test_the_part_of_memory_that_is_free(tmp_path: Path) -> None:
    assert health.free_share(tmp_path) is None
    write(tmp_path, "proc/meminfo", "MemTotal:  1000 kB\nMemAvailable:  600 kB\n")
    assert health.free_share(tmp_path) == pytest.approx(0.6)
    write(tmp_path, "proc/self/cgroup", "0::/edgeagent.service\n")
    group = "sys/fs/cgroup/edgeagent.service"
    write(tmp_path, f"{group}/memory.max", "10000\n")
    write(tmp_path, f"{group}/memory.current", "9900\n")
    assert health.free_share(tmp_path) == pytest.approx(0.01)
    # Files that were only read count as used, and the kernel drops them without asking.
    write(tmp_path, f"{group}/memory.stat", "anon 2000\ninactive_file 7900\nactive_file 9\n")
    assert health.free_share(tmp_path) == pytest.approx(0.6)
    write(tmp_path, f"{group}/memory.stat", "inactive_file 1900\n")
    assert health.free_share(tmp_path) == pytest.approx(0.2)


def test_control_groups_of_version_1(tmp_path: Path) -> None:
    write(tmp_path, "proc/meminfo", "MemTotal:  1000 kB\nMemAvailable:  600 kB\n")
    told = "5:cpuacct,cpu:/edge\n4:memory:/edge\n1:name=systemd:/edge\n0::/\n"
    write(tmp_path, "proc/self/cgroup", told)
    (tmp_path / "sys/fs/cgroup/unified").mkdir(parents=True)
    memory, cpu = "sys/fs/cgroup/memory/edge", "sys/fs/cgroup/cpu/edge"
    write(tmp_path, f"{memory}/memory.limit_in_bytes", "9223372036854771712\n")
    write(tmp_path, f"{memory}/memory.usage_in_bytes", "9000\n")
    assert "limit" not in health.memory(tmp_path)
    write(tmp_path, f"{memory}/memory.limit_in_bytes", "10000\n")
    write(tmp_path, f"{memory}/memory.stat", "inactive_file 1\ntotal_inactive_file 500\n")
    assert health.memory(tmp_path)["limit"] == 10000
    assert health.free_share(tmp_path) == pytest.approx(0.15)
    write(tmp_path, f"{cpu}/cpu.cfs_quota_us", "-1\n")
    write(tmp_path, f"{cpu}/cpu.cfs_period_us", "100000\n")
    assert health.quota(tmp_path) is None
    write(tmp_path, f"{cpu}/cpu.cfs_quota_us", "25000\n")
    assert health.quota(tmp_path) == 0.25
    # In a container the path is the host's, and its own group lies at the top.
    write(tmp_path, "proc/self/cgroup", "5:cpuacct,cpu:/docker/0a1b\n")
    write(tmp_path, "sys/fs/cgroup/cpu/cpu.cfs_quota_us", "50000\n")
    write(tmp_path, "sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n")
    assert health.quota(tmp_path) == 0.5


def test_processor_time_that_control_groups_allow(tmp_path: Path) -> None:
    assert health.quota(tmp_path) is None
    write(tmp_path, "proc/self/cgroup", "0::/system.slice/edgeagent.service\n")
    write(tmp_path, "sys/fs/cgroup/system.slice/edgeagent.service/cpu.max", "max 100000\n")
    assert health.quota(tmp_path) is None
    write(tmp_path, "sys/fs/cgroup/system.slice/cpu.max", "150000 100000\n")
    assert health.quota(tmp_path) == 1.5
    write(tmp_path, "sys/fs/cgroup/system.slice/edgeagent.service/cpu.max", "50000 100000\n")
    assert health.quota(tmp_path) == 0.5


def test_the_share_of_its_frequency_that_the_slowest_processor_may_use(tmp_path: Path) -> None:
    assert health.frequency(tmp_path) is None
    policy = "sys/devices/system/cpu/cpufreq/policy"
    for number, (allowed, most) in enumerate((("1800000", "1800000"), ("1200000", "2400000"))):
        write(tmp_path, f"{policy}{number}/scaling_max_freq", allowed)
        write(tmp_path, f"{policy}{number}/cpuinfo_max_freq", most)
    write(tmp_path, f"{policy}2/scaling_max_freq", "1000000")
    assert health.frequency(tmp_path) == pytest.approx(0.5)


def test_memory_of_all_own_processes(tmp_path: Path) -> None:
    me = os.getpid()
    for pid, parent, name in ((me, 1, "python"), (7, me, "a b) (c"), (8, 7, "x"), (9, 1, "other")):
        write(tmp_path, f"proc/{pid}/stat", f"{pid} ({name}) S {parent} 1 1 0 -1\n")
        write(
            tmp_path, f"proc/{pid}/smaps_rollup", f"00-ff [rollup]\nRss: 900 kB\nPss:  {pid} kB\n"
        )
    assert sorted(health.own_processes(tmp_path)) == sorted([me, 7, 8])
    assert health.pss_bytes(tmp_path) == (me + 7 + 8) * 1024


def test_memory_of_this_process_and_its_child() -> None:
    alone = health.pss_bytes()
    assert alone is not None and alone > 1 << 20
    ready, done = multiprocessing.Event(), multiprocessing.Event()
    child = multiprocessing.get_context("fork").Process(target=hold_memory, args=(ready, done))
    child.start()
    try:
        assert ready.wait(10)
        assert child.pid in health.own_processes()
        together = health.pss_bytes()
        assert together is not None and together - alone > 25 << 20
    finally:
        done.set()
        child.join(10)


def hold_memory(ready: object, done: object) -> None:
    held = bytearray(os.urandom(1 << 20) * 32)
    ready.set()  # type: ignore[attr-defined]
    done.wait(10)  # type: ignore[attr-defined]
    del held


def test_the_file_system_of_a_path(tmp_path: Path) -> None:
    write(
        tmp_path, "proc/self/mountinfo",
        "22 1 8:1 / / rw - ext4 /dev/root rw\n"
        f"23 22 0:5 / {tmp_path} rw,nosuid shared:1 master:2 - tmpfs tmpfs rw\n"
        f"24 23 0:6 / {tmp_path}/with\\040blank rw - xfs /dev/x rw\n",
    )  # fmt: skip
    disk = health.disk(tmp_path / "not" / "there", tmp_path)
    assert (disk.mount, disk.kind) == (str(tmp_path), "tmpfs")
    (tmp_path / "with blank").mkdir()
    assert health.disk(tmp_path / "with blank", tmp_path).kind == "xfs"
    assert health.disk(Path("/"), tmp_path).kind == "ext4"
    assert 0 < disk.free_bytes <= disk.total_bytes
    assert not disk.read_only


def test_wear_of_flash(tmp_path: Path) -> None:
    write(tmp_path, "sys/block/mmcblk0/device/life_time", "0x01 0x03\n")
    write(tmp_path, "sys/block/mmcblk1/device/life_time", "0x00 0x00\n")
    assert health.wear(tmp_path) == {"mmcblk0": 30}


def test_bytes_written(tmp_path: Path) -> None:
    write(tmp_path, "proc/self/io", "rchar: 5\nwrite_bytes: 4096\ncancelled_write_bytes: 0\n")
    assert health.written_bytes(tmp_path) == 4096
    before = health.written_bytes()
    if before is None:
        pytest.skip("this kernel keeps no I/O accounts")
    with (tmp_path / "file").open("wb") as file:
        file.write(os.urandom(1 << 20))
        file.flush()
        os.fsync(file.fileno())
    after = health.written_bytes()
    assert after is not None
    # A tmpfs writes nowhere.
    assert after >= before + (1 << 20) or health.disk(tmp_path).kind == "tmpfs"


def test_all_in_one_table(tmp_path: Path) -> None:
    zone(tmp_path, 0, "cpu-thermal", "51234")
    write(tmp_path, "sys/devices/platform/soc/soc:firmware/get_throttled", "1")
    figures = health.snapshot(tmp_path, (), tmp_path)
    assert figures["temperature_c"] == 51.2
    assert figures["throttled"] == ["under-voltage"]
    assert figures["clock"] == "synced"
    assert figures["disk_free_bytes"] > 0
    assert figures["uptime_s"] > 0


def test_this_machine_tells_its_memory() -> None:
    known = health.memory()
    assert 0 < known["available"] <= known["total"]
