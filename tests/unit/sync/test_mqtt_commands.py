"""Commands over a real broker: one owner at a time, retained, cleared, pressed and for groups."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import jsonschema
import pytest

from edgeagent import clock
from edgeagent.store.outbox import Outbox
from edgeagent.sync import command_types as types
from edgeagent.sync.command_types import CommandType
from edgeagent.sync.commands import Registry
from edgeagent.sync.schema import schemas
from edgeagent.sync.topics import Topics
from edgeagent.testing.broker import Mosquitto
from edgeagent.testing.proxy import Proxy

pytestmark = pytest.mark.broker

Eventually = Callable[..., Any]
WORK = CommandType("work", types.OfModel, "Do it")


class Works:
    """A registry whose `work` counts, and can be held."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.hold = threading.Event()
        self.hold.set()
        self.registry = Registry()
        self.registry.register(WORK, self._work)

    def _work(self, arguments: Any, job: Any) -> dict[str, Any]:
        self.done.append(job.order.id)
        while not self.hold.wait(0.01):
            job.progress(0.5)
        return {"model": arguments.model}


@pytest.fixture
def works() -> Works:
    return Works()


def init(**extra: Any) -> dict[str, Any]:
    now = clock.rfc3339(clock.wall_ns())
    return {"status": "init", "by": "me", "at": now, "model": "parts", **extra}


def last(reader: Any, topic: str) -> Any:
    found = reader.json(topic)
    return found[-1] if found else None


def answered(reader: Any, topic: str, status: str) -> Callable[[], bool]:
    return lambda: (last(reader, topic) or {}).get("status") == status


def test_a_command_is_answered_on_its_topic_and_retained(
    broker: Mosquitto, make_station: Any, make_reader: Any, works: Works, eventually: Eventually
) -> None:
    station = make_station(broker.port, registry=works.registry)
    topic = station.topics.command("work", "a1")
    reader = make_reader(broker.port, topic)
    reader.publish(topic, init(), retain=True)
    eventually(answered(reader, topic, "successful"))
    said = [d["status"] for d in reader.json(topic)]
    assert said[0] == "init" and said[-1] == "successful"
    schema = schemas()["command"]
    for document in reader.json(topic):
        jsonschema.validate(document, schema)
    late = make_reader(broker.port, topic)
    eventually(lambda: late.got)
    assert late.got[0].retain and last(late, topic)["result"] == {"model": "parts"}
    assert last(late, topic)["by"] == "me"


def test_it_is_done_once_however_often_it_is_asked(
    broker: Mosquitto, make_station: Any, make_reader: Any, works: Works, eventually: Eventually
) -> None:
    with Proxy(broker.port) as proxy:
        station = make_station(proxy.port, registry=works.registry)
        topic = station.topics.command("work", "a1")
        reader = make_reader(broker.port, topic)
        order = init()
        for _ in range(3):
            reader.publish(topic, order, retain=True)
        eventually(answered(reader, topic, "successful"))
        proxy.cut()
        assert station.link.wait_up(5)
        reader.publish(topic, order, retain=True)
        eventually(answered(reader, topic, "successful"))
    assert works.done == ["a1"]


def test_commands_that_came_while_it_was_away_are_done_once(
    broker: Mosquitto, make_station: Any, make_reader: Any, works: Works, eventually: Eventually
) -> None:
    reader = make_reader(broker.port)
    topics = Topics("edgeagent", "d1")
    reader.publish(topics.command("work", "a1"), init(), retain=True)
    make_station(broker.port, registry=works.registry)
    eventually(answered(reader, topics.command("work", "a1"), "successful"))
    assert works.done == ["a1"]


def test_what_is_cleared_never_comes_back(
    broker: Mosquitto, make_station: Any, make_reader: Any, works: Works, eventually: Eventually
) -> None:
    with Proxy(broker.port) as proxy:
        station = make_station(proxy.port, registry=works.registry)
        topic = station.topics.command("work", "a1")
        reader = make_reader(broker.port, topic)
        reader.publish(topic, init(), retain=True)
        eventually(answered(reader, topic, "successful"))
        reader.publish(topic, b"", retain=True)
        eventually(lambda: station.outbox.journal.published() == [])
        proxy.cut()
        assert station.link.wait_up(5)
        station.stop()
        # Also not after a restart: the journal knows that it was cleared.
        again = make_station(broker.port, registry=Works().registry)
        assert again.link.wait_up(5)
        assert reader.json(topic)[-1] is None
        late = make_reader(broker.port, station.topics.commands)
        late.publish(station.topics.metrics, b"x")
        assert not late.on(topic)


