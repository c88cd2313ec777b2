"""What devices are told to be: revs only rise, nothing else is lost, nothing foreign is signed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import paho.mqtt.publish as mqtt_publish
import paho.mqtt.subscribe as mqtt_subscribe
import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from edgeagent.cli import desired as commands
from edgeagent.cli.app import Commands
from edgeagent.errors import Busy, InputError
from edgeagent.fleet import desired
from edgeagent.fleet.database import Database
from edgeagent.fleet.desired import Book, Order, base_of, compose, highest, signer
from edgeagent.update.desired import Desired, Policy, Wish, read

documents = st.builds(
    Desired, rev=st.integers(1, 50), by=st.text(max_size=5),
    models=st.dictionaries(st.sampled_from(["parts", "faces", "kws"]),
                           st.builds(Wish, version=st.sampled_from(["1.0.0", "2.0.0"]))),
    config=st.dictionaries(st.sampled_from("ab"), st.integers(), max_size=2),
)  # fmt: skip


@given(documents, st.integers(0, 99), st.sampled_from(["1.1.0", "3.0.0"]))
def test_a_change_keeps_all_else_and_its_rev_is_news(
    base: Desired, floor: int, version: str
) -> None:
    change = desired.with_model("parts", version, Policy(soak_s=5))
    order = compose("t", base, floor, change, "me")
    made = read(order.body)
    assert made is not None and made.rev == order.rev > max(base.rev, floor)
    assert made.models == {**base.models, "parts": Wish(version, Policy(soak_s=5))}
    assert made.config == base.config
    back = compose("t", made, 0, desired.as_before("parts", base.models.get("parts")), "me")
    again = read(back.body)
    assert again is not None and again.models == base.models and again.rev > made.rev


@given(documents, st.lists(st.sampled_from("abc"), min_size=1, max_size=3), st.integers())
def test_configuration_keys_come_and_go(base: Desired, names: list[str], value: int) -> None:
    key = ".".join(["z", *names])
    put = desired.with_config(key, value)(base)
    found: Any = put.config
    for name in ["z", *names]:
        found = found[name]
    assert found == value
    assert desired.without_config(key)(put).config == base.config


def test_what_lies_on_the_broker_is_a_base_only_where_nothing_is_signed() -> None:
    kept = Order("t", 4, b'{"rev":4,"models":{"parts":{"version":"1.0.0"}}}')
    foreign = b'{"rev":9,"config":{"commands":{"allow":["capture"]}}}'
    there = base_of(kept, foreign, trusting=True)
    assert there is not None and there.rev == 9
    own = base_of(kept, foreign, trusting=False)
    assert own is not None and not own.config
    assert highest(kept, foreign, 12) == 12 and highest(kept, foreign, 0) == 9
    assert highest(kept, b'{"rev":30,"models":7}', 0) == 30  # A wrong one counts as well.
    with pytest.raises(InputError):
        base_of(kept, b"{", trusting=True)


def test_the_book_takes_no_number_twice(db: Database) -> None:
    book = Book(db)
    order = compose("t", None, 6, desired.with_model("parts", "1.0.0", Policy()), "me")
    with db.transaction():
        book.put([order])
    assert book.last(["t", "u"]) == {"t": order} == book.last()
    with pytest.raises(Busy, match="rev 7"), db.transaction():
        book.put([order])


def test_a_signed_document_is_for_its_device_only(tmp_path: Path) -> None:
    pytest.importorskip("cryptography")
    from edgeagent.errors import Untrusted
    from edgeagent.fleet.keys import PrivateKey
    from edgeagent.update.signatures import DESIRED, Operators, addressed

    key = PrivateKey.new()
    key.save(tmp_path / "ann")
    order = compose("p/door-7/desired", None, 0, desired.with_config("live", True), "ann")
    envelope = signer(key, "p")(order.topic, order.body)
    opened = Operators(tmp_path).open(json.loads(envelope), DESIRED)
    assert opened.by == "ann" and addressed(opened.payload, device="door-7")["rev"] == 1
    with pytest.raises(Untrusted):
        addressed(opened.payload, device="door-8")
    assert desired.opened(envelope) == read(order.body)


@pytest.fixture
def invoke(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broker: Any) -> Any:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    app = typer.Typer(cls=Commands)
    app.command("other")(lambda: None)
    app.add_typer(commands.app, name="desired")
    return lambda *words, **more: CliRunner().invoke(
        app, ["desired", *map(str, words), "--port", str(broker.port)], **more
    )


def retained(broker: Any, topic: str) -> dict[str, Any]:
    return dict(json.loads(mqtt_subscribe.simple(topic, port=broker.port).payload))


def test_publish_show_and_diff(invoke: Any, broker: Any, tmp_path: Path) -> None:
    done = invoke("publish", "door-7", "--model", "parts@1.3.0", "--set", "metrics.every=30 s")
    assert done.exit_code == 0, done.output
    assert done.stdout == "door-7: rev 1\n"
    there = retained(broker, "edgeagent/door-7/desired")
    assert there["models"]["parts"]["version"] == "1.3.0"
    assert there["config"] == {"metrics": {"every": "30 s"}}
    # A device that had rev 20 (the broker and we forgot) takes nothing below it.
    said = {"rev": 20, "models": {"parts": {"version": "1.2.0", "reason": "held"}},
            "config": {"rev": 20, "state": "rejected", "detail": "no such model"}}  # fmt: skip
    mqtt_publish.single("edgeagent/door-7/reported", json.dumps(said), 1, True, port=broker.port)
    done = invoke("diff", "door-7", "--unset", "metrics.every")
    assert done.exit_code == 1 and '-    "metrics": {' in done.stdout
    done = invoke("publish", "door-7", "--unset", "metrics.every", "--json")
    assert json.loads(done.stdout)["rev"] == 21
    assert invoke("diff", "door-7", "--model", "parts@1.3.0").exit_code == 0
    done = invoke("publish", "door-7", "--model", "parts@1.3.0")
    assert done.exit_code == 0 and "already" in done.stderr
    done = invoke("show", "door-7")
    assert "21" in done.stdout and "It took rev 20" in done.stdout and "held" in done.stdout
    assert "configuration of rev 20: rejected: no such model" in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80
    done = invoke("publish", "group:hall2", "--model", "parts@1.3.0")
    assert done.stdout == "group:hall2: rev 1\n"
    assert retained(broker, "edgeagent/group/hall2/desired")["by"]


def test_a_stale_document_is_refused(invoke: Any, broker: Any, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"rev":5,"models":{"parts":{"version":"1.0.0"}}}')
    assert json.loads(invoke("publish", "d1", "a.json", "--json").stdout)["rev"] == 5
    done = invoke("publish", "d1", "a.json")
    assert done.exit_code == 1 and "stale" in done.stderr and "rev 5 is there" in done.stderr
    done = invoke("publish", "d1", "--model", "parts@1.1.0", "--expect-rev", 4)
    assert done.exit_code == 1 and "rev 4 was expected" in done.stderr
    done = invoke("publish", "d1", "-", input='{"models":{"parts":{"version":"1.1.0"}}}')
    assert done.exit_code == 0 and done.stdout == "d1: rev 6\n"
    # A broker that forgot is told again, and the number is not given twice.
    mqtt_publish.single("edgeagent/d1/desired", b"", 1, True, port=broker.port)
    assert "forgotten" in invoke("show", "d1").stderr
    done = invoke("publish", "d1", "--model", "parts@1.1.0")
    assert "published again" in done.stderr
    assert retained(broker, "edgeagent/d1/desired")["rev"] == 6


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["publish", "d1"], 2), (["publish", "a/b", "--model", "parts@1.0.0"], 2),
        (["publish", "team:x", "--model", "parts@1.0.0"], 2),
        (["publish", "d1", "--model", "parts"], 2), (["publish", "d1", "none.json"], 3),
        (["publish", "d1", "--set", "x"], 2), (["publish", "d1", "-", "--model", "p@1.0.0"], 2),
        (["publish", "d1", "-"], 1), (["publish", "d1", "--model", "p@1.0.0", "--sign", "no"], 3),
    ],
)  # fmt: skip
def test_what_can_not_be_meant_is_refused(invoke: Any, words: list[str], code: int) -> None:
    done = invoke(*words, input='{"models":{"parts":{"version":"x"}}}')
    assert done.exit_code == code, done.output
