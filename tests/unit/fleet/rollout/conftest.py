"""Rollouts, and devices on paper: they speak the protocol and do as a table says."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from edgeagent.fleet.rollout.plan import Limit, Plan
from edgeagent.fleet.rollout.standing import Row


def plan(**more: Any) -> Plan:
    known: dict[str, Any] = {
        "model": "parts", "version": "2.0.0", "total": Limit(0.5, 4), "profile": Limit(0.5, 3),
        "settle_s": 0.1, "silent_s": 2.0, "timeout_s": 5.0, "reach_s": 1.0,
    }  # fmt: skip
    return Plan(**{**known, **more})


def row(device: str = "d1", **more: Any) -> Row:
    return Row(**{"device": device, "place": 0, "wave": 0, "profile": "a", **more})


class Paper:
    """Devices that share one connection: no will, no trust, no deployment. ``does`` says for a
    device how a version ends: an end of a deployment, ``hang``, or ``deaf`` (no answer)."""

    def __init__(self, port: int, does: Callable[[str, str], str]) -> None:
        self._does = does
        self._lock = threading.Lock()
        self.asked: list[tuple[float, str, dict[str, Any]]] = []
        self.client = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5)
        self.client.on_message = self._take
        self.client.connect("127.0.0.1", port)
        self.client.loop_start()

    def join(self, device: str, profile: str, version: str = "1.0.0", **more: Any) -> None:
        self.say(device, "capabilities", {"profile": profile, "groups": ["all"], **more})
        self.report(device, 0, version, state="committed")
        self.online(device)
        self.client.subscribe(f"edgeagent/{device}/desired", 1)

    def say(self, device: str, name: str, document: dict[str, Any], retain: bool = True) -> None:
        payload = json.dumps(document)
        self.client.publish(f"edgeagent/{device}/{name}", payload, 1, retain).wait_for_publish(10)

    def online(self, device: str, state: str = "online") -> None:
        self.say(device, "status", {"state": state})

    def report(self, device: str, rev: int, version: str, **more: Any) -> None:
        model = {"version": version, "rev": rev, "source": "device", **more}
        payload = json.dumps({"rev": rev, "models": {"parts": model}})
        self.client.publish(f"edgeagent/{device}/reported", payload, 1, True)

    def _take(self, _client: Any, _data: Any, message: Any) -> None:
        if not message.payload:
            return
        device, document = message.topic.split("/")[1], json.loads(message.payload)
        with self._lock:
            if any(d == device and its["rev"] == document["rev"] for _, d, its in self.asked):
                return
            self.asked.append((time.time(), device, document))
        wish = document.get("models", {}).get("parts", {})
        version = wish.get("version", "")
        end = self._does(device, version) if version else "committed"
        if end == "deaf":
            return
        rev, old = document["rev"], "1.0.0"
        self.report(device, rev, old, state="fetching", wanted=version)
        if end != "hang":
            now = version if end == "committed" and version else old
            why = {} if end == "committed" else {"reason": "prove: golden", "detail": "0.4 < 0.9"}
            self.report(device, rev, now, state=end, wanted=version, **why)

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()


@pytest.fixture
def paper(broker: Any) -> Iterator[Callable[..., Paper]]:
    made: list[Paper] = []

    def make(does: Callable[[str, str], str] = lambda _d, _v: "committed", port: int = 0) -> Paper:
        made.append(Paper(port or broker.port, does))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture(scope="session")
def drawn() -> Any:
    """The functions above, for tests."""

    class Drawn:
        plan = staticmethod(plan)
        row = staticmethod(row)

    return Drawn
