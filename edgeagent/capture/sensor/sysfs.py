"""Sensors that the kernel shows as files: IIO, hwmon, thermal zones, power supplies, 1-wire.

Devices are found anew at each opening, by name: their numbers change over boots. A file that
gives EBUSY (somebody reads the device's buffer), EIO or nothing costs one reading of one channel.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from edgeagent.capture.sensor.attributes import Attribute, attributes, text_of
from edgeagent.capture.sensor.probe import Batch, Faults, batch
from edgeagent.capture.sensor.source import SensorSource
from edgeagent.capture.source import PICTURES, Wanted
from edgeagent.config.channels import SysfsChannel
from edgeagent.config.words import did_you_mean
from edgeagent.errors import ConfigError, NotPermitted, SourceLost

if TYPE_CHECKING:
    from edgeagent.config.sensors import SysfsConfig

FOLDERS = {
    "iio": ("bus/iio/devices", "iio:device*", "name"),
    "hwmon": ("class/hwmon", "hwmon*", "name"),
    "thermal": ("class/thermal", "thermal_zone*", "type"),
    "power_supply": ("class/power_supply", "*", ""),
    "w1": ("bus/w1/devices", "28-*", ""),
}
"""Kind → folder below /sys, pattern of a device's folder, file with its name (none = the folder's
own name stays)."""
_GONE = (errno.ENODEV, errno.ENXIO, errno.ENOENT)
_CHECK_S = 1.0
_BLOCK_S = 0.05
"""Readings of so long travel together: a thread that wakes for each of a thousand costs more."""
_FAST_S = 0.01
"""Only those that come faster."""
_LONGEST = 4096


class Device(tuple[str, Path]):
    """Name and folder of a device."""

    @property
    def name(self) -> str:
        return self[0]

    @property
    def folder(self) -> Path:
        return self[1]


def devices(kind: str, root: Path) -> Iterator[Device]:
    """All devices of a kind below ``root`` (``/sys``)."""
    place, pattern, name = FOLDERS[kind]
    for folder in sorted((root / place).glob(pattern)):
        text = text_of(folder / name) if name else folder.name
        if text:
            yield Device((text, folder))


def find(kind: str, root: Path, wanted: str, key: str) -> Device:
    """The device that the configuration means; ``key`` is how errors call the setting.

    Raises:
        SourceLost: it is not there.
        ConfigError: several would fit.
    """
    all_ = list(devices(kind, root))
    named = [its for its in all_ if _means(wanted, its)] if wanted else all_
    known = [f"{its.name} ({_lasting(its)})" for its in all_]
    if not named:
        there = did_you_mean(wanted, [its.name for its in all_]) or "there is no such device at all"
        raise SourceLost(
            f"{kind} {wanted or 'device'}: is not there; {there}",
            remedy="See what is: edgeagent devices list",
        )
    if len(named) > 1:
        raise ConfigError(
            f"{key}: {len(named)} devices would fit: {', '.join(known)}",
            remedy="Name it by the part of its path that stays (in brackets).",
        )
    return named[0]


def _means(wanted: str, device: Device) -> bool:
    return wanted in (device.name, device.folder.name) or wanted in device.folder.resolve().parts


def _lasting(device: Device) -> str:
    """The part of a device's path that tells it from others of its name: address or port."""
    parts = device.folder.resolve().parts
    return parts[-2] if len(parts) > 1 else device.folder.name


