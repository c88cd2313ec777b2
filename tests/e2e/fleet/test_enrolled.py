"""Boxes of one CSV file at a broker that asks for logins: enrolled, one revoked, one replaced.

EDGEAGENT_TESTS=full starts forty agents; two by default.
"""

import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from edgeagent.cli.app import app
from edgeagent.config.model import Mqtt
from edgeagent.fleet.collect import Collector, CollectSettings
from edgeagent.fleet.database import open_database
from edgeagent.fleet.enrolment import hashed
from edgeagent.sync.endpoint import LinkSettings
from edgeagent.testing.agent import AgentProcess
from edgeagent.testing.broker import Mosquitto


@pytest.fixture
def guarded(tmp_path: Path, mosquitto_installed: None) -> Iterator[Mosquitto]:
    """mosquitto that reads what `fleet enroll` writes."""
    devices = tmp_path / "devices" / "mosquitto"
    devices.mkdir(parents=True)
    (devices / "passwd").touch()
    (devices / "acl").touch()
    options = ("allow_anonymous false", f"password_file {devices / 'passwd'}",
               f"acl_file {devices / 'acl'}")  # fmt: skip
    with Mosquitto(tmp_path / "broker", options=options) as broker:
        yield broker


BELT = """
[sources.belt]
kind = "synthetic"
fps = 2
fault_rate = 1.0
[pipelines.parts]
source = "belt"
model = "parts"
snapshot = true
record = { events = true, every = 2 }
[[pipelines.parts.rules]]
when = "label == 'cracked' or label == 'missing'"
do = ["event", "snapshot"]
"""


PATIENCE_S = 200 if os.environ.get("EDGEAGENT_TESTS") == "full" else 20


class Fleet:
    def __init__(self, folder: Path, broker: Mosquitto) -> None:
        self.folder, self.broker = folder, broker
        self.stack = ExitStack()
        self.database = str(folder / "fleet.db")
        (folder / "operator").write_text("0perator")
        passwd = folder / "devices" / "mosquitto" / "passwd"
        passwd.write_text(f"operator:{hashed('0perator')}\n")
        mqtt = Mqtt(host="127.0.0.1", port=broker.port, username="operator",
                    password_file=str(folder / "operator"))  # fmt: skip
        self.link = LinkSettings.of(mqtt, "collector")

    def run(self, *words: str) -> str:
        done = CliRunner().invoke(app, [*words, "--devices", str(self.folder / "devices")])
        assert done.exit_code == 0, done.output
        os.kill(self.broker.pid, signal.SIGHUP)
        return done.output

    def set_up(self, device: str, box: str) -> Path:
        """The unattended file, used on a box."""
        file = self.folder / "devices" / "setup" / f"{device}.toml"
        place = self.folder / box
        done = CliRunner().invoke(app, ["setup", str(file), "--config", str(place / "agent.toml"),
                                        "--data-dir", str(place / "data")])  # fmt: skip
        assert done.exit_code == 0, done.output
        return place

    def start(self, place: Path) -> AgentProcess:
        return self.stack.enter_context(AgentProcess(place / "agent.toml", place))

    def collect(self) -> None:
        """In the background, until the end of the test."""
        made: list[Collector] = []
        there = threading.Event()

        def run() -> None:  # its database belongs to the thread that opened it
            made.append(Collector(CollectSettings(database=self.database, link=self.link)))
            there.set()
            made[0].run()

        thread = threading.Thread(target=run, name="collector")
        thread.start()
        assert there.wait(30)
        self.stack.callback(thread.join, 30)
        self.stack.callback(made[0].stop)

    def until_pictures(self, names: list[str]) -> None:
        """Until a picture of each box has arrived."""
        asked = """SELECT count(DISTINCT s.device) FROM blob b JOIN evidence e
        ON e.sha256 = b.sha256 JOIN stream s ON s.id = e.stream WHERE b.state = 1"""
        deadline = time.monotonic() + 60 + PATIENCE_S
        with closing(open_database(self.database)) as database:
            while database.rows(asked)[0][0] < len(names):
                assert time.monotonic() < deadline
                time.sleep(0.2)

    def accept(self) -> tuple[int, list[dict[str, Any]]]:
        """The exit code, and the sheets."""
        words = ["fleet", "accept", "--devices", str(self.folder / "devices"), "--json",
                 "--db", self.database, "--out", str(self.folder / "acceptance.html"),
                 "--wait", f"{PATIENCE_S} s", *self.address, "--username", "operator",
                 "--password-file", str(self.folder / "operator")]  # fmt: skip
        done = CliRunner().invoke(app, words)
        assert done.exit_code in (0, 1), done.output
        return done.exit_code, json.loads(done.stdout)

    @property
    def address(self) -> list[str]:
        return ["--host", "127.0.0.1", "--port", str(self.broker.port)]


