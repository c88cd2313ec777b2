"""How the device feels: temperature, throttling, pressure, memory, disk, wear, clock.

Everything is read from files of the kernel, below a root that tests may replace. What can't be
read is None or left out: unknown is never reported as zero.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from msgspec import Struct

from edgeagent import clock

ROOT = Path("/")

_PI_BITS = {0: "under-voltage", 1: "frequency capped", 2: "throttled", 3: "soft temperature limit"}
"""Of the firmware's get_throttled; the same 16 bits higher = since the last start."""
_PAGE = os.sysconf("SC_PAGE_SIZE")
_PLAUSIBLE_C = (-60.0, 200.0)
_UNLIMITED = 1 << 60
"""Control groups of version 1 say so where there is no limit."""


class Throttle(Struct, frozen=True):
    """Why the processor is (or was, since it started) slower than it could be."""

    now: tuple[str, ...]
    ever: tuple[str, ...]
    how: str
    """The file that says so."""


class Disk(Struct, frozen=True):
    """The file system that holds a path."""

    mount: str
    kind: str
    """``ext4``, ``tmpfs``, ``overlay`` …"""
    read_only: bool
    free_bytes: int
    total_bytes: int
    free_inodes: int


def temperatures(root: Path = ROOT) -> dict[str, float]:
    """Type of each thermal zone → °C; of zones with one type the hottest."""
    found: dict[str, float] = {}
    for zone in sorted(root.glob("sys/class/thermal/thermal_zone*")):
        name, value = _text(zone / "type"), _number(zone / "temp")
        # A zone that is switched off reads empty, or 0 K, or an error.
        if not name or value is None:
            continue
        degrees = value / 1000
        if _PLAUSIBLE_C[0] < degrees < _PLAUSIBLE_C[1]:
            found[name] = max(degrees, found.get(name, degrees))
    return found


def temperature(zones: Sequence[str] = (), root: Path = ROOT) -> tuple[str, float] | None:
    """Zone and °C that count: the first of ``zones`` that exists, else one of the processor,
    else the hottest."""
    known = temperatures(root)
    for name in zones:
        if name in known:
            return name, known[name]
    processor = {its: c for its, c in known.items() if re.search(r"cpu|soc|pkg", its)}
    some = processor or known
    if not some:
        return None
    hottest = max(some, key=lambda name: some[name])
    return hottest, some[hottest]


def throttle(root: Path = ROOT) -> Throttle | None:
    """What slows the processor down; None = this machine does not tell."""
    for pattern in (
        "sys/devices/platform/soc/soc:firmware/get_throttled",
        "sys/devices/platform/soc@*/*firmware*/get_throttled",
    ):
        for file in sorted(root.glob(pattern)):
            try:
                bits = int(_text(file), 16)
            except ValueError:
                continue
            now = tuple(said for bit, said in _PI_BITS.items() if bits >> bit & 1)
            ever = tuple(said for bit, said in _PI_BITS.items() if bits >> (bit + 16) & 1)
            return Throttle(now, ever, f"/{file.relative_to(root)}")
    return _voltage_alarm(root) or _cooling(root)


def _voltage_alarm(root: Path) -> Throttle | None:
    for monitor in sorted(root.glob("sys/class/hwmon/hwmon*")):
        alarm = _number(monitor / "in0_lcrit_alarm")
        if _text(monitor / "name") == "rpi_volt" and alarm:
            cooling = _cooling(root)
            now = ("under-voltage", *(cooling.now if cooling else ()))
            return Throttle(now, ("under-voltage",), f"/{monitor.relative_to(root)}")
    return None


def _cooling(root: Path) -> Throttle | None:
    """Cooling by a lower clock, as every kernel shows it; counts of x86 since the start."""
    seen, now, ever = "", [], []
    for device in sorted(root.glob("sys/class/thermal/cooling_device*")):
        kind, state = _text(device / "type"), _number(device / "cur_state")
        if "cpufreq" in kind and state is not None:
            seen = seen or "/sys/class/thermal"
            if state > 0:
                now.append(f"{kind} at step {state:.0f}")
    for file in sorted(root.glob("sys/devices/system/cpu/cpu0/thermal_throttle/*_throttle_count")):
        count = _number(file)
        if count is not None:
            seen = seen or "/sys/devices/system/cpu/cpu0/thermal_throttle"
            if count > 0:
                ever.append(f"{file.name.split('_')[0]} throttled {count:.0f} times")
    return Throttle(tuple(now), tuple(ever), seen) if seen else None


