"""The mosquitto files that are shipped: a device has all it needs, and nothing of its neighbour."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgeagent.sync.endpoint import Endpoint
from edgeagent.sync.topics import Topics
from edgeagent.testing.broker import Mosquitto, find_mosquitto, make_certificates

pytestmark = pytest.mark.broker

Eventually = Callable[..., Any]
USERS = {
    "d1": "one", "d2": "two", "operator": "three", "collector": "four", "repository": "five",
    "watchman": "six",
}  # fmt: skip
OPTIONS = re.compile(r"^(max_|set_tcp|persistence true|autosave|persistent_client)")


@pytest.fixture
def shipped(repository: Path) -> Path:
    return repository / "packaging" / "mosquitto"


@pytest.fixture
def fleet_broker(tmp_path: Path, shipped: Path, mosquitto_installed: None) -> Any:
    options = [
        line
        for line in (shipped / "mosquitto.conf").read_text().splitlines()
        if OPTIONS.match(line)
    ]
    assert len(options) >= 7
    acl = (shipped / "acl").read_text()
    options.append(f"persistence_location {tmp_path}/")
    with Mosquitto(tmp_path / "b", users=USERS, acl=acl, options=options) as broker:
        yield broker


def endpoint(broker: Mosquitto, tmp_path: Path, user: str) -> Endpoint:
    secret = tmp_path / f"{user}.secret"
    secret.write_text(USERS.get(user, "wrong") + "\n")
    return Endpoint("127.0.0.1", broker.port, user, str(secret))


@pytest.mark.parametrize("version", ["5", "3.1.1"])
def test_a_device_proves_its_topics_under_the_shipped_rules(
    fleet_broker: Mosquitto, tmp_path: Path, make_station: Any, make_reader: Any, version: str,
    eventually: Eventually,
) -> None:  # fmt: skip
    where = endpoint(fleet_broker, tmp_path, "d1")
    station = make_station(0, endpoints=(where,), version=version, groups=("canary",))
    assert station.link.complaints == []
    operator = make_reader(fleet_broker.port, "edgeagent/#", user=("operator", "three"))
    operator.publish(station.topics.command("ping", "a1"), {"status": "init"}, retain=True)
    operator.publish(
        station.topics.group_command("canary", "ping", "g1"), {"status": "init"}, retain=True
    )
    for id in ("a1", "g1"):
        topic = station.topics.command("ping", id)
        eventually(lambda topic=topic: any(
            document and document["status"] == "successful" for document in operator.json(topic)
        ))  # fmt: skip
    assert station.shelf.refused == {}


def test_a_device_can_t_touch_its_neighbour(
    fleet_broker: Mosquitto,
    tmp_path: Path,
    make_link: Any,
    make_reader: Any,
    eventually: Eventually,
) -> None:
    other = Topics("edgeagent", "d2")
    operator = make_reader(fleet_broker.port, "edgeagent/#", user=("operator", "three"))
    link = make_link(0, endpoint=endpoint(fleet_broker, tmp_path, "d1"), start=False)
    overheard: list[str] = []
    link.subscribe("edgeagent/d2/#", lambda m: overheard.append(m.topic) or True)
    heard: list[str] = []
    own = Topics("edgeagent", "d1")
    link.subscribe(own.commands, lambda m: heard.append(m.topic) or True)
    link.start()
    assert link.wait_up(5)
    answers: list[Any] = []
    topics = [other.status, other.records, other.command("ping", "x")]
    topics += ["edgeagent/group/canary/desired", "edgeagent/group/canary/cmd/ping/x"]
    for topic in topics:
        link.publish(topic, b"{}", on_done=answers.append)
    eventually(lambda: len(answers) == 5)
    assert {reason.code for reason in answers} == {0x87}
    operator.publish(other.command("ping", "secret"), {"status": "init"})
    eventually(lambda: operator.on(other.command("ping", "secret")))
    # A broker delivers in order: what comes after it shows that nothing came before.
    operator.publish(own.command("ping", "last"), {"status": "init"})
    eventually(lambda: own.command("ping", "last") in heard)
    assert not overheard
    assert not operator.on(other.status)


def test_who_only_watches_sees_all_and_commands_nobody(
    fleet_broker: Mosquitto, tmp_path: Path, make_station: Any, make_reader: Any,
    eventually: Eventually,
) -> None:  # fmt: skip
    from edgeagent.errors import NotPermitted
    from edgeagent.fleet.alerts.incident import Alert, Incident
    from edgeagent.fleet.alerts.receivers import Topic
    from edgeagent.fleet.orders.order import order
    from edgeagent.fleet.orders.sending import Sending
    from edgeagent.fleet.orders.targets import named
    from edgeagent.fleet.sight.look import SELF_TOLD, look
    from edgeagent.sync.endpoint import LinkSettings

    station = make_station(0, endpoints=(endpoint(fleet_broker, tmp_path, "d1"),))
    station.presence.capabilities({"profile": "rpi4"})
    operator = make_reader(fleet_broker.port, "edgeagent/#", user=("operator", "three"))
    eventually(lambda: operator.on(station.topics.capabilities))
    link = LinkSettings("watch", (endpoint(fleet_broker, tmp_path, "watchman"),))
    roster, count = look(link, "edgeagent", names=SELF_TOLD)
    assert (roster.devices["d1"].profile, roster.devices["d1"].online) == ("rpi4", True)
    assert not count.hidden
    topic = Topic(link, "edgeagent")
    topic.tell(Alert(Incident("offline", "d1", 1.0, "gone")))
    topic.close()
    eventually(lambda: operator.on("edgeagent/alerts/offline/d1"))
    targets = named(link, "edgeagent", ["d1"])
    with (
        Sending(link, "edgeagent", order("ping", {}, "me"), targets) as sending,
        pytest.raises(NotPermitted, match="not taken"),
    ):
        sending.publish()


def test_a_wrong_password_is_told(
    fleet_broker: Mosquitto, tmp_path: Path, make_link: Any, eventually: Eventually
) -> None:
    link = make_link(0, endpoint=endpoint(fleet_broker, tmp_path, "stranger"))
    reason = eventually(lambda: link.last_error)
    assert reason.kind == "denied"
    assert "password" in reason.sentence + reason.advice or "authorise" in reason.sentence


def test_a_missing_password_file_is_told(
    make_link: Any, eventually: Eventually, tmp_path: Path
) -> None:
    link = make_link(0, endpoint=Endpoint("127.0.0.1", 1, "d1", str(tmp_path / "absent")))
    assert "mqtt.password_file" in eventually(lambda: link.last_error).sentence


def test_the_shipped_configuration_is_one_that_mosquitto_takes(
    tmp_path: Path, shipped: Path, mosquitto_installed: None
) -> None:
    """As it is shipped, but for the folders and the port."""
    import subprocess

    from edgeagent.testing.broker import free_port

    files = make_certificates(tmp_path / "tls")
    (tmp_path / "passwd").write_text("")
    (tmp_path / "acl").write_text((shipped / "acl").read_text())
    text = (shipped / "mosquitto.conf").read_text()
    for old, new in (
        ("listener 8883", f"listener {free_port()} 127.0.0.1\nuser root"),
        ("/etc/mosquitto/ca_certificates/ca.crt", str(files.ca)),
        ("/etc/mosquitto/certs/server.crt", str(files.server)),
        ("/etc/mosquitto/certs/server.key", str(files.server_key)),
        ("/etc/mosquitto/edgeagent.passwd", str(tmp_path / "passwd")),
        ("/etc/mosquitto/edgeagent.acl", str(tmp_path / "acl")),
        ("/var/lib/mosquitto/", f"{tmp_path}/"),
    ):
        assert old in text
        text = text.replace(old, new)
    (tmp_path / "m.conf").write_text(text)
    process = subprocess.Popen(
        [find_mosquitto(), "-c", str(tmp_path / "m.conf")], stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    said = []
    for line in process.stderr:
        said.append(line)
        if " running" in line or "Error" in line:
            break
    process.kill()
    process.wait(5)
    process.stderr.close()
    assert " running" in said[-1], said


def test_the_repository_serves_and_can_do_nothing_else(
    fleet_broker: Mosquitto, tmp_path: Path, make_link: Any, make_reader: Any,
    eventually: Eventually,
) -> None:  # fmt: skip
    """A server and a device under the shipped rules; what either tries beyond that is lost."""
    import threading

    from edgeagent.fleet.serve import Server, ServeSettings
    from edgeagent.sync.budget import Budget
    from edgeagent.sync.endpoint import LinkSettings
    from edgeagent.sync.fetching import Fetching
    from edgeagent.update.fetch.mqtt import MqttCarrier

    public = tmp_path / "public"
    (public / "metadata").mkdir(parents=True)
    (public / "metadata" / "timestamp.json").write_bytes(b"signed")
    where = (endpoint(fleet_broker, tmp_path, "repository"),)
    server = Server(ServeSettings(public, LinkSettings("", where)))
    how: list[str] = []
    thread = threading.Thread(target=server.run, args=(how.append,), daemon=True)
    thread.start()
    link = make_link(0, endpoint=endpoint(fleet_broker, tmp_path, "d1"), start=False)
    exchange = Fetching(link, Topics("edgeagent", "d1"), Budget())
    link.board(exchange)
    link.start()
    assert link.wait_up(10)
    eventually(lambda: how, 15)
    assert "sharing" in how[0]
    carrier = MqttCarrier(exchange, silence_s=10)
    assert carrier.read("metadata/timestamp.json", 100, threading.Event()) == b"signed"

    operator = make_reader(fleet_broker.port, "edgeagent/#", user=("operator", "three"))
    forbidden = make_reader(fleet_broker.port, "edgeagent/+/records", user=("repository", "five"))
    topics = ("cmd/ping/x1", "desired", "records", "status", "confirm/main")
    for topic in topics:
        forbidden.publish(f"edgeagent/d1/{topic}", {"status": "init"})
    operator.publish("edgeagent/d1/records", {"seq": 1})
    # Neither may a device ask in its neighbour's name, nor answer it.
    link.publish("edgeagent/d2/fetch", b"{}")
    link.publish("edgeagent/d2/fetch/aaaaaaaaaaaaaaaa/0", b"{}")
    operator.publish("edgeagent/end/cmd/x/y", {"end": True})
    eventually(lambda: operator.json("edgeagent/end/cmd/x/y"))
    for topic in topics:
        assert operator.json(f"edgeagent/d1/{topic}") in ([], [{"seq": 1}]), topic
    assert operator.json("edgeagent/d2/fetch") == []
    assert operator.json("edgeagent/d2/fetch/aaaaaaaaaaaaaaaa/0") == []
    assert forbidden.json("edgeagent/d1/records") == []
    server.stop()
    thread.join(10)
