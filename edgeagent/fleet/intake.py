"""Messages of many devices, taken from the link's thread and read into groups."""

from __future__ import annotations

import hashlib
import re
import threading
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

import msgspec

from edgeagent.errors import InputError, UsageError
from edgeagent.fleet.archive import Group, Heard, Part, Refused
from edgeagent.fleet.batches import LARGEST_SEQ, Arrival, read
from edgeagent.fleet.evidence import UNIT, Piece
from edgeagent.sync.port import Incoming
from edgeagent.sync.schema import Status
from edgeagent.sync.topics import is_id
from edgeagent.sync.uplink import Uplink

_HELD_MAX = 20_000
"""Messages at QoS 0 are let go beyond this; others wait with the broker."""
_KEPT_BYTES = 256 * 1024
"""Of a message that can't be read."""
_GROUP_BYTES = 16 * 1024 * 1024
"""Unpacked, after which a group is full."""
_SHA256 = re.compile(r"[0-9a-f]{64}")
_SPLIT = ("records", "blob/+/+")
"""Topics that processes can divide among themselves. ``status`` is retained, which shared
subscriptions do not get."""


@dataclass(frozen=True, slots=True)
class Partition:
    """Every ``count``-th device, by a hash of its id; ``number`` counts from 1."""

    number: int = 1
    count: int = 1

    @classmethod
    def parse(cls, text: str) -> Partition:
        """``k/n``. Raises UsageError."""
        match = re.fullmatch(r"([0-9]{1,4})/([0-9]{1,4})", text)
        if match is None or not 1 <= int(match[1]) <= int(match[2]):
            raise UsageError(
                f"--partition {text!r} is not k/n", remedy='Give "1/3", "2/3" and "3/3".'
            )
        return cls(int(match[1]), int(match[2]))

    @property
    def suffix(self) -> str:
        """Of client ids: each partition has a session of its own."""
        return "" if self.count == 1 else f"-{self.number}of{self.count}"

    def __contains__(self, device: str) -> bool:
        if self.count == 1:
            return True
        digest = hashlib.sha256(device.encode()).digest()
        return int.from_bytes(digest[:8], "big") % self.count == self.number - 1


@dataclass(slots=True)
class Taken:
    """A group, and the messages to be acknowledged once it is committed."""

    group: Group = field(default_factory=Group)
    messages: list[Incoming] = field(default_factory=list)

    def ack(self) -> None:
        for message in self.messages:
            message.ack()


@dataclass(slots=True)
class _Held:
    message: Incoming
    parts: tuple[Part, ...] | None
    """None = not read yet."""
    weight: int = 0

    def __post_init__(self) -> None:
        self.weight = sum(_weight(part) for part in self.parts or ())


class Intake:
    """Holds what has come. The broker's window bounds it: nothing is acknowledged unwritten."""

    def __init__(self, prefix: str, partition: Partition) -> None:
        self.split = tuple(f"{prefix}/+/{rest}" for rest in _SPLIT)
        self._status = f"{prefix}/+/status"
        self._prefix = f"{prefix}/"
        self._partition = partition
        self._held: deque[_Held] = deque()
        self._weight = 0
        self._arrived = threading.Condition()
        self.let_go = 0
        """Messages at QoS 0 for which there was no room."""

    def wire(self, link: Uplink) -> None:
        """Subscribe. Before the link's start."""
        for pattern in (*self.split, self._status):
            link.subscribe(pattern, self._hold)

    def _hold(self, message: Incoming) -> bool:
        device = message.topic[len(self._prefix) :].partition("/")[0]
        if device not in self._partition:
            return True
        if not message.qos and len(self._held) >= _HELD_MAX:
            self.let_go += 1
            return True
        # Read here, on the link's thread, while the other one waits for the database; but not
        # more than the next group, since what is packed may be small.
        held = _Held(message, self._read(message) if self._weight < _GROUP_BYTES else None)
        with self._arrived:
            self._weight += held.weight
            self._held.append(held)
            self._arrived.notify()
        return False

    def take(self, timeout_s: float, *, linger_s: float, most: int) -> Taken:
        """What has come, read: waits up to ``timeout_s`` for a message, and from then
        ``linger_s`` for company, until there are ``most`` messages."""
        with self._arrived:
            if self._arrived.wait_for(lambda: self._held, timeout_s):
                self._arrived.wait_for(lambda: len(self._held) >= most, linger_s)
        taken = Taken()
        weight = 0
        while self._held and len(taken.messages) < most and weight < _GROUP_BYTES:
            with self._arrived:
                held = self._held.popleft()
                self._weight -= held.weight
            parts = held.parts if held.parts is not None else self._read(held.message)
            for part in parts:
                taken.group.add(part)
                weight += _weight(part)
            taken.messages.append(held.message)
        return taken

    def _read(self, message: Incoming) -> tuple[Part, ...]:
        try:
            return tuple(self._parts(message.topic, message.payload))
        except InputError as error:
            return (Refused(message.topic, str(error), message.payload[:_KEPT_BYTES]),)

    def _parts(self, topic: str, payload: bytes) -> Iterator[Part]:
        match topic[len(self._prefix) :].split("/"):
            case [device, "records"] if is_id(device):
                yield read(payload, device)
            case [device, "status"] if is_id(device):
                yield from _hear(device, payload)
            case [device, "blob", sha256, index] if is_id(device):
                yield _piece(device, sha256, index, payload)
            case _:
                raise InputError("no device has this topic")


def _hear(device: str, payload: bytes) -> Iterator[Heard]:
    if not payload:
        return  # Cleared by whoever retired the device.
    try:
        status = msgspec.json.decode(payload, type=Status)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise InputError(f"the status can't be read: {error}") from error
    if status.epoch and is_id(status.epoch) and 0 <= status.seq <= LARGEST_SEQ:
        yield Heard(device, status.epoch, status.seq, status.state != "offline")


def _weight(part: Part) -> int:
    """Bytes in memory, about."""
    if isinstance(part, Arrival):
        return sum(len(row.body) for row in part.rows)
    return len(part.data) if isinstance(part, Piece) else 0


def _piece(device: str, sha256: str, index: str, payload: bytes) -> Piece:
    if not _SHA256.fullmatch(sha256) or not re.fullmatch(r"[0-9]{1,9}", index) or not payload:
        raise InputError("this is no chunk of evidence")
    return Piece(device, sha256, int(index) * UNIT, payload)
