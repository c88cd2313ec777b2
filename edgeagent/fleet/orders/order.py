"""One command for any number of devices: the same id and the same words for each of them."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Struct

from edgeagent import clock
from edgeagent.config.words import did_you_mean
from edgeagent.errors import UsageError
from edgeagent.sync.command_types import TABLE
from edgeagent.sync.schema import Command
from edgeagent.sync.topics import Topics, is_id
from edgeagent.update.signatures import COMMAND

if TYPE_CHECKING:
    from edgeagent.fleet.keys import PrivateKey

Seal = Callable[[Mapping[str, Any]], bytes]
"""What is published for a document: itself, or a signed envelope of it."""
_RESERVED = frozenset(Command.__struct_fields__)


class Order(Struct, frozen=True):
    """One command."""

    type: str
    id: str
    arguments: Mapping[str, Any]
    by: str
    at: str
    expires: str = ""
    """RFC 3339; empty = the device's ``commands.max_age``."""

    def document(self) -> dict[str, Any]:
        """What a requester publishes (contract §3)."""
        whole = {"status": "init", "by": self.by, "at": self.at, **self.arguments}
        return {**whole, "expires": self.expires} if self.expires else whole

    def payload(self, seal: Seal | None, **to: str) -> bytes:
        """``to`` is ``device=…`` or ``group=…``: what a signature is bound to."""
        if seal is None:
            return msgspec.json.encode(self.document())
        return seal({**self.document(), **to, "type": self.type, "id": self.id})

    def own_topic(self, prefix: str, device: str) -> str:
        return Topics(prefix, device).command(self.type, self.id)

    def group_topic(self, prefix: str, group: str) -> str:
        return Topics(prefix, "any").group_command(group, self.type, self.id)


def order(
    type: str, words: Mapping[str, str], by: str, *, expires_s: float = 0.0, id: str = "",
    offered: frozenset[str] = frozenset(),
) -> Order:  # fmt: skip
    """A new order.

    Args:
        words: argument → its value as it was typed.
        expires_s: from now; 0 = never before the device finds it stale.
        offered: types that the devices meant tell in their capabilities: what the table here
            does not know is sent as it was typed where one of them does.

    Raises:
        UsageError: no such type or argument, or no such value.
    """
    if type in TABLE:
        arguments = _typed(type, words)
    elif type in offered:
        arguments = {name: _guessed(text) for name, text in words.items()}
    else:
        raise UsageError(
            f"there is no command {type!r}; {did_you_mean(type, sorted({*TABLE, *offered}))}",
            remedy="What a device takes: edgeagent fleet show DEVICE",
        )
    id = id or f"{type}-{secrets.token_hex(4)}"
    if not is_id(id):
        raise UsageError(f"{id!r} can't be the id of a command: 1 to 64 of A-Z a-z 0-9 _ -")
    now = clock.wall_ns()
    end = clock.rfc3339(now + int(expires_s * 1e9)) if expires_s else ""
    return Order(type, id, arguments, by, clock.rfc3339(now), end)


def sealed(key: PrivateKey) -> Seal:
    """Sign by an operator's key."""
    return lambda document: key.envelope(document, COMMAND)


def type_of(id: str) -> str:
    """The type of a command by an id that was made here; empty = it was not."""
    type, dash, rest = id.rpartition("-")
    return type if dash and len(rest) == 8 else ""


def _typed(type: str, words: Mapping[str, str]) -> dict[str, Any]:
    kind = TABLE[type].arguments
    known = [name for name in kind.__struct_fields__ if name not in _RESERVED]
    for name in words:
        if name not in known:
            hint = did_you_mean(name, known) or "it takes none"
            raise UsageError(f"{type} has no argument {name!r}; {hint}")
    try:
        made = msgspec.convert(words, kind, strict=False)
    except msgspec.ValidationError:
        try:
            made = msgspec.convert({n: _guessed(t) for n, t in words.items()}, kind)
        except msgspec.ValidationError as error:
            raise UsageError(
                f"{type}: {error}", remedy=f"It takes: {', '.join(known) or 'no arguments'}"
            ) from error
    plain: dict[str, Any] = msgspec.to_builtins(made)
    return {name: plain[name] for name in words}


def _guessed(text: str) -> Any:
    """JSON where it is some, else a word that needs no quotes."""
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:
        return text
