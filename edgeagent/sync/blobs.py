"""Sends the evidence of delivered records in chunks, when nothing more urgent is there.

Rides on the link's thread behind the publisher. One piece of evidence at a time, at most two
chunks under way. How a receiver puts them together is docs/adr/0008-blob-chunks.md: the index
in the topic is the offset in KiB, so the size of a chunk may change at any time, and does when
a broker's limit asks for it or a connection breaks over chunks again and again.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Protocol

from msgspec import Struct, field

from edgeagent.errors import Busy, NotFound, StoreError
from edgeagent.store.blobs import BlobToSend
from edgeagent.sync import reasons
from edgeagent.sync.budget import Budget
from edgeagent.sync.reasons import Reason
from edgeagent.sync.topics import Topics

if TYPE_CHECKING:
    from edgeagent.sync.uplink import Uplink

log = logging.getLogger(__name__)

UNIT = 1024
"""Bytes that an index counts."""
LARGEST = 32
"""Units in a chunk, at most."""
WINDOW = 2
_NOTE_AFTER = 256
"""Units acknowledged after which the place is written down: each note is a commit."""
_LOOK_AGAIN_S = 1.0
_FIRST_HOLD_S = 2.0
_LONGEST_HOLD_S = 300.0
_SUSPICIOUS_LOSSES = 3


class Evidence(Protocol):
    """What is needed of the outbox's shelf of evidence."""

    def next(self) -> BlobToSend | None: ...
    def read(self, sha256: str, index: int, chunk_bytes: int) -> bytes: ...
    def progress(self, sha256: str, next_index: int) -> None: ...
    def sent(self, sha256: str) -> None: ...
    def gone(self, sha256: str) -> None: ...


