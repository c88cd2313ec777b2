"""A device that is wished wrong configurations, seen from the broker; and random ones that load."""

from __future__ import annotations

import json
import random
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from edgeagent.config.load import load
from edgeagent.config.schema import config_schema
from edgeagent.errors import ConfigError
from edgeagent.testing.agent import AgentProcess
from edgeagent.testing.broker import Mosquitto

CONFIRM_S = 6.0
"""So long a trial may take here; the contract allows 30 s more for the way back."""
LIMIT_S = CONFIRM_S + 30.0
ROOMS = 5
"""Devices that are tried side by side: most of a trial is waiting."""
USERS = {"dev": "right", "desk": "right", "starved": "right"}
ACL = """
user desk
topic readwrite #
user dev
topic readwrite edgeagent/line-1/#
topic read edgeagent/group/#
user starved
topic write edgeagent/line-1/records
"""
CONFIG = """
[device]
id = "line-1"
[mqtt]
host = "127.0.0.1"
port = {port}
username = "dev"
password_file = "{folder}/word"
[trust]
require_signature = "never"
[sources.cam0]
kind = "synthetic"
fps = 5
[pipelines.belt]
source = "cam0"
model = "parts"
[[pipelines.belt.rules]]
when = "label == 'cracked'"
do = ["event"]
"""


@dataclass
class Outcome:
    """What became of one wish."""

    state: str
    reason: str
    detail: str
    took_s: float


@dataclass
class Room:
    """A broker with access rules, the device as systemd would keep it, and a desk."""

    folder: Path
    broker: Mosquitto
    starts: int = 0
    rev: int = 0
    said: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        (self.folder / "word").write_text("right\n")
        (self.folder / "wrong").write_text("wrong\n")
        text = CONFIG.format(port=self.broker.port, folder=self.folder)
        self.agent = AgentProcess(text, self.folder / "device")
        self._arrived = threading.Condition()
        self.desk = paho.Client(CallbackAPIVersion.VERSION2, protocol=paho.MQTTv5)
        self.desk.username_pw_set("desk", "right")
        topics = [(f"edgeagent/line-1/{name}", 1) for name in ("status", "reported")]
        self.desk.on_connect = lambda client, *_: client.subscribe(topics)
        self.desk.on_message = self._take
        self.desk.connect("127.0.0.1", self.broker.port)
        self.desk.loop_start()
        self.agent.start()
        try:
            # Several begin side by side; this is no part of the claim.
            self.until(self.well, 120)
        except BaseException:
            self.close()
            raise
        self.base = self.said["reported"]["config"]["hash"]

    def _take(self, _client: Any, _data: Any, message: Any) -> None:
        with self._arrived:
            self.said[message.topic.rpartition("/")[2]] = json.loads(message.payload or b"{}")
            self._arrived.notify_all()

    def until(self, condition: Any, limit_s: float) -> float:
        """How long it took. The device is started again where it has ended."""
        began = time.monotonic()
        while True:
            with self._arrived:
                if condition():
                    return time.monotonic() - began
                self._arrived.wait(0.1)
            self.keep_alive()
            assert time.monotonic() - began < limit_s, (self.said, self.agent.log[-2000:])

    def keep_alive(self) -> None:
        """As ``Restart=on-failure`` does."""
        if self.agent.process is not None and self.agent.process.poll() is not None:
            self.starts += 1
            self.agent.start()

    def well(self) -> bool:
        """On the broker, and its pipelines as they should be."""
        return self.said.get("status", {}).get("state") == "online" and "reported" in self.said

    def wish(self, patch: Mapping[str, Any]) -> Outcome:
        """Wish for it, and wait for what is said of it by a device that is on the broker."""
        self.rev += 1
        rev = self.rev
        document = {"rev": rev, "by": "desk", "config": patch, "confirm_s": CONFIRM_S}
        self.desk.publish("edgeagent/line-1/desired", json.dumps(document), 1, retain=True)

        def ended() -> bool:
            its = self.said["reported"].get("config", {})
            there = self.said["status"]["state"] in ("online", "degraded")
            return its.get("rev") == rev and its.get("state", "applied") != "trial" and there

        took = self.until(ended, LIMIT_S)
        its = self.said["reported"]["config"]
        state = its.get("state", "applied")
        return Outcome(state, its.get("reason", ""), its.get("detail", ""), took)

    def withdraw(self) -> None:
        """Wish for nothing any more, and wait until the device is as at first."""
        self.rev += 1
        document = json.dumps({"rev": self.rev, "by": "desk"})
        self.desk.publish("edgeagent/line-1/desired", document, 1, retain=True)
        self.until(
            lambda: (
                self.said["reported"]["rev"] == self.rev
                and self.said["reported"]["config"].get("hash") == self.base
                and self.well()
            ),
            LIMIT_S,
        )

    def hold(self, patch: Mapping[str, Any]) -> Outcome:
        """Wish for it; whatever comes of it, the device is back as it was at first. Raises
        AssertionError where it is not, in time and told why."""
        ended = self.wish(patch)
        assert ended.took_s < LIMIT_S, (patch, ended)
        if ended.state in ("rejected", "rolled-back"):
            assert ended.reason and ended.detail, (patch, ended)
            # It is told a moment before the old one is in force again.
            self.agent.until(lambda status: status["config"] == self.base)
        else:
            assert ended.state == "applied", (patch, ended)
        # Whatever was kept: the next wish arrives, and undoes it.
        self.withdraw()
        return ended

    def close(self) -> None:
        self.agent.stop()
        self.desk.disconnect()
        self.desk.loop_stop()


