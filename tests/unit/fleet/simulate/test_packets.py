"""The few packets of simulated devices: against each other, and against real brokers."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import paho.mqtt.publish as mqtt_publish
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeagent.errors import ConfigError, NotFound
from edgeagent.fleet.simulate import packets
from edgeagent.fleet.simulate.switchboard import Switchboard
from edgeagent.fleet.simulate.table import Outcome, Table, load
from edgeagent.sync.endpoint import Endpoint
from edgeagent.testing.device import Listener

published = st.tuples(
    st.text(st.characters(codec="utf-8", exclude_characters="#+\0"), min_size=1, max_size=40),
    st.binary(max_size=40_000), st.integers(0, 65535), st.booleans(),
)  # fmt: skip


@given(st.lists(published, max_size=5), st.integers(1, 5000))
def test_what_is_written_is_read_however_it_is_cut(sent: list[Any], cut: int) -> None:
    wire = b"".join(packets.publish(t, p, i, retain=r) for t, p, i, r in sent)
    buffer, found = bytearray(), []
    for at in range(0, len(wire), cut):
        buffer += wire[at : at + cut]
        found += packets.take(buffer)
    assert [(p.topic, p.payload, p.id, p.retained) for p in found] == sent
    assert not buffer


def test_what_is_no_mqtt_is_said() -> None:
    with pytest.raises(ValueError, match="four bytes"):
        packets.take(bytearray(b"\x30\xff\xff\xff\xff\xff\x01"))


def test_a_topic_that_is_refused_is_seen() -> None:
    given, refused = packets.take(bytearray(b"\x90\x04\x00\x01\x01\x01\x90\x04\x00\x02\x01\x80"))
    assert (given.kind, given.id, given.refused) == (packets.SUBACK, 1, False)
    assert refused.refused


class Subscriber:
    client_id = "sim-1"

    def __init__(self) -> None:
        self.got: list[tuple[str, bytes]] = []
        self.ups = self.downs = 0
        self.acked = threading.Event()
        self.line: Any = None

    def will(self) -> tuple[str, bytes]:
        return "edgeagent/sim-1/status", b'{"state":"offline"}'

    def topics(self) -> list[str]:
        return ["edgeagent/sim-1/desired", "edgeagent/group/g/desired"]

    def up(self) -> None:
        self.ups += 1
        self.line.publish("edgeagent/sim-1/status", b"up" * 30_000, retain=True,
                          acked=self.acked.set)  # fmt: skip

    def down(self) -> None:
        self.downs += 1

    def came(self, topic: str, payload: bytes, *, retained: bool) -> None:
        self.got.append((topic, payload))


def test_on_a_broker_and_again_after_it_was_gone(broker: Any) -> None:
    other = Listener(broker.port, "edgeagent/sim-1/status")
    board, device = Switchboard(Endpoint("127.0.0.1", broker.port)), Subscriber()
    device.line = board.add(device)
    doing: list[Callable[[], None]] = []
    thread = threading.Thread(
        target=board.run, args=(lambda _now: doing.pop()() if doing else None,)
    )
    thread.start()
    try:
        assert device.acked.wait(10)
        assert other.until(lambda: other.on("edgeagent/sim-1/status"))[0] == b"up" * 30_000
        for n in range(50):
            mqtt_publish.single("edgeagent/sim-1/desired", f"{n}", 1, port=broker.port)
        mqtt_publish.single("edgeagent/group/g/desired", b"x" * 200_000, 0, port=broker.port)
        other.until(lambda: len(device.got) == 51)
        assert [p for _, p in device.got[:50]] == [f"{n}".encode() for n in range(50)]
        broker.restart()
        other.until(lambda: device.ups == 2)
        device.line.muted = True
        doing.append(lambda: device.line.drop("gone", 0.0))
        other.until(lambda: b'{"state":"offline"}' in other.on("edgeagent/sim-1/status"))
    finally:
        board.stopping = True
        thread.join(10)
        other.close()
    assert device.downs == 2


def test_a_table_says_the_same_each_time_and_keeps_its_shares(tmp_path: Path) -> None:
    table = Table(profiles={"a": 3, "b": 1}, outcome=(Outcome("parts@2.0.0", 0.6, "b"),))
    profiles = [table.profile(n, 1000) for n in range(1000)]
    assert profiles.count("a") == 750
    assert 70 <= profiles[100:200].count("a") <= 80
    fates = [table.fate(f"d{n}", "b", "parts@2.0.0") for n in range(1000)]
    assert 550 <= sum(fate is not None for fate in fates) <= 650
    assert fates == [table.fate(f"d{n}", "b", "parts@2.0.0") for n in range(1000)]
    assert table.fate("d1", "a", "parts@2.0.0") is None
    assert table.fate("d1", "b", "parts@2.0.1") is None
    with pytest.raises(NotFound):
        load(tmp_path / "none.toml")
    (tmp_path / "t.toml").write_text("[[outcome]]\nversion = 'parts@2.0.0'\nwhen = 3\n")
    with pytest.raises(ConfigError, match="when"):
        load(tmp_path / "t.toml")
    (tmp_path / "t.toml").write_text("[profiles]\npi = 1\n")
    assert load(tmp_path / "t.toml").profiles == {"pi": 1}
    assert json.dumps(table.profiles)