class _Sending(Struct):
    """One piece of evidence on its way. Places are in units."""

    blob: BlobToSend
    at: int
    """Where the next chunk begins."""
    acked: int
    """Everything before this place is acknowledged."""
    noted: int
    chunks: dict[int, int] = field(default_factory=dict)
    """Begin → end of chunks under way, or acknowledged before an earlier one."""
    done: set[int] = field(default_factory=set)
    """Of `chunks`, those acknowledged."""

    @property
    def end(self) -> int:
        return -(-self.blob.bytes // UNIT)


class Blobs:
    """Passenger of the link. ``busy`` tells whether live records wait or are under way."""

    def __init__(
        self, link: Uplink, evidence: Evidence, topics: Topics, *,
        busy: Callable[[], bool], max_message: int = 64 * 1024, budget: Budget | None = None,
    ) -> None:  # fmt: skip
        self._link = link
        self._evidence = evidence
        self._topics = topics
        self._busy = busy
        self._max_message = max_message
        self._budget = budget or Budget()
        self._overhead = len(topics.blob("0" * 64, 0)) + 100
        self._connected = False
        self._connection = 0
        self._sending: _Sending | None = None
        self._under_way = 0
        self._interrupted = 0
        """Chunks that the ending connection left without an answer."""
        self._largest = LARGEST
        self._losses = 0
        self._not_before = 0.0
        self._hold_s = 0.0
        self.blobs_sent = 0
        self.complaint: Reason | None = None
        """Why evidence can't be sent although the link is up."""

    # --- the link's calls

    def connected(self) -> None:
        self._connected = True
        self._connection += 1
        self._under_way = self._interrupted = 0
        self.complaint = None

    def disconnected(self, reason: Reason) -> None:
        self._connected = False
        if self._interrupted and reason.kind in ("network", "size", "protocol"):
            self._losses += 1
            if reason.kind != "network" or self._losses >= _SUSPICIOUS_LOSSES:
                self._smaller(reason)
        self._let_go()

    def turn(self, now: float) -> float:
        if not self._connected or now < self._not_before:
            return max(now + 0.01, self._not_before) if self._connected else now + _LOOK_AGAIN_S
        try:
            while self._under_way < self._window() and not self._busy():
                if not self._send_next(now):
                    break
        except StoreError as error:
            # The outbox repairs itself; the evidence is there or is told as lost.
            log.warning("evidence can't be read now: %s", error)
            self._sending = None
            self._not_before = now + _LOOK_AGAIN_S
        return max(now + _LOOK_AGAIN_S, self._not_before)

    def farewell(self) -> None:
        self._connected = False
        self._let_go()

    # --- sending

    def _window(self) -> int:
        return WINDOW if self._link.limits.receive_maximum > WINDOW + 1 else 1

    def _send_next(self, now: float) -> bool:
        """Send one chunk. False = nothing to send now. Raises StoreError."""
        sending = self._sending
        if sending is None:
            blob = self._evidence.next()
            if blob is None:
                # The question costs a query, and the link turns with every packet.
                self._not_before = now + _LOOK_AGAIN_S
                return False
            at = blob.next_index
            sending = self._sending = _Sending(blob, at, at, at)
            if at >= sending.end:
                self._finish(sending)
                return True
        if sending.at >= sending.end or not self._budget.open("evidence"):
            return False
        return self._send(sending)

    def _send(self, sending: _Sending) -> bool:
        at, size = sending.at, self._size(sending.at)
        sha256 = sending.blob.sha256
        try:
            data = self._evidence.read(sha256, at // size, size * UNIT)
            whole = min(size * UNIT, sending.blob.bytes - at * UNIT)
            if len(data) != whole:
                raise NotFound(f"evidence {sha256} is {len(data) - whole} bytes off")
        except NotFound as error:
            # Dropped for want of room, or the file was damaged by others: a record says so.
            log.warning("%s", error)
            self._evidence.gone(sha256)
            self._sending = None
            return True
        end = min(at + size, sending.end)
        sending.at, sending.chunks[at] = end, end
        self._under_way += 1
        told = partial(self._done, sending, at, self._connection)
        try:
            self._link.publish(self._topics.blob(sha256, at), data, on_done=told)
        except Busy:
            told(reasons.CROWDED)
        return True

    def _size(self, at: int) -> int:
        """Units of the chunk that begins at ``at``: a power of two that divides ``at``."""
        packet = min(self._link.limits.maximum_packet, self._budget.left("evidence"))
        room = min(self._max_message, packet - self._overhead) // UNIT
        allowed = max(1, min(self._largest, room))
        size = 1 << (allowed.bit_length() - 1)
        return min(size, at & -at) if at else size

    # --- what became of it

    def _done(self, sending: _Sending, at: int, connection: int, reason: Reason | None) -> None:
        if connection != self._connection:
            return
        self._under_way -= 1
        if reason is None:
            self._losses, self._hold_s, self.complaint = 0, 0.0, None
            self._acknowledged(sending, at)
        elif self._connected and self._link.state == "up":
            self._refused(sending, at, reason)
        else:
            self._interrupted += 1

    def _acknowledged(self, sending: _Sending, at: int) -> None:
        sending.done.add(at)
        while sending.acked in sending.done and sending.acked in sending.chunks:
            sending.done.discard(sending.acked)
            sending.acked = sending.chunks.pop(sending.acked)
        if sending is not self._sending:
            return
        if sending.acked >= sending.end:
            self.blobs_sent += 1
            self._finish(sending)
        elif sending.acked - sending.noted >= _NOTE_AFTER:
            self._note(sending)

    def _refused(self, sending: _Sending, at: int, reason: Reason) -> None:
        sending.at = min(sending.at, at)
        sending.chunks.pop(at, None)
        if reason.kind == "size" and self._size(at) > 1:
            self._largest = self._size(at) // 2
        else:
            self._hold(reason)

    def _smaller(self, reason: Reason) -> None:
        if self._largest > 1:
            self._largest //= 2
        else:
            self._hold(reason)

    def _hold(self, reason: Reason) -> None:
        self._hold_s = min(_LONGEST_HOLD_S, 2 * self._hold_s) if self._hold_s else _FIRST_HOLD_S
        self._not_before = time.monotonic() + self._hold_s
        text = f"evidence is held back: {reason.sentence}"
        self.complaint = Reason(reason.kind, text, reason.advice, reason.code)

    def _finish(self, sending: _Sending) -> None:
        self._evidence.sent(sending.blob.sha256)
        self._sending = None

    def _note(self, sending: _Sending) -> None:
        sending.noted = sending.acked
        self._evidence.progress(sending.blob.sha256, sending.acked)

    def _let_go(self) -> None:
        """Begin again, later, where acknowledgements had reached."""
        sending, self._sending = self._sending, None
        if sending is not None and sending.acked > sending.noted:
            self._note(sending)
