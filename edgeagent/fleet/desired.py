"""What devices and groups are told to be, from the operator's side (contract §4).

A device takes a document only if its ``rev`` is higher than the last, so whoever publishes must
know that number: from the broker, which may have forgotten, from the device's report, and from
the book that is kept here. A document is changed by composing the next one on the last; with a
key it is composed only on what is in the book, because whatever else lies on the broker was
perhaps put there by somebody whom a signature would then vouch for.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from edgeagent import clock
from edgeagent.errors import Busy, InputError
from edgeagent.fleet.database import Database
from edgeagent.update.desired import Desired, Policy, Wish, read
from edgeagent.update.signatures import DESIRED

if TYPE_CHECKING:
    from edgeagent.fleet.keys import PrivateKey

Sign = Callable[[str, bytes], bytes]
"""(topic, document) → what is published: the signed envelope."""


class Order(Struct, frozen=True):
    """A document for one topic."""

    topic: str
    rev: int
    body: bytes


class _Envelope(Struct):
    payload: str
    payload_type: str = msgspec.field(name="payloadType", default="")
    signatures: list[Any] = []


def opened(payload: bytes | None) -> Desired | None:
    """The document in what is retained, signed or not; its signature is not checked here.

    Raises InputError.
    """
    if not payload:
        return None
    try:
        return read(unwrapped(payload))
    except ValueError as error:
        raise InputError(f"the desired state that is there can't be read: {error}") from error


def unwrapped(payload: bytes) -> bytes:
    """The document itself. Raises ValueError."""
    try:
        envelope = msgspec.json.decode(payload, type=_Envelope)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return payload  # No envelope; whoever reads it says what is wrong with it.
    try:
        return base64.b64decode(envelope.payload, validate=True)
    except binascii.Error as error:
        raise ValueError(f"the envelope's payload is no base64: {error}") from error


def with_model(model: str, version: str, policy: Policy) -> Callable[[Desired], Desired]:
    """A change: this version of a model, and all else as it is."""
    return lambda base: replace(base, models={**base.models, model: Wish(version, policy)})


def as_before(model: str, before: Wish | None) -> Callable[[Desired], Desired]:
    """A change: the model as it was wished before, or not at all."""

    def change(base: Desired) -> Desired:
        models = {name: wish for name, wish in base.models.items() if name != model}
        return replace(base, models={**models, model: before} if before else models)

    return change


def with_config(key: str, value: Any) -> Callable[[Desired], Desired]:
    """A change: one key (``a.b``) of the configuration patch; None = the key is to be removed
    from the device's configuration."""
    names = key.split(".")

    def put(patch: Mapping[str, Any], at: int) -> dict[str, Any]:
        if at == len(names) - 1:
            return {**patch, names[at]: value}
        below = patch.get(names[at])
        return {**patch, names[at]: put(below if isinstance(below, dict) else {}, at + 1)}

    return lambda base: replace(base, config=put(base.config, 0))


def without_config(key: str) -> Callable[[Desired], Desired]:
    """A change: the patch says nothing of a key any more."""
    names = key.split(".")

    def cut(patch: Mapping[str, Any], at: int) -> dict[str, Any]:
        left = {name: its for name, its in patch.items() if name != names[at]}
        below = patch.get(names[at])
        if at < len(names) - 1 and isinstance(below, dict) and (kept := cut(below, at + 1)):
            left[names[at]] = kept
        return left

    return lambda base: replace(base, config=cut(base.config, 0))


def together(changes: Iterable[Callable[[Desired], Desired]]) -> Callable[[Desired], Desired]:
    """One change after the other."""
    steps = list(changes)

    def all_of_them(base: Desired) -> Desired:
        for step in steps:
            base = step(base)
        return base

    return all_of_them


def compose(
    topic: str, base: Desired | None, floor: int, change: Callable[[Desired], Desired], by: str
) -> Order:
    """The next document of a topic; its rev is above ``floor`` and the base's."""
    made = change(base or Desired(rev=1))
    # A person may leave numbers out; nobody may go back.
    rev = max(made.rev, floor + 1, (base.rev if base else 0) + 1)
    made = replace(made, rev=rev, at=clock.rfc3339(clock.wall_ns()), by=by)
    return Order(topic, rev, msgspec.json.encode(made))


class Book:
    """The last document of each topic that was published from this database."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def last(self, topics: Iterable[str] | None = None, *, lock: bool = False) -> dict[str, Order]:
        """Of these topics, or of all. With ``lock`` nobody changes them until the caller's
        transaction ends."""
        sql = "SELECT s.topic, s.rev, s.body FROM desired s"
        if topics is None:
            found = self._db.rows(sql)
        else:
            condition, value = self._db.among("s.topic", topics)
            locked = self._db.for_update if lock else ""
            found = self._db.rows(f"{sql} WHERE {condition}{locked}", (value,))
        return {topic: Order(topic, rev, body.encode()) for topic, rev, body in found}

    def put(self, orders: Iterable[Order]) -> None:
        """Within the caller's transaction. Raises Busy where a higher rev is there meanwhile."""
        orders = list(orders)
        known = self.last(order.topic for order in orders) if orders else {}
        for order in orders:
            if order.topic in known and known[order.topic].rev >= order.rev:
                raise Busy(
                    f"{order.topic}: rev {known[order.topic].rev} was published meanwhile",
                    remedy="Look at it, and try again: edgeagent fleet desired show",
                )
        self._db.many(
            "INSERT INTO desired (topic, rev, body, at) VALUES (?, ?, ?, ?)"
            " ON CONFLICT (topic) DO UPDATE"
            " SET rev = excluded.rev, body = excluded.body, at = excluded.at",
            [(o.topic, o.rev, o.body.decode(), self._db.now()) for o in orders],
        )


def base_of(kept: Order | None, retained: bytes | None, *, trusting: bool) -> Desired | None:
    """What the next document is composed on: the newer of the book's and the broker's; only the
    book's where the broker's is not trusted. Raises InputError."""
    own = read(kept.body) if kept is not None else None
    there = opened(retained)
    if there is None or not trusting:
        return own
    return there if own is None or there.rev > own.rev else own


def highest(kept: Order | None, retained: bytes | None, reported: int) -> int:
    """The highest rev that anybody knows of."""
    there = 0
    try:
        found = opened(retained)
        there = found.rev if found is not None else 0
    except InputError:
        there = _rev_of(retained or b"")
    return max(kept.rev if kept is not None else 0, there, reported)


def _rev_of(payload: bytes) -> int:
    """Of a document that is wrong in some other place."""
    try:
        found = msgspec.json.decode(unwrapped(payload), type=Mapping[str, Any]).get("rev", 0)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return 0
    return found if isinstance(found, int) else 0


def signer(key: PrivateKey, prefix: str) -> Sign:
    """Signs documents by an operator's key, each for the device or group of its topic."""

    def sign(topic: str, body: bytes) -> bytes:
        scope = topic.removeprefix(f"{prefix}/").split("/")
        to = {"group": scope[1]} if scope[0] == "group" else {"device": scope[0]}
        return key.envelope({**msgspec.json.decode(body), **to}, DESIRED)

    return sign