class SysfsProbe:
    """One device, asked ``rate_hz`` times a second.

    Args:
        key: how errors call the setting of its device.
        reads: channel → what of the device it is; empty = all that it has.
    """

    def __init__(
        self, kind: str, root: str, device: str, key: str, reads: Mapping[str, str],
        rate_hz: float,
    ) -> None:  # fmt: skip
        self.name = f"{kind} {device}".strip()
        self.channels = tuple(reads)
        self.faults = Faults()
        self.units: dict[str, str] = {}
        self._kind = kind
        self._root = Path(root)
        self._device = device
        self._key = key
        self._reads = dict(reads)
        self._period = 1.0 / rate_hz
        self._block_s = _BLOCK_S if self._period < _FAST_S else 0.0
        self._next = 0.0
        self._checked = 0.0
        self._folder: Path | None = None
        self._identity = (0, 0)
        self._files: list[tuple[str, Attribute, int]] = []
        """Channel, what it reads, its opened file."""

    def open(self) -> None:
        """Find the device and open its files. Raises SourceLost, NotPermitted, ConfigError."""
        device = find(self._kind, self._root, self._device, self._key)
        self.name = f"{self._kind} {device.name}"
        self._folder = device.folder.resolve()
        offered = attributes(self._kind, self._folder)
        reads = self._reads or {name: name for name, its in offered.items() if name == its.name}
        self.channels = tuple(reads)
        for channel, read in reads.items():
            attribute = offered.get(read or channel)
            if attribute is None:
                raise ConfigError(
                    f"{self._key.rpartition('.')[0]}.channels.{channel}: {device.name} has no "
                    f"{read or channel}; {did_you_mean(read or channel, offered)}"
                )
            self.units[channel] = attribute.unit
            self._files.append((channel, attribute, self._opened(attribute)))
        self._next = time.monotonic()
        self._identity = self._look(self._folder)

    def read(self, until: float) -> Batch | None:
        """One reading each period. Raises SourceLost."""
        begin = time.monotonic()
        times: list[float] = []
        rows: list[list[float]] = []
        while self._next <= until and not (times and self._next > begin + self._block_s):
            pause = self._next - time.monotonic()
            if pause > 0:
                time.sleep(pause)
            elif pause < -5 * self._period:
                # A slow device can't be asked faster than it answers: leave its turns out.
                self._next = time.monotonic()
            self._next += self._period
            row = [self._one(*its) for its in self._files]
            times.append(time.monotonic())
            rows.append(row)
        self._still_there()
        if not times:
            time.sleep(max(0.0, until - time.monotonic()))
            return None
        return batch(times, rows)

    def close(self) -> None:
        """Close its files."""
        for _, _, handle in self._files:
            os.close(handle)
        self._files.clear()

    def _one(self, channel: str, attribute: Attribute, handle: int) -> float:
        try:
            data = os.pread(handle, _LONGEST, 0)
            value = attribute.of(data)
        except ValueError as error:
            self.faults.add(str(error), channel)
            return float("nan")
        except OSError as error:
            if error.errno in _GONE:
                raise SourceLost(f"{self.name}: is not there any more") from error
            self.faults.add(f"{attribute.file}: {error.strerror}", channel)
            return float("nan")
        if self.faults.since:
            self.faults.well(channel)
        return value

    def _opened(self, attribute: Attribute) -> int:
        assert self._folder is not None
        file = self._folder / attribute.file
        try:
            return os.open(file, os.O_RDONLY | os.O_CLOEXEC)
        except PermissionError as error:
            raise NotPermitted(
                f"{file}: user {os.geteuid()} may not read it",
                remedy="Let the agent's user read it by a udev rule, or choose another value.",
            ) from error
        except OSError as error:
            raise SourceLost(f"{file}: {(error.strerror or str(error)).lower()}") from error

    def _still_there(self) -> None:
        """A device that was plugged in anew has other files; the old ones may stay readable."""
        now = time.monotonic()
        if now - self._checked < _CHECK_S or self._folder is None:
            return
        self._checked = now
        if self._look(self._folder) != self._identity:
            raise SourceLost(f"{self.name}: was plugged in anew")

    def _look(self, folder: Path) -> tuple[int, int]:
        try:
            state = folder.stat()
        except OSError as error:
            raise SourceLost(f"{self.name}: is not there any more") from error
        return state.st_dev, state.st_ino


def open_sysfs(name: str, config: SysfsConfig, wanted: Wanted = PICTURES) -> SensorSource:
    """The source of a configuration, not opened yet: a probe for each device that it names."""
    kind = str(config.__struct_config__.tag)
    rate_hz = config.rate_hz or wanted.rate_hz or 1.0
    groups: dict[str, dict[str, SysfsChannel]] = {}
    needed = _needed(config.channels, wanted.channels)
    for channel, its in needed.items():
        groups.setdefault(its.device or config.device, {})[channel] = its
    key = f"sources.{name}.device"
    if getattr(config, "buffer", False):
        from edgeagent.capture.sensor.buffered import BufferProbe

        reads = {its: one.read for its, one in needed.items()}
        trigger = getattr(config, "trigger", "")
        buffered = BufferProbe(config.root, config.device, key, reads, rate_hz, trigger)
        return SensorSource(name, config, wanted, [buffered], config.channels, streams=True)
    probes = [
        SysfsProbe(
            kind, config.root, device, key, {its: one.read for its, one in channels.items()},
            rate_hz,
        )
        for device, channels in (groups or {config.device: {}}).items()
    ]  # fmt: skip
    return SensorSource(name, config, wanted, probes, config.channels, streams=False)


def _needed(
    channels: Mapping[str, SysfsChannel], wanted: Sequence[str] | None
) -> dict[str, SysfsChannel]:
    """Only what a model takes is read: each file costs."""
    if wanted is None or any(name not in channels for name in wanted):
        return dict(channels)
    return {name: channels[name] for name in wanted}
