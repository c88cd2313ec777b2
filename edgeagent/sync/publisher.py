"""Takes batches from the outbox to the broker and brings back what became of them.

Rides on the link's thread. At most ``window`` messages are under way; which lane comes next is
the outbox's affair. Every batch is handed back exactly once: delivered, refused or released.

A broker that breaks the connection over a message, instead of refusing it, would do so for
ever (mosquitto's ``message_size_limit``, ``max_packet_size`` on 3.1.1). So losses with records
under way and none delivered since make the publisher careful: smaller batches, one at a time,
until the culprit stands alone and `suspects` can judge it.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Protocol

from msgspec import Struct, field
from msgspec.structs import replace

from edgeagent.config.units import seconds, size_bytes
from edgeagent.errors import Busy, StoreError
from edgeagent.store.batch import Batch, Lane
from edgeagent.store.encode import URGENT, kind_of
from edgeagent.sync import envelope, reasons
from edgeagent.sync.budget import Budget
from edgeagent.sync.envelope import Encoding
from edgeagent.sync.port import AROUND
from edgeagent.sync.press import Press, Pressed
from edgeagent.sync.reach import Reach
from edgeagent.sync.reasons import Reason
from edgeagent.sync.suspects import Suspects

if TYPE_CHECKING:
    from edgeagent.config.model import Sync
    from edgeagent.sync.uplink import Uplink

log = logging.getLogger(__name__)

_LOOK_AGAIN_S = 1.0
"""How often an idle publisher asks the outbox, whatever it was told (re-sends fall due)."""
_RECORDS_BY_CARE = (1000, 32, 4, 1)
_MOST_CARE = len(_RECORDS_BY_CARE) - 1
_RELAX_AFTER = 25
"""Messages delivered in a row after which care is lowered by one step."""
_SUSPICIOUS_LOSSES = 3
_WORTH_PRESSING = 16 * 1024
_PRESSED_MAX = 2
"""Batches that wait, encoded or nearly, for a place in the window."""
_NEW = b'"phase":"new"'
"""In the first record of each event, and nowhere else: within texts quotes are escaped."""


class Records(Protocol):
    """What the publisher needs of the outbox."""

    def connected(self) -> None: ...
    def pending(self, lane: Lane, *, max_bytes: int, max_records: int = 1000) -> Batch | None: ...
    def next_batch(self, *, max_bytes: int, max_records: int = 1000) -> Batch | None: ...
    def urgent(self, *, max_bytes: int, max_records: int = 1000) -> Batch | None: ...
    def delivered(self, batch: Batch) -> None: ...
    def refused(self, batch: Batch, reason: str) -> None: ...
    def release(self, batch: Batch) -> None: ...


class PublisherSettings(Struct, frozen=True):
    """Sizes in bytes, durations in seconds."""

    topic: str
    device: str
    encoding: Encoding = field(default_factory=Encoding)
    max_message: int = 64 * 1024
    window: int = 20
    linger_s: float = 0.2
    first_hold_s: float = 1.0
    """Pause after the broker said "not now" or "not you"; doubles up to `longest_hold_s`."""
    longest_hold_s: float = 120.0

    @classmethod
    def of(cls, sync: Sync, *, topic: str, device: str) -> PublisherSettings:
        return cls(
            topic=topic,
            device=device,
            encoding=Encoding(sync.encoding, sync.compression),
            max_message=size_bytes(sync.max_message),
            window=sync.window,
            linger_s=seconds(sync.linger),
        )


class Publisher:
    """Passenger of the link that empties the outbox."""

    def __init__(
        self, link: Uplink, outbox: Records, settings: PublisherSettings,
        budget: Budget | None = None,
    ) -> None:  # fmt: skip
        self._link = link
        self._budget = budget or Budget()
        self._wanted = 0
        """Bytes of the batch that the budget had no room for; 0 = there was room."""
        self._outbox = outbox
        self._settings = settings
        self.suspects = Suspects()
        self._press = Press(settings.encoding, settings.device, link.wake)
        self._pressed: deque[Pressed] = deque()
        """Of the backlog, ascending: taken, not under way yet."""
        self._reach = Reach(settings.window)
        self._again: deque[Batch] = deque()
        """Parts of a batch that must be sent in smaller messages."""
        self._lost: list[Batch] = []
        """Without an answer from the connection that is just ending."""
        self._under_way = 0
        self._live_under_way = 0
        self._connected = False
        self._not_before = 0.0
        self._hold_s = 0.0
        self._lingering_until = 0.0
        self._record_bytes = 100.0
        """Mean of the last batch."""
        self._care = 0
        """Index into `_RECORDS_BY_CARE`; above 0 the window is 1."""
        self._calm = 0
        """Messages delivered since care was raised or lowered."""
        self._losses = 0
        """Connections in a row that ended with records under way and none delivered."""
        self.records_delivered = 0
        self.records_refused = 0
        self.complaint: Reason | None = None
        """Why records can't be sent although the link is up."""

    # --- the link's calls

    def connected(self) -> None:
        self._outbox.connected()
        self._reach.begin()
        self._connected = True
        self._not_before = self._lingering_until = 0.0
        self.complaint = None

    def disconnected(self, reason: Reason) -> None:
        self._connected = False
        lost, self._lost = self._lost, []
        alone = self._care == _MOST_CARE and len(lost) == 1 and len(lost[0].seqs) == 1
        if lost and reason.kind in ("network", "size", "protocol"):
            self._become_careful(blunt=reason.kind != "network")
        if alone and reason.kind in ("network", "size", "protocol"):
            self._judge(lost.pop(), reason, certain=False)
        self._unpress()
        for batch in [*lost, *self._again]:
            self._give_back(batch)
        self._again.clear()

    def turn(self, now: float) -> float:
        if not self._connected:
            return now + _LOOK_AGAIN_S
        if now < self._not_before:
            return self._not_before
        try:
            self._fill_window(now)
        except StoreError as error:
            self._hold(Reason("busy", str(error), error.remedy))
            return self._not_before
        waits = [now + _LOOK_AGAIN_S, max(now + 0.01, self.suspects.due())]
        if self._lingering_until > now:
            waits.append(self._lingering_until)
        return min(waits)

    def farewell(self) -> None:
        self._connected = False
        self._unpress()
        for batch in [*self._again, *self.suspects.let_go()]:
            self._outbox.release(batch)
        self._again.clear()

    @property
    def busy(self) -> bool:
        """Live records are under way: whatever is less urgent waits. A backlog may take days, and
        shares the link with evidence."""
        return self._live_under_way > 0

    # --- sending

    def _fill_window(self, now: float) -> None:
        while self._under_way < self._window():
            room = self._under_way < self._reach.messages
            if room and self._pressed and (payload := self._pressed[0].result()) is not None:
                if not self._send(self._pressed.popleft().batch, payload):
                    return self._unpress()
                continue
            batch = self._next(now, old=room and len(self._pressed) < _PRESSED_MAX)
            if batch is None:
                return None
            if batch.lane == "backlog" and batch.size >= _WORTH_PRESSING and not self._care:
                self._pressed.append(self._press.begin(batch))
            elif not self._send(batch, self._encoded(batch)):
                return None
        return None

    def _encoded(self, batch: Batch) -> bytes:
        return self._settings.encoding.encode(batch, self._settings.device)

    def _unpress(self) -> None:
        """Give back what is not sent yet."""
        while self._pressed:
            self._give_back(self._pressed.popleft().batch)

    def _window(self) -> int:
        # One place is left to status and commands, where the broker allows two at all.
        allowed = max(1, self._link.limits.receive_maximum - 1)
        return 1 if self._care else min(self._settings.window, allowed)

    def _largest(self, left: int) -> int:
        """Bytes of records in a message, of which ``left`` bytes may be sent."""
        around = len(self._settings.topic) + 100
        packet = min(self._link.limits.maximum_packet, left) - around
        return max(256, min(self._settings.max_message, packet) - envelope.OVERHEAD_BYTES)

    def _next(self, now: float, *, old: bool) -> Batch | None:
        """``old``: whether there is room for more than live records."""
        left, all_kinds = self._left()
        if not left:
            return None
        if self._again:
            return self._again.popleft()
        suspect = self.suspects.next(now)
        if suspect is not None:
            return suspect
        if self.suspects.full:
            return None
        # Asking for as many as will fit keeps the outbox from reading rows that don't.
        largest = self._largest(left)
        fitting = int(largest / self._record_bytes * 1.1) + 2
        limits = {
            "max_bytes": largest,
            "max_records": min(fitting, _RECORDS_BY_CARE[self._care]),
        }
        if not all_kinds:
            return self._measured(self._outbox.urgent(**limits))
        if now < self._lingering_until:
            return self._measured(self._outbox.pending("backlog", **limits)) if old else None
        take = self._outbox.next_batch if old else partial(self._outbox.pending, "live")
        batch = self._measured(take(**limits))
        if batch is not None and batch.lane == "live" and batch.size < largest / 2:
            # The next ones wait for company, this one does not: an event after a quiet time
            # leaves at once, a stream of small ones leaves in batches.
            self._lingering_until = now + self._settings.linger_s
        return batch

    def _left(self) -> tuple[int, bool]:
        """Bytes that the budget allows, and whether for results too."""
        events, results = self._budget.left("events"), self._budget.left("results")
        if results > self._wanted:
            self._wanted = 0
        return (min(events, results), True) if results > self._wanted else (events, False)

    def _measured(self, batch: Batch | None) -> Batch | None:
        if batch is not None:
            self._record_bytes = batch.size / len(batch.seqs)
        return batch

    def _send(self, batch: Batch, payload: bytes) -> bool:
        """False = the budget has no room for this batch, which was given back."""
        count = len(payload) + len(self._settings.topic) + 2 * AROUND
        if not self._charge(batch, count):
            self._wanted = count
            self._give_back(batch)
            return False
        self._under_way += 1
        self._live_under_way += batch.lane == "live"
        try:
            self._link.publish(
                self._settings.topic,
                payload,
                on_done=partial(self._done, batch, time.monotonic()),
                content_type=self._settings.encoding.content_type,
                encoding=self._settings.encoding.name,
            )
        except Busy:
            self._done(batch, 0.0, reasons.CROWDED)
        return True

    def _charge(self, batch: Batch, count: int) -> bool:
        """Put a message of ``count`` bytes to the account of what is in it."""
        urgent: Sequence[bytes] | None = batch.urgent
        if urgent is None:
            urgent = [body for body in batch.bodies if kind_of(body) in URGENT]
        share = round(count * sum(map(len, urgent)) / sum(map(len, batch.bodies))) if urgent else 0
        events, results = self._budget.left("events"), self._budget.left("results")
        if share > events or count - share > results or count > max(events, results):
            return False
        begun = sum(_NEW in body for body in urgent)
        self._budget.charge("events", share, begun)
        self._budget.charge("results", count - share, len(batch.bodies) - len(urgent))
        return True

    # --- what became of it

    def _done(self, batch: Batch, sent: float, reason: Reason | None) -> None:
        self._under_way -= 1
        self._live_under_way -= batch.lane == "live"
        if reason is None:
            self._reach.answered(sent, time.monotonic())
            self._delivered(batch)
        elif self._connected and self._link.state == "up":
            self._refused(batch, reason)
        else:
            self._lost.append(batch)

    def _delivered(self, batch: Batch) -> None:
        self._outbox.delivered(batch)
        self.records_delivered += len(batch.seqs)
        self.complaint, self._hold_s, self._losses = None, 0.0, 0
        self.suspects.cleared(batch)
        if self._care:
            self._calm += 1
            if self._calm >= _RELAX_AFTER:
                self._care, self._calm = self._care - 1, 0

    def _refused(self, batch: Batch, reason: Reason) -> None:
        """The broker (or its announced limits) said no to this message."""
        single = len(batch.seqs) == 1
        if not single and reason.kind in ("size", "payload"):
            self._again.extendleft(reversed(batch.split()))
        elif reason.kind == "size":
            self._give_up(batch, "too large")
        elif reason.kind == "payload":
            self._judge(batch, reason, certain=True)
        else:
            # Our access, a quota, a busy broker: nothing that a record can be blamed for.
            self._give_back(batch)
            self._hold(reason)

    def _judge(self, batch: Batch, reason: Reason, *, certain: bool) -> None:
        now = time.monotonic()
        delivered = self.records_delivered
        verdict = self.suspects.strike(batch, certain=certain, delivered=delivered, now=now)
        if verdict == "dead":
            self._give_up(batch, "by the broker" if certain else "breaks the connection")
            log.error("record %d can't be delivered: %s", batch.first, reason.sentence)
        elif self.suspects.full:
            self._hold(reason)

    def _give_up(self, batch: Batch, reason: str) -> None:
        self.suspects.cleared(batch)
        self._outbox.refused(batch, reason)
        self.records_refused += len(batch.seqs)

    def _give_back(self, batch: Batch) -> None:
        if not self.suspects.interrupted(batch):
            self._outbox.release(batch)

    def _hold(self, reason: Reason) -> None:
        first, longest = self._settings.first_hold_s, self._settings.longest_hold_s
        self._hold_s = min(longest, 2 * self._hold_s) if self._hold_s else first
        self._not_before = time.monotonic() + self._hold_s
        self.complaint = replace(reason, sentence=f"records are held back: {reason.sentence}")

    def _become_careful(self, *, blunt: bool) -> None:
        """After a loss with records under way. ``blunt`` = the broker gave a reason that points
        at what we sent; a network may simply be bad, so that needs a row of losses."""
        self._losses += 1
        if blunt or self._losses >= _SUSPICIOUS_LOSSES:
            self._care = min(_MOST_CARE, self._care + (2 if blunt else 1))
            self._calm = 0
