"""IIO devices by the kernel's buffer: every sample, at the device's own pace.

Polling a file for each value is good for some tens of readings a second; what samples vibration has
a buffer, filled by its interrupt. Source: Documentation/ABI/testing/sysfs-bus-iio and
Documentation/iio/iio_devbuf.rst of Linux: ``scan_elements`` says which channels are in a frame, in
which order and layout; elements are aligned to their own size.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import select
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from msgspec import Struct

from edgeagent.capture.sensor.attributes import Attribute, attributes, text_of
from edgeagent.capture.sensor.probe import Batch, Faults
from edgeagent.capture.sensor.sysfs import find
from edgeagent.config.words import did_you_mean
from edgeagent.errors import Busy, ConfigError, EdgeAgentError, NotPermitted, SourceLost

if TYPE_CHECKING:
    from numpy.typing import NDArray

_TYPE = re.compile(r"^(be|le):([su])(\d+)/(\d+)(?:X\d+)?(?:>>(\d+))?$")
_BUFFER_S = 1.0
"""So much fits into the kernel's buffer before samples are lost."""
_SILENT = 20
"""Frames that may fail to come, at least five seconds of them."""
_RATE = 0.01
_MOST = 1 << 16
_POLLED = "Leave out buffer: it is polled then."


class Element(Struct, frozen=True):
    """One channel within a frame."""

    index: int
    big: bool
    signed: bool
    bits: int
    storage: int
    """Bytes."""
    shift: int

    @classmethod
    def of(cls, index: str, layout: str) -> Element:
        """By the files ``…_index`` and ``…_type`` (``le:s12/16>>4``). Raises ValueError."""
        match = _TYPE.match(layout.strip())
        if match is None or int(match[4]) not in (8, 16, 32, 64):
            raise ValueError(f"{layout.strip()!r} is no layout of an element")
        return cls(
            int(index), match[1] == "be", match[2] == "s", int(match[3]), int(match[4]) // 8,
            int(match[5] or 0),
        )  # fmt: skip

    def values(self, stored: NDArray[np.generic]) -> NDArray[np.float64]:
        """What was sampled, of what is stored."""
        # Left to the top and back again brings the sign down with it.
        free = 64 - self.bits
        wide = (stored.astype(np.int64) >> self.shift) << free
        if self.signed:
            return np.asarray(wide >> free, np.float64)
        return np.asarray(wide.view(np.uint64) >> np.uint64(free), np.float64)


