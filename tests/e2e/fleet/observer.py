"""Watches a rollout from the broker alone. Knows MQTT and the published contract, and shares no
code with what it watches: what it counts, it counts anew."""

from __future__ import annotations

import json
import math
import threading
import time
from collections import Counter
from typing import Any, NamedTuple

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

ENDS = {"committed", "failed", "rolled-back", "rejected", "cancelled", "superseded"}
BAD = {"failed", "rolled-back", "rejected"}


class Seen(NamedTuple):
    at: float
    device: str
    what: str
    document: Any


class Observer:
    """All that devices and operators publish, with the time at which it came."""

    def __init__(self, port: int, prefix: str = "edgeagent", model: str = "parts") -> None:
        self.prefix, self.model = prefix, model
        self._arrived = threading.Condition()
        self.seen: list[Seen] = []
        ready = threading.Event()
        self.client = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5)
        self.client.on_connect = lambda client, *_: client.subscribe(
            [
                (f"{prefix}/+/{name}", 1)
                for name in ("capabilities", "status", "desired", "reported")
            ]
        )
        self.client.on_subscribe = lambda *_: ready.set()
        self.client.on_message = self._take
        self.client.connect("127.0.0.1", port)
        self.client.loop_start()
        assert ready.wait(10)

    def _take(self, _client: Any, _data: Any, message: Any) -> None:
        device, what = message.topic.removeprefix(f"{self.prefix}/").split("/")
        document = json.loads(message.payload) if message.payload else None
        with self._arrived:
            self.seen.append(Seen(time.time(), device, what, document))
            self._arrived.notify_all()

    def until(self, condition: Any, timeout: float) -> Any:
        deadline = time.monotonic() + timeout
        with self._arrived:
            while not (found := condition()):
                assert time.monotonic() < deadline, self.summary()
                self._arrived.wait(0.5)
        return found

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()

    # --- what it makes of it

    def profiles(self) -> dict[str, str]:
        return {s.device: s.document["profile"] for s in self.seen
                if s.what == "capabilities" and s.document}  # fmt: skip

    def online(self) -> set[str]:
        states = {s.device: s.document["state"] for s in self.seen
                  if s.what == "status" and s.document}  # fmt: skip
        return {device for device, state in states.items() if state != "offline"}

    def asked(self, version: str) -> dict[str, float]:
        """Device → when its desired state named the version first."""
        found: dict[str, float] = {}
        for s in self.seen:
            models = (s.document or {}).get("models", {}) if s.what == "desired" else {}
            if models.get(self.model, {}).get("version") == version:
                found.setdefault(s.device, s.at)
        return found

    def recalled(self, version: str) -> dict[str, float]:
        """Device → when its desired state no longer named the version."""
        asked, found = self.asked(version), dict[str, float]()
        for s in self.seen:
            if s.what == "desired" and s.device in asked and s.at > asked[s.device]:
                models = (s.document or {}).get("models", {})
                if models.get(self.model, {}).get("version") != version:
                    found.setdefault(s.device, s.at)
        return found

    def ended(self, version: str) -> dict[str, tuple[float, str]]:
        """Device → when and how its change to the version ended, as reported first."""
        found: dict[str, tuple[float, str]] = {}
        for s in self.seen:
            models = (s.document or {}).get("models", {}) if s.what == "reported" else {}
            its = models.get(self.model, {})
            if its.get("wanted") == version and its.get("state", "committed") in ENDS:
                found.setdefault(s.device, (s.at, its.get("state", "committed")))
        return found

    def order(self, version: str) -> list[str]:
        return sorted(self.asked(version), key=lambda device: self.asked(version)[device])

    def revs_rise(self) -> bool:
        """Of each device's desired state; a document that is repeated is the same."""
        last: dict[str, Any] = {}
        for s in self.seen:
            if s.what == "desired" and s.document:
                known = last.get(s.device)
                if known is not None and known != s.document and (
                    known["rev"] >= s.document["rev"]
                ):  # fmt: skip
                    return False
                last[s.device] = s.document
        return True

    # --- what must hold

    def first_wave(self, share: float, least: int = 3) -> Counter[str]:
        """How many of each profile the plan owes the first wave."""
        whole = Counter(self.profiles().values())
        return Counter({
            name: min(count, max(math.ceil(share * count - 1e-9), least))
            for name, count in whole.items()
        })  # fmt: skip

    def by_profile(self, devices: Any) -> Counter[str]:
        profiles = self.profiles()
        return Counter(profiles[device] for device in devices)

    def abort_point(self, version: str, share: float, after: int) -> tuple[str, float] | None:
        """The profile that passed its threshold first, and when: the share of bad ends among
        those asked, once so many have ended."""
        asked, profiles = self.asked(version), self.profiles()
        bad, done = Counter[str](), Counter[str]()
        for at, device, how in sorted((at, d, how) for d, (at, how) in self.ended(version).items()):
            name = profiles[device]
            done[name] += 1
            bad[name] += how in BAD
            of = sum(profiles[d] == name and when <= at for d, when in asked.items())
            if bad[name] and done[name] >= min(after, of) and bad[name] / of >= share:
                return name, at
        return None

    def summary(self) -> str:
        versions = {
            its.get("version")
            for s in self.seen
            if s.what == "desired" and s.document
            for its in s.document.get("models", {}).values()
        }
        lines = [f"{len(self.seen)} messages, {len(self.online())} online"]
        for version in sorted(filter(None, versions)):
            ends = Counter(how for _, how in self.ended(version).values())
            lines.append(f"{version}: asked {len(self.asked(version))}, ended {dict(ends)}")
        return "; ".join(lines)
