"""The real Home Assistant finds a real agent: entities, availability, presses, and what is gone."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edgeagent.errors import NotFound, Unavailable
from edgeagent.testing.agent import AgentProcess
from edgeagent.testing.broker import Mosquitto
from edgeagent.testing.device import Listener
from edgeagent.testing.homeassistant import HomeAssistant

CONFIG = """
[device]
id = "door-7"
name = "Door 7"
site = "Hall 2"
[mqtt]
host = "127.0.0.1"
port = {port}
home_assistant = true
[privacy]
pictures = "events"
[commands]
allow = ["ping", "doctor", "pipeline", "outbox", "restart"]
[sources.cam0]
kind = "synthetic"
fps = 5
[pipelines.belt]
source = "cam0"
model = "parts"
snapshot = true
image = true
{more}
"""
OTHER = """
[pipelines.second]
source = "cam0"
model = "parts"
"""


@pytest.fixture
def home(tmp_path: Path, broker: Mosquitto, full: bool) -> Iterator[HomeAssistant]:
    if not full:
        pytest.skip("half a minute of a whole Home Assistant (EDGEAGENT_TESTS=full)")
    try:
        made = HomeAssistant(tmp_path / "home", broker.port)
    except NotFound as error:
        pytest.skip(f"{error} ({error.remedy})")
    made.start()
    yield made
    made.stop()


def test_a_device_in_home_assistant(home: HomeAssistant, broker: Mosquitto, tmp_path: Path) -> None:
    text = CONFIG.format(port=broker.port, more=OTHER)
    presses = Listener(broker.port, "edgeagent/door-7/do/+", "edgeagent/door-7/cmd/#")

    def pressed(type: str) -> int:
        return len(presses.on(f"edgeagent/door-7/do/{type}"))

    with AgentProcess(text, tmp_path / "device") as agent:
        # All that is described is there, with values, and Home Assistant finds no fault.
        home.until(lambda: home.state("sensor.door_7_state") == "online")
        home.until(lambda: home.state("binary_sensor.door_7_belt_alarm") in ("on", "off"))
        described = json.loads(_retained(broker.port, "homeassistant/device/door-7/config"))
        count = len(described["components"])
        try:
            home.until(lambda: len(_ours(home)) == count)
        except Unavailable:
            raise AssertionError((sorted(_ours(home)), home.complaints())) from None
        assert home.complaints() == []
        ours = _ours(home)
        assert home.state("update.door_7_parts_model") == "off"
        versions = ours["update.door_7_parts_model"]["attributes"]
        assert versions["installed_version"] == "1.0.0" == versions["latest_version"]
        home.until(lambda: home.state("binary_sensor.door_7_belt_alarm") == "on", 60)
        home.until(lambda: float(home.state("sensor.door_7_belt_score")) > 0.1)
        counted = [name for name in ours if name.endswith("_count") and "belt" in name]
        home.until(lambda: any(int(home.state(name)) > 0 for name in counted), 60)
        home.until(lambda: home.picture("image.door_7_belt_image")[:2] == b"\xff\xd8", 60)

        # A button is pressed once each time, and a switch rests its pipeline.
        for count in (1, 2):
            home.call("button", "press", "button.door_7_check")
            presses.until(lambda count=count: pressed("doctor") == count)
        answers = {t for t, _, _ in presses.got if "/cmd/doctor/do-" in t}
        presses.until(lambda: len(answers | {t for t, _, _ in presses.got
                                             if "/cmd/doctor/do-" in t}) == 2)  # fmt: skip
        home.call("switch", "turn_off", "switch.door_7_second_runs")
        home.until(lambda: home.state("switch.door_7_second_runs") == "off")
        agent.until(lambda status: status["pipelines"]["second"]["state"] == "paused")
        home.call("switch", "turn_on", "switch.door_7_second_runs")
        home.until(lambda: home.state("switch.door_7_second_runs") == "on")

        # Unavailable with the agent, and back with it.
        agent.stop()
        home.until(lambda: home.state("binary_sensor.door_7_belt_alarm") == "unavailable")
        agent.start()
        home.until(lambda: home.state("sensor.door_7_state") == "online")

        # A broker that forgets everything, and a Home Assistant that begins anew.
        broker.kill()
        broker.start()
        home.until(lambda: home.state("sensor.door_7_state") == "online", 60)
        home.stop()
        home.start()
        home.until(lambda: home.state("binary_sensor.door_7_belt_alarm") in ("on", "off"), 60)
        before = pressed("doctor")
        home.call("button", "press", "button.door_7_check")
        presses.until(lambda: pressed("doctor") == before + 1)
    # What the device has no longer goes away; then all of it.
    fewer = CONFIG.format(port=broker.port, more="")
    agent = AgentProcess(fewer, tmp_path / "device")
    with agent:
        home.until(lambda: home.state("sensor.door_7_state") == "online")
        home.until(lambda: not home.state("switch.door_7_second_runs"), 30)
        assert home.state("switch.door_7_belt_runs") == "on"
    with AgentProcess(fewer.replace("home_assistant = true", ""), tmp_path / "device") as agent:
        agent.until(lambda status: status["link"]["state"] == "up")
        home.until(lambda: not _ours(home), 30)
    assert home.complaints() == []
    presses.close()


def _ours(home: HomeAssistant) -> dict[str, dict[str, Any]]:
    return {name: its for name, its in home.states().items() if "door_7" in name}


def _retained(port: int, topic: str) -> bytes:
    listener = Listener(port, topic)
    listener.until(lambda: listener.on(topic))
    found = listener.on(topic)[-1]
    listener.close()
    return found
