"""Which devices there are and what they say of themselves, from what they publish."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import msgspec
from msgspec import Struct

from edgeagent.fleet.database import Database
from edgeagent.sync.topics import is_id
from edgeagent.update.reported import ModelReport, Reported

TOLD = ("status", "capabilities", "reported", "desired")
"""What is retained about a device, as far as it matters here."""
LIVE = (*TOLD, "metrics")
UNKNOWN = "unknown"
"""Profile of a device that has not told its capabilities."""


def known(db: Database) -> list[str]:
    """Devices from which a collector has ever heard. Raises what `Database` does."""
    return [id for (id,) in db.rows("SELECT device FROM device")]


class _Version(Struct):
    version: str = ""
    runs: list[str] = []


class _Capabilities(Struct):
    profile: str = ""
    arch: str = ""
    groups: list[str] = []
    timezone: str = ""
    models: dict[str, list[_Version]] = {}
    commands: dict[str, Any] = {}


class _Status(Struct):
    state: str = "offline"
    reasons: list[str] = []
    since: str = ""
    site: str = ""
    name: str = ""
    version: str = ""
    tags: dict[str, str] = {}


@dataclass(slots=True)
class Device:
    """One device, as known now. Times: seconds since 1970 by the listener's clock."""

    id: str
    profile: str = UNKNOWN
    arch: str = ""
    groups: tuple[str, ...] = ()
    zone: str = ""
    site: str = ""
    state: str = ""
    """Of its status; empty = none is known."""
    name: str = ""
    reasons: tuple[str, ...] = ()
    """Why it is not well, in its own words."""
    since: str = ""
    version: str = ""
    """Of the agent."""
    tags: dict[str, str] = field(default_factory=dict)
    commands: tuple[str, ...] = ()
    """Types that others may send it."""
    reported: Reported | None = None
    reported_at: float = 0.0
    """When a report came that was not retained; 0 = none did."""
    desired: bytes | None = None
    """What is retained on its desired topic."""
    versions: dict[str, str] = field(default_factory=dict)
    """Model → version that runs, by its capabilities: of agents that report nothing yet."""
    heard: float = 0.0
    """When it published something while we listened; 0 = not yet."""
    chatty: bool = False
    """It sends metrics."""

    @property
    def online(self) -> bool:
        return self.state not in ("", "offline")

    def model(self, name: str) -> ModelReport:
        """What it says about a model; nothing known = a report without a version."""
        if self.reported is not None and name in self.reported.models:
            return self.reported.models[name]
        return ModelReport(version=self.versions.get(name, ""), state="")

    def hold(self, name: str) -> str:
        """By whom and until when a model is held; empty = it is not."""
        for held in self.reported.held if self.reported is not None else ():
            if held.model == name:
                until = f" until {held.until}" if held.until else ""
                why = f": {held.reason}" if held.reason else ""
                return f"by {held.by or 'a person at the device'}{until}{why}"
        return ""


class Roster:
    """Devices by id, kept up to date by `take`."""

    def __init__(self, prefix: str) -> None:
        self.devices: dict[str, Device] = {}
        self._prefix = f"{prefix}/"
        self.unreadable = 0

    def patterns(self) -> list[str]:
        """What to subscribe for whatever devices say from now on."""
        return [f"{self._prefix}+/{name}" for name in LIVE]

    def topics(self, devices: Iterable[str]) -> list[str]:
        """What is retained about these devices, by exact names."""
        return [f"{self._prefix}{device}/{name}" for device in devices for name in TOLD]

    def know(self, ids: Iterable[str]) -> None:
        """There are such devices, whatever they say."""
        for device in ids:
            if device not in self.devices and is_id(device):
                self.devices[device] = Device(device)

    def members(self, group: str) -> list[Device]:
        """Of a group; of all where none is named."""
        return [its for its in self.devices.values() if not group or group in its.groups]

    def take(self, topic: str, payload: bytes, *, retained: bool, now: float) -> str:
        """Note a message; the device's id, empty where the topic is nobody's."""
        id, _, name = topic.removeprefix(self._prefix).partition("/")
        if name not in LIVE or not topic.startswith(self._prefix) or not is_id(id):
            return ""
        device = self.devices.get(id)
        if device is None:
            device = self.devices[id] = Device(id)
        try:
            self._note(device, name, payload, 0.0 if retained else now)
        except (msgspec.MsgspecError, UnicodeError, RecursionError):
            self.unreadable += 1  # Other parts of what it says may be fine.
        return id

    def _note(self, device: Device, name: str, payload: bytes, heard: float) -> None:
        if name == "desired":
            device.desired = payload or None
            return  # Operators write that: no sign of life.
        if name == "status":
            self._status(device, payload)
            if not device.online:
                return  # Its will: the opposite of a sign of life.
        elif name == "reported":
            device.reported = msgspec.json.decode(payload, type=Reported) if payload else None
            device.reported_at = heard or device.reported_at
        elif name == "capabilities":
            self._capabilities(device, payload)
        elif heard:
            device.chatty = True
        device.heard = heard or device.heard

    def _status(self, device: Device, payload: bytes) -> None:
        status = msgspec.json.decode(payload, type=_Status) if payload else _Status(state="")
        device.state, device.since = status.state, status.since
        device.reasons = tuple(status.reasons)
        device.site, device.name, device.version = status.site, status.name, status.version
        device.tags = status.tags

    def _capabilities(self, device: Device, payload: bytes) -> None:
        if not payload:
            return
        able = msgspec.json.decode(payload, type=_Capabilities)
        device.profile = able.profile or UNKNOWN
        device.arch, device.zone = able.arch, able.timezone
        device.groups = tuple(able.groups)
        device.commands = tuple(able.commands)
        device.versions = {
            model: next((its.version for its in versions if its.runs), "")
            for model, versions in able.models.items()
        }
