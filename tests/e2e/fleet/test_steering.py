"""The fleet seen and steered over a real broker alone, by the commands that people type."""

from __future__ import annotations

import json
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from edgeagent import clock
from edgeagent.cli.app import app
from edgeagent.fleet.keys import PrivateKey
from edgeagent.sync.command_types import CommandType, OfModel
from edgeagent.sync.commands import Registry
from edgeagent.testing.broker import Mosquitto, find_mosquitto, free_port
from edgeagent.testing.device import Device, Listener
from edgeagent.update import signatures

WORK = CommandType("work", OfModel, "Do it")
GUARDED = CommandType("guarded", OfModel, "Do it if an operator says so", protected=True)


class Fleet:
    """Devices that work when they are told to, and hold on when they shall."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder, self.port = folder, port
        self.done: list[tuple[str, str]] = []
        self.hold = threading.Event()
        self.hold.set()
        self.devices: dict[str, Device] = {}
        self.key = PrivateKey.new()
        (folder / "operators").mkdir(parents=True)
        (folder / "operators" / "ann.pub").write_text(self.key.public_pem)

    def device(self, name: str, **more: Any) -> Device:
        registry = Registry()
        for kind in (WORK, GUARDED):
            registry.register(kind, lambda arguments, job: self._work(name, arguments, job))
        device = Device(
            self.folder, name, self.port, registry=registry,
            allow=frozenset({"ping", "cancel", "work", "guarded"}),
            verify=lambda *asked: self._verify(name, *asked), **more,
        )  # fmt: skip
        self.devices[name] = device
        return device.start()

    def _work(self, name: str, arguments: OfModel, job: Any) -> dict[str, Any]:
        while not self.hold.wait(0.01):
            job.progress(0.5, "holding")
        self.done.append((name, job.order.id))
        return {"model": arguments.model}

    def _verify(self, name: str, envelope: Any, type: str, id: str, group: str) -> Any:
        signed = signatures.Operators(self.folder / "operators").open(envelope, signatures.COMMAND)
        whom = {"group": group} if group else {"device": name}
        return signatures.addressed(signed.payload, **whom, type=type, id=id), signed.by

    def stop(self, name: str) -> None:
        self.devices.pop(name).stop()


@pytest.fixture
def fleet(tmp_path: Path, broker: Mosquitto) -> Iterator[Fleet]:
    made = Fleet(tmp_path / "devices", broker.port)
    yield made
    made.hold.set()
    for name in list(made.devices):
        made.stop(name)


@pytest.fixture
def run(broker: Mosquitto, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """``edgeagent fleet …`` against the broker."""
    monkeypatch.setenv("COLUMNS", "100")
    return lambda *words: CliRunner().invoke(app, ["fleet", *words, "--port", str(broker.port)])


def retained(port: int) -> set[str]:
    """Commands that lie at the broker."""
    listener = Listener(port, "edgeagent/+/cmd/#", "edgeagent/group/+/cmd/#")
    try:
        listener.publish("edgeagent/x/cmd/marker/x", b"1")
        listener.until(lambda: listener.on("edgeagent/x/cmd/marker/x"))
        return {topic for topic, payload, _ in listener.got if payload and "marker" not in topic}
    finally:
        listener.close()


def test_seen_and_chosen(fleet: Fleet, run: Any) -> None:
    fleet.device("door-1", site="hall 1")
    fleet.device("door-2", site="hall 2", groups=())
    shown = json.loads(run("ls", "--json").stdout)
    assert [its["device"] for its in shown["devices"]] == ["door-1", "door-2"]
    assert shown["kept_back"] == 0
    where = 'site == "hall 2" and not "canary" in groups and version < "0.2"'
    some = run("ls", "--where", where)
    assert "door-2" in some.stdout and "door-1" not in some.stdout
    assert run("ls", "--where", "site = 2").exit_code == 2
    one = json.loads(run("show", "door-1", "--json").stdout)
    schema = one["offers"]["work"]["schema"]
    assert schema["$defs"]["OfModel"]["required"] == ["model"]
    assert (one["site"], one["state"], one["orders"]) == ("hall 1", "online", [])
    assert run("show", "door-9").exit_code == 3
    fleet.stop("door-2")
    assert "offline" in run("show", "door-2").stdout


def test_a_device_is_told_and_answers_once(fleet: Fleet, run: Any, broker: Mosquitto) -> None:
    fleet.device("door-1")
    done = run("send", "door-1", "ping", "--wait")
    assert done.exit_code == 0, done.output
    assert "successful" in done.stdout and "mono_ms" in done.stdout
    assert retained(broker.port) == set()
    bad = run("send", "door-1", "logs", "--wait")
    assert (bad.exit_code, "unknown-type" in bad.stdout) == (1, True)
    sent = run("send", "door-1", "work", "model=parts", "--json")
    assert sent.exit_code == 0, sent.output
    id = json.loads(sent.stdout)["id"]
    seen = run("answers", id, "door-1", "--wait", "--keep", "--json")
    assert json.loads(seen.stdout)["devices"]["door-1"]["result"] == {"model": "parts"}
    assert retained(broker.port) == {f"edgeagent/door-1/cmd/work/{id}"}
    assert run("answers", id, "door-1").exit_code == 0
    gone = run("answers", id, "door-1")
    assert (gone.exit_code, "cleared" in gone.output) == (3, True)
    assert fleet.done == [("door-1", id)]
    assert run("send", "door-2", "ping").exit_code == 3
    assert run("send", "door-1").exit_code == 2
    assert run("send", "door-1", "wrok", "model=parts").exit_code == 2


def test_a_group_is_told_once_and_whoever_was_away_does_it_later(
    fleet: Fleet, run: Any, broker: Mosquitto
) -> None:
    for number in range(3):
        fleet.device(f"door-{number}")
    fleet.device("other", groups=())
    fleet.stop("door-2")
    words = ("work", "model=parts", "--group", "canary")
    done = run("send", *words, "--wait", "--timeout", "1 s", "--json")
    assert done.exit_code == 75, done.output
    found = json.loads(done.stdout)
    assert found["counts"] == {"successful": 2, "offline": 1}
    id = found["id"]
    # All stays for whoever looks later, above all the order for the one that is away.
    own = {f"edgeagent/door-{number}/cmd/work/{id}" for number in range(2)}
    assert retained(broker.port) == {f"edgeagent/group/canary/cmd/work/{id}", *own}
    again = fleet.device("door-2")
    assert again.link.state == "up"
    done = run("answers", id, "--group", "canary", "--wait", "--timeout", "5 s", "--json")
    assert (done.exit_code, json.loads(done.stdout)["counts"]) == (0, {"successful": 3})
    assert retained(broker.port) == set()
    assert sorted(fleet.done) == [(f"door-{number}", id) for number in range(3)]


def test_what_is_withdrawn_is_never_done(fleet: Fleet, run: Any, broker: Mosquitto) -> None:
    fleet.device("door-1")
    fleet.stop("door-1")
    id = json.loads(run("send", "--group", "canary", "work", "model=parts", "--json").stdout)["id"]
    assert len(retained(broker.port)) == 1
    seen = run("answers", id, "--group", "canary", "--withdraw", "--json")
    assert (seen.exit_code, json.loads(seen.stdout)["counts"]) == (75, {"offline": 1})
    assert retained(broker.port) == set()


def test_progress_cancel_and_expiry_from_the_desk(fleet: Fleet, run: Any) -> None:
    fleet.device("door-1")
    fleet.hold.clear()
    id = json.loads(run("send", "door-1", "work", "model=parts", "--json").stdout)["id"]
    late = json.loads(
        run("send", "door-1", "work", "model=parts", "--expires", "200 ms", "--json").stdout
    )["id"]
    seen = run("answers", id, "door-1", "--json")
    status = json.loads(seen.stdout)["devices"]["door-1"]["status"]
    assert (seen.exit_code, status) == (75, "executing")
    time.sleep(0.25)  # The second one's time runs out while the first one works.
    cancel = run("send", "door-1", "cancel", f"target={id}", "--wait", "--json")
    result = json.loads(cancel.stdout)["devices"]["door-1"]["result"]
    assert result == {"target": id, "was": "executing"}
    ended = run("answers", id, "door-1", "--wait", "--json")
    assert (ended.exit_code, "cancelled" in ended.stdout) == (1, True)
    expired = run("answers", late, "door-1", "--wait", "--json")
    assert json.loads(expired.stdout)["devices"]["door-1"]["status"] == "expired"
    assert not fleet.done


def test_a_signature_where_one_is_asked_for(fleet: Fleet, run: Any, tmp_path: Path) -> None:
    fleet.device("door-1")
    fleet.key.save(tmp_path / "ann.pem")
    words = ("send", "door-1", "guarded", "model=parts", "--wait", "--json")
    plain = json.loads(run(*words).stdout)["devices"]["door-1"]
    assert (plain["status"], plain["reason"]) == ("rejected", "signature-required")
    done = run(*words, "--sign", str(tmp_path / "ann.pem"))
    assert done.exit_code == 0, done.output
    group = ("send", "--group", "canary", "guarded", "model=parts", "--wait")
    assert run(*group, "--sign", str(tmp_path / "ann.pem")).exit_code == 0
    assert len(fleet.done) == 2


def test_a_broker_that_forgets_is_told_again(tmp_path: Path, run: Any) -> None:
    broker = Mosquitto(tmp_path / "forgetful", port=free_port())
    broker.start()
    fleet = Fleet(tmp_path / "devices", broker.port)
    try:
        fleet.device("door-1")
        fleet.stop("door-1")
        asked: list[Any] = []
        words = ["fleet", "send", "door-1", "work", "model=parts", "--wait", "--timeout", "40 s",
                 "--json", "--port", str(broker.port)]  # fmt: skip
        desk = threading.Thread(target=lambda: asked.append(CliRunner().invoke(app, words)))
        desk.start()
        deadline = time.monotonic() + 10
        while not retained(broker.port):
            assert time.monotonic() < deadline
        broker.kill()
        broker.start()  # Without what was retained.
        fleet.device("door-1")
        desk.join(40)
        assert asked[0].exit_code == 0, asked[0].output
        assert len(fleet.done) == 1
    finally:
        for name in list(fleet.devices):
            fleet.stop(name)
        broker.kill()


def test_watch_tells_who_comes_and_goes(fleet: Fleet, broker: Mosquitto, full: bool) -> None:
    from edgeagent.fleet.sight.watch import Watch
    from edgeagent.sync.endpoint import Endpoint, LinkSettings

    fleet.device("door-1", site="hall 1")
    link = LinkSettings("desk", (Endpoint("127.0.0.1", broker.port),))
    with Watch(link, "edgeagent", 'site == "hall 1"') as watch:
        lags = []

        def until(state: str) -> None:
            began = time.monotonic()
            while watch.view.counts() != {state: 1}:
                watch.turn(0.1)
                assert time.monotonic() - began < 20, watch.view
            lags.append(time.monotonic() - began)

        until("online")
        fleet.device("door-2", site="hall 2")
        fleet.devices["door-1"].presence.say("degraded", ("cam0: covered",))
        until("degraded")
        assert watch.view.rows["door-1"]["reasons"] == ["cam0: covered"]
        fleet.stop("door-1")
        until("offline")
        assert max(lags[1:]) < (2.0 if full else 15.0)
        assert watch.view.known == 2 and list(watch.view.rows) == ["door-1"]
        # Retired: its topics are cleared.
        listener = Listener(broker.port, "nothing")
        for part in ("status", "capabilities"):
            listener.publish(f"edgeagent/door-1/{part}", b"", retain=True)
        listener.close()
        deadline = time.monotonic() + 10
        while watch.view.rows:
            watch.turn(0.1)
            assert time.monotonic() < deadline
        broker.kill()
        while watch.view.linked:
            watch.turn(0.1)
            assert time.monotonic() < deadline + 10


@pytest.mark.skipif(shutil.which("mosquitto_pub") is None, reason="mosquitto-clients is missing")
def test_the_same_with_mosquitto_pub(fleet: Fleet, broker: Mosquitto) -> None:
    """As the README shows it: no tool of ours at the desk."""
    assert find_mosquitto()
    fleet.device("door-1")
    at = clock.rfc3339(clock.wall_ns())
    topic = "edgeagent/door-1/cmd/work/hand-1"
    order = json.dumps({"status": "init", "by": "ann", "at": at, "model": "parts"})
    there = ["-p", str(broker.port), "-t", topic, "-q", "1"]
    subprocess.run(["mosquitto_pub", *there, "-r", "-m", order], check=True, timeout=10)
    deadline = time.monotonic() + 10
    while True:
        heard = subprocess.run(
            ["mosquitto_sub", *there, "-C", "1", "-W", "5"], capture_output=True, timeout=10
        )
        answer = json.loads(heard.stdout)
        if answer["status"] == "successful":
            break
        assert time.monotonic() < deadline, answer
    assert answer["result"] == {"model": "parts"}
    subprocess.run(["mosquitto_pub", *there, "-r", "-n"], check=True, timeout=10)
    assert retained(broker.port) == set()
    assert fleet.done == [("door-1", "hand-1")]
