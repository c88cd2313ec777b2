"""A person says what a device or a group is to be: read what is there, change it, publish it."""

from __future__ import annotations

import difflib
import json
import threading
from collections.abc import Callable
from typing import Any

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from edgeagent.errors import Busy, InputError, LinkDown, UsageError
from edgeagent.fleet.census import Census
from edgeagent.fleet.database import Database
from edgeagent.fleet.desired import Book, Order, Sign, base_of, compose, highest, unwrapped
from edgeagent.fleet.meeting import meet
from edgeagent.fleet.sharing import own_topics
from edgeagent.sync.endpoint import LinkSettings
from edgeagent.sync.link import Link
from edgeagent.sync.reasons import Reason
from edgeagent.sync.topics import Topics
from edgeagent.update.desired import Desired, read
from edgeagent.update.reported import Reported

_ANSWER_S = 30.0


class Present(Struct, frozen=True):
    """What is known of one topic."""

    topic: str
    kept: Order | None
    """In the book."""
    retained: bytes | None
    """On the broker."""
    reported: Reported | None
    """Of the device; None for a group, or where it says nothing."""

    @property
    def signed(self) -> bool:
        return bool(self.retained) and unwrapped(self.retained or b"") != self.retained

    @property
    def highest(self) -> int:
        """Rev."""
        return highest(self.kept, self.retained, self.reported.rev if self.reported else 0)

    def base(self, *, trusting: bool = True) -> Desired | None:
        """What counts there now. Raises InputError."""
        return base_of(self.kept, self.retained, trusting=trusting)

    @property
    def forgotten(self) -> bool:
        """The broker has less than was published."""
        there = highest(None, self.retained, 0)
        return self.kept is not None and there < self.kept.rev


class Desk:
    """Where it is done. Raises of all: LinkDown, and what `Database` does."""

    def __init__(
        self, link: LinkSettings, prefix: str, db: Database, sign: Sign | None = None
    ) -> None:
        self._link = link
        self._prefix = prefix
        self._db = db
        self._sign = sign
        self._book = Book(db)
        self._own = own_topics(prefix, link)

    def topic(self, target: str) -> str:
        """Of a device, or of ``group:NAME``. Raises UsageError."""
        scope, _, group = target.partition(":")
        if group and scope != "group":
            raise UsageError(f"{target!r} is neither a device nor a group:NAME")
        topics = Topics(self._prefix, "any" if group else target)
        return topics.group_desired(group) if group else topics.desired

    def look(self, target: str) -> Present:
        """What is there now."""
        topic = self.topic(target)
        reported = "" if target.startswith("group:") else topic.replace("/desired", "/reported")
        found: dict[str, bytes] = {}
        with Census(self._link, self._own) as census:
            census.read(filter(None, (topic, reported)), found.__setitem__)
        try:
            said = (
                msgspec.json.decode(found[reported], type=Reported) if reported in found else None
            )
        except msgspec.MsgspecError as error:
            raise InputError(f"{reported} can't be read: {error}") from error
        return Present(topic, self._book.last([topic]).get(topic), found.get(topic), said)

    def order(
        self, present: Present, change: Callable[[Desired], Desired], by: str, *,
        expected: int | None = None,
    ) -> Order:  # fmt: skip
        """The next document, composed on what is there.

        Raises InputError: what is there is not of the rev that was expected.
        """
        if expected is not None and present.highest != expected:
            raise _stale(f"rev {expected} was expected there", present)
        base = present.base(trusting=self._sign is None)
        return compose(present.topic, base, present.highest, change, by)

    def publish(self, present: Present, order: Order) -> None:
        """In the book, then on the broker.

        Raises Busy: a higher rev came in between; UsageError: devices want it signed.
        """
        if self._sign is None:
            _no_signature_needed(present, order)
        payload = order.body if self._sign is None else self._sign(order.topic, order.body)
        with self._db.transaction():
            self._book.put([order])
        self._send(order.topic, payload)

    def repeat(self, present: Present) -> None:
        """Publish what is in the book once more: the broker forgot it."""
        if present.kept is not None:
            body = present.kept.body
            self._send(present.topic, body if self._sign is None else self._sign(
                present.topic, body
            ))  # fmt: skip

    def _send(self, topic: str, payload: bytes) -> None:
        link, done = Link(self._link, self._own.echo), threading.Event()
        failed: list[Reason | None] = []

        def told(reason: Reason | None) -> None:
            failed.append(reason)
            done.set()

        meet(link, _ANSWER_S)
        try:
            link.publish(topic, payload, retain=True, on_done=told)
            if not done.wait(_ANSWER_S) or failed[0] is not None:
                why = failed[0].sentence if failed and failed[0] else "no answer"
                raise LinkDown(
                    f"{topic} was not taken: {why}", remedy="Try again: it is idempotent."
                )
        except Busy as error:
            raise LinkDown(str(error)) from error
        finally:
            link.stop()


def given(payload: bytes, present: Present) -> Callable[[Desired], Desired]:
    """A change: a whole document from a file. One that names its ``rev`` is refused where that
    is not above what is there.

    Raises InputError.
    """
    try:
        document = msgspec.json.decode(payload)
        rev = document.pop("rev", None) if isinstance(document, dict) else None
        whole = read(msgspec.json.encode({"rev": 1, **document}))
    except (ValueError, TypeError) as error:
        raise InputError(f"this is no desired state: {error}") from error
    assert whole is not None
    if rev is not None and not (isinstance(rev, int) and rev > present.highest):
        raise _stale(f"the document has rev {rev}", present)
    # The next rev is counted from here.
    return lambda _base: replace(whole, rev=rev or 1)


def _stale(what: str, present: Present) -> InputError:
    now = present.base()
    by = f", by {now.by} at {now.at}" if now is not None and now.by else ""
    return InputError(
        f"stale: {what}, and rev {present.highest} is there{by}",
        remedy="Look at what changed: edgeagent fleet desired show",
    )


def pretty(document: Desired | None) -> list[str]:
    """Lines of what a document asks for, without rev, time and author."""
    if document is None:
        return []
    asked: dict[str, Any] = msgspec.to_builtins(document)
    for name in ("rev", "at", "by"):
        asked.pop(name, None)
    return json.dumps(asked, indent=2, sort_keys=True, ensure_ascii=False).splitlines()


def difference(before: Desired | None, after: Desired | None) -> list[str]:
    """Unified diff; empty = they ask for the same."""
    if before and after and (before.models, before.config) == (after.models, after.config):
        return []
    return list(
        difflib.unified_diff(pretty(before), pretty(after), "now", "then", lineterm="", n=3)
    )


def _no_signature_needed(present: Present, order: Order) -> None:
    base = present.base()
    before = base.models if base else {}
    wished = read(order.body)
    for model, wish in wished.models.items() if wished else ():
        if (wish.policy.downgrade or wish.policy.force) and wish != before.get(model):
            raise UsageError(
                f"devices take a downgrade of {model}, or one by force, only signed",
                remedy="Sign it: --sign KEY.",
            )