def frequency(root: Path = ROOT) -> float | None:
    """The share (0..1) of its highest frequency that the slowest processor may use now; None where
    the kernel does not tell."""
    shares = []
    for policy in root.glob("sys/devices/system/cpu/cpufreq/policy*"):
        allowed, most = (
            _number(policy / name) for name in ("scaling_max_freq", "cpuinfo_max_freq")
        )
        if allowed is not None and most:
            shares.append(min(1.0, allowed / most))
    return min(shares, default=None)


def pressure(root: Path = ROOT) -> dict[str, float]:
    """``cpu``, ``memory``, ``io`` → % of the last 10 s in which something waited for it (PSI,
    the kernel's Documentation/accounting/psi.rst); empty where the kernel has no PSI."""
    found = {}
    for resource in ("cpu", "memory", "io"):
        match = re.search(r"^some avg10=([0-9.]+)", _text(root / "proc/pressure" / resource), re.M)
        if match:
            found[resource] = float(match[1])
    return found


def memory(root: Path = ROOT) -> dict[str, int]:
    """``total``, ``available`` and, where the control group has one, ``limit``, ``used`` and
    ``cached`` (the part of ``used`` that the kernel takes back without asking), in bytes."""
    found: dict[str, int] = {}
    for line in _text(root / "proc/meminfo").splitlines():
        name, _, rest = line.partition(":")
        if name in ("MemTotal", "MemAvailable"):
            found[name[3:].lower()] = int(rest.split()[0]) * 1024
    # Version 2 of control groups, else version 1, which older boards' systems still use.
    for group, files, cache in (
        (_cgroup(root), ("memory.max", "memory.current"), "inactive_file"),
        (_cgroup(root, "memory"), ("memory.limit_in_bytes", "memory.usage_in_bytes"),
         "total_inactive_file"),
    ):  # fmt: skip
        if group is None or not (group / files[1]).exists():
            continue
        for key, file in zip(("limit", "used"), files, strict=True):
            value = _number(group / file)
            if value is not None and value < _UNLIMITED:
                found[key] = int(value)
        cached = re.search(rf"^{cache} (\d+)", _text(group / "memory.stat"), re.M)
        if cached:
            found["cached"] = int(cached[1])
        break
    return found


def free_share(root: Path = ROOT) -> float | None:
    """The part of the memory (of the control group's, where that is less) that is free or could be
    at once, 0..1; None = unknown."""
    its, shares = memory(root), []
    if its.get("total") and "available" in its:
        shares.append(its["available"] / its["total"])
    if its.get("limit"):
        taken = its.get("used", 0) - its.get("cached", 0)
        shares.append(max(0.0, 1 - taken / its["limit"]))
    return min(shares, default=None)


