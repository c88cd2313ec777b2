"""Status, will, capabilities, and what is read from the device's own status topic."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jsonschema
import pytest

from edgeagent.store.outbox import Outbox
from edgeagent.sync.backoff import RANGES
from edgeagent.sync.presence import Identity
from edgeagent.sync.schema import schemas
from edgeagent.sync.topics import Topics
from edgeagent.testing.broker import Mosquitto
from edgeagent.testing.proxy import Proxy
from edgeagent.types import Draft

pytestmark = pytest.mark.broker

Eventually = Callable[..., Any]
T = Topics("edgeagent", "d1")
IDENTITY = Identity("0.1", boot="b" * 32, name="Door 7", site="hall", tags={"line": "3"})


def commit(outbox: Outbox, count: int = 1) -> None:
    for _ in range(count):
        outbox.append(Draft("event", data={"phase": "new"}, event=f"k{outbox.last_seq}")).wait(5)


def test_the_status_tells_who_and_how(
    broker: Mosquitto, make_station: Any, make_reader: Any, outbox: Outbox, eventually: Eventually
) -> None:
    commit(outbox, 2)
    reader = make_reader(broker.port, T.status)
    station = make_station(broker.port, identity=IDENTITY)
    said = eventually(lambda: reader.json(T.status))[-1]
    jsonschema.validate(said, schemas()["status"])
    assert said["state"] == "online" and said["reasons"] == []
    assert (said["epoch"], said["seq"]) == (outbox.epoch, 2)
    assert (said["name"], said["site"], said["tags"]) == ("Door 7", "hall", {"line": "3"})
    assert said["contract"] == 1 and said["boot"] == "b" * 32
    station.presence.say("degraded", ("cam0: unplugged",))
    said = eventually(lambda: [s for s in reader.json(T.status) if s["state"] == "degraded"])[-1]
    assert said["reasons"] == ["cam0: unplugged"]
    station.presence.say("online")
    eventually(lambda: reader.json(T.status)[-1]["state"] == "online")
    station.stop()
    eventually(lambda: reader.json(T.status)[-1]["state"] == "offline")
    assert reader.json(T.status)[-1]["reasons"] == ["stopped"]


def test_the_will_is_the_status_of_a_device_that_vanished(
    broker: Mosquitto, make_station: Any, make_reader: Any, eventually: Eventually
) -> None:
    reader = make_reader(broker.port, T.status)
    with Proxy(broker.port) as proxy:
        make_station(proxy.port, ranges=RANGES | {"network": (30.0, 30.0)})
        eventually(lambda: reader.json(T.status))
        proxy.cut(reset=True)
        said = eventually(lambda: [s for s in reader.json(T.status) if s["state"] == "offline"])[-1]
        jsonschema.validate(said, schemas()["status"])
        assert said["reasons"] == ["connection lost"]


def test_everything_retained_is_back_after_the_broker_forgot_it(
    broker: Mosquitto, make_station: Any, make_reader: Any, eventually: Eventually
) -> None:
    station = make_station(broker.port)
    station.presence.capabilities({"commands": {}})
    station.presence.reported({"rev": 0})
    station.presence.state("door", {"counts": {"crack": 1}})
    station.presence.state("door", {"counts": {"crack": 2}})
    topics = {T.status, T.capabilities, T.reported, T.state("door")}
    eventually(lambda: set(make_reader(broker.port).retained()) >= topics)
    broker.kill()
    broker.start()
    late = make_reader(broker.port)
    eventually(lambda: set(late.retained()) >= topics)
    eventually(lambda: late.retained()[T.state("door")] == {"counts": {"crack": 2}})


def test_topics_that_it_no_longer_has_are_cleared(
    broker: Mosquitto, make_station: Any, make_reader: Any, eventually: Eventually,
    open_outbox: Callable[..., Outbox],
) -> None:  # fmt: skip
    first = open_outbox("own")
    station = make_station(broker.port, own=first)
    for pipeline in ("door", "belt", "gone"):
        station.presence.state(pipeline, {"alarm": False})
    reader = make_reader(broker.port)
    eventually(lambda: T.state("gone") in reader.retained())
    station.stop()
    first.close()
    again = make_station(broker.port, own=open_outbox("own"), start=False)
    again.shelf.keep([T.state("door")])
    again.presence.state("belt", {"alarm": True})
    again.start()
    eventually(lambda: reader.retained()[T.state("gone")] is None)
    eventually(lambda: reader.retained()[T.state("belt")] == {"alarm": True})
    assert reader.retained()[T.state("door")] == {"alarm": False}
    again.shelf.clear(T.state("belt"))
    eventually(lambda: reader.retained()[T.state("belt")] is None)
    remembered = again.outbox.recall("sync.retained")
    assert remembered is not None


def test_many_topics_go_out_a_few_at_a_time(
    scripted: Any, make_station: Any, eventually: Eventually
) -> None:
    broker = scripted(puback=lambda m: -1 if "/state/" in m.topic else 0)
    station = make_station(broker.port)
    for n in range(100):
        station.presence.state(f"p{n}", {"alarm": False})

    def states() -> list[Any]:
        return [m for m in broker.published if "/state/" in m.topic]

    eventually(lambda: len(states()) == 16)
    station.presence.say("degraded", ("hot",))
    for n in range(100):
        eventually(lambda n=n: len(states()) > n)
        broker.acknowledge(states()[n].mid)
    eventually(lambda: any(b"hot" in m.payload for m in broker.published))
    assert len({m.topic for m in states()}) == 100


def test_a_refused_topic_is_tried_again_later(
    scripted: Any, make_station: Any, eventually: Eventually, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgeagent.sync.shelf._AGAIN_S", 0.1)
    broker = scripted(puback=lambda m: 0x97 if m.topic == T.reported else 0)
    station = make_station(broker.port)
    station.presence.reported({"rev": 1})
    eventually(lambda: station.shelf.refused)
    broker.script.puback = lambda m: 0
    eventually(lambda: not station.shelf.refused)
    assert len([m for m in broker.published if m.topic == T.reported]) >= 2
    assert station.link.counters.losses == 0


def test_a_topic_that_the_broker_refuses_is_a_reason(
    tmp_path: Any, make_station: Any, make_reader: Any, eventually: Eventually,
    mosquitto_installed: None,
) -> None:  # fmt: skip
    acl = "topic readwrite edgeagent/d1/cmd/#\ntopic readwrite edgeagent/d1/status\ntopic read #\n"
    with Mosquitto(tmp_path / "acl", acl=acl) as broker:
        station = make_station(broker.port)
        station.presence.capabilities({"commands": {}})
        reader = make_reader(broker.port, T.status)
        eventually(lambda: any(
            T.capabilities in reason for s in reader.json(T.status) for reason in s["reasons"]
        ))  # fmt: skip
        assert reader.json(T.status)[-1]["state"] == "degraded"


def test_a_starved_subscription_is_a_reason_with_advice(
    tmp_path: Any, make_station: Any, make_reader: Any, eventually: Eventually,
    mosquitto_installed: None,
) -> None:  # fmt: skip
    """The broker grants the subscription, and its access rules deliver nothing."""
    acl = "topic write edgeagent/d1/#\n\nuser reader\ntopic read #\n"
    with Mosquitto(tmp_path / "acl", acl=acl) as broker:
        station = make_station(broker.port, answer_s=0.4)
        commit(station.outbox)
        eventually(lambda: station.outbox.stats().pending == 0)
        broker.set_acl("topic readwrite #\n")
        reader = make_reader(broker.port, T.status)
        said = eventually(lambda: reader.json(T.status))[-1]
        assert said["state"] == "degraded"
        assert any("not proven" in r and "cmd/#" in r for r in said["reasons"])


# --- epochs --------------------------------------------------------------------------------


def test_a_restart_keeps_its_epoch(
    broker: Mosquitto, make_station: Any, eventually: Eventually, open_outbox: Callable[..., Outbox]
) -> None:
    first = open_outbox("own")
    commit(first, 3)
    station = make_station(broker.port, own=first)
    eventually(lambda: first.stats().pending == 0)
    station.stop()
    epoch = first.epoch
    first.close()
    again = open_outbox("own")
    make_station(broker.port, own=again)
    commit(again)
    eventually(lambda: again.stats().pending == 0)
    assert again.epoch == epoch and again.last_seq == 4


@pytest.mark.parametrize("told_by", ["status", "confirm"])
def test_a_restored_database_gets_a_new_epoch(
    broker: Mosquitto, make_station: Any, make_reader: Any, outbox: Outbox,
    eventually: Eventually, told_by: str,
) -> None:  # fmt: skip
    commit(outbox, 3)
    old = outbox.epoch
    reader = make_reader(broker.port, T.records)
    if told_by == "status":
        said = {"state": "offline", "epoch": old, "seq": 40, "boot": "a" * 32}
        reader.publish(T.status, said, retain=True)
    else:
        reader.publish(T.confirm("main"), {"epoch": old, "upto": 40, "by": "main"}, retain=True)
    make_station(broker.port)
    eventually(lambda: outbox.epoch != old)
    eventually(lambda: outbox.stats().pending == 0)
    assert outbox.stats().produced == outbox.last_seq


def test_a_lost_database_is_told_as_a_gap_of_unknown_end(
    broker: Mosquitto, make_station: Any, make_reader: Any, outbox: Outbox, eventually: Eventually
) -> None:
    import zlib

    reader = make_reader(broker.port, T.records)
    lost = {"state": "offline", "epoch": "01OLD", "seq": 40, "boot": "a" * 32}
    reader.publish(T.status, lost, retain=True)
    make_station(broker.port)
    eventually(lambda: any(b"01OLD" in zlib.decompress(m.payload) for m in reader.got))
    assert outbox.epoch != "01OLD"


@pytest.mark.parametrize("payload", [b"", b"nonsense", b"[]", b'{"state":"offline","seq":"x"}'])
def test_a_status_that_can_t_be_read_changes_nothing(
    broker: Mosquitto, make_station: Any, make_reader: Any, outbox: Outbox, payload: bytes,
    eventually: Eventually,
) -> None:  # fmt: skip
    epoch = outbox.epoch
    reader = make_reader(broker.port, T.status)
    reader.publish(T.status, payload, retain=True)
    station = make_station(broker.port)
    eventually(lambda: reader.on(T.status)[-1].payload.startswith(b'{"state":"online"'))
    assert outbox.epoch == epoch and station.link.counters.handler_errors == 0


# --- two devices with one id ---------------------------------------------------------------


def test_two_devices_with_one_id_stop_fighting_and_say_so(
    broker: Mosquitto, make_station: Any, make_reader: Any, eventually: Eventually,
    open_outbox: Callable[..., Outbox],
) -> None:  # fmt: skip
    """This mosquitto says nothing when a session is taken over: the devices must see it by
    what the other one says in their name."""
    ranges = RANGES | {"network": (0.02, 0.2), "taken": (60.0, 60.0)}
    one = make_station(broker.port, ranges=ranges, stable_s=60.0)
    two = make_station(
        broker.port, ranges=ranges, stable_s=60.0, own=open_outbox("two"),
        identity=Identity("0.1", boot="c" * 32), start=False,
    )  # fmt: skip
    two.link.start()
    eventually(lambda: one.link._redial.rival or two.link._redial.rival, timeout=10)
    # From now on each loss is followed by a wait of at least 12 s: the fight is over.
    eventually(lambda: one.link.state == "down" or two.link.state == "down")
    connects = one.link.counters.connects + two.link.counters.connects
    assert connects < 20
    reader = make_reader(broker.port, T.status)
    eventually(lambda: any(
        "Two devices have the same device.id" in reason
        for said in reader.json(T.status) for reason in said["reasons"]
    ), timeout=10)  # fmt: skip
    assert one.link.counters.connects + two.link.counters.connects <= connects + 2


def test_a_former_life_of_our_own_is_no_second_device(
    broker: Mosquitto, make_station: Any, eventually: Eventually, open_outbox: Callable[..., Outbox]
) -> None:
    """Rebooted so quickly that the broker still holds the old connection: its will comes."""
    outbox = open_outbox("new")
    with Proxy(broker.port) as proxy:
        old = make_station(proxy.port, identity=Identity("0.1", boot="a" * 32))
        eventually(lambda: old.shelf.payload(T.status) is not None)
        proxy.mode = "hold"
        new = make_station(
            broker.port, own=outbox, identity=Identity("0.1", boot="b" * 32), keepalive_s=2.0
        )
        eventually(lambda: new.shelf.payload(T.status) is not None)
        commit(outbox)
        eventually(lambda: outbox.stats().pending == 0)
        assert not new.link._redial.rival
        assert new.link.complaints == []
        old.link._stopping.set()


def test_a_long_name_does_not_end_the_link(
    broker: Mosquitto, make_station: Any, make_reader: Any, eventually: Any
) -> None:
    """A will and a user name have 65,535 bytes at most; a status may have more."""
    tags = {f"t{n}": "x" * 200 for n in range(400)}
    station = make_station(broker.port, identity=Identity("0.1", boot="b" * 32, tags=tags))
    reader = make_reader(broker.port, station.topics.status)
    eventually(lambda: reader.on(station.topics.status))
    assert len(reader.json(station.topics.status)[-1]["tags"]) == 400
    name = Identity("0.1", boot="b" * 32, name="n" * 70_000)
    other = make_station(broker.port, start=False, topics=Topics("edgeagent", "d2"), identity=name)
    other.link.start()
    eventually(lambda: other.link.last_error is not None)
    assert "longer than MQTT allows" in other.link.last_error.sentence
