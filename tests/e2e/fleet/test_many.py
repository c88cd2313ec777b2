"""A fleet on one broker with its defaults: seen, told and answering, nothing cut in silence.

With EDGEAGENT_TESTS=full it is 3,000 devices; else 20.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from edgeagent.cli.app import app
from edgeagent.fleet.orders.order import order
from edgeagent.fleet.orders.sending import Sending
from edgeagent.fleet.orders.targets import Choice, choose
from edgeagent.fleet.sight.look import SELF_TOLD, look, told
from edgeagent.fleet.sight.watch import Watch
from edgeagent.fleet.simulate.crowd import Crowd, Simulation
from edgeagent.fleet.simulate.packages import make_package
from edgeagent.sync.endpoint import Endpoint, LinkSettings
from edgeagent.testing.broker import Mosquitto
from edgeagent.testing.device import Listener


class Seen:
    """An independent client's times of every status, to compare with ours."""

    def __init__(self, port: int) -> None:
        self.at: dict[tuple[str, str], float] = {}
        self._listener = Listener(port, "edgeagent/+/status")
        self._listener.client.on_message = self._take

    def _take(self, _client: Any, _data: Any, message: Any) -> None:
        state = json.loads(message.payload)["state"]
        self.at[(message.topic.split("/")[1], state)] = time.monotonic()

    def close(self) -> None:
        self._listener.close()


@pytest.fixture
def count(full: bool) -> int:
    return 3000 if full else 20


@pytest.fixture
def many(tmp_path: Path, broker: Mosquitto, count: int) -> Iterator[LinkSettings]:
    make_package(tmp_path / "packages", "parts", "1.0.0")
    endpoint = Endpoint("127.0.0.1", broker.port)
    crowd = Crowd(
        tmp_path / "simulation",
        Simulation(count, endpoint, str(tmp_path / "packages"), processes=2 if count > 100 else 1),
    )
    thread = threading.Thread(target=crowd.run)
    thread.start()
    yield LinkSettings("desk", (endpoint,))
    crowd.stop()
    thread.join(30)


def test_many_devices(
    many: LinkSettings, broker: Mosquitto, count: int, tmp_path: Path, full: bool
) -> None:
    figures: dict[str, Any] = {"devices": count}
    seen = Seen(broker.port)
    with Watch(many, "edgeagent") as watch:
        lags: list[float] = []

        def until(all_of_them: str, limit_s: float) -> None:
            deadline = time.monotonic() + limit_s
            while watch.view.counts() != {all_of_them: count}:
                turn(0.1)
                assert time.monotonic() < deadline, watch.view.counts()

        def turn(patience_s: float) -> None:
            for change in watch.turn(patience_s):
                there = seen.at.get((change.device, change.facts["state"]))
                if there is not None and change.before is not None:
                    lags.append(time.monotonic() - there)

        began = time.monotonic()
        until("online", 240)
        figures["all online after s"] = round(time.monotonic() - began, 1)
        lags.clear()

        # A look of its own: by wildcards and names, and counted.
        began = time.monotonic()
        roster, found = look(many, "edgeagent", names=SELF_TOLD)
        figures["look s"] = round(time.monotonic() - began, 1)
        assert (len(roster.devices), found.came, told(found)) == (count, 3 * count, "")

        # Everybody is told through the group's topic, and answers.
        targets = choose(roster, Choice(group="simulated"))
        assert len(targets.ids) == count
        began = time.monotonic()
        with Sending(many, "edgeagent", order("ping", {}, "desk"), targets) as sending:
            sending.publish()
            tally = sending.follow(120)
            figures["ping answered by all after s"] = round(time.monotonic() - began, 1)
            assert tally.counts() == {"successful": count} and tally.exit_code == 0
            sending.clear()
        left = Listener(broker.port, "edgeagent/+/cmd/#", "edgeagent/group/#")
        left.publish("edgeagent/x/cmd/marker/x", b"1")
        left.until(lambda: left.on("edgeagent/x/cmd/marker/x"))
        assert {topic for topic, its, _ in left.got if its} == {"edgeagent/x/cmd/marker/x"}
        left.close()

        # All of them restart at once: the wave that fills queues.
        before = {device: its["since"] for device, its in watch.view.rows.items()}
        with Sending(many, "edgeagent", order("restart", {}, "desk"), targets) as sending:
            done: list[Any] = []
            sending.publish()
            desk = threading.Thread(target=lambda: done.append(sending.follow(120)))
            desk.start()
            while desk.is_alive():
                turn(0.1)
            assert done[0].counts() == {"successful": count}
            sending.clear()
        deadline = time.monotonic() + 120
        while any(its["since"] == before[device] for device, its in watch.view.rows.items()):
            turn(0.1)
            assert time.monotonic() < deadline
        until("online", 120)
        figures["changes seen"] = len(lags)
        figures["behind at most s"] = round(max(lags), 3)
        figures["dropped by the broker, read by name"] = watch.view.missed
    seen.close()
    print(figures)
    assert len(lags) > count / 2
    # By default other tests run beside this one, and how long it takes says little.
    assert max(lags) < (2.0 if full else 10.0)


def test_the_summary_of_many_names_who_did_not(
    many: LinkSettings, broker: Mosquitto, count: int
) -> None:

    deadline = time.monotonic() + 240
    while len(look(many, "edgeagent", names=SELF_TOLD)[0].devices) < count:
        assert time.monotonic() < deadline
    words = [
        "fleet",
        "send",
        "--where",
        'profile == "rpi4"',
        "pipeline",
        "name=belt",
        "action=stop",
        "--wait",
        "--json",
    ]
    done = CliRunner().invoke(app, [*words, "--port", str(broker.port)])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["counts"] == {"successful": round(0.4 * count)}
    bad = ["fleet", "send", "--group", "simulated", "logs", "--wait", "--port", str(broker.port)]
    refused = CliRunner().invoke(app, bad)
    assert refused.exit_code == 1
    assert f"{count} devices: {count} rejected" in refused.output
    assert "commands.allow" in refused.output
