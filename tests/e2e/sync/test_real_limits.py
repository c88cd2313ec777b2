"""The traps of a real mosquitto: limits that break the connection instead of refusing."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgeagent.errors import NotFound
from edgeagent.store.outbox import Outbox
from edgeagent.store.settings import OutboxSettings
from edgeagent.sync.backoff import RANGES
from edgeagent.sync.endpoint import Endpoint, LinkSettings
from edgeagent.sync.link import Link
from edgeagent.sync.publisher import Publisher, PublisherSettings
from edgeagent.sync.suspects import Suspects
from edgeagent.sync.topics import Topics
from edgeagent.testing.broker import Mosquitto, find_mosquitto
from edgeagent.types import Draft

pytestmark = pytest.mark.broker

TOPICS = Topics("edgeagent", "d1")


@pytest.fixture
def outbox(tmp_path: Path) -> Iterator[Outbox]:
    settings = OutboxSettings(results_s=0.02)
    one = Outbox.open(tmp_path / "o", device="d1", settings=settings, boot="b" * 32, machine="m")
    yield one
    one.close()


@pytest.mark.parametrize(
    ("limit", "version", "reason"),
    [
        # Answered by a packet that the library can't read: an endless reconnect with paho alone.
        ("message_size_limit 3000", "5", "refused: breaks the connection"),
        # Announced in CONNACK, and not looked at by the library.
        ("max_packet_size 3000", "5", "refused: too large"),
        # Not announced: the broker hangs up.
        ("max_packet_size 3000", "3.1.1", "refused: breaks the connection"),
    ],
)
def test_a_record_over_the_limit_does_not_stop_the_rest(
    tmp_path: Path, outbox: Outbox, limit: str, version: str, reason: str
) -> None:
    try:
        find_mosquitto()
    except NotFound as error:
        pytest.skip(str(error))
    rng = random.Random(1)
    for n in range(60):
        size = 8000 if n == 30 else 40
        text = "".join(rng.choices("abcdefghijklmnopqrstuvwxyz0123456789", k=size))
        outbox.append(Draft("event", data={"phase": "new", "text": text}, event=f"{n}"))
    assert outbox.flush(10)
    with Mosquitto(tmp_path / "b", options=[limit]) as broker:
        quick = dict.fromkeys(RANGES, (0.02, 0.2))
        where = Endpoint("127.0.0.1", broker.port)
        settings = LinkSettings(TOPICS.client_id, (where,), version=version, ranges=quick)  # type: ignore[arg-type]
        link = Link(settings, TOPICS.echo)
        publisher = Publisher(
            link, outbox, PublisherSettings(TOPICS.records, "d1", max_message=2000)
        )
        publisher.suspects = Suspects(pause_s=0.1)
        link.board(publisher)
        outbox.on_commit(link.wake)
        link.start()
        try:
            deadline = time.monotonic() + 30
            while outbox.stats().pending:
                assert time.monotonic() < deadline, (outbox.stats(), link.last_error)
                time.sleep(0.02)
        finally:
            link.stop()
    stats = outbox.stats()
    assert stats.dropped == {reason: 1} and stats.dead_letters == 1
    assert stats.produced == stats.delivered + 1
