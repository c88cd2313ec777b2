"""A broker is killed under many devices and comes back: they return spread out, and all of them.

Real links with their real pauses on a real mosquitto. The figures are printed (``-s``).
"""

from __future__ import annotations

import os
import statistics
import threading
import time
from pathlib import Path

import pytest

from edgeagent.errors import NotFound
from edgeagent.sync.endpoint import Endpoint, LinkSettings
from edgeagent.sync.link import Link
from edgeagent.sync.reasons import Reason
from edgeagent.sync.topics import Topics
from edgeagent.testing.broker import Mosquitto

pytestmark = [pytest.mark.broker, pytest.mark.slow]

FULL = os.environ.get("EDGEAGENT_TESTS") == "full"
DEVICES = 200 if FULL else 100
DOWN_S = 4.0


class Arrival:
    """A passenger that notes when its link came up."""

    def __init__(self, done: threading.Semaphore) -> None:
        self.at: list[float] = []
        self._done = done

    def connected(self) -> None:
        self.at.append(time.monotonic())
        self._done.release()

    def disconnected(self, _reason: Reason) -> None:
        """Only arrivals count."""

    def turn(self, now: float) -> float:
        return now + 5.0

    def farewell(self) -> None:
        """Nothing to say."""


def all_of(done: threading.Semaphore, timeout_s: float) -> None:
    end = time.monotonic() + timeout_s
    for count in range(DEVICES):
        assert done.acquire(timeout=max(0.0, end - time.monotonic())), f"{count} came"


@pytest.mark.usefixtures("in_full")
def test_a_fleet_returns_spread_out(tmp_path: Path) -> None:
    broker = Mosquitto(tmp_path / "broker")
    try:
        broker.start()
    except NotFound as error:
        pytest.skip(f"{error} ({error.remedy})")
    done = threading.Semaphore(0)
    arrivals = [Arrival(done) for _ in range(DEVICES)]
    links: list[Link] = []
    try:
        for number, arrival in enumerate(arrivals):
            topics = Topics("edgeagent", f"d{number}")
            where = (Endpoint("127.0.0.1", broker.port),)
            link = Link(LinkSettings(topics.client_id, where), topics.echo)
            link.board(arrival)
            link.start()
            links.append(link)
        all_of(done, 60)
        broker.kill()
        killed = time.monotonic()
        time.sleep(DOWN_S)  # What is measured: how long nobody could connect.
        broker.start()
        back = time.monotonic()
        all_of(done, 60)
    finally:
        for link in links:
            link.stop()
        broker.kill()
    after = sorted(arrival.at[1] - back for arrival in arrivals)
    tenths = [0] * (int(after[-1] * 10) + 1)
    for at in after:
        tenths[int(at * 10)] += 1
    quartiles = statistics.quantiles(after, n=4)
    print(
        f"\n{DEVICES} devices, broker down for {back - killed:.1f} s: back after "
        f"{after[0]:.2f} s (first), {quartiles[0]:.2f}, {quartiles[1]:.2f}, {quartiles[2]:.2f} s "
        f"(quartiles), {after[-1]:.2f} s (last); most in a tenth of a second: {max(tenths)}"
    )
    assert all(link.counters.connects == 2 for link in links)
    # The pause after four seconds of failures lies within 0.2 × and 1 × of 2 to 8 s: no tenth of
    # a second may see a fifth of the fleet, and nobody may be forgotten for long.
    assert max(tenths) <= DEVICES / 5, tenths
    assert quartiles[2] - quartiles[0] > 0.4, quartiles
    assert after[-1] < DOWN_S * 2 + 8
