"""Whether a command may be done: who gave it, what it says, how old it is. No I/O."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal

import msgspec
from msgspec import Struct, structs

from edgeagent import clock
from edgeagent.config.depth import deeper
from edgeagent.config.units import seconds
from edgeagent.errors import EdgeAgentError
from edgeagent.sync.command_types import CommandType

if TYPE_CHECKING:
    from edgeagent.config.model import Commands, Trust

MOST_BYTES = 256 * 1024
MOST_DEPTH = 16
_AHEAD_NS = 86_400 * 10**9
"""How far the clock of who gives a command may be ahead of ours."""
_ADDRESS = ("device", "group", "type", "id")
_STATUS_FIELDS = ("status", "reason", "detail", "result", "progress", "step", "omitted")
_REPEATED_CHARS = 8192
"""Longer texts (a picture in base64) are not said back in every status."""

Origin = Literal["local", "remote", "button"]
Verify = Callable[[Mapping[str, Any], str, str, str], tuple[dict[str, Any], str]]
"""(envelope, type, id, group or empty) → what was signed, by which operator. Raises Untrusted."""


class Order(Struct, frozen=True):
    """A command as it was given. ``body`` = arguments beside ``by``, ``at``, ``expires``."""

    type: str
    id: str
    body: Mapping[str, Any]
    origin: Origin
    retained: bool = False
    """It lay at the broker before we came, for how long nobody knows."""
    group: str = ""
    """It was given to a whole group."""
    signer: str = ""
    """The operator whose signature it carried, verified."""

    @property
    def by(self) -> str:
        return str(self.body.get("by", ""))

    @property
    def at(self) -> str:
        return str(self.body.get("at", ""))

    def digest(self) -> str:
        """Hash of type and content, whatever the order of keys."""
        content = msgspec.json.encode([self.type, self.body], order="sorted")
        return hashlib.sha256(content).hexdigest()


class Verdict(Struct, frozen=True):
    """The status of an order before it is done, and why it is not done (now)."""

    status: Literal["rejected", "expired", "accepted", "executing", "failed"]
    reason: str
    detail: str = ""


WAITING = Verdict(
    "accepted", "waiting for time", "this device does not trust its clock yet to judge its age"
)


class Rules(Struct, frozen=True):
    """Of the configuration."""

    allow: frozenset[str]
    max_age_s: float = 7 * 86400.0
    require_signature: Literal["never", "protected", "always"] = "protected"

    @classmethod
    def of(cls, commands: Commands, trust: Trust) -> Rules:
        return cls(frozenset(commands.allow), seconds(commands.max_age), trust.require_signature)

    def permission(self, kind: CommandType, order: Order) -> Verdict | None:
        """Who may: local orders all, others what the configuration names."""
        if order.origin == "local":
            return None
        if kind.name not in self.allow:
            return Verdict(
                "rejected", "not-allowed", f"commands.allow of this device lacks {kind.name!r}"
            )
        if not order.signer and (
            self.require_signature == "always"
            or (self.require_signature == "protected" and kind.protected)
        ):
            return Verdict(
                "rejected",
                "signature-required",
                "trust.require_signature asks for a command that an operator has signed: "
                "edgeagent fleet sign, or give it on the device itself",
            )
        return None

    def age(
        self, kind: CommandType, order: Order, *, newest_pruned_at: str, now_ns: int, synced: bool,
        born_at: str = "",
    ) -> Verdict | None:  # fmt: skip
        """How old: expired, stale, or not to be judged yet (`WAITING`). ``born_at`` is when the
        journal began."""
        if order.origin != "remote":
            return None
        try:
            at, expires = _time(order, "at"), _time(order, "expires")
        except ValueError as error:
            return Verdict("rejected", "bad-arguments", str(error))
        if synced and expires is not None and now_ns >= expires:
            return Verdict(
                "expired", "expired", f"it was to be done before {order.body['expires']}"
            )
        if not kind.changing(order.body):
            return None
        if at is None:
            return Verdict(
                "rejected",
                "bad-arguments",
                f"at is required: {kind.name} changes something - at `$.at`",
            )
        if at <= _moment(newest_pruned_at):
            return Verdict("rejected", "stale", "it is older than what the journal remembers")
        if not synced:
            return WAITING if order.retained else None
        # Also what is not retained may have waited, in our session. (A birth in the future was
        # written by a clock that was wrong.)
        if at <= _moment(born_at) <= now_ns:
            return Verdict(
                "rejected", "stale",
                f"it was given before this device's journal began ({born_at}), which can't know "
                "whether it was done: give it again",
            )  # fmt: skip
        if now_ns - at > self.max_age_s * 1e9:
            return Verdict("rejected", "stale", f"it was given on {order.at}: too long ago")
        if at - now_ns > _AHEAD_NS:
            # Once such an id is pruned, every honest command would look older than it.
            return Verdict("rejected", "bad-arguments", "at lies in the future - at `$.at`")
        return None


def read(payload: bytes) -> dict[str, Any] | Verdict:
    """The object in a payload."""
    if len(payload) > MOST_BYTES:
        return Verdict("rejected", "too-large", f"{len(payload)} bytes; at most {MOST_BYTES}")
    try:
        found = msgspec.json.decode(payload)
    except RecursionError:
        return _too_deep()
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        return Verdict("rejected", "not-json", str(error))
    if not isinstance(found, dict):
        return Verdict("rejected", "not-json", "an object was expected")
    return _too_deep() if deeper(found, MOST_DEPTH) else found


def signed(order: Order) -> bool:
    """Whether it came in a signed envelope (DSSE), which is to be opened first."""
    return not order.signer and "signatures" in order.body and "payload" in order.body


def opened(order: Order, verify: Verify) -> Order | Verdict:
    """The order that an envelope holds, or why its signature does not count."""
    try:
        body, signer = verify(order.body, order.type, order.id, order.group)
    except EdgeAgentError as error:
        return Verdict("rejected", error.code, str(error))
    plain = {key: value for key, value in body_of(body).items() if key not in _ADDRESS}
    return structs.replace(order, body={**plain, "by": signer}, signer=signer)


def digest_of(payload: bytes) -> str:
    """Stands for the content of what can't be read."""
    return hashlib.sha256(payload).hexdigest()


