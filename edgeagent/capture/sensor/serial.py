"""Lines over a serial port, by pyserial (extra ``serial``)."""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import serial

from edgeagent.capture.sensor.fields import Csv, Fields, parse_json, text_parser
from edgeagent.capture.sensor.lines import LineProbe, Reader
from edgeagent.capture.sensor.nmea import sentence_parser
from edgeagent.capture.sensor.source import SensorSource
from edgeagent.capture.source import PICTURES, Wanted
from edgeagent.errors import Busy, ConfigError, EdgeAgentError, NotPermitted, SourceLost

if TYPE_CHECKING:
    from edgeagent.config.channels import Channel
    from edgeagent.config.sensors import SerialConfig, SerialKeys

_PARITY = {"none": "N", "even": "E", "odd": "O"}


class SerialPort:
    """A serial line, opened for us alone."""

    def __init__(self, config: SerialKeys) -> None:
        self._config = config
        self._port: Any = None

    def open(self) -> None:
        """Raises SourceLost, NotPermitted, Busy."""
        config = self._config
        alone = {} if "://" in config.device else {"exclusive": True}
        try:
            self._port = serial.serial_for_url(
                config.device, config.baud, parity=_PARITY[config.parity],
                stopbits=config.stop_bits, timeout=0.2, **alone,
            )  # fmt: skip
        except (OSError, ValueError) as error:  # SerialException is an OSError
            raise explained(config.device, error) from error

    def read(self, timeout_s: float) -> bytes:
        """What came within the time. Raises SourceLost."""
        port = self._port
        try:
            port.timeout = timeout_s
            first: bytes = port.read(1)
            return first + port.read(port.in_waiting) if first else b""
        except (OSError, TypeError) as error:
            # TypeError: pyserial reads a handle that was closed meanwhile as None.
            raise SourceLost(f"{self._config.device}: was unplugged: {error}") from error

    def close(self) -> None:
        """Close it; one that is gone can't be closed cleanly."""
        port, self._port = self._port, None
        if port is not None:
            port.close()


def explained(device: str, error: Exception) -> EdgeAgentError:
    """Why a port can't be opened, as one that people understand."""
    number = getattr(error, "errno", None)
    if number in (errno.EACCES, errno.EPERM):
        return NotPermitted(
            f"{device}: user {os.geteuid()} may not open it",
            remedy="Add the user to the group dialout: sudo usermod -aG dialout USER",
        )
    if number in (errno.EBUSY, errno.EAGAIN) or "exclusively lock" in str(error):
        return Busy(f"{device}: is in use", remedy="End the program that has it open (lsof).")
    if number in (errno.ENOENT, errno.ENODEV, errno.ENXIO, errno.EIO):
        return SourceLost(f"{device}: is not connected")
    return SourceLost(f"{device}: can't be opened: {error}")


def reader(name: str, config: SerialConfig) -> Reader:
    """What the lines mean. Raises ConfigError."""
    reads = {channel: its.read for channel, its in config.channels.items()}
    if config.format == "csv":
        try:
            return Csv(reads, config.columns, config.time)
        except LookupError as error:
            raise ConfigError(
                f"sources.{name}.columns: has no {error.args[0]}",
                remedy="Name all columns in the order in which they are sent.",
            ) from error
    parsers = {"json": parse_json, "nmea": sentence_parser(reads)}
    parse: Any = parsers.get(config.format) or text_parser(config.pattern)
    return Fields(parse, reads, config.time)


def open_serial(name: str, config: SerialConfig, wanted: Wanted = PICTURES) -> SensorSource:
    """The source of a configuration, not opened yet. Raises ConfigError."""
    probe = LineProbe(
        f"serial {config.device}", SerialPort(config), reader(name, config), joins_in=True,
        patience=True,
    )  # fmt: skip
    channels: Mapping[str, Channel] = config.channels
    return SensorSource(name, config, wanted, [probe], channels, streams=True)