def test_an_answer_that_crossed_with_the_clearing_is_cleared_by_the_device(
    broker: Mosquitto, make_station: Any, make_reader: Any, works: Works, eventually: Eventually
) -> None:
    station = make_station(broker.port, registry=works.registry)
    topic = station.topics.command("work", "a1")
    reader = make_reader(broker.port, topic)
    reader.publish(topic, init(), retain=True)
    eventually(answered(reader, topic, "successful"))
    answer = reader.json(topic)[-1]
    reader.publish(topic, b"", retain=True)
    eventually(lambda: topic in station.commands._cleared)
    reader.publish(topic, answer, retain=True)  # What the device would have had under way.
    eventually(lambda: reader.json(topic)[-1] is None and len(reader.json(topic)) >= 6)


def test_answers_are_published_again_to_a_broker_that_forgot_them(
    broker: Mosquitto, make_station: Any, make_reader: Any, works: Works, eventually: Eventually
) -> None:
    station = make_station(broker.port, registry=works.registry)
    topic = station.topics.command("work", "a1")
    reader = make_reader(broker.port, topic)
    reader.publish(topic, init(), retain=True)
    eventually(answered(reader, topic, "successful"))
    broker.kill()
    broker.start()
    late = make_reader(broker.port, topic)
    eventually(answered(late, topic, "successful"))
    assert works.done == ["a1"]


def test_answers_are_published_again_by_the_next_process(
    broker: Mosquitto, make_station: Any, make_reader: Any, works: Works, eventually: Eventually,
    open_outbox: Callable[..., Outbox],
) -> None:  # fmt: skip
    first = open_outbox("own")
    station = make_station(broker.port, registry=works.registry, own=first)
    topic = station.topics.command("work", "a1")
    reader = make_reader(broker.port, topic)
    reader.publish(topic, init(), retain=True)
    eventually(answered(reader, topic, "successful"))
    station.stop()
    first.close()
    broker.kill()
    broker.start()
    make_station(broker.port, registry=Works().registry, own=open_outbox("own"))
    late = make_reader(broker.port, topic)
    eventually(answered(late, topic, "successful"))


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        (b"{nonsense", "not-json"),
        (b'"init"', "not-json"),
        (b"[" * 200_000, "too-deep"),
        (b'{"status":"init","x":"' + b"y" * 300_000 + b'"}', "too-large"),
        ({"status": "init", "model": "parts"}, "bad-arguments"),
        (init(model=7), "bad-arguments"),
    ],
)
def test_what_can_t_be_done_is_refused_in_words(
    broker: Mosquitto, make_station: Any, make_reader: Any, works: Works, eventually: Eventually,
    document: Any, reason: str,
) -> None:  # fmt: skip
    station = make_station(broker.port, registry=works.registry)
    topic = station.topics.command("work", "a1")
    reader = make_reader(broker.port, station.topics.commands)

    def refused() -> bool:
        for message in reader.on(topic):
            if b'"rejected"' in message.payload[:2000] and len(message.payload) < 2000:
                assert f'"{reason}"'.encode() in message.payload
                return True
        return False

    reader.publish(topic, document, retain=True)
    eventually(refused)
    assert not works.done
    assert station.link.state == "up" and station.link.counters.losses == 0
    assert station.link.counters.handler_errors == 0


@pytest.mark.parametrize("status", [7, None, [], {}, "dancing"])
def test_odd_statuses_are_no_orders(
    broker: Mosquitto, make_station: Any, make_reader: Any, works: Works, eventually: Eventually,
    status: Any,
) -> None:  # fmt: skip
    station = make_station(broker.port, registry=works.registry)
    topic = station.topics.command("work", "a1")
    reader = make_reader(broker.port, topic)
    reader.publish(topic, init(status=status), retain=True)
    eventually(answered(reader, topic, "failed"))
    assert last(reader, topic)["reason"] == "journal lost"
    assert not works.done
    assert station.link.counters.handler_errors == 0


