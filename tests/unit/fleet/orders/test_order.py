"""What is sent for what a person typed, and what came of it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from edgeagent.errors import UsageError
from edgeagent.fleet.orders.order import order, type_of
from edgeagent.fleet.orders.tally import Tally
from edgeagent.fleet.orders.targets import Choice, choose
from edgeagent.fleet.roster import Roster
from edgeagent.sync.command_types import TABLE
from edgeagent.sync.schema import Command


def test_words_become_what_the_schema_says() -> None:
    made = order("logs", {"lines": "50"}, "me", expires_s=60)
    document = made.document()
    assert document["lines"] == 50 and document["status"] == "init" and document["by"] == "me"
    assert document["at"] < document["expires"] and type_of(made.id) == "logs"
    held = order("model-hold", {"model": "parts", "because": "12"}, "me").document()
    assert held["because"] == "12" and "until" not in held and "expires" not in held
    confirm = '{"epoch": "E", "upto": 3, "missing": [[1, 2]]}'
    settle = order("outbox", {"action": "settle", "confirm": confirm}, "me")
    assert settle.document()["confirm"]["missing"] == [(1, 2)]
    other = order("unheard-of", {"n": "5", "text": "x"}, "me", offered=frozenset({"unheard-of"}))
    assert (other.arguments["n"], other.arguments["text"]) == (5, "x")


@pytest.mark.parametrize(
    ("type", "words", "said"),
    [
        ("pnig", {}, 'did you mean "ping"'), ("logs", {"line": "5"}, 'did you mean "lines"'),
        ("logs", {"lines": "many"}, "lines"), ("logs", {"lines": "0"}, "lines"),
        ("ping", {"x": "1"}, "takes none"), ("pipeline", {"name": "belt"}, "action"),
        ("pipeline", {"name": "a b", "action": "stop"}, "name"), ("logs", {"at": "x"}, "at"),
    ],
)  # fmt: skip
def test_what_no_device_would_take_is_not_sent(type: str, words: Any, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        order(type, words, "me")


def test_every_type_can_be_ordered_by_its_own_schema() -> None:
    """The table is all that is needed: arguments are named there and nowhere else."""
    values = {"model": "parts", "version": "1.0.0", "name": "belt", "action": "stop",
              "target": "x1", "source": "cam0", "before": "30 d"}  # fmt: skip
    for name, kind in TABLE.items():
        schema = kind.schema()
        fields = schema["$defs"][kind.arguments.__name__].get("required", [])
        # A device's answer has these names for itself.
        assert not set(kind.arguments.__struct_fields__) & set(Command.__struct_fields__), name
        made = order(name, {field: values[field] for field in fields}, "me")
        assert set(fields) <= made.document().keys()


def _said(status: str, **more: Any) -> bytes:
    return json.dumps({"status": status, "by": "me", **more}).encode()


def test_answers_are_counted_and_a_final_one_stays() -> None:
    tally = Tally(["a", "b", "c", "d"], ["a", "b", "c"])
    assert tally.counts() == {"no answer": 3, "offline": 1} and tally.exit_code == 75
    assert not tally.take("a", _said("init"))
    assert not tally.take("a", b"{")
    assert tally.take("a", _said("executing", progress=0.5, step="copying"))
    assert tally.take("a", _said("successful", result={"n": 1}))
    assert not tally.take("a", _said("executing"))
    assert not tally.take("a", b"")
    tally.take("b", _said("rejected", reason="not-allowed", detail="no"))
    tally.take("c", _said("successful"))
    assert tally.open == ["d"] and tally.silent == ["d"]
    assert tally.exit_code == 1 and tally.unreadable == 1
    assert tally.reasons() == {("rejected", "not-allowed"): ["b"]}
    assert tally.document()["devices"]["a"] == {"status": "successful", "result": {"n": 1}}
    tally.seen("d", online=True)
    tally.take("e", _said("successful"))
    assert tally.counts() == {"successful": 3, "rejected": 1, "no answer": 1}


@pytest.mark.parametrize(
    "choice",
    [Choice(), Choice(("a",), "canary"), Choice(("a",), where="online"), Choice(("a b",)),
     Choice(group="group"), Choice(where="site =")],
)  # fmt: skip
def test_a_choice_of_nobody_or_of_two_kinds_is_refused(choice: Choice) -> None:
    with pytest.raises(UsageError):
        choice.check()


def test_a_group_that_is_narrowed_has_no_topic_of_its_own() -> None:
    roster = Roster("edgeagent")
    for name, site in (("a", "1"), ("b", "2")):
        told = {"status": {"state": "online", "site": site}, "capabilities": {"groups": ["canary"]}}
        for part, document in told.items():
            body = json.dumps(document).encode()
            roster.take(f"edgeagent/{name}/{part}", body, retained=True, now=1.0)
    whole = choose(roster, Choice(group="canary"))
    assert (whole.ids, whole.group) == (["a", "b"], "canary")
    narrow = choose(roster, Choice(group="canary", where='site == "2"'))
    assert (narrow.ids, narrow.group) == (["b"], "")