def body_of(document: Mapping[str, Any]) -> dict[str, Any]:
    """What a requester wrote: without the fields that belong to the device's answer."""
    return {key: value for key, value in document.items() if key not in _STATUS_FIELDS}


def repeated(body: Mapping[str, Any]) -> dict[str, Any]:
    """What a status repeats of an order: all of it but very long texts, which ``omitted`` names."""
    long = [
        key for key, value in body.items()
        if isinstance(value, str) and len(value) > _REPEATED_CHARS
    ]  # fmt: skip
    kept = {key: value for key, value in body_of(body).items() if key not in long}
    return {**kept, "omitted": long} if long else kept


def arguments_of(kind: CommandType, body: Mapping[str, Any]) -> Any:
    """The typed arguments, or a `Verdict` that names the fault's path."""
    try:
        return msgspec.convert(body, kind.arguments)
    except msgspec.ValidationError as error:
        text = str(error)
        return Verdict("rejected", "bad-arguments", text if "$" in text else f"{text} - at `$`")


def _moment(text: str) -> int:
    try:
        return clock.parse_rfc3339(text)
    except ValueError:
        return 0


def _time(order: Order, name: str) -> int | None:
    text = order.body.get(name)
    if text is None or text == "":
        return None
    try:
        return clock.parse_rfc3339(text)
    except (ValueError, TypeError, AttributeError, OverflowError) as error:
        raise ValueError(f"{name} is not an RFC 3339 time with zone - at `$.{name}`") from error


def _too_deep() -> Verdict:
    return Verdict("rejected", "too-deep", f"nested deeper than {MOST_DEPTH}")
