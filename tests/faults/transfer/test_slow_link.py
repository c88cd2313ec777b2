"""A model over a link that is slow, far and breaks each minute, while people ask the device.

Reduced: a link ten times as fast and as near, which breaks each 6 s. ``EDGEAGENT_TESTS=full``
takes it as it is, 10 kB/s and two seconds there and back: ten minutes.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from edgeagent.testing.broker import Mosquitto
from edgeagent.testing.device import Device, Listener
from edgeagent.testing.proxy import Proxy
from edgeagent.update.fetch.mqtt import MqttCarrier
from edgeagent.update.fetch.part import Part

pytestmark = [pytest.mark.broker, pytest.mark.slow]


class Pings:
    """Asks the device again and again, straight at the broker; keeps how long answers took."""

    def __init__(self, port: int, device: Device, every_s: float) -> None:
        self.took: list[tuple[float, float, int]] = []
        """When asked, how long it took, and how many connections there had been by then."""
        self._device = device
        self._every_s = every_s
        self._listener = Listener(port, "edgeagent/d1/cmd/ping/+")
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(60)
        self._listener.client.loop_stop()

    def _run(self) -> None:
        number = 0
        while not self._stop.wait(self._every_s):
            number += 1
            topic, began = f"edgeagent/d1/cmd/ping/p{number}", time.monotonic()
            connects = self._device.link.counters.connects
            if self._device.link.state != "up":
                continue
            self._listener.client.publish(topic, json.dumps({"status": "init"}), qos=1)
            while not self._answered(topic) and time.monotonic() - began < 30:
                time.sleep(0.02)
            same = connects == self._device.link.counters.connects
            if self._answered(topic) and same and self._device.link.state == "up":
                self.took.append((began, time.monotonic() - began, connects))
            # As the contract asks of who gave a command; else each connection tells it again.
            self._listener.client.publish(topic, b"", qos=1, retain=True)

    def _answered(self, topic: str) -> bool:
        return any(
            name == topic and b'"successful"' in payload for name, payload, _ in self._listener.got
        )


@pytest.mark.usefixtures("in_full")
@pytest.mark.timeout(1500)
def test_five_megabytes_over_a_bad_link(
    broker: Mosquitto, serve: Any, tmp_path: Path, full: bool,
    record_property: Any, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    pace = 1.0 if full else 10.0
    data = os.urandom(5_000_000 if full else 1_500_000)
    public = tmp_path / "public"
    (public / "metadata").mkdir(parents=True)
    (public / "targets").mkdir()
    (public / "targets" / "m").write_bytes(data)
    serve(public)
    with Proxy(broker.port, delay_s=1.0 / pace, rate=10_000 * pace) as proxy:
        device = Device(tmp_path, "d1", proxy.port, keepalive_s=30.0, answer_s=20.0).start()
        pings = Pings(broker.port, device, 5.0 / pace)
        carrier = MqttCarrier(device.fetching)
        stop = threading.Event()
        breaker = threading.Thread(target=_break, args=(proxy, stop, 60.0 / pace))
        part = Part(tmp_path / "m", len(data), hashlib.sha256(data).hexdigest())
        before, began = proxy.bytes_down, time.monotonic()
        breaker.start()
        try:
            carrier.bring("targets/m", part, threading.Event())
        finally:
            took, down = time.monotonic() - began, proxy.bytes_down - before
            stop.set()
            breaker.join()
            pings.stop()
            device.stop()
    part.finish()
    assert (tmp_path / "m").read_bytes() == data
    slowest = max(seconds for _, seconds, _ in pings.took)
    with capsys.disabled():
        print(
            f"\n{len(data)} bytes in {took:.0f} s, {down / len(data):.3f} x the bytes down, "
            f"{device.link.counters.connects} connections, {len(pings.took)} pings, "
            f"slowest {slowest:.2f} s, {carrier.requests} requests, {carrier.repeated} repeated"
        )
    assert device.link.counters.connects >= 3
    assert down <= 1.15 * len(data)
    assert len(pings.took) >= 5
    assert slowest < 5.0


def _break(proxy: Proxy, stop: threading.Event, every_s: float) -> None:
    while not stop.wait(every_s):
        proxy.cut(reset=True)