def _cgroup(root: Path, controller: str = "") -> Path | None:
    """The control group of this process: of version 2, or that of a controller of version 1."""
    top = root / "sys/fs/cgroup" / controller
    for line in _text(root / "proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if controller in controllers.split(","):
            folder = top / path.strip().lstrip("/")
            # Of a container the host's path is told, and its own group lies at the top.
            return next((its for its in (folder, top) if its.is_dir()), None)
    return None


def quota(root: Path = ROOT) -> float | None:
    """Processors' worth of time that the control groups of this process allow it (``cpu.max`` of
    its own and of those above); None = no limit is set."""
    most = []
    for group, top in (
        (_cgroup(root), root / "sys/fs/cgroup"), (_cgroup(root, "cpu"), root / "sys/fs/cgroup/cpu"),
    ):  # fmt: skip
        while group is not None and group.is_relative_to(top):
            allowed, period = _cpu_time(group)
            if allowed > 0 and period > 0:
                most.append(allowed / period)
            group = group.parent
    return min(most, default=None)


def _cpu_time(group: Path) -> tuple[float, float]:
    """Microseconds that a group may use of each period; (-1, 0) = no limit."""
    allowed, _, period = _text(group / "cpu.max").strip().partition(" ")
    if allowed.isdigit() and period.isdigit():
        return float(allowed), float(period)
    quota, whole = _number(group / "cpu.cfs_quota_us"), _number(group / "cpu.cfs_period_us")
    return (quota, whole) if quota is not None and whole is not None else (-1.0, 0.0)


def own_processes(root: Path = ROOT) -> list[int]:
    """This process and all below it."""
    parents: dict[int, list[int]] = {}
    for file in root.glob("proc/[0-9]*/stat"):
        # pid (name) state ppid: the name may hold blanks and brackets.
        _, _, rest = _text(file).rpartition(")")
        if rest:
            parents.setdefault(int(rest.split()[1]), []).append(int(file.parent.name))
    found, waiting = [], [os.getpid()]
    while waiting:
        process = waiting.pop()
        found.append(process)
        waiting += parents.get(process, [])
    return found


def pss_bytes(root: Path = ROOT) -> int | None:
    """Proportional set size of all own processes together; None where it can't be read."""
    total, known = 0, False
    for process in own_processes(root):
        match = re.search(r"^Pss:\s+(\d+) kB", _text(root / f"proc/{process}/smaps_rollup"), re.M)
        if match:
            total, known = total + int(match[1]) * 1024, True
        elif known and len(pages := _text(root / f"proc/{process}/statm").split()) > 2:
            # Only root may see more of a process that is sealed; what it shares is counted here.
            total += (int(pages[1]) - int(pages[2])) * _PAGE
    return total if known else None


def disk(path: Path, root: Path = ROOT) -> Disk:
    """The file system of ``path`` or of its nearest parent that exists.

    Raises:
        OSError: it can't be asked.
    """
    here = path.absolute()
    while not here.exists() and here != here.parent:
        here = here.parent
    state = os.statvfs(here)
    mount, kind = _mount(here.resolve(), root)
    return Disk(
        mount=mount,
        kind=kind,
        read_only=bool(state.f_flag & os.ST_RDONLY),
        free_bytes=state.f_bavail * state.f_frsize,
        total_bytes=state.f_blocks * state.f_frsize,
        free_inodes=state.f_favail,
    )


def _mount(path: Path, root: Path) -> tuple[str, str]:
    best, kind = "/", ""
    for line in _text(root / "proc/self/mountinfo").splitlines():
        fields, _, rest = line.partition(" - ")
        parts = fields.split()
        if len(parts) < 5 or not rest:
            continue
        # Blanks in names stand as octal escapes.
        mount = re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), parts[4])
        if path.is_relative_to(mount) and len(mount) >= len(best):
            best, kind = mount, rest.split()[0]
    return best, kind


def written_bytes(root: Path = ROOT) -> int | None:
    """What this process has caused to be written to disks since it started."""
    match = re.search(r"^write_bytes: (\d+)", _text(root / "proc/self/io"), re.M)
    return int(match[1]) if match else None


def wear(root: Path = ROOT) -> dict[str, int]:
    """eMMC name → % of its life that is used, in steps of 10 (JEDEC eMMC 5.0: the larger of
    DEVICE_LIFE_TIME_EST_TYP_A and _B). SD cards do not tell."""
    found = {}
    for file in sorted(root.glob("sys/block/mmcblk*/device/life_time")):
        steps = [int(part, 16) for part in re.findall(r"0x[0-9a-fA-F]+", _text(file))]
        if any(steps):
            found[file.parent.parent.name] = max(steps) * 10
    return found


def snapshot(data_dir: Path, zones: Sequence[str] = (), root: Path = ROOT) -> dict[str, Any]:
    """All of it in one table, units in names; what is unknown is left out."""
    return dict(_figures(data_dir, zones, root))


def _figures(data_dir: Path, zones: Sequence[str], root: Path) -> Iterator[tuple[str, Any]]:
    hot = temperature(zones, root)
    if hot is not None:
        yield "temperature_c", round(hot[1], 1)
        yield "temperature_zone", hot[0]
    slow = throttle(root)
    if slow is not None:
        yield "throttled", list(slow.now)
    for resource, share in pressure(root).items():
        yield f"pressure_{resource}_percent", share
    for name, value in memory(root).items():
        yield f"memory_{name}_bytes", value
    pss = pss_bytes(root)
    if pss is not None:
        yield "pss_bytes", pss
    free = _free_bytes(data_dir, root)
    if free is not None:
        yield "disk_free_bytes", free
    written = written_bytes(root)
    if written is not None:
        yield "written_bytes", written
    for name, share in wear(root).items():
        yield f"wear_{name}_percent", share
    yield "clock", "synced" if clock.synced() else "unsynced"
    yield "uptime_s", round(clock.mono_ms() / 1000)
    yield "load_1min", round(os.getloadavg()[0], 2)


def _free_bytes(path: Path, root: Path) -> int | None:
    try:
        return disk(path, root).free_bytes
    except OSError:
        return None


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def _number(file: Path) -> float | None:
    try:
        return float(_text(file))
    except ValueError:
        return None
