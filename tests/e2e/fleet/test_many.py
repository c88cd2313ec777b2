"""A fleet on one broker with its defaults: seen, told and answering, nothing cut in silence.

With EDGEAGENT_TESTS=full it is 3,000 devices; else 20.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from edgeagent.cli.app import app
from edgeagent.fleet.orders.order import order
from edgeagent.fleet.orders.sending import Sending
from edgeagent.fleet.orders.targets import Choice, Targets, choose
from edgeagent.fleet.sight.look import SELF_TOLD, look, told
from edgeagent.fleet.simulate.crowd import Crowd, Simulation
from edgeagent.fleet.simulate.packages import make_package
from edgeagent.sync.endpoint import Endpoint, LinkSettings
from edgeagent.testing.broker import Mosquitto
from edgeagent.testing.device import Listener

ROOT = Path(__file__).resolve().parents[3]


class Observer:
    """mosquitto_sub beside ``fleet watch --json``, each a process: when each has which status."""

    def __init__(self, folder: Path, port: int) -> None:
        self._files = [folder / "watched", folder / "seen"]
        watch = [sys.executable, "-m", "edgeagent.cli", "fleet", "watch", "--json",
                 "--port", str(port)]  # fmt: skip
        plain = ["mosquitto_sub", "-p", str(port), "-q", "1", "-V", "5", "-F", "%U %t %p",
                 "-t", "edgeagent/+/status", "-D", "connect", "receive-maximum",
                 "65535"]  # fmt: skip
        path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
        self._processes = []
        for command, file in zip((watch, plain), self._files, strict=True):
            with file.open("wb") as out:
                self._processes.append(
                    subprocess.Popen(command, stdout=out, env={**os.environ, "PYTHONPATH": path})
                )

    def watched(self) -> dict[str, dict[str, Any]]:
        """Device → the last that ``watch`` told of it."""
        return {its["device"]: its for its in self._told()}

    def _told(self) -> list[dict[str, Any]]:
        lines = self._files[0].read_text().splitlines(keepends=True)
        return [json.loads(line) for line in lines if line.endswith("\n")]

    def lags(self, after: float) -> list[float]:
        """How much later ``watch`` told each status that both of them had."""
        seen: dict[tuple[str, str, str], float] = {}
        for line in self._files[1].read_text().splitlines():
            at, topic, payload = line.split(" ", 2)
            its = json.loads(payload)
            seen.setdefault((topic.split("/")[1], its["state"], its["since"]), float(at))
        told: dict[tuple[str, str, str], float] = {}
        for its in self._told():
            told.setdefault((its["device"], its["state"], its["since"]), its["at"])
        return [told[key] - at for key, at in seen.items() if at > after and key in told]

    def close(self) -> None:
        for process in self._processes:
            process.terminate()
            process.wait(10)


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
    observer = Observer(tmp_path, broker.port)

    def until(condition: Callable[[], Any], limit_s: float) -> float:
        began = time.monotonic()
        while not condition():
            time.sleep(0.1)
            assert time.monotonic() - began < limit_s
        return round(time.monotonic() - began, 1)

    def online() -> bool:
        states = [its["state"] for its in observer.watched().values()]
        return states == ["online"] * count

    try:
        figures["all online after s"] = until(online, 240)

        # A look of its own: by wildcards and names, and counted.
        began = time.monotonic()
        roster, found = look(many, "edgeagent", names=SELF_TOLD)
        figures["look s"] = round(time.monotonic() - began, 1)
        assert (len(roster.devices), found.came, told(found)) == (count, 3 * count, "")

        # Everybody is told through the group's topic, and answers.
        targets = choose(roster, Choice(group="simulated"))
        assert len(targets.ids) == count
        figures["ping answered by all after s"] = _order(many, "ping", targets, count)
        left = Listener(broker.port, "edgeagent/+/cmd/#", "edgeagent/group/#")
        left.publish("edgeagent/x/cmd/marker/x", b"1")
        left.until(lambda: left.on("edgeagent/x/cmd/marker/x"))
        assert {topic for topic, its, _ in left.got if its} == {"edgeagent/x/cmd/marker/x"}
        left.close()

        # All of them restart at once: the wave that fills queues.
        before = {device: its["since"] for device, its in observer.watched().items()}
        wave = time.time()
        figures["restart answered by all after s"] = _order(many, "restart", targets, count)
        until(
            lambda: (
                online() and all(its["since"] != before[d] for d, its in observer.watched().items())
            ),
            120,
        )
        lags = sorted(observer.lags(wave))
    finally:
        observer.close()
    figures |= {
        "changes seen": len(lags), "behind, median s": round(lags[len(lags) // 2], 3),
        "behind at most s": round(lags[-1], 3),
    }  # fmt: skip
    print(figures)
    assert len(lags) > count / 2
    # By default other tests run beside this one, and how long it takes says little.
    assert lags[-1] < (2.0 if full else 10.0)


def _order(link: LinkSettings, type: str, targets: Targets, count: int) -> float:
    """Send it to all, wait for all, clear it; how long the answers took."""
    began = time.monotonic()
    with Sending(link, "edgeagent", order(type, {}, "desk"), targets) as sending:
        sending.publish()
        tally = sending.follow(120)
        took = round(time.monotonic() - began, 1)
        assert tally.counts() == {"successful": count} and tally.exit_code == 0
        sending.clear()
    return took


def test_the_summary_of_many_names_who_did_not(
    many: LinkSettings, broker: Mosquitto, count: int, full: bool
) -> None:
    if not full:
        pytest.skip("few of them are told by name elsewhere (EDGEAGENT_TESTS=full)")

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
