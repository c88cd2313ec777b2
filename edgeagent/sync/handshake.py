"""From CONNACK to a link that is proven: subscribe, then hear our own echo.

The nonce travels to the broker and back on this device's command topic. It shows that we may
publish there, that the subscription delivers, and that everything the broker had retained for
us has been handed over before (a broker sends in order). Without it the link still comes up:
records may well go out while commands can't come in. But it says so.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Literal

from edgeagent.sync import reasons
from edgeagent.sync.outgoing import Outgoing
from edgeagent.sync.port import Message
from edgeagent.sync.reasons import Reason
from edgeagent.sync.subscriptions import Subscriptions
from edgeagent.sync.wire import Connack, Suback, Wire

Phase = Literal["connack", "suback", "echo", "up"]

AGAIN_S = 60.0
"""How often a failed echo is tried again on a connection that holds."""


_ASK_S = 2.0
"""After so long a refused topic is asked for again; each time twice as long, up to `AGAIN_S`."""


class Handshake:
    """The opening of one connection."""

    def __init__(
        self,
        subscriptions: Subscriptions,
        outgoing: Outgoing,
        echo: Callable[[str], str],
        *,
        answer_s: float,
        now: float,
    ) -> None:
        self.phase: Phase = "connack"
        self.due = now + answer_s
        self._subscriptions = subscriptions
        self._outgoing = outgoing
        self._echo = echo
        self._answer_s = answer_s
        self._asked: dict[int, tuple[str, ...]] = {}
        self._subscribed: set[str] = set()
        self._nonce = ""
        self._tell: Callable[[Reason | None], None] = _nobody
        """Who waits for the present echo."""
        self._lacks: list[Reason] = []
        self._refused: dict[str, Reason] = {}
        """Topics that the broker does not let us have, now."""
        self._ask_at, self._ask_s = float("inf"), _ASK_S
        self._proof: Reason | None = None
        """Why the echo failed; None while it is awaited or once it was heard."""

    def accepted(self, answer: Connack, wire: Wire, now: float) -> None:
        """CONNACK has come: ask for the topics."""
        limits = self._outgoing.limits = answer.limits
        if not limits.retain:
            self._lacks.append(reasons.of_code(0x9A))
        if not limits.qos_1:
            self._lacks.append(reasons.of_code(0x9B))
        filters = self._subscriptions.filters
        probe = self._echo("probe")
        if not self._subscriptions.covers(probe):
            filters = (*filters, probe.removesuffix("probe") + "+")
        self.subscribe(filters, wire)
        self.phase, self.due = "suback", now + self._answer_s

    def subscribe(self, filters: tuple[str, ...], wire: Wire) -> None:
        """Ask for topics, each once on this connection."""
        new = tuple(pattern for pattern in filters if pattern not in self._subscribed)
        if new:
            self._subscribed.update(new)
            wanted = [(pattern, self._subscriptions.qos(pattern)) for pattern in new]
            self._asked[wire.subscribe(wanted)] = new

    def unsubscribe(self, pattern: str, wire: Wire) -> None:
        """Give a topic up."""
        self._subscribed.discard(pattern)
        self._refused.pop(pattern, None)
        wire.unsubscribe((pattern,))

    def granted(self, answer: Suback, now: float) -> None:
        """SUBACK has come: note what was refused, and send the echo if this was the opening."""
        healed = False
        for pattern, code in zip(self._asked.pop(answer.mid, ()), answer.codes, strict=False):
            if code >= 0x80:
                sentence = f"the broker does not let this device subscribe to {pattern}"
                advice = reasons.of_code(0x87).advice
                self._refused[pattern] = Reason("denied", sentence, advice, code)
                self._subscribed.discard(pattern)
            else:
                healed |= self._refused.pop(pattern, None) is not None
        if self._refused and self._ask_at == float("inf"):
            self._ask_at = now + self._ask_s
            self._ask_s = min(AGAIN_S, 2 * self._ask_s)
        if healed and self._proof is not None:
            self._send_echo(now)  # What it lacked may have been this topic.
        if self.phase == "suback" and not self._asked:
            self.phase = "echo"
            self._send_echo(now)

    def ask_again(self, now: float, wire: Wire) -> None:
        """Ask for what was refused. Rules may have been changed; and a cluster that has lost a node
        refuses for as long as it elects another leader (NATS)."""
        if now >= self._ask_at and self.phase == "up":
            self._ask_at = float("inf")
            self.subscribe(tuple(self._refused), wire)

    def heard(self, topic: str, payload: bytes) -> None:
        """A message came on one of the echo's topics."""
        if self._nonce and topic == self._echo(self._nonce) and payload == _said(self._nonce):
            self._nonce, self._proof, self.phase = "", None, "up"
            self.due = float("inf")
            self._answered(None)

    def overdue(self, now: float) -> Reason | None:
        """Act on a deadline. A reason means that the connection is not worth keeping."""
        if now < self.due:
            return None
        if self.phase in ("connack", "suback"):
            return reasons.SILENT
        if self._nonce:
            self._fail(ECHO_LOST, now)
        else:
            self._send_echo(now)
        return None

    def again(self, now: float, tell: Callable[[Reason | None], None]) -> None:
        """Have the topics proven once more; ``tell`` is given what is wrong, or None."""
        if self.phase != "up":
            tell(reasons.DOWN)
            return
        self._tell = tell
        self._send_echo(now)

    @property
    def proven(self) -> bool:
        """Our own echo was heard on this connection."""
        return self.phase == "up" and self._proof is None

    @property
    def complaints(self) -> list[Reason]:
        """What does not work although the connection stands."""
        return [
            *self._lacks,
            *self._refused.values(),
            *([self._proof] if self._proof is not None else []),
        ]

    def _send_echo(self, now: float) -> None:
        nonce = self._nonce = secrets.token_hex(8)
        self.due = now + self._answer_s

        def acknowledged(reason: Reason | None) -> None:
            if reason is not None and reason.code >= 0x80 and nonce == self._nonce:
                self._fail(reason, now)

        topic = self._echo(nonce)
        self._outgoing.offer(Message(topic, _said(nonce), on_done=acknowledged))

    def _fail(self, reason: Reason, now: float) -> None:
        sentence = f"topics not proven: {reason.sentence}"
        self._proof = Reason("denied", sentence, reason.advice or ECHO_LOST.advice, reason.code)
        self._nonce, self.phase, self.due = "", "up", now + AGAIN_S
        self._answered(self._proof)

    def _answered(self, reason: Reason | None) -> None:
        tell, self._tell = self._tell, _nobody
        tell(reason)


def _nobody(_reason: Reason | None) -> None:
    """Nobody asked for this echo."""


def _said(nonce: str) -> bytes:
    """JSON, like everything on the command topics."""
    return b'{"echo":"%s"}' % nonce.encode()


ECHO_LOST = Reason(
    "denied",
    "what this device publishes on its own command topic does not come back",
    "Allow it to publish {prefix}/{device}/# and to subscribe {prefix}/{device}/cmd/# "
    "(packaging/mosquitto/acl), and check that no other client clears the topic.",
)
