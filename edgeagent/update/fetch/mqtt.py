"""The repository over MQTT (contract §7): asked for in chunks, in a window, again where needed.

One thread works a transfer; answers come on the link's thread and are only put in line here.
Everything is QoS 0: what does not come is asked for again, which costs no more than QoS 1 and
can't fill a broker. Requests are whole in themselves, so it does not matter which of several
servers answers one, nor that it has been restarted.
"""

from __future__ import annotations

import secrets
import string
import time
from collections import deque
from collections.abc import Callable
from queue import Empty, SimpleQueue
from threading import Event

import msgspec
from msgspec import Struct

from edgeagent.errors import Busy, LinkDown, NotFound, Unavailable, Untrusted
from edgeagent.update.fetch.pace import LARGEST, SMALLEST, Pace
from edgeagent.update.fetch.part import Buffer
from edgeagent.update.fetch.pieces import UNIT
from edgeagent.update.fetch.port import Exchange, Sink, checked, stop

SILENCE_S = 90.0
"""Without an answer (or a connection) for so long a transfer ends; it is resumed one day."""
_LONGEST_RETRY_S = 60.0
_LOOK_S = 0.25
_LETTERS = string.ascii_lowercase + string.digits
_AROUND = 512
_MOST_WAITING = 4 << 20
_MOST_ASKED = 256
"""Chunks in one request."""


class Request(Struct, frozen=True):
    """What a device asks on ``fetch``."""

    rid: str
    path: str
    chunk: int
    first: int
    count: int
    missing: str = ""
    """Hex bitmap of the chunks wanted, bit k = chunk first+k; empty = all of them."""


class Info(Struct, frozen=True):
    """What each request is answered by first."""

    size: int = -1
    sha256: str = ""
    error: str = ""
    retry_s: float = 0.0


class MqttCarrier:
    """A `Carrier` over the fetch topics."""

    name = "MQTT"

    def __init__(
        self, exchange: Exchange, pace: Pace | None = None, *, silence_s: float = SILENCE_S
    ) -> None:
        self._exchange = exchange
        self.pace = pace or Pace()
        self.silence_s = silence_s
        self.requests = 0
        self.repeated = 0
        """Chunks that came although they were here."""

    def read(self, path: str, most: int, stopped: Event) -> bytes | None:
        def make(info: Info) -> Sink:
            if info.size > most:
                raise Untrusted(f"{path}: {info.size} bytes are offered, at most {most} can be")
            return Buffer(info.size, info.sha256)

        try:
            sink = self._transfer(path, None, make, stopped)
        except NotFound:
            return None
        assert isinstance(sink, Buffer)
        return bytes(sink.data)

    def bring(self, path: str, sink: Sink, stopped: Event) -> None:
        self._transfer(path, sink, None, stopped)

    def close(self) -> None:
        """The link is not ours."""

    def _transfer(
        self, path: str, sink: Sink | None, make: Callable[[Info], Sink] | None, stopped: Event
    ) -> Sink:
        if sink is not None and sink.pieces.complete:
            return sink
        checked(path)
        while True:
            work = _Transfer(self, path, sink, make, stopped)
            end = self._exchange.listen(work.rid, work.take)
            try:
                sink = work.run()
            finally:
                end()
            if sink.pieces.complete:
                return sink  # Else the chunks' size no longer suits the link: go on with another.