@pytest.fixture
def fleet(tmp_path: Path, guarded: Mosquitto) -> Iterator[Fleet]:
    its = Fleet(tmp_path, guarded)
    with its.stack:
        yield its


def _link(agent: AgentProcess, up: bool) -> None:
    agent.until(lambda status: (status["link"]["state"] == "up") is up, 90)


@pytest.mark.timeout(900)
def test_boxes_of_one_file_one_revoked_one_replaced(fleet: Fleet, full: bool) -> None:
    count = 40 if full else 2
    names = [f"box-{number}" for number in range(1, count + 1)]
    rows = "".join(f"Box {number},hall {number % 4},2 s\n" for number in range(1, count + 1))
    csv, template = fleet.folder / "boxes.csv", fleet.folder / "template.toml"
    csv.write_text(f"name,site,metrics.every\n{rows}")
    template.write_text(BELT)
    fleet.run("fleet", "enroll", "--csv", str(csv), "--template", str(template), *fleet.address)
    agents = {name: fleet.start(fleet.set_up(name, name)) for name in names}
    for agent in agents.values():
        _link(agent, up=True)
    assert not list((fleet.folder / "devices" / "setup").glob("*.toml"))
    fleet.collect()
    fleet.until_pictures(names)
    code, sheets = fleet.accept()
    assert [its["device"] for its in sheets] == sorted(names)
    for sheet in sheets:
        # A machine that runs all tests at once may be too slow for one of doctor's checks, and
        # forty doctors at once on it for an echo.
        slow = "doctor: " if full else "did not end within"
        # Nor is it theirs what this machine's kernel had to end meanwhile.
        others = (slow, "for want of memory the kernel")
        faults = [said for said in sheet["faults"] if not any(its in said for its in others)]
        assert faults == [], sheet
        assert sheet["first_seq"] >= 1 and sheet["rates"]["parts"] > 0
        assert sheet["picture_bytes"] > 1000
        assert "litert" in sheet["runs"]["parts@1.0.0/int8"]
    good = sum(its["accepted"] for its in sheets)
    assert code == (0 if good == count else 1)
    page = (fleet.folder / "acceptance.html").read_text()
    assert page.count("✓ in order") == 2 * good and page.count("data:image/jpeg;base64,") == count

    fleet.run("fleet", "revoke", "box-1")
    _link(agents["box-1"], up=False)
    # Nobody else notices.
    _link(agents["box-2"], up=True)

    fleet.run("fleet", "replace", "box-2", *fleet.address)
    _link(agents["box-2"], up=False)
    agents["box-2"].stop()
    second = fleet.start(fleet.set_up("box-2", "another-box"))
    _link(second, up=True)
    status = second.client.status()
    assert (status["device"], status["name"], status["site"]) == ("box-2", "Box 2", "hall 2")
    # One that was revoked is nobody's business any more; the other has kept its first number.
    _, after = fleet.accept()
    assert [its["device"] for its in after] == sorted(set(names) - {"box-1"})
    before = next(its for its in sheets if its["device"] == "box-2")
    assert next(its for its in after if its["device"] == "box-2")["first_at"] == before["first_at"]
    first = agents["box-1"].client.status()
    assert first["link"]["state"] != "up"
    assert first["link"]["detail"] == "the broker does not authorise this device"
