"""Every topic of the agent, as functions of the prefix and the device's id.

The layout is the published contract: `Topics` builds the names, `Topics.parse` reads those
that come in. Nothing else in the agent writes a topic by hand.
"""

from __future__ import annotations

import re
from typing import Literal

from msgspec import Struct

from edgeagent.errors import UsageError

RESERVED_ID = "group"
ECHO = "echo"
"""Command type that is never a command: the link proves its topics with it."""

_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_PREFIX = re.compile(r"[^#+$\s][^#+\s]*")

Kind = Literal[
    "command", "echo", "button", "group-command", "desired", "group-desired", "confirm",
    "status", "fetch", "home-assistant",
]  # fmt: skip

Traffic = Literal["events", "results", "evidence", "updates", "state", "metrics", "control"]
_TRAFFIC: dict[str, Traffic] = {
    "records": "results", "blob": "evidence", "fetch": "updates", "state": "state",
    "image": "state", "live": "state", "metrics": "metrics",
}  # fmt: skip


class Address(Struct, frozen=True):
    """What an incoming topic is about. Parts that a kind does not have are empty."""

    kind: Kind
    type: str = ""
    """Command type, or for ``fetch`` what follows the transfer's id."""
    id: str = ""
    """Command id, echo nonce, collector's name or transfer id."""
    group: str = ""


class Topics(Struct, frozen=True):
    """The topics of one device. Raises UsageError for an unusable prefix or id."""

    prefix: str
    device: str

    def __post_init__(self) -> None:
        if not _PREFIX.fullmatch(self.prefix) or self.prefix.endswith("/"):
            raise UsageError(
                f"mqtt.prefix {self.prefix!r} can't be used in a topic",
                remedy="Use letters, digits, '-', '_' and '/' within, e.g. \"edgeagent\".",
            )
        if not is_id(self.device):
            raise UsageError(
                f"device.id {self.device!r} can't be used in a topic",
                remedy=f"Use 1 to 64 of A-Z a-z 0-9 _ -, and not {RESERVED_ID!r}.",
            )

    @property
    def client_id(self) -> str:
        """MQTT client id: one per device, so that a broker keeps one session for it."""
        return f"{self.prefix.replace('/', '-')}-{self.device}"

    # --- what the device publishes

    @property
    def status(self) -> str:
        return self._own("status")

    @property
    def capabilities(self) -> str:
        return self._own("capabilities")

    @property
    def records(self) -> str:
        return self._own("records")

    @property
    def reported(self) -> str:
        return self._own("reported")

    @property
    def metrics(self) -> str:
        return self._own("metrics")

    @property
    def fetch(self) -> str:
        return self._own("fetch")

    @property
    def discovery(self) -> str:
        """Of Home Assistant."""
        return f"homeassistant/device/{self.device}/config"

    def state(self, pipeline: str) -> str:
        return self._own(f"state/{_checked(pipeline)}")

    def image(self, pipeline: str) -> str:
        return self._own(f"image/{_checked(pipeline)}")

    def live(self, pipeline: str) -> str:
        return self._own(f"live/{_checked(pipeline)}")

    def blob(self, sha256: str, index: int) -> str:
        return self._own(f"blob/{_checked(sha256)}/{index}")

    def command(self, type: str, id: str) -> str:
        return self._own(f"cmd/{_checked(type)}/{_checked(id)}")

    def echo(self, nonce: str) -> str:
        return self.command(ECHO, nonce)

    # --- what others publish

    @property
    def desired(self) -> str:
        return self._own("desired")

    @property
    def commands(self) -> str:
        """Filter for all commands (and the echo)."""
        return self._own("cmd/#")

    @property
    def buttons(self) -> str:
        return self._own("do/+")

    @property
    def fetched(self) -> str:
        """Filter for answers only: ``fetch/#`` would also bring back our own requests."""
        return self._own("fetch/+/+")

    def confirm(self, collector: str) -> str:
        return self._own(f"confirm/{_checked(collector)}")

    def button(self, type: str) -> str:
        return self._own(f"do/{_checked(type)}")

    def group_desired(self, group: str) -> str:
        return f"{self.prefix}/group/{_checked(group)}/desired"

    def group_commands(self, group: str) -> str:
        return f"{self.prefix}/group/{_checked(group)}/cmd/#"

    def group_command(self, group: str, type: str, id: str) -> str:
        return f"{self.prefix}/group/{_checked(group)}/cmd/{_checked(type)}/{_checked(id)}"

    # --- reading

    def parse(self, topic: str) -> Address | None:
        """What an incoming topic addresses; None if it is not for this device."""
        if topic == "homeassistant/status":
            return Address("home-assistant")
        own, group = f"{self.prefix}/{self.device}/", f"{self.prefix}/group/"
        if topic.startswith(own):
            return _parse_own(topic[len(own) :].split("/"))
        if topic.startswith(group):
            return _parse_group(topic[len(group) :].split("/"))
        return None

    def traffic(self, topic: str) -> Traffic:
        """Which class of a budget a message on this topic belongs to."""
        own = f"{self.prefix}/{self.device}/"
        first = topic[len(own) :].partition("/")[0] if topic.startswith(own) else ""
        return _TRAFFIC.get(first, "control")

    def _own(self, rest: str) -> str:
        return f"{self.prefix}/{self.device}/{rest}"


def is_id(text: str) -> bool:
    """Whether ``text`` may be a device, group, command or collector id."""
    return _ID.fullmatch(text) is not None and text != RESERVED_ID


def matches(pattern: str, topic: str) -> bool:
    """Whether a subscription filter covers a topic (MQTT 5, section 4.7)."""
    wanted, levels = pattern.split("/"), topic.split("/")
    if topic.startswith("$") and wanted[0] in ("#", "+"):
        return False
    for position, level in enumerate(wanted):
        if level == "#":
            return True
        if position >= len(levels) or level not in ("+", levels[position]):
            return False
    return len(wanted) == len(levels)


def _checked(part: str) -> str:
    if _ID.fullmatch(part) is None:
        raise UsageError(
            f"{part!r} can't be a part of a topic", remedy="Use 1 to 64 of A-Z a-z 0-9 _ -."
        )
    return part


def _parse_own(parts: list[str]) -> Address | None:
    match parts:
        case ["cmd", "echo", nonce] if is_id(nonce):
            return Address("echo", ECHO, nonce)
        case ["cmd", type, id] if is_id(type) and is_id(id):
            return Address("command", type, id)
        case ["do", type] if is_id(type):
            return Address("button", type)
        case ["desired"]:
            return Address("desired")
        case ["status"]:
            return Address("status")
        case ["confirm", collector] if is_id(collector):
            return Address("confirm", id=collector)
        case ["fetch", rid, rest] if is_id(rid) and is_id(rest):
            return Address("fetch", rest, rid)
        case _:
            return None


def _parse_group(parts: list[str]) -> Address | None:
    match parts:
        case [group, "desired"] if is_id(group):
            return Address("group-desired", group=group)
        case [group, "cmd", type, id] if is_id(group) and is_id(type) and is_id(id):
            return None if type == ECHO else Address("group-command", type, id, group)
        case _:
            return None
