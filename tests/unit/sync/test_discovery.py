"""What Home Assistant is told, and when; that it understands is tried on the real one."""

from __future__ import annotations

import json
from typing import Any

from edgeagent.errors import StoreFull
from edgeagent.sync.discovery import BIRTH, About, Discovery, Shown, components, labels_of
from edgeagent.sync.port import Incoming
from edgeagent.sync.topics import Topics
from edgeagent.testing.broker import Mosquitto

TOPICS = Topics("edgeagent", "d1")
BELT = Shown("belt", ("whole", "person on a bike"), image=True)
ABOUT = About(
    "0.1", "Door 7", "hall 2", "rpi4", (BELT,), ("parts",), ("ping", "pipeline", "restart")
)


class Shelf:
    """Keeps what is put on it."""

    def __init__(self) -> None:
        self.put_: list[tuple[str, Any]] = []
        self.renewed: list[str] = []

    def put(self, topic: str, payload: bytes, *, remember: bool = True) -> None:
        self.put_.append((topic, json.loads(payload)))

    def renew(self, topic: str) -> None:
        self.renewed.append(topic)


class Memory(dict[str, bytes]):
    def remember(self, key: str, value: bytes | None) -> None:
        self[key] = value or b""

    def recall(self, key: str) -> bytes | None:
        return self.get(key)


class Link:
    def __init__(self) -> None:
        self.handlers: dict[str, Any] = {}

    def subscribe(self, pattern: str, handler: Any, *, fleeting: bool = False) -> None:
        self.handlers[pattern] = handler


def made(memory: Memory) -> tuple[Discovery, Shelf, Link]:
    link, shelf = Link(), Shelf()
    return Discovery(link, shelf, memory, TOPICS), shelf, link  # type: ignore[arg-type]


def test_each_entity_reads_a_topic_of_the_contract() -> None:
    found = components(ABOUT, TOPICS)
    own = {TOPICS.status, TOPICS.reported, TOPICS.state("belt"), TOPICS.image("belt")}
    for key, its in found.items():
        read = {its[name] for name in its if name.endswith("_topic") and "command" not in name}
        assert read <= own, key
        assert its.get("command_topic", TOPICS.button("x")).startswith("edgeagent/d1/do/")
        assert its["unique_id"] == f"edgeagent_d1_{key}"
    kinds = [its["platform"] for its in found.values()]
    assert sorted(set(kinds)) == ["binary_sensor", "button", "image", "sensor", "switch", "update"]
    # Only what others may ask: no button that is refused.
    assert [key for key in found if key.startswith("do_")] == ["do_restart"]
    assert "belt_person_on_a_bike_count" in found
    assert json.loads(found["belt_runs"]["payload_off"]) == {"name": "belt", "action": "stop"}
    silent = components(About("0.1", pipelines=(Shown("belt"),)), TOPICS)
    assert sorted(silent) == ["belt_alarm", "belt_score", "problem", "state"]


def test_labels_of_other_scripts_are_entities_of_their_own() -> None:
    shown = Shown("gate", ("猫", "犬", "Tür"))
    keys = components(About("0.1", pipelines=(shown,)), TOPICS)
    counts = {its["name"] for key, its in keys.items() if key.endswith("_count")}
    assert counts == {"gate 猫 count", "gate 犬 count", "gate Tür count"}


def test_what_is_gone_is_named_so_that_it_is_removed() -> None:
    memory = Memory()
    first, shelf, _ = made(memory)
    first.tell(ABOUT)
    (topic, document), *_ = shelf.put_
    assert topic == "homeassistant/device/d1/config"
    assert document["device"]["suggested_area"] == "hall 2"
    assert "safe-mode" in document["components"]["state"]["options"]
    # The next process has another configuration.
    second, shelf, _ = made(memory)
    second.tell(About("0.1", "Door 7"))
    there = shelf.put_[0][1]["components"]
    assert there["belt_image"] == {"platform": "image"}
    assert there["model_parts"] == {"platform": "update"}
    assert there["state"]["platform"] == "sensor" and len(there["state"]) > 1
    # And what comes back is whole again.
    third, shelf, _ = made(memory)
    third.tell(ABOUT)
    assert len(shelf.put_[0][1]["components"]["belt_image"]) > 1


def test_a_full_disk_does_not_keep_it_from_being_told() -> None:
    class Full(Memory):
        def remember(self, key: str, value: bytes | None) -> None:
            raise StoreFull("no space left")

    discovery, shelf, _ = made(Full())
    discovery.tell(ABOUT)
    assert len(shelf.put_[0][1]["components"]) == len(components(ABOUT, TOPICS))


def test_a_home_assistant_that_was_born_is_told_again() -> None:
    discovery, shelf, link = made(Memory())
    discovery.tell(ABOUT)
    for said, times in ((b"offline", 0), (b"online", 1)):
        assert link.handlers[BIRTH](Incoming(BIRTH, said, 0, False, False, lambda: None))
        assert len(shelf.renewed) == times
    assert shelf.renewed == [TOPICS.discovery]


def test_few_labels_all_of_them_many_only_those_of_rules() -> None:
    assert labels_of(["a", "b", "a"], []) == ["a", "b"]
    many = [f"l{n}" for n in range(90)]
    rules = ["label == 'l7' and age > 1 s", 'label in ["l80", "l9"]']
    assert labels_of(many, rules) == ["l7", "l9", "l80"]
    assert labels_of(many, []) == []


def test_pictures_go_at_qos_0_and_leave_with_the_device(
    broker: Mosquitto, make_station: Any, make_reader: Any, eventually: Any
) -> None:
    station = make_station(broker.port)
    topic = station.topics.image("belt")
    reader = make_reader(broker.port, topic)
    station.shelf.put(topic, b"\xff\xd8one", qos=0)
    eventually(lambda: reader.on(topic))
    first = reader.on(topic)[0]
    assert (first.payload, first.qos) == (b"\xff\xd8one", 0)
    late = make_reader(broker.port, topic)
    eventually(lambda: late.on(topic))
    assert late.on(topic)[0].retain
