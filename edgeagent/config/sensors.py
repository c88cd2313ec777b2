"""Sources of values in the configuration: sensors of the kernel, lines, registers, topics."""

from __future__ import annotations

from typing import Annotated, Literal, Union

from msgspec import Meta, field

from edgeagent.config import sources
from edgeagent.config.channels import Channel, ModbusChannel, SysfsChannel, TopicChannel
from edgeagent.config.sources import SourceKeys
from edgeagent.config.units import Duration
from edgeagent.config.values import Id, Positive


class SensorKeys(SourceKeys, kw_only=True):
    """Keys that all sources of values have."""

    rate_hz: Positive | None = None
    """Readings a second. What is asked (sysfs, Modbus): absent = as often as the model wants rows,
    else 1. What sends by itself (serial, MQTT, JSON lines): its rows are exactly so far apart;
    absent = they are placed by their times."""
    align: Literal["hold", "linear", "mean"] = "hold"
    """Value of a row: the last reading; the line between the readings around it (waits for the
    next one); the mean of the readings since the last row."""
    gap: Duration | None = None
    """How long a channel may be without a reading before it is missing; absent = three times the
    usual distance of its readings and of rows, at least 50 ms."""


class SysfsConfig(SensorKeys, kw_only=True):
    device: str = ""
    """Its name (``/sys/…/name``), or a part of its path that stays (``1-0076``); numbers change
    over boots. Empty = the only one there is."""
    channels: dict[Id, SysfsChannel] = field(default_factory=dict)
    """Empty = all that the device has."""
    root: str = "/sys"


class IioConfig(SysfsConfig, tag="iio", kw_only=True):
    buffer: bool = False
    """Read every sample through the kernel's buffer, at exactly `rate_hz`: for vibration. Without
    it each value is polled, which is good for some tens a second."""
    trigger: str = ""
    """buffer: name of the trigger that samples (``/sys/…/trigger0/name``); empty = as it is."""


class HwmonConfig(SysfsConfig, tag="hwmon", kw_only=True):
    pass


class ThermalConfig(SysfsConfig, tag="thermal", kw_only=True):
    pass


class PowerSupplyConfig(SysfsConfig, tag="power_supply", kw_only=True):
    pass


class W1Config(SysfsConfig, tag="w1", kw_only=True):
    pass


class SerialKeys(SensorKeys, kw_only=True):
    device: str = ""
    """/dev/serial/by-id/…, or a URL of pyserial (socket://host:port)."""
    baud: Annotated[int, Meta(ge=50, le=4_000_000)] = 9600
    parity: Literal["none", "even", "odd"] = "none"
    stop_bits: Literal[1, 2] = 1


class SerialConfig(SerialKeys, tag="serial", kw_only=True):
    format: Literal["text", "csv", "json", "nmea"] = "text"
    """``text``: numbers found by `pattern`, else ``name=value`` or ``name: value`` pairs."""
    pattern: str = ""
    """text: a regular expression whose named groups are the fields: ``T=(?P<t>[-0-9.]+)``."""
    columns: list[str] = field(default_factory=list)
    """csv: names of the columns in order; empty = the channels."""
    time: str = ""
    """Field with the sender's own time in seconds; its clock need not be right."""
    channels: dict[Id, Channel] = field(default_factory=dict)
    """Empty = all numbers of the first line that can be read."""


class ModbusConfig(SerialKeys, tag="modbus", kw_only=True):
    host: str = ""
    """Modbus TCP; `device` = Modbus RTU over a serial line."""
    port: Annotated[int, Meta(ge=1, le=65535)] = 502
    unit_id: Annotated[int, Meta(ge=0, le=255)] = 1
    timeout: Duration = "1 s"
    channels: dict[Id, ModbusChannel]


class MqttConfig(SensorKeys, tag="mqtt", kw_only=True):
    """Topics of other devices at the agent's own broker."""

    topic: str = ""
    """May hold + and #; `read` of a channel names a field of the JSON there."""
    time: str = ""
    channels: dict[Id, TopicChannel]


SourceConfig = Union[
    sources.SourceConfig, IioConfig, HwmonConfig, ThermalConfig, PowerSupplyConfig, W1Config,
    SerialConfig, ModbusConfig, MqttConfig,
]  # fmt: skip