class _Transfer:
    """One rid: one file at one size of chunk."""

    def __init__(
        self, carrier: MqttCarrier, path: str, sink: Sink | None,
        make: Callable[[Info], Sink] | None, stopped: Event,
    ) -> None:  # fmt: skip
        self.rid = "".join(secrets.choice(_LETTERS) for _ in range(16))
        self._carrier = carrier
        self._exchange = carrier._exchange
        self._pace = carrier.pace
        self._path = path
        self._sink = sink
        self._make = make
        self._stopped = stopped
        self._chunk = self._size_of_chunk()
        self._line: SimpleQueue[tuple[float, str, bytes]] = SimpleQueue()
        self._put = self._got = 0
        """Bytes that were put in line and taken from it, each counted by one thread."""
        self._asked: dict[int, tuple[float, float]] = {}
        """Chunk under way → when it was asked for, and when it is overdue."""
        self._unanswered: deque[float] = deque()
        """When the requests were sent whose `Info` has not come, in their order."""
        self._heard_at = time.monotonic()
        self._not_before = 0.0
        self._failures = 0
        self._next = 0
        self._sha256 = sink.sha256 if sink is not None else ""

    # --- on the link's thread

    def take(self, name: str, payload: bytes) -> None:
        # Who floods us gets nothing kept beyond what can be of use.
        if len(payload) <= LARGEST and self._put - self._got < _MOST_WAITING:
            self._put += len(payload) + UNIT
            self._line.put((time.monotonic(), name, payload))

    # --- on the thread that works

    def run(self) -> Sink:
        """Until the file is whole, or its chunks should have another size."""
        while self._sink is None or not self._sink.pieces.complete:
            stop(self._stopped)
            now = time.monotonic()
            self._give_up(now)
            self._expire(now)
            if self._sink is None or self._fits():
                self._ask(now)
            elif not self._asked:
                return self._sink
            self._receive()
        return self._sink

    def _fits(self) -> bool:
        """Whether the size of chunks still suits link and budget: another costs a round trip."""
        better = self._size_of_chunk()
        return self._chunk // 2 <= better <= self._chunk * 2 and self._left() >= self._chunk

    def _receive(self) -> None:
        """Wait for answers, and take those that are there."""
        timeout = self._timeout(time.monotonic())
        try:
            item = self._line.get(timeout=timeout)
        except Empty:
            if self._sink is not None:
                self._sink.pause()
            return
        while True:
            self._answer(*item)
            try:
                item = self._line.get_nowait()
            except Empty:
                return

    def _timeout(self, now: float) -> float:
        dues = [due for _, due in self._asked.values()]
        if self._unanswered and not dues:
            dues = [self._unanswered[0] + self._pace.patience(0, self._failures)]
        if self._not_before > now:
            dues.append(self._not_before)
        return max(0.001, min([_LOOK_S, *(due - now for due in dues)]))

    def _answer(self, at: float, name: str, payload: bytes) -> None:
        self._got += len(payload) + UNIT
        if not name:
            self._renew(at)
        elif name == "info":
            self._inform(at, payload)
        elif name.isdecimal() and len(name) < 10:
            self._keep(at, int(name), payload)

    def _inform(self, at: float, payload: bytes) -> None:
        try:
            info = msgspec.json.decode(payload, type=Info)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            return
        self._heard_at = at
        if self._unanswered:
            self._pace.answered(at - self._unanswered.popleft())
        if info.error:
            self._refused(at, info)
            return
        self._failures = 0
        if info.size < 0 or (self._sha256 and info.sha256 != self._sha256):
            self._other(info)
        if self._sink is None:
            assert self._make is not None
            self._sink = self._make(info)
            self._sha256 = info.sha256
            self._asked = {
                index: when for index, when in self._asked.items()
                if self._sink.pieces.length(index, self._chunk)
            }  # fmt: skip
        elif info.size != self._sink.pieces.size:
            self._other(info)

    def _other(self, info: Info) -> None:
        if self._make is not None:
            # Metadata that was renewed in the meantime: next time it is of one piece again.
            raise Unavailable(f"{self._path} has changed while it was read")
        raise Untrusted(
            f"{self._path}: the repository offers another file than the signed one "
            f"({info.size} bytes, sha256 {info.sha256[:12]}…)"
        )

    def _refused(self, at: float, info: Info) -> None:
        if info.error == "not found":
            raise NotFound(f"the repository has no file {self._path}")
        self._asked.clear()
        wait = max(0.1, info.retry_s)
        if info.error == "quota" or wait > _LONGEST_RETRY_S:
            raise Busy(
                f"the repository gives this device no more for now ({info.error[:40]}); "
                f"again in {wait:.0f} s"
            )
        self._not_before = at + wait

    def _keep(self, at: float, index: int, payload: bytes) -> None:
        sink, asked = self._sink, self._asked.pop(index, None)
        if sink is None or len(payload) != sink.pieces.length(index, self._chunk):
            return
        self._heard_at, self._failures = at, 0
        if asked is not None:
            self._pace.arrived(at, len(payload), asked[0])
            self._not_awaited(asked[0])  # Its answer went before it: it came, or is lost.
        if sink.pieces.has(index, self._chunk):
            self._carrier.repeated += 1
        else:
            sink.put(index * self._chunk, payload)

    def _renew(self, at: float) -> None:
        """A new connection: nothing of what was asked for will come."""
        self._pace.lost()
        self._asked.clear()
        self._unanswered.clear()
        self._heard_at = at
        self._next = 0

    def _expire(self, now: float) -> None:
        late = [index for index, (_, due) in self._asked.items() if due <= now]
        silent = (
            bool(self._unanswered)
            and now >= self._unanswered[0] + self._pace.patience(0, self._failures)
            and not self._asked
        )
        if late or silent:
            self._failures += 1
            self._not_awaited(max((self._asked[index][0] for index in late), default=now))
            self._next = 0
            for index in late:
                del self._asked[index]

    def _not_awaited(self, until: float) -> None:
        """Of requests sent up to then no first answer is expected any more."""
        while self._unanswered and self._unanswered[0] <= until:
            self._unanswered.popleft()

    def _give_up(self, now: float) -> None:
        if now - self._heard_at < self._carrier.silence_s:
            return
        held = self._exchange.held()
        if held:
            raise Busy(f"the transfer waits: {held}")
        if not self._exchange.up:
            raise LinkDown("the link was lost in the middle of a transfer, which goes on later")
        raise Unavailable(
            "the repository does not answer over MQTT",
            remedy="See that `edgeagent fleet serve` runs, and that this device may write its "
            "fetch topic.",
        )

    # --- asking

    def _ask(self, now: float) -> None:
        if now < self._not_before or not self._exchange.up:
            return
        room = self._room(now)
        if room < self._chunk:
            return
        wanted = self._wanted(room)
        if not wanted:
            self._next = 0  # What was given up before it is looked for from the beginning.
            return
        first, count = wanted[0], wanted[-1] - wanted[0] + 1
        bits = sum(1 << (index - first) for index in wanted)
        whole = len(wanted) == count
        missing = "" if whole else bits.to_bytes(-(-count // 8), "little").hex()
        request = Request(self.rid, self._path, self._chunk, first, count, missing)
        if not self._exchange.ask(msgspec.json.encode(request)):
            return
        self._carrier.requests += 1
        self._unanswered.append(now)
        ahead = len(self._asked) * self._chunk
        for index in wanted:
            ahead += self._chunk
            self._asked[index] = (now, now + self._pace.patience(ahead, self._failures))
        self._pace.took(len(wanted) * self._chunk)
        self._next = wanted[-1] + 1

    def _room(self, now: float) -> int:
        """Bytes that may be asked for now."""
        window = self._pace.window
        under_way = len(self._asked) * self._chunk
        if under_way > window - self._pace.portion or (self._sink is None and self._asked):
            return 0
        left = self._left() - under_way
        room = min(window - under_way, left, self._pace.allowance(now))
        # Nothing under way: one chunk may always be asked for, unless the budget forbids it.
        return max(room, min(self._chunk, left)) if not under_way and room > 0 else room

    def _wanted(self, room: int) -> list[int]:
        """The next chunks that are missing and not under way."""
        most = min(_MOST_ASKED, max(1, room // self._chunk))
        if self._sink is None:
            return list(range(most))
        found: list[int] = []
        for index in self._sink.pieces.lacking(self._chunk, self._next):
            if index in self._asked:
                continue
            if found and index - found[0] >= _MOST_ASKED:
                break
            found.append(index)
            if len(found) >= most:
                break
        return found

    def _left(self) -> int:
        """Bytes of chunks that the budget allows, besides what is around them."""
        return int(0.9 * self._exchange.left()) - _AROUND

    def _size_of_chunk(self) -> int:
        most = min(self._pace.chunk, self._exchange.largest, self._left())
        return max(SMALLEST, 1 << (max(1, most).bit_length() - 1))
