"""What the kernel's files of sensors mean: names, scales, units.

Sources: Documentation/ABI/testing/sysfs-bus-iio, Documentation/hwmon/sysfs-interface.rst,
Documentation/ABI/testing/sysfs-class-thermal, sysfs-class-power and Documentation/w1/slaves/
w1_therm.rst of Linux.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from msgspec import Struct

_MILLI, _MICRO = 1e-3, 1e-6
_IIO_UNITS: tuple[tuple[str, str, float], ...] = (
    ("temp", "°C", _MILLI), ("voltage", "V", _MILLI), ("current", "A", _MILLI),
    ("power", "W", _MILLI), ("accel", "m/s²", 1.0), ("anglvel", "rad/s", 1.0),
    ("magn", "Gs", 1.0), ("pressure", "kPa", 1.0), ("humidityrelative", "%", _MILLI),
    ("illuminance", "lx", 1.0), ("distance", "m", 1.0), ("angl", "rad", 1.0),
)  # fmt: skip
"""Units of IIO after offset and scale, by the kind of channel, and what makes them SI."""
_HWMON_UNITS: tuple[tuple[str, str, float], ...] = (
    ("temp", "°C", _MILLI), ("in", "V", _MILLI), ("curr", "A", _MILLI), ("power", "W", _MICRO),
    ("energy", "J", _MICRO), ("humidity", "%", _MILLI), ("fan", "rpm", 1.0), ("freq", "Hz", 1.0),
)  # fmt: skip
_POWER_UNITS: tuple[tuple[str, str, float], ...] = (
    ("voltage", "V", _MICRO), ("current", "A", _MICRO), ("power", "W", _MICRO),
    ("charge", "Ah", _MICRO), ("energy", "Wh", _MICRO), ("capacity", "%", 1.0),
    ("temp", "°C", 0.1), ("online", "", 1.0), ("present", "", 1.0), ("cycle_count", "", 1.0),
)  # fmt: skip
_POWER_TEXT = ("capacity_level", "charge_type", "charge_types", "charge_behaviour")
W1_POWER_ON = 85_000
"""A DS18B20 that was never asked to measure says so (data sheet, "power-on reset value")."""
_W1_LINE = re.compile(r"crc=\w+ (YES|NO)\s.*?t=(-?\d+)", re.DOTALL)


class Attribute(Struct, frozen=True):
    """One value of a device: ``(number in file + offset) × scale``."""

    name: str
    file: str
    scale: float = 1.0
    offset: float = 0.0
    unit: str = ""
    w1: bool = False
    """It is a 1-wire thermometer's, which has a value that means nothing."""

    def of(self, data: bytes) -> float:
        """As `value`, of what was read, without a detour where it is a plain number."""
        if not self.w1:
            try:
                return (float(data) + self.offset) * self.scale
            except ValueError:
                pass  # `value` says what it is
        return self.value(data.decode("utf-8", "replace"))

    def value(self, text: str) -> float:
        """What the file says, in the unit. Raises ValueError with a sentence."""
        text = text.strip()
        if self.w1:
            return _thermometer(text) * self.scale
        if not text:
            raise ValueError(f"{self.file} is empty")
        try:
            return (float(text) + self.offset) * self.scale
        except ValueError:
            raise ValueError(f"{self.file} says {text[:24]!r}, no number") from None


def attributes(kind: str, folder: Path) -> dict[str, Attribute]:
    """All values that a device offers, by the names that ``read`` may give them; the first name of
    each is its plain one."""
    found = {its.name: its for its in _KINDS[kind](folder)}
    if kind == "hwmon":
        for name, its in list(found.items()):
            label = text_of(folder / f"{name}_label")
            if label and label not in found:
                found[label] = its
    return found


def text_of(file: Path) -> str:
    """A small file's text; empty where it can't be read."""
    try:
        return file.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def _iio(folder: Path) -> Iterator[Attribute]:
    names = sorted(file.name for file in folder.iterdir())
    for file in names:
        for end in ("_input", "_raw"):
            name = file.removesuffix(end)
            if not file.startswith("in_") or name == file:
                continue
            if end == "_raw" and f"{name}_input" in names:
                continue
            kind = name.removeprefix("in_")
            unit, si = _unit(kind, _IIO_UNITS)
            scale, offset = 1.0, 0.0
            if end == "_raw":
                scale = _shared(folder, name, "scale", 1.0)
                offset = _shared(folder, name, "offset", 0.0)
            yield Attribute(name, file, scale * si, offset, unit)


def _shared(folder: Path, name: str, what: str, otherwise: float) -> float:
    """An attribute of a channel, or of all channels of its kind: ``in_accel_x`` → ``in_accel``,
    ``in_voltage0`` → ``in_voltage``."""
    while name != "in" and name:
        text = text_of(folder / f"{name}_{what}")
        if text:
            return float(text)
        stripped = re.sub(r"(\d+|-.*)$", "", name)
        name = stripped if stripped != name else name.rpartition("_")[0]
    return otherwise


def _hwmon(folder: Path) -> Iterator[Attribute]:
    for file in sorted(folder.glob("*_input")):
        name = file.name.removesuffix("_input")
        unit, si = _unit(name, _HWMON_UNITS)
        yield Attribute(name, file.name, si, 0.0, unit)


def _thermal(folder: Path) -> Iterator[Attribute]:
    if (folder / "temp").exists():
        yield Attribute("temp", "temp", _MILLI, 0.0, "°C")


def _power_supply(folder: Path) -> Iterator[Attribute]:
    for file in sorted(folder.iterdir()):
        unit, si = _unit(file.name, _POWER_UNITS)
        known = any(file.name.startswith(kind) for kind, _, _ in _POWER_UNITS)
        if known and file.is_file() and file.name not in _POWER_TEXT:
            yield Attribute(file.name, file.name, si, 0.0, unit)


def _w1(folder: Path) -> Iterator[Attribute]:
    for file in ("temperature", "w1_slave"):
        if (folder / file).exists():
            yield Attribute("temperature", file, _MILLI, 0.0, "°C", w1=True)
            return


_KINDS = {
    "iio": _iio, "hwmon": _hwmon, "thermal": _thermal, "power_supply": _power_supply, "w1": _w1,
}  # fmt: skip


def _unit(name: str, units: tuple[tuple[str, str, float], ...]) -> tuple[str, float]:
    return next(((unit, si) for kind, unit, si in units if name.startswith(kind)), ("", 1.0))


def _thermometer(text: str) -> int:
    """Thousandths of a degree. Raises ValueError."""
    line = _W1_LINE.search(text)
    if line is not None:
        if line[1] != "YES":
            raise ValueError("its check sum is wrong")
        text = line[2]
    try:
        milli = int(text)
    except ValueError:
        raise ValueError(f"it says {text[:24]!r}, no number") from None
    if milli == W1_POWER_ON:
        raise ValueError("85 °C is what it says before it has measured")
    return milli
