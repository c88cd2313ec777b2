"""Gives devices the repository's files over MQTT (contract §7).

Requests are whole in themselves and nothing is kept between two, so any number of processes may
serve one fleet: they share the requests where the broker is proven to do that, else each takes
its part of the devices (``--partition``).
"""

from __future__ import annotations

import json
import logging
import os
import re
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty, Full, Queue

import msgspec
from msgspec.structs import replace

from edgeagent.errors import Busy
from edgeagent.fleet.intake import Partition
from edgeagent.fleet.repository.index import Held, Index
from edgeagent.fleet.sharing import SharedLink, own_topics, proven
from edgeagent.sync.endpoint import LinkSettings
from edgeagent.sync.port import Incoming
from edgeagent.sync.reasons import Reason
from edgeagent.update.fetch.mqtt import Request
from edgeagent.update.fetch.pace import LARGEST, SMALLEST

log = logging.getLogger(__name__)

MOST_REQUEST = 4096
MOST_COUNT = 256
_WAITING = 512
"""Requests in line; beyond it devices are told to come later."""
_UNDER_WAY = 64
"""Messages handed to the link and not yet written."""
_BUSY_S = 2.0
_TURN_S = 0.25
_DAY_S = 86_400.0
_RID = re.compile(r"[a-z0-9]{16}")


@dataclass(frozen=True, slots=True)
class ServeSettings:
    """What a server must know."""

    folder: Path
    """With ``metadata`` and ``targets``."""
    link: LinkSettings
    """Its ``client_id`` is made here."""
    prefix: str = "edgeagent"
    partition: Partition | None = None
    """None = share the requests where the broker does that."""
    rate: float = 0.0
    """Bytes a second for all devices together; 0 = without limit."""
    quota: int = 0
    """Bytes a device may have within a day of this process; 0 = without limit."""


@dataclass(slots=True)
class Figures:
    """Since the start."""

    requests: int = 0
    chunks: int = 0
    bytes: int = 0
    missing: int = 0
    """Requests for files that are not there: each refresh asks for the next root."""
    busy: int = 0
    refused: int = 0
    """Requests that were none."""
    devices: set[str] = field(default_factory=set)


