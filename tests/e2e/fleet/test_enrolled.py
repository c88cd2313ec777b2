"""Boxes of one CSV file at a broker that asks for logins: enrolled, one revoked, one replaced.

EDGEAGENT_TESTS=full starts forty agents; three by default.
"""

import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from typer.testing import CliRunner

from edgeagent.cli.app import app
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


class Fleet:
    def __init__(self, folder: Path, broker: Mosquitto) -> None:
        self.folder, self.broker = folder, broker
        self.stack = ExitStack()

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


def test_boxes_of_one_file_one_revoked_one_replaced(fleet: Fleet, full: bool) -> None:
    count = 40 if full else 3
    names = [f"box-{number}" for number in range(1, count + 1)]
    rows = "".join(f"Box {number},hall {number % 4}\n" for number in range(1, count + 1))
    csv = fleet.folder / "boxes.csv"
    csv.write_text(f"name,site\n{rows}")
    fleet.run("fleet", "enroll", "--csv", str(csv), *fleet.address)
    agents = {name: fleet.start(fleet.set_up(name, name)) for name in names}
    for agent in agents.values():
        _link(agent, up=True)
    assert not list((fleet.folder / "devices" / "setup").glob("*.toml"))

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
    first = agents["box-1"].client.status()
    assert first["link"]["state"] != "up"
    assert first["link"]["detail"] == "the broker does not authorise this device"
