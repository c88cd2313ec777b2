"""Commands by MQTT: retained command topics, buttons, and those for a whole group.

One owner at a time: the requester publishes ``init`` until it sees an answer; then the topic
is the device's until the requester clears it. The device hears itself there, and ignores that.
A message is acknowledged after the engine has journaled it.
"""

from __future__ import annotations

import logging
import secrets
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import msgspec

from edgeagent import clock
from edgeagent.errors import Busy, StoreError
from edgeagent.sync import judgement
from edgeagent.sync.commands import IN_USE, Commands, Update
from edgeagent.sync.judgement import Order, Verdict
from edgeagent.sync.port import Incoming
from edgeagent.sync.reasons import Reason
from edgeagent.sync.schema import FINAL
from edgeagent.sync.shelf import Shelf
from edgeagent.sync.topics import Address, Topics, is_id
from edgeagent.sync.uplink import Uplink

log = logging.getLogger(__name__)

_CLEARED_KEPT = 256
_BUTTON = "button"


class MqttCommands:
    """Passenger of the link: brings orders to the engine and puts its answers on the shelf."""

    def __init__(
        self,
        link: Uplink,
        shelf: Shelf,
        commands: Commands,
        topics: Topics,
        groups: Sequence[str] = (),
    ) -> None:
        """Puts what was answered before on the shelf. Raises StoreError."""
        self._link = link
        self._shelf = shelf
        self._topics = topics
        self._commands = commands
        self._answered: dict[str, str] = {}
        """Id → type of what is published and not cleared."""
        self._cleared: OrderedDict[str, None] = OrderedDict()
        """Topics that requesters cleared lately: an answer of ours that was under way at that
        moment is retained again, and must be cleared by us."""
        self._buttons: dict[str, str] = {}
        """Type → id of its last press, whose answer nobody but us clears."""
        self.dropped = 0
        """Messages that were no commands."""
        self._restore()
        commands.watch(self._publish)
        link.subscribe(topics.commands, self._heard)
        link.subscribe(topics.buttons, self._pressed)
        for group in groups:
            link.subscribe(topics.group_commands(group), self._heard_group)

    # --- the link's calls

    def connected(self) -> None:
        """What is on the shelf is published by the shelf."""

    def disconnected(self, _reason: Reason) -> None:
        """Commands go on; their answers wait on the shelf."""

    def turn(self, now: float) -> float:
        self._commands.reconsider()
        return now + 1.0

    def farewell(self) -> None:
        """Nothing to say."""

    # --- what comes in

    def _heard(self, message: Incoming) -> bool:
        address = self._topics.parse(message.topic)
        if address is None:
            self.dropped += 1
        elif address.kind == "command":
            self._command(address, message)
        return True

    def _command(self, address: Address, message: Incoming) -> None:
        if not message.payload:
            self._clear(address, message.topic)
            return
        if message.payload == self._shelf.payload(message.topic):
            return  # Our own voice.
        found = judgement.read(message.payload)
        status = found.get("status", "init") if isinstance(found, dict) else None
        if isinstance(found, Verdict):
            self._refuse(address, message.payload, found)
        elif status == "init":
            self._cleared.pop(message.topic, None)
            body = judgement.body_of(found)
            self._commands.receive(Order(address.type, address.id, body, "remote", message.retain))
            self._shelf.renew(message.topic)  # The answer may be the same as before.
        elif message.topic in self._cleared:
            self._shelf.clear(message.topic)
        elif status not in tuple(FINAL):
            self._orphan(address, found)

    def _heard_group(self, message: Incoming) -> bool:
        address = self._topics.parse(message.topic)
        if address is None or address.kind != "group-command":
            self.dropped += 1
            return True
        found = judgement.read(message.payload) if message.payload else {"status": "cleared"}
        if isinstance(found, Verdict):
            self.dropped += 1
        elif found.get("status", "init") == "init" and not self._settled(address.id):
            body = judgement.body_of(found)
            order = Order(address.type, address.id, body, "remote", message.retain, address.group)
            self._commands.receive(order)
        return True

    def _pressed(self, message: Incoming) -> bool:
        address = self._topics.parse(message.topic)
        if address is None or address.kind != "button" or message.retain:
            # A retained press would be repeated at every connect.
            self.dropped += 1
            return True
        found = judgement.read(message.payload) if message.payload else {}
        id = f"do-{secrets.token_hex(6)}"
        stamp: dict[str, Any] = {"by": _BUTTON, "at": clock.rfc3339(clock.wall_ns())}
        order = Order(address.type, id, stamp, "button")
        if isinstance(found, Verdict):
            self._commands.answer(order, found)
        else:
            arguments = judgement.body_of(found)
            self._commands.receive(Order(address.type, id, {**arguments, **stamp}, "button"))
        return True

    def _refuse(self, address: Address, payload: bytes, verdict: Verdict) -> None:
        self.dropped += 1
        body = {"digest": judgement.digest_of(payload)}
        self._commands.answer(Order(address.type, address.id, body, "remote"), verdict)
        self._shelf.renew(self._topics.command(address.type, address.id))

    def _clear(self, address: Address, topic: str) -> None:
        """The requester has seen the answer."""
        self._shelf.forget(topic)
        self._cleared[topic] = None
        while len(self._cleared) > _CLEARED_KEPT:
            self._cleared.popitem(last=False)
        if self._answered.pop(address.id, None) is not None:
            self._commands.cleared(address.id)

    def _orphan(self, address: Address, found: dict[str, Any]) -> None:
        """A status that we did not publish in this life: of an id that the journal knows, or
        of a journal that is gone."""
        if address.id not in self._answered and self._known(address.id) is False:
            body = judgement.body_of(found)
            order = Order(address.type, address.id, body, "remote")
            detail = "this device no longer knows what became of it"
            self._commands.answer(order, Verdict("failed", "journal lost", detail))

    def _settled(self, id: str) -> bool:
        """Known, and its answer cleared: a group's topic may stay, ours must not come back."""
        return id not in self._answered and self._known(id) is not False

    def _known(self, id: str) -> bool | None:
        try:
            return self._commands.status(id) is not None
        except StoreError as error:
            log.warning("the journal can't be read: %s", error)
            return None

    # --- what goes out

    def _restore(self) -> None:
        for entry in self._commands.published():
            if not is_id(entry.type):
                continue  # Cancelled before it came: it has no topic yet.
            self._answered[entry.id] = entry.type
            if entry.by == _BUTTON:
                self._buttons[entry.type] = entry.id
            self._put(entry.type, entry.id, entry.status)

    def _publish(self, update: Update) -> None:
        """On whichever thread works."""
        if update.origin == "local" or not is_id(update.type):
            return
        if update.status.get("reason") == IN_USE and self._answered.get(update.id) == update.type:
            self._tell_rival(update)
            return
        self._answered[update.id] = update.type
        if update.origin == "button":
            self._replace_button(update)
        self._put(update.type, update.id, update.status)

    def _tell_rival(self, update: Update) -> None:
        """The topic is that of a command which is known: whoever asks for another one under its
        id hears the refusal, and what is retained there is the known one's answer again."""
        topic = self._topics.command(update.type, update.id)
        try:
            self._link.publish(topic, msgspec.json.encode(update.status))
        except Busy:
            log.warning("command %s: that its id is in use could not be told", update.id)
        self._shelf.renew(topic)

    def _replace_button(self, update: Update) -> None:
        last = self._buttons.get(update.type)
        self._buttons[update.type] = update.id
        if last is None or last == update.id:
            return
        self._answered.pop(last, None)
        self._shelf.clear(self._topics.command(update.type, last))
        self._commands.cleared(last)

    def _put(self, type: str, id: str, status: dict[str, Any]) -> None:
        payload = msgspec.json.encode(status)
        self._shelf.put(self._topics.command(type, id), payload, remember=False)