class Server:
    """One process that serves. `run` blocks until `stop`."""

    def __init__(
        self, settings: ServeSettings, every: Callable[[], None] = lambda: None,
        every_s: float = 60.0,
    ) -> None:  # fmt: skip
        """``every`` is called each ``every_s`` seconds: renewing the timestamp, for one."""
        self.settings = settings
        self.figures = Figures()
        self._index = Index(settings.folder)
        self._partition = settings.partition or Partition()
        self._line: Queue[tuple[str, bytes]] = Queue(_WAITING)
        self._room = threading.Semaphore(_UNDER_WAY)
        self._stopping = threading.Event()
        self._own = own_topics(settings.prefix, settings.link)
        self._bucket = _Bucket(settings.rate)
        self._taken: dict[str, tuple[float, int]] = {}
        self._every, self._every_s = every, every_s
        self._link: SharedLink | None = None

    def stop(self) -> None:
        """Any thread, or a signal's handler."""
        self._stopping.set()

    def run(self, started: Callable[[str], None] = lambda _how: None) -> Figures:
        """Serve until stopped. ``started`` is told in words how."""
        topic = f"{self.settings.prefix}/+/fetch"
        name = f"serve-{secrets.token_hex(4)}"
        settings = replace(self.settings.link, client_id=name, session_expiry_s=0.0)
        sharing = self._shares(settings, name)
        link = self._link = SharedLink(
            settings, self._own.confirm, group="edgeagent-serve", split=(topic,), sharing=sharing
        )
        link.subscribe(topic, self._take)
        link.start()
        try:
            while not link.wait_up(_TURN_S):
                if self._stopping.is_set():
                    return self.figures
            started(self._how(sharing))
            self._work()
        finally:
            link.stop()
        return self.figures

    def _shares(self, settings: LinkSettings, name: str) -> bool:
        if self.settings.partition is not None:
            return False
        proof = self._own.command("proof", name)
        return proven(settings, self._own.confirm, proof, self._stopping.is_set)

    def _how(self, sharing: bool) -> str:
        if self.settings.partition is not None:
            return f"partition {self._partition.number}/{self._partition.count}"
        if sharing:
            return "sharing requests with others that serve"
        return "alone: this broker does not share subscriptions (see --partition)"

    # --- on the link's thread

    def _take(self, message: Incoming) -> bool:
        device = message.topic.split("/")[-2]
        if message.retain or len(message.payload) > MOST_REQUEST:
            self.figures.refused += 1
        elif device in self._partition:
            try:
                self._line.put_nowait((device, message.payload))
            except Full:
                self.figures.busy += 1  # It asks again by itself, after a while.
        return True

    # --- on the thread that works

    def _work(self) -> None:
        due = 0.0
        while not self._stopping.is_set():
            now = time.monotonic()
            if now >= due:
                due = now + self._every_s
                self._every()
            try:
                device, payload = self._line.get(timeout=_TURN_S)
            except Empty:
                continue
            request = _read(payload)
            if request is None:
                self.figures.refused += 1
            else:
                self._answer(device, request)

    def _answer(self, device: str, request: Request) -> None:
        self.figures.requests += 1
        self.figures.devices.add(device)
        held = self._index.find(request.path)
        topic = f"{self.settings.prefix}/{device}/fetch/{request.rid}"
        if held is None:
            self.figures.missing += 1
            self._inform(topic, error="not found")
            return
        wanted = [i for i in _wanted(request) if i * request.chunk < held.size]
        size = sum(min(request.chunk, held.size - i * request.chunk) for i in wanted)
        refusal = self._refusal(device, size)
        if refusal is not None:
            self.figures.busy += 1
            self._inform(topic, error=refusal[0], retry_s=round(refusal[1], 1))
            return
        self._inform(topic, size=held.size, sha256=held.sha256)
        self._send(topic, held, request.chunk, wanted)

    def _refusal(self, device: str, size: int) -> tuple[str, float] | None:
        now = time.monotonic()
        since, taken = self._taken.get(device, (now, 0))
        if now - since >= _DAY_S:
            since, taken = now, 0
        if self.settings.quota and taken + size > self.settings.quota:
            return "quota", since + _DAY_S - now
        wait = self._bucket.take(size, now)
        if wait:
            return "busy", wait
        self._taken[device] = (since, taken + size)
        return None

    def _send(self, topic: str, held: Held, chunk: int, wanted: list[int]) -> None:
        try:
            with held.file.open("rb") as stream:
                for index in wanted:
                    data = os.pread(stream.fileno(), chunk, index * chunk)
                    if not self._publish(f"{topic}/{index}", data):
                        return
                    self.figures.chunks += 1
                    self.figures.bytes += len(data)
        except OSError as error:
            log.error("%s can't be read: %s", held.file, error.strerror)

    def _inform(self, topic: str, **said: object) -> None:
        self._publish(f"{topic}/info", json.dumps(said, separators=(",", ":")).encode())

    def _publish(self, topic: str, payload: bytes) -> bool:
        """Hand over one message; waits for room, False where there is no link."""
        assert self._link is not None
        while not self._room.acquire(timeout=_TURN_S):
            if self._stopping.is_set() or self._link.state != "up":
                return False
        try:
            self._link.publish(topic, payload, 0, on_done=self._done)
        except Busy:
            self._room.release()
            return False
        return True

    def _done(self, _reason: Reason | None) -> None:
        self._room.release()


class _Bucket:
    """A rate for all, with a second's worth of burst."""

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._left = rate
        self._at = time.monotonic()

    def take(self, size: int, now: float) -> float:
        """0 = taken; else when to ask again."""
        if not self._rate:
            return 0.0
        self._left = min(self._rate, self._left + (now - self._at) * self._rate)
        self._at = now
        if self._left <= 0:
            return max(_BUSY_S, -self._left / self._rate)
        self._left -= size  # One answer may overdraw it: it is whole or none.
        return 0.0


def _read(payload: bytes) -> Request | None:
    """A request as devices may ask; None for anything else."""
    try:
        request = msgspec.json.decode(payload, type=Request)
        bitmap = bytes.fromhex(request.missing)
    except (msgspec.MsgspecError, UnicodeDecodeError, ValueError):
        return None
    whole = SMALLEST <= request.chunk <= LARGEST and request.chunk % SMALLEST == 0
    counted = 0 <= request.first < 1 << 31 and 1 <= request.count <= MOST_COUNT
    fits = len(bitmap) <= -(-request.count // 8)
    return request if whole and counted and fits and _RID.fullmatch(request.rid) else None


def _wanted(request: Request) -> list[int]:
    if not request.missing:
        return list(range(request.first, request.first + request.count))
    bits = int.from_bytes(bytes.fromhex(request.missing), "little")
    return [request.first + k for k in range(request.count) if bits >> k & 1]
