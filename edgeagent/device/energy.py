"""Energy from meters that the board has: most have none, and then nothing is said.

Two sorts are known to every kernel: counters of joules (Intel's and AMD's RAPL below
/sys/class/powercap, ``energyN_input`` of hwmon) and gauges of watts (``powerN_input``: INA3221 on
Jetsons, PMICs), which are read again and again and added up. Source: Documentation/power/powercap
and Documentation/hwmon/sysfs-interface of the kernel.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

from msgspec import Struct

ROOT = Path("/")
_EVERY_S = 0.05


class Meter(Struct, frozen=True):
    """Something that measures energy."""

    name: str
    file: Path
    counts: bool
    """It counts joules; else it shows watts."""
    wraps_at: float = 0.0
    """Joules after which a counter starts again from zero; 0 = never."""

    def read(self) -> float | None:
        """Joules so far, or watts now; None = it can't be read (on many systems only by root)."""
        try:
            return int(self.file.read_text(encoding="ascii")) / 1e6
        except (OSError, ValueError):
            return None


def find_meters(root: Path = ROOT) -> list[Meter]:
    """Meters that can be read; of nested ones (a core within its package) only the outer."""
    found: list[Meter] = []
    for zone in sorted(root.glob("sys/class/powercap/*")):
        # intel-rapl:0 is a package, intel-rapl:0:1 a part of it.
        if zone.name.count(":") == 1:
            wraps = Meter("", zone / "max_energy_range_uj", counts=True).read() or 0.0
            found.append(Meter(_text(zone / "name"), zone / "energy_uj", True, wraps))
    for monitor in sorted(root.glob("sys/class/hwmon/hwmon*")):
        title = _text(monitor / "name")
        for pattern, counts in (("energy*_input", True), ("power*_input", False)):
            for file in sorted(monitor.glob(pattern)):
                label = _text(file.with_name(file.name.replace("_input", "_label")))
                found.append(Meter(f"{title} {label}".strip(), file, counts))
    return [meter for meter in found if meter.read() is not None]


def choose(meters: list[Meter]) -> list[Meter]:
    """Those that together stand for the device without counting anything twice: the one that
    measures its whole input where there is one, else all counters, else the first gauge."""
    whole = [meter for meter in meters if any(
        word in meter.name.lower() for word in ("vdd_in", "psys", "total", "board")
    )]  # fmt: skip
    if whole:
        return whole[:1]
    return [meter for meter in meters if meter.counts] or meters[:1]


class Metering:
    """Joules that the meters see while the ``with`` lasts, one stretch after the other."""

    def __init__(self, meters: list[Meter]) -> None:
        self._meters = meters
        self.joules = 0.0

    def __enter__(self) -> Metering:
        self._ended = threading.Event()
        self._counted = [(meter, meter.read()) for meter in self._meters if meter.counts]
        gauges = [meter for meter in self._meters if not meter.counts]
        self._watched = 0.0
        self._watcher = threading.Thread(target=self._watch, args=(gauges,), daemon=True)
        if gauges:
            self._watcher.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        if self._watcher.is_alive():
            self._watcher.join()
        self.joules += self._watched
        for meter, before in self._counted:
            after = meter.read()
            if before is not None and after is not None:
                spent = after - before
                self.joules += spent if spent >= 0 else spent + meter.wraps_at

    def _watch(self, gauges: list[Meter], clock: Callable[[], float] = time.perf_counter) -> None:
        last = clock()
        while True:
            over = self._ended.wait(_EVERY_S)
            now = clock()
            watts = sum(gauge.read() or 0.0 for gauge in gauges)
            self._watched += watts * (now - last)
            last = now
            if over:
                return


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
