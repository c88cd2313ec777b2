"""Channels in the configuration: what a number means, and when it is to be believed."""

from __future__ import annotations

from typing import Annotated, Literal, Union

from msgspec import Meta, Struct, field

from edgeagent.config.units import Duration
from edgeagent.config.values import Id, Positive

CalibrationPoint = Annotated[
    tuple[float, float], Meta(description="a pair [what is read, what it means]")
]


class Channel(Struct, forbid_unknown_fields=True, kw_only=True):
    """One quantity of a source of values.

    What is read becomes ``points(read) × scale + offset``; what `min`, `max`, `step` or `stuck`
    do not believe counts as missing.
    """

    read: str = ""
    """What of the source it is (a file, a column, a field); empty = the channel's own name."""
    unit: str = ""
    scale: float = 1.0
    offset: float = 0.0
    points: list[CalibrationPoint] = field(default_factory=list)
    """Calibration by pairs [read, meant]; straight lines between and beyond them."""
    min: float | None = None
    """A lower value is not believed."""
    max: float | None = None
    """A higher value is not believed."""
    step: Positive | None = None
    """Most that it changes from one reading to the next; three readings in a row that agree with
    one another are believed again."""
    stuck: Duration | None = None
    """A value that has not changed at all for so long is not believed."""
    fill: float | None = None
    """Stands where the channel is missing; absent = windows without it are skipped and counted."""


class SysfsChannel(Channel, kw_only=True):
    """A file of the kernel's."""

    device: str = ""
    """In place of the source's."""


class ModbusChannel(Channel, kw_only=True):
    """One or more registers."""

    address: Annotated[int, Meta(ge=0, le=65535)]
    """Counted from 0, as it travels: the 40001 of a manual is 0."""
    table: Literal["holding", "input", "coil", "discrete"] = "holding"
    type: Literal[
        "int16", "uint16", "int32", "uint32", "float32", "int64", "uint64", "float64", "bool"
    ] = "int16"
    order: Literal["ABCD", "CDAB", "BADC", "DCBA"] = "ABCD"
    """How bytes and registers of wider types follow one another; ABCD = big-endian."""
    unit_id: Annotated[int, Meta(ge=0, le=255)] | None = None
    """In place of the source's."""


class TopicChannel(Channel, kw_only=True):
    """What another device publishes. `read` names a field of its JSON: ``sensors.0.t``; empty =
    the payload is the number."""

    topic: str = ""
    """In place of the source's."""


Channels = Union[list[str], dict[Id, Channel]]