class Patches:
    """Random patches of one to three keys that a device with `CONFIG` could load."""

    def __init__(self, dice: random.Random, room: Room) -> None:
        self._dice, self._room = dice, room
        self._schema = config_schema()

    def __iter__(self) -> Iterator[dict[str, Any]]:
        candidate = self._room.folder / "candidate.json"
        while True:
            patch: dict[str, Any] = {}
            for _ in range(self._dice.randint(1, 3)):
                self._put(patch)
            candidate.write_text(json.dumps({"rev": 1, "config": patch}))
            try:
                load(Path(self._room.agent.config), remote=candidate)
            except ConfigError:
                continue
            yield patch

    def _put(self, patch: dict[str, Any]) -> None:
        at, here = self._schema, patch
        names = ["pipelines", "belt"] if self._dice.random() < 0.3 else []
        names = names or (["sources", "cam0"] if self._dice.random() < 0.2 else [])
        for name in names[:1]:
            at = self._inner(self._resolved(at)["properties"][name])
            here = here.setdefault(name, {}).setdefault(names[1], {})
        while True:
            at = self._resolved(at)
            properties = {k: v for k, v in at.get("properties", {}).items() if k not in _NAMES}
            if not properties:
                return
            name = self._dice.choice(sorted(properties))
            inner = self._resolved(properties[name])
            if "properties" in inner and self._dice.random() < 0.9:
                here = here.setdefault(name, {})
                at = inner
                if not isinstance(here, dict):
                    return
                continue
            here[name] = self._value(inner)
            return

    def _inner(self, node: Any) -> Any:
        inner = self._resolved(self._resolved(node)["additionalProperties"])
        if "anyOf" in inner:
            kinds = [self._resolved(its) for its in inner["anyOf"]]
            return next(
                its for its in kinds
                if its.get("properties", {}).get("kind", {}).get("enum") == ["synthetic"]
            )  # fmt: skip
        return inner

    def _resolved(self, node: Any) -> Any:
        while "$ref" in node:
            node = self._schema["$defs"][node["$ref"].rpartition("/")[2]]
        return node

    def _value(self, node: Any) -> Any:
        dice, node = self._dice, self._resolved(node)
        if "anyOf" in node:
            return self._value(dice.choice(node["anyOf"]))
        if "enum" in node:
            return dice.choice(node["enum"])
        match node.get("type"):
            case "boolean":
                return dice.random() < 0.5
            case "integer" | "number":
                low = node.get("minimum", node.get("exclusiveMinimum", 0))
                high = node.get("maximum", low + dice.choice([1, 10, 1000, 10**6]))
                return dice.randint(int(low), max(int(low), int(high)))
            case "string":
                unit = node.get("unit", "")
                if unit == "time":
                    return dice.choice(["0 s", "1 ms", "1 s", "5 min", "30 d"])
                if "B" in str(node.get("pattern", "")) and "KiB" in str(node["pattern"]):
                    return dice.choice(["0 B", "1 B", "64 KiB", "1 MiB", "2 GiB"])
                return dice.choice(["", "x", "auto", "127.0.0.1", "nowhere.invalid", "a b", "ä"])
            case "array":
                inner = node.get("prefixItems") or [node.get("items") or {}] * dice.randint(0, 2)
                return [self._value(its) for its in inner]
            case "null":
                return None
            case _:
                return dice.choice([None, 1, "x", {}])


_NAMES = ("sources", "pipelines", "kind", "data_dir", "trust")
"""Tables of names are gone into on purpose; where the data lies only the device's files say; and
where a signature is asked for from then on, this desk has no say any more."""