def frame_of(elements: Mapping[str, Element]) -> np.dtype[np.void]:
    """The layout of a whole frame, elements by name."""
    offset, names, formats, offsets = 0, [], [], []
    largest = 1
    for name, its in sorted(elements.items(), key=lambda item: item[1].index):
        offset = -(-offset // its.storage) * its.storage
        names.append(name)
        formats.append(f"{'>' if its.big else '<'}{'i' if its.signed else 'u'}{its.storage}")
        offsets.append(offset)
        offset += its.storage
        largest = max(largest, its.storage)
    size = -(-offset // largest) * largest
    return np.dtype({"names": names, "formats": formats, "offsets": offsets, "itemsize": size})


class BufferProbe:
    """One device by its buffer.

    Args:
        reads: channel → what of the device it is; empty = all that can be buffered.
        rate_hz: samples per second that the device is set to.
        trigger: name of the trigger that samples; empty = as it is.
    """

    def __init__(
        self, root: str, device: str, key: str, reads: Mapping[str, str], rate_hz: float,
        trigger: str,
    ) -> None:  # fmt: skip
        self.name = f"iio {device}".strip()
        self.channels = tuple(reads)
        self.faults = Faults()
        self.units: dict[str, str] = {}
        self._root = Path(root)
        self._device = device
        self._key = key
        self._reads = dict(reads)
        self._rate_hz = rate_hz
        self._trigger = trigger
        self._folder = Path()
        self._handle = -1
        self._poll = select.poll()
        self._rest = b""
        self._parts: list[tuple[str, Element, Attribute]] = []
        self._frame = np.dtype([])
        self._last = 0.0

    def open(self) -> None:
        """Set the device up and start it. Raises SourceLost, ConfigError, NotPermitted, Busy."""
        device = find("iio", self._root, self._device, self._key)
        self.name = f"iio {device.name}"
        self._folder = device.folder
        self._choose()
        self._write("buffer/enable", "0")
        for file in sorted((self._folder / "scan_elements").glob("*_en")):
            wanted = any(file.name == f"{attribute.name}_en" for _, _, attribute in self._parts)
            self._write(f"scan_elements/{file.name}", "1" if wanted else "0")
        if self._trigger:
            self._write("trigger/current_trigger", self._trigger)
        self._set_rate()
        self._write("buffer/length", str(max(2, round(self._rate_hz * _BUFFER_S))))
        self._write("buffer/enable", "1")
        self._rest, self._last = b"", time.monotonic()
        node = self._root.parent / "dev" / device.folder.name
        try:
            self._handle = os.open(node, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            raise self._explained(node, error) from error
        self._poll = select.poll()
        self._poll.register(self._handle, select.POLLIN)

    def read(self, until: float) -> Batch | None:
        """All frames that came. Raises SourceLost."""
        wait_ms = max(0.0, until - time.monotonic()) * 1e3
        data = b""
        if self._poll.poll(wait_ms):
            try:
                data = os.read(self._handle, _MOST)
            except BlockingIOError:
                data = b""
            except OSError as error:
                raise SourceLost(f"{self.name}: is not there any more") from error
        now = time.monotonic()
        if not data:
            if now - self._last > max(5.0, _SILENT / self._rate_hz):
                raise SourceLost(f"{self.name}: gives no samples", remedy=self._about_trigger())
            return None
        self._last = now
        data = self._rest + data
        whole = len(data) // self._frame.itemsize
        self._rest = data[whole * self._frame.itemsize :]
        if not whole:
            return None
        frames = np.frombuffer(data, self._frame, whole)
        values = np.empty((whole, len(self._parts)))
        for place, (_, element, attribute) in enumerate(self._parts):
            stored = frames[attribute.name]
            values[:, place] = (element.values(stored) + attribute.offset) * attribute.scale
        times = now - np.arange(whole - 1, -1, -1) / self._rate_hz
        return Batch(times, values)

    def close(self) -> None:
        """Stop the device."""
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1
            with contextlib.suppress(EdgeAgentError):  # it may be gone
                self._write("buffer/enable", "0")

    def _choose(self) -> None:
        """Which elements are read. Raises ConfigError."""
        offered: dict[str, tuple[Element, Attribute]] = {}
        place = self._folder / "scan_elements"
        for name, attribute in attributes("iio", self._folder).items():
            index, layout = text_of(place / f"{name}_index"), text_of(place / f"{name}_type")
            if index and layout:
                try:
                    offered[name] = Element.of(index, layout), attribute
                except ValueError as error:
                    raise ConfigError(f"{self.name}: {error}", remedy=_POLLED) from error
        if not offered:
            raise ConfigError(
                f"{self._key}: {self.name} has no buffer",
                remedy=_POLLED,
            )
        reads = self._reads or {name: name for name in offered}
        self.channels = tuple(reads)
        self._parts = []
        for channel, read in reads.items():
            if (read or channel) not in offered:
                said = did_you_mean(read or channel, offered)
                raise ConfigError(
                    f"{self._key.rpartition('.')[0]}.channels.{channel}: the buffer of {self.name} "
                    f"has no {read or channel}; {said}"
                )
            element, attribute = offered[read or channel]
            self._parts.append((channel, element, attribute))
            self.units[channel] = attribute.unit
        self._frame = frame_of({attribute.name: element for _, element, attribute in self._parts})

    def _set_rate(self) -> None:
        """Raises ConfigError where the device does not take it."""
        files = sorted(self._folder.glob("*sampling_frequency"))
        if not files:
            return  # its trigger says how fast
        wanted = f"{self._rate_hz:g}"
        with contextlib.suppress(ConfigError):
            self._write(files[0].name, wanted)
        got = float(text_of(files[0]) or 0)
        if abs(got - self._rate_hz) > _RATE * self._rate_hz:
            known = text_of(files[0].with_name(files[0].name + "_available"))
            raise ConfigError(
                f"{self._key.rpartition('.')[0]}.rate_hz: {self.name} samples at {got:g} Hz, not "
                f"{wanted}",
                remedy=f"It can: {known}." if known else f"Write rate_hz = {got:g}.",
            )

    def _write(self, name: str, text: str) -> None:
        file = self._folder / name
        try:
            handle = os.open(file, os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC)
            try:
                os.write(handle, f"{text}\n".encode())
            finally:
                os.close(handle)
        except OSError as error:
            raise self._explained(file, error) from error

    def _explained(self, file: Path, error: OSError) -> EdgeAgentError:
        if error.errno in (errno.EACCES, errno.EPERM):
            return NotPermitted(
                f"{file}: user {os.geteuid()} may not use it",
                remedy="Let the agent's user by a udev rule, or leave out buffer.",
            )
        if error.errno == errno.EBUSY:
            return Busy(f"{self.name}: somebody else reads its buffer", remedy="End that program.")
        if error.errno == errno.EINVAL:
            return ConfigError(
                f"{file}: does not take this: {error.strerror}", remedy=self._about_trigger()
            )
        return SourceLost(f"{file}: {(error.strerror or str(error)).lower()}")

    def _about_trigger(self) -> str:
        if not (self._folder / "trigger").exists():
            return ""
        found = sorted((self._root / "bus/iio/devices").glob("trigger*/name"))
        known = ", ".join(text_of(its) for its in found)
        return f'Set trigger = "…", one of: {known or "none is there; load one"}.'
