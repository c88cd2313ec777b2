"""The process that tells: real broker, real devices, a real web server that sometimes refuses."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from edgeagent.errors import Busy, UsageError
from edgeagent.fleet.alerts.judge import Limits
from edgeagent.fleet.alerts.receivers import Topic, Webhook
from edgeagent.fleet.alerts.watchman import Watchman
from edgeagent.fleet.database import open_database
from edgeagent.sync.backoff import RANGES
from edgeagent.sync.endpoint import Endpoint, LinkSettings
from edgeagent.testing.broker import Mosquitto
from edgeagent.testing.device import Device, Listener

QUICK = Limits(offline_s=0.3, broker_s=0.3, settle_s=0.3, holes_s=0.2)


class Desk:
    """Takes webhooks; ``refuse`` of them first."""

    def __init__(self) -> None:
        self.got: list[dict[str, Any]] = []
        self.tokens: set[str | None] = set()
        self.refuse = 0
        desk = self

        class Answer(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                desk.tokens.add(self.headers["authorization"])
                if desk.refuse:
                    desk.refuse -= 1
                    self.send_response(503)
                else:
                    desk.got.append(json.loads(body))
                    self.send_response(204)
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                """Quiet."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/hook"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def told(self) -> list[tuple[str, str, str]]:
        return [(its["alert"], its["subject"], its["state"]) for its in self.got]

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def desk() -> Iterator[Desk]:
    made = Desk()
    yield made
    made.close()


@pytest.fixture
def watchman(tmp_path: Path, broker: Mosquitto, desk: Desk) -> Iterator[Callable[..., Any]]:
    """Starts one in a thread; what is returned ends it."""
    ends: list[Callable[[], None]] = []
    link = LinkSettings(
        "alerts", (Endpoint("127.0.0.1", broker.port),),
        ranges=dict.fromkeys(RANGES, (0.05, 0.2)), keepalive_s=5.0,
    )  # fmt: skip

    def start(limits: Limits = QUICK, *, mqtt: bool = False) -> Callable[[], None]:
        ready = threading.Event()
        made: list[Watchman] = []

        def run() -> None:
            db = open_database(str(tmp_path / "fleet.db"))
            receivers: list[Any] = [Webhook(desk.url, "word")]
            topic = Topic(link, "edgeagent") if mqtt else None
            receivers += [topic] if topic is not None else []
            made.append(Watchman(link, "edgeagent", db, limits, receivers, records_every_s=0.2))
            ready.set()
            try:
                made[0].run()
            finally:
                if topic is not None:
                    topic.close()
                db.close()

        thread = threading.Thread(target=run)
        thread.start()
        assert ready.wait(20)

        def end() -> None:
            made[0].stop()
            thread.join(20)

        ends.append(end)
        return end

    yield start
    for end in ends:
        end()


def until(condition: Callable[[], Any], limit_s: float = 20.0) -> None:
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_told_once_over_refusals_and_new_processes(
    tmp_path: Path, broker: Mosquitto, desk: Desk, watchman: Any
) -> None:
    listener = Listener(broker.port, "edgeagent/alerts/#")
    device = Device(tmp_path, "door-7", broker.port, site="hall 2").start()
    end = watchman(mqtt=True)
    desk.refuse = 2
    device.stop()
    until(lambda: desk.told() == [("offline", "door-7", "open")])
    assert desk.tokens == {"Bearer word"}
    topic = "edgeagent/alerts/offline/door-7"
    listener.until(lambda: listener.on(topic))
    assert json.loads(listener.on(topic)[0])["site"] == "hall 2"
    end()
    end = watchman(mqtt=True)
    again = Device(tmp_path, "door-7", broker.port, site="hall 2").start()
    until(lambda: len(desk.got) == 2)
    assert desk.told()[1:] == [("offline", "door-7", "recovered")]
    listener.until(lambda: listener.on(topic)[-1] == b"")
    assert len(listener.on(topic)) == 3, "open, over, and cleared: nothing twice"
    end()
    again.stop()
    listener.close()
    with pytest.raises(UsageError):
        Webhook("ftp://x")


def test_a_broker_that_dies_is_one_alert(
    tmp_path: Path, broker: Mosquitto, desk: Desk, watchman: Any
) -> None:
    devices = [Device(tmp_path, f"d{n}", broker.port).start() for n in range(4)]
    # Also on MQTT, which can't be told then: whoever was told hears of the end.
    end = watchman(Limits(offline_s=0.5, broker_s=0.3, settle_s=3.0, holes_s=0), mqtt=True)
    time.sleep(1.0)  # It has seen them; nothing may be told.
    assert desk.got == []
    broker.kill()
    until(lambda: desk.told() == [("broker", "", "open")])
    time.sleep(1.0)
    broker.start()
    until(lambda: desk.told()[1:] == [("broker", "", "recovered")])
    time.sleep(4.0)  # Past the time in which devices come back.
    assert len(desk.got) == 2
    end()
    for device in devices:
        device.stop()


def test_two_do_not_tell_the_same(tmp_path: Path, watchman: Any, broker: Mosquitto) -> None:
    import subprocess
    import sys

    end = watchman()
    code = (
        "import sys\nfrom edgeagent.fleet.alerts.watchman import Watchman\n"
        "from edgeagent.fleet.alerts.judge import Limits\n"
        "from edgeagent.fleet.database import open_database\n"
        "from edgeagent.errors import Busy\n"
        "try: Watchman(None, 'e', open_database(sys.argv[1]), Limits(), [])\n"
        "except Busy: sys.exit(75)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "fleet.db")], check=False)
    assert done.returncode == Busy.exit_code
    end()
