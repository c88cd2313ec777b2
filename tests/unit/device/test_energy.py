"""Meters of energy, from recorded trees of boards."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeagent.device.energy import Metering, choose, find_meters


def write(root: Path, files: dict[str, str]) -> Path:
    for name, content in files.items():
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content + "\n")
    return root


RAPL = "sys/class/powercap/intel-rapl:0"


@pytest.fixture
def intel(tmp_path: Path) -> Path:
    return write(tmp_path, {
        f"{RAPL}/name": "package-0", f"{RAPL}/energy_uj": "1000000",
        f"{RAPL}/max_energy_range_uj": "5000000",
        "sys/class/powercap/intel-rapl:0:0/name": "core",
        "sys/class/powercap/intel-rapl:0:0/energy_uj": "400000",
        "sys/class/powercap/intel-rapl/enabled": "1",
    })  # fmt: skip


def test_a_part_is_not_counted_beside_its_whole(intel: Path) -> None:
    (meter,) = choose(find_meters(intel))
    assert (meter.name, meter.counts, meter.wraps_at) == ("package-0", True, 5.0)


def test_a_counter_is_read_over_its_end(intel: Path) -> None:
    metering = Metering(find_meters(intel))
    with metering:
        write(intel, {f"{RAPL}/energy_uj": "3500000"})
    with metering:
        write(intel, {f"{RAPL}/energy_uj": "500000"})
    assert metering.joules == pytest.approx(2.5 + 2.0)


def test_a_gauge_is_added_up_over_time(tmp_path: Path) -> None:
    root = write(tmp_path, {
        "sys/class/hwmon/hwmon0/name": "ina3221",
        "sys/class/hwmon/hwmon0/power1_input": "4000000",
        "sys/class/hwmon/hwmon0/power1_label": "VDD_IN",
        "sys/class/hwmon/hwmon0/power2_input": "1000000",
        "sys/class/hwmon/hwmon0/power2_label": "VDD_CPU_GPU_CV",
    })  # fmt: skip
    (meter,) = choose(find_meters(root))
    assert meter.name == "ina3221 VDD_IN"
    import time

    began = time.perf_counter()
    with Metering([meter]) as metering:
        time.sleep(0.12)  # what is measured is time
    assert metering.joules == pytest.approx(4.0 * (time.perf_counter() - began), rel=0.2)


def test_what_only_root_may_read_is_no_meter(intel: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object, **__: object) -> str:
        raise PermissionError

    monkeypatch.setattr(Path, "read_text", refused)
    assert find_meters(intel) == []


def test_most_boards_have_none(tmp_path: Path) -> None:
    assert find_meters(tmp_path) == []
    with Metering([]) as metering:
        pass
    assert metering.joules == 0.0