def test_a_status_of_a_lost_life_is_ended(
    broker: Mosquitto, make_station: Any, make_reader: Any, works: Works, eventually: Eventually
) -> None:
    topics = Topics("edgeagent", "d1")
    reader = make_reader(broker.port)
    reader.publish(topics.command("work", "a1"), init(status="executing"), retain=True)
    reader.publish(topics.command("work", "a2"), init(status="successful"), retain=True)
    make_station(broker.port, registry=works.registry)
    eventually(answered(reader, topics.command("work", "a1"), "failed"))
    assert last(reader, topics.command("work", "a1"))["reason"] == "journal lost"
    assert last(reader, topics.command("work", "a2"))["status"] == "successful"
    assert not works.done


def test_a_command_for_a_group_is_answered_on_the_device_s_own_topic(
    broker: Mosquitto, make_station: Any, make_reader: Any, works: Works, eventually: Eventually
) -> None:
    with Proxy(broker.port) as proxy:
        station = make_station(proxy.port, registry=works.registry, groups=("canary",))
        topic = station.topics.group_command("canary", "work", "g1")
        own = station.topics.command("work", "g1")
        reader = make_reader(broker.port)
        order = init()
        reader.publish(topic, order, retain=True)
        eventually(answered(reader, own, "successful"))
        assert reader.json(topic) == [order]
        # Cleared on the device's topic, while the group's stays: it must not come back.
        reader.publish(own, b"", retain=True)
        eventually(lambda: station.outbox.journal.published() == [])
        before = len(reader.on(own))
        proxy.cut()
        assert station.link.wait_up(5)
        reader.publish(station.topics.command("ping", "p1"), {"status": "init"}, retain=True)
        eventually(answered(reader, station.topics.command("ping", "p1"), "successful"))
        assert len(reader.on(own)) == before
    assert works.done == ["g1"]


def test_a_button_is_pressed_once_and_only_its_last_answer_stays(
    broker: Mosquitto, make_station: Any, make_reader: Any, works: Works, eventually: Eventually
) -> None:
    station = make_station(broker.port, registry=works.registry)
    reader = make_reader(broker.port)
    for count in (1, 2):
        reader.publish(station.topics.button("work"), {"model": "parts"})
        eventually(lambda count=count: len(works.done) == count)

        def answers() -> dict[str, Any]:
            return {
                topic: document
                for topic, document in reader.retained().items()
                if "/cmd/work/" in topic and document is not None
            }

        eventually(lambda count=count: list(answers()) == [
            station.topics.command("work", works.done[count - 1])])  # fmt: skip
        eventually(lambda: next(iter(answers().values()))["status"] == "successful")
    assert next(iter(answers().values()))["by"] == "button"


def test_a_retained_press_is_not_pressed(
    broker: Mosquitto, make_station: Any, make_reader: Any, works: Works, eventually: Eventually
) -> None:
    reader = make_reader(broker.port)
    topics = Topics("edgeagent", "d1")
    reader.publish(topics.button("work"), {"model": "parts"}, retain=True)
    station = make_station(broker.port, registry=works.registry)
    eventually(lambda: station.commands.dropped == 1)
    reader.publish(topics.button("ping"), b"")
    eventually(lambda: any("/cmd/ping/do-" in m.topic for m in reader.got))
    assert not works.done


def test_progress_and_cancel_over_mqtt(
    broker: Mosquitto, make_station: Any, make_reader: Any, works: Works, eventually: Eventually
) -> None:
    works.hold.clear()
    station = make_station(broker.port, registry=works.registry)
    topic = station.topics.command("work", "a1")
    reader = make_reader(broker.port, station.topics.commands)
    reader.publish(topic, init(), retain=True)
    eventually(lambda: (last(reader, topic) or {}).get("progress") == 0.5)
    reader.publish(station.topics.command("cancel", "c1"), init(target="a1"), retain=True)
    eventually(answered(reader, topic, "cancelled"))
    eventually(answered(reader, station.topics.command("cancel", "c1"), "successful"))
