"""A driver on a real broker, with devices on paper: what it does, and what it survives."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import paho.mqtt.publish as mqtt_publish
import paho.mqtt.subscribe as mqtt_subscribe
import pytest

from edgeagent.errors import Busy
from edgeagent.fleet.database import open_database
from edgeagent.fleet.rollout.conductor import Conductor, ConductSettings
from edgeagent.fleet.rollout.ledger import Ledger
from edgeagent.fleet.rollout.muster import muster
from edgeagent.fleet.rollout.plan import Limit, Pace, Plan
from edgeagent.fleet.rollout.report import document, headline, markdown, page
from edgeagent.fleet.roster import known
from edgeagent.fleet.sight.look import look
from edgeagent.sync.backoff import RANGES
from edgeagent.sync.endpoint import Endpoint, LinkSettings
from edgeagent.testing.broker import Mosquitto


class Drive:
    """A database and drivers on it, one after the other."""

    def __init__(self, url: str, port: int, **more: Any) -> None:
        self.url = url
        quick = dict.fromkeys(RANGES, (0.05, 0.3))
        link = LinkSettings("fleet", (Endpoint("127.0.0.1", port),), ranges=quick, **more)
        self.settings = ConductSettings(link, until_idle=True)
        self.errors: list[BaseException] = []
        self._threads: list[tuple[Conductor, threading.Thread]] = []

    def create(self, plan: Plan) -> str:
        db = open_database(self.url)
        roster, _ = look(self.settings.link, self.settings.prefix, known(db))
        rows = muster(roster, plan).rows
        made = Ledger(db).create(plan, rows, author="me", prefix="edgeagent", note="made")
        db.close()
        return made.id

    def start(self) -> Drive:
        ready, made = threading.Event(), list[Conductor]()

        def run() -> None:
            db = open_database(self.url)
            try:
                made.append(Conductor(self.settings, db))
                ready.set()
                made[0].run()
            except BaseException as error:
                self.errors.append(error)
            finally:
                ready.set()
                db.close()

        thread = threading.Thread(target=run)
        thread.start()
        assert ready.wait(10) and made, self.errors
        self._threads.append((made[0], thread))
        return self

    def stop(self) -> None:
        while self._threads:
            conductor, thread = self._threads.pop()
            conductor.stop()
            thread.join(20)
            assert not thread.is_alive()
        assert not self.errors, self.errors

    def seen(self, id: str) -> dict[str, Any]:
        db = open_database(self.url)
        try:
            return document(Ledger(db), Ledger(db).get(id))
        finally:
            db.close()

    def until(
        self, id: str, condition: Callable[[dict[str, Any]], Any], timeout: float = 20
    ) -> dict[str, Any]:
        deadline = time.monotonic() + timeout
        while not condition(found := self.seen(id)):
            assert time.monotonic() < deadline, (found["state"], found["reason"], found["waves"])
            assert not self.errors, self.errors
            time.sleep(0.05)
        return found

    def wish(self, id: str, wish: Any) -> None:
        db = open_database(self.url)
        Ledger(db).wish(id, wish, "test", "me")
        db.close()


def standings(found: dict[str, Any]) -> dict[str, str]:
    return {its["device"]: its["standing"] for its in found["devices"]}


@pytest.fixture
def drive(tmp_path: Path, broker: Mosquitto) -> Iterator[Drive]:
    made = Drive(str(tmp_path / "fleet.db"), broker.port)
    yield made
    made.stop()


@pytest.fixture
def on_each(url: str, broker: Mosquitto) -> Iterator[Drive]:
    """A drive on each kind of database."""
    made = Drive(url, broker.port)
    yield made
    made.stop()


def retained(port: int, topic: str) -> dict[str, Any]:
    found = mqtt_subscribe.simple(topic, port=port)
    return dict(json.loads(found.payload))


def test_wave_after_wave_and_a_report(drive: Drive, paper: Any, broker: Any, drawn: Any) -> None:
    devices = paper()
    for n in range(24):
        devices.join(f"d{n:02}", "pi4" if n % 2 else "pi5")
    kept = {
        "rev": 7,
        "models": {"faces": {"version": "3.1.0"}},
        "config": {"device": {"name": "x"}},
    }
    mqtt_publish.single("edgeagent/d00/desired", json.dumps(kept), 1, True, port=broker.port)
    id = drive.create(drawn.plan(shares=(0.25, 1.0), policy={"soak_s": 1.0}))
    drive.start()
    found = drive.until(id, lambda its: its["state"] == "done")
    assert set(standings(found).values()) == {"well"}
    assert [wave["size"] for wave in found["waves"]] == [6, 18]
    assert all(wave["profiles"]["pi4"]["well"] >= 3 for wave in found["waves"])
    order = [device for _, device, its in devices.asked if "rollout" in its.get("by", "")]
    assert set(order[:6]) == {its["device"] for its in found["devices"] if its["wave"] == 1}
    first = retained(broker.port, "edgeagent/d00/desired")
    assert first["rev"] == 8 and first["config"] == kept["config"]
    assert first["models"] == {
        "faces": {"version": "3.1.0", "policy": {}},
        "parts": {"version": "2.0.0", "policy": {"soak_s": 1.0}},
    }
    assert "runs well on 24 of 24" in headline(found)
    assert "| 1 through | all | 6 | 6 | 6 | 0 | 0 % | 0 | 0 | 0 |" in markdown(found)
    assert page(found).startswith("<!doctype html>") and "d00" not in headline(found)


def test_it_aborts_in_the_canary_wave_naming_the_profile(
    on_each: Drive, paper: Any, broker: Any, drawn: Any
) -> None:
    drive = on_each
    devices = paper(lambda d, _v: "failed" if d.startswith("nano") else "committed")
    for n in range(10):
        devices.join(f"nano{n}", "nano")
        devices.join(f"pi{n}", "pi4")
    slow = paper(lambda _d, _v: "hang")
    slow.join("x1", "x86")
    id = drive.create(drawn.plan(shares=(0.3, 1.0), timeout_s=60, profile=Limit(0.5, 3)))
    drive.start()
    found = drive.until(id, lambda its: its["ended"])
    assert found["state"] == "aborted" and found["reason"].startswith("profile nano: 3 of 3 asked")
    stood = standings(found)
    assert sum(s == "failed" for s in stood.values()) == 3
    assert sum(s == "waiting" for s in stood.values()) == 14
    assert stood["x1"] == "cancelled"  # called back while it was under way
    assert "models" not in retained(broker.port, "edgeagent/x1/desired")
    assert found["reasons"][0]["profiles"] == {"nano": 3}
    assert "prove: golden" in markdown(found) and "0.4 &lt; 0.9" in page(found)


def test_drivers_that_die_are_followed_and_never_are_there_two(
    drive: Drive, paper: Any, drawn: Any
) -> None:
    devices = paper()
    for n in range(40):
        devices.join(f"d{n}", "pi4")
    id = drive.create(drawn.plan(shares=(0.2, 1.0), pace=Pace(600)))
    for asked in (5, 20):
        drive.start()
        other = open_database(drive.url)
        with pytest.raises(Busy, match="another process drives"):
            # A lock belongs to a process: another one must ask.
            _elsewhere(drive.url)
        other.close()
        drive.until(id, lambda its, asked=asked: its["total"]["asked"] >= asked)
        drive.stop()
    assert not drive.seen(id)["ended"]
    drive.start()
    found = drive.until(id, lambda its: its["ended"])
    assert set(standings(found).values()) == {"well"}
    times = [device for _, device, _ in devices.asked]
    assert sorted(times) == sorted(set(times))  # Nobody was asked twice.


def _elsewhere(url: str) -> None:
    import subprocess
    import sys

    code = (
        "import sys\n"
        "from edgeagent.fleet.database import open_database\n"
        "from edgeagent.fleet.rollout.conductor import SEAT\n"
        "sys.exit(0 if open_database(sys.argv[1]).sit(SEAT, 0, keep=True) else 75)"
    )
    if subprocess.run([sys.executable, "-c", code, url], check=False).returncode == 75:
        raise Busy("another process drives the rollouts")


def test_a_broker_that_forgets_is_told_again(
    drive: Drive, paper: Any, broker: Any, drawn: Any
) -> None:
    devices = paper(lambda _d, _v: "deaf")
    for n in range(4):
        devices.join(f"d{n}", "pi4")
    id = drive.create(drawn.plan(shares=(1.0,), timeout_s=60, reach_s=60))
    drive.start()
    drive.until(id, lambda its: its["total"]["asked"] == 4)
    rev = retained(broker.port, "edgeagent/d1/desired")["rev"]
    devices.close()
    broker.kill()
    broker.start()
    later = paper()
    for n in range(4):
        later.join(f"d{n}", "pi4")
    found = drive.until(id, lambda its: its["ended"])
    assert set(standings(found).values()) == {"well"}
    assert retained(broker.port, "edgeagent/d1/desired")["rev"] == rev


def test_pause_resume_abort_hold_and_silence(drive: Drive, paper: Any, drawn: Any) -> None:
    devices = paper()
    for n in range(12):
        devices.join(f"d{n:02}", "pi4")
    held = {"rev": 0, "models": {}, "held": [{"model": "parts", "by": "ann"}]}
    id = drive.create(drawn.plan(shares=(0.25, 0.5, 1.0), ask=True, silent_s=0.8, settle_s=0.3,
                                 total=Limit(0.9, 4), profile=Limit(0.9, 3)))  # fmt: skip
    row = next(its for its in drive.seen(id)["devices"] if its["wave"] == 2)
    devices.say(row["device"], "reported", held)
    drive.start()
    found = drive.until(id, lambda its: its["state"] == "paused")
    assert "wave 1 is through: 3 well" in found["reason"]
    time.sleep(0.6)
    assert drive.seen(id)["total"]["asked"] == 3
    # One that commits and goes away is found; the hold is not a failure.
    quiet = next(its["device"] for its in found["devices"]
                 if its["wave"] == 2 and its["device"] != row["device"])  # fmt: skip
    devices._does = lambda d, _v: "deaf" if d == row["device"] else "committed"
    devices.online(quiet, "offline")
    drive.wish(id, "resume")
    found = drive.until(id, lambda its: standings(its)[quiet] == "silent")
    assert standings(found)[row["device"]] == "held"
    drive.wish(id, "abort")
    found = drive.until(id, lambda its: its["ended"])
    assert found["state"] == "aborted" and "by a person" in found["reason"]
    with pytest.raises(Busy, match="already"):
        drive.wish(id, "pause")


def test_no_retained_state_is_cut_in_silence(
    tmp_path: Path, drawn: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A broker with its default queue, and more devices than fit into it."""
    count, shard = 1100, 400
    monkeypatch.setattr("edgeagent.fleet.census.SHARD", shard)  # Fewer waits, still within it.
    with Mosquitto(tmp_path / "b", options=["max_queued_messages 1000",
                                             "max_inflight_messages 20"]) as broker:  # fmt: skip
        said = json.dumps({"state": "online"})
        messages = [(f"edgeagent/d{n}/status", said, 1, True) for n in range(count)]
        mqtt_publish.multiple(messages, port=broker.port)
        drive = Drive(str(tmp_path / "fleet.db"), broker.port, version="3.1.1")
        db = open_database(drive.url)
        with db.transaction():
            for n in range(count):
                db.run("INSERT INTO stream (id, device, epoch, first_heard, last_heard)"
                       " VALUES (?, ?, 'E', 1, 1)", (n + 1, f"d{n}"))  # fmt: skip
                db.run("INSERT INTO device (device, stream) VALUES (?, ?)", (f"d{n}", n + 1))
        roster, found = look(drive.settings.link, drive.settings.prefix, known(db))
        db.close()
    assert sum(its.online for its in roster.devices.values()) == count
    assert found.came == count
    assert found.hidden  # The broker is known to cut.


def test_a_broker_that_takes_nothing_from_us_is_no_fault_of_devices(
    tmp_path: Path, drawn: Any, paper: Any, broker: Any
) -> None:
    acl = "topic readwrite #\n"
    with Mosquitto(tmp_path / "b", acl=acl) as strict:
        devices = paper(port=strict.port)
        for n in range(4):
            devices.join(f"d{n}", "pi4")
        drive = Drive(str(tmp_path / "fleet.db"), strict.port)
        try:
            id = drive.create(drawn.plan(shares=(1.0,), reach_s=0.5, timeout_s=0.5))
            strict.set_acl("topic read #\n" + "".join(
                f"topic readwrite edgeagent/{rest}\n"
                for rest in ("collector/#", "+/status", "+/reported", "+/metrics")
            ))  # fmt: skip
            drive.start()
            found = drive.until(id, lambda its: its["state"] == "paused")
            assert "does not take edgeagent/d" in found["reason"]
            time.sleep(1.0)
            assert set(standings(drive.seen(id)).values()) == {"asked"}
            strict.set_acl(acl)
            drive.wish(id, "resume")
            found = drive.until(id, lambda its: its["ended"])
            assert set(standings(found).values()) == {"well"}
        finally:
            drive.stop()
            devices.close()
