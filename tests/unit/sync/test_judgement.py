"""Whether a command may be done: pure rules, table by table."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeagent import clock
from edgeagent.config.model import Commands, Trust
from edgeagent.sync import command_types as types
from edgeagent.sync import judgement
from edgeagent.sync.command_types import CommandType
from edgeagent.sync.judgement import WAITING, Order, Rules, Verdict

NOW = clock.parse_rfc3339("2026-11-24T12:00:00Z")
DAY = 86_400 * 10**9
RULES = Rules.of(Commands(), Trust())


def order(kind: CommandType = types.PIPELINE, **extra: Any) -> Order:
    retained = extra.pop("retained", False)
    origin = extra.pop("origin", "remote")
    return Order(kind.name, "a1", extra, origin, retained)


def age(
    one: Order, kind: CommandType = types.PIPELINE, pruned: str = "", synced: bool = True,
    born: str = "",
) -> Verdict | None:  # fmt: skip
    return RULES.age(kind, one, newest_pruned_at=pruned, now_ns=NOW, synced=synced, born_at=born)


def at(days: float) -> str:
    return clock.rfc3339(NOW - int(days * DAY))


@pytest.mark.parametrize(
    ("given_order", "kind", "options", "expected"),
    [
        (order(at=at(0)), types.PIPELINE, {}, None),
        (order(at=at(6.9)), types.PIPELINE, {}, None),
        (order(at=at(7.1)), types.PIPELINE, {}, "stale"),
        (order(at=at(1)), types.PIPELINE, {"born": at(2)}, None),
        (order(at=at(1)), types.PIPELINE, {"born": at(0.5)}, "stale"),
        (order(at=at(1), retained=True), types.PIPELINE, {"born": at(0.5)}, "stale"),
        (order(at=at(1)), types.PIPELINE, {"born": at(-400)}, None),
        (order(at=at(1), origin="local"), types.PIPELINE, {"born": at(0.5)}, None),
        (order(), types.PING, {"born": at(0.5)}, None),
        (order(at=at(-2)), types.PIPELINE, {}, "bad-arguments"),
        (order(at=at(-0.5)), types.PIPELINE, {}, None),
        (order(), types.PIPELINE, {}, "bad-arguments"),
        (order(at="yesterday"), types.PIPELINE, {}, "bad-arguments"),
        (order(at="2026-11-24T12:00:00"), types.PIPELINE, {}, "bad-arguments"),
        (order(at=17), types.PIPELINE, {}, "bad-arguments"),
        (order(at=at(0), expires=at(0.01)), types.PIPELINE, {}, "expired"),
        (order(at=at(0), expires=at(-1)), types.PIPELINE, {}, None),
        (order(at=at(0), expires="soon"), types.PIPELINE, {}, "bad-arguments"),
        (order(at=at(1)), types.PIPELINE, {"pruned": at(0.5)}, "stale"),
        (order(at=at(1)), types.PIPELINE, {"pruned": at(1)}, "stale"),
        (order(at=at(0.4)), types.PIPELINE, {"pruned": at(0.5)}, None),
        (order(at=at(1)), types.PIPELINE, {"pruned": "rubbish"}, None),
        # Without a clock: what lay at the broker waits, what comes now is done.
        (order(at=at(1), retained=True), types.PIPELINE, {"synced": False}, "waiting for time"),
        (order(at=at(1)), types.PIPELINE, {"synced": False}, None),
        (order(at=at(900)), types.PIPELINE, {"synced": False}, None),
        (
            order(at=at(1), retained=True),
            types.PIPELINE,
            {"synced": False, "pruned": at(0)},
            "stale",
        ),
        # What changes nothing has no age, but may expire.
        (order(types.PING), types.PING, {}, None),
        (order(types.PING, at=at(900), retained=True), types.PING, {"synced": False}, None),
        (order(types.PING, expires=at(1)), types.PING, {}, "expired"),
        (order(types.OUTBOX), types.OUTBOX, {}, None),
        (order(types.OUTBOX, action="stats"), types.OUTBOX, {}, None),
        (order(types.OUTBOX, action="drain"), types.OUTBOX, {}, "bad-arguments"),
        (order(types.OUTBOX, action="drain", at=at(0)), types.OUTBOX, {}, None),
        (order(types.OUTBOX, action=["stats"]), types.OUTBOX, {}, "bad-arguments"),
        # The device's own.
        (order(origin="local"), types.PIPELINE, {}, None),
        (order(origin="button"), types.PIPELINE, {"synced": False}, None),
    ],
)
def test_age(
    given_order: Order, kind: CommandType, options: dict[str, Any], expected: str | None
) -> None:
    verdict = age(given_order, kind, **options)
    assert (verdict.reason if verdict else None) == expected
    if expected == "waiting for time":
        assert verdict is WAITING


@pytest.mark.parametrize(
    ("require", "origin", "protected", "allowed", "expected"),
    [
        ("protected", "remote", False, True, None),
        ("protected", "remote", True, True, "signature-required"),
        ("protected", "button", True, True, "signature-required"),
        ("protected", "local", True, False, None),
        ("never", "remote", True, True, None),
        ("always", "remote", False, True, "signature-required"),
        ("always", "button", False, True, "signature-required"),
        ("always", "local", False, True, None),
        ("never", "remote", False, False, "not-allowed"),
        ("never", "button", False, False, "not-allowed"),
    ],
)
def test_permission(
    require: Any, origin: Any, protected: bool, allowed: bool, expected: str | None
) -> None:
    rules = Rules(frozenset({"x"} if allowed else ()), require_signature=require)
    kind = CommandType("x", types.Nothing, "", protected=protected)
    verdict = rules.permission(kind, Order("x", "a", {}, origin))
    assert (verdict.reason if verdict else None) == expected


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"", "not-json"),
        (b"{", "not-json"),
        (b"\xff\xfe", "not-json"),
        (b'{"a":"\xff"}', "not-json"),
        (b"[]", "not-json"),
        (b"null", "not-json"),
        (b'"x"', "not-json"),
        (b'{"a":NaN}', "not-json"),
        (b"[" * 100_000, "too-deep"),
        (b'{"a":' * 50_000, "too-deep"),
        (b'{"a":' + b"[" * 16 + b"]" * 16 + b"}", "too-deep"),
        (b'{"a":"' + b"x" * 300_000 + b'"}', "too-large"),
    ],
)
def test_payloads_that_are_no_command(payload: bytes, reason: str) -> None:
    verdict = judgement.read(payload)
    assert isinstance(verdict, Verdict)
    assert verdict.reason == reason


def test_the_deepest_that_is_allowed() -> None:
    assert isinstance(judgement.read(b'{"a":' + b"[" * 14 + b"1" + b"]" * 14 + b"}"), dict)


@given(st.binary(max_size=400))
def test_no_payload_crashes(payload: bytes) -> None:
    assert isinstance(judgement.read(payload), dict | Verdict)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
        ),
    )
)
def test_objects_are_read_as_they_are(value: Any) -> None:
    found = judgement.read(json.dumps({"x": value}).encode())
    assert found == {"x": value} or (isinstance(found, Verdict) and found.reason == "too-deep")


@pytest.mark.parametrize(
    ("kind", "body", "path"),
    [
        (types.PIPELINE, {"name": "p"}, "`action`"),
        (types.PIPELINE, {"name": "p", "action": "explode"}, "$.action"),
        (types.PIPELINE, {"name": "a b", "action": "stop"}, "$.name"),
        (types.BENCH, {"model": "m", "seconds": "5"}, "$.seconds"),
        (types.BENCH, {"model": "m", "seconds": 1e9}, "$.seconds"),
        (types.LOGS, {"lines": 0}, "$.lines"),
        (types.CANCEL, {}, "`target`"),
    ],
)
def test_faults_in_arguments_name_their_path(
    kind: CommandType, body: dict[str, Any], path: str
) -> None:
    verdict = judgement.arguments_of(kind, body)
    assert isinstance(verdict, Verdict)
    assert path in verdict.detail and "$" in verdict.detail


def test_unknown_arguments_are_ignored() -> None:
    assert judgement.arguments_of(types.PING, {"by": "me", "colour": "red"}) == types.Nothing()


def test_content_is_the_same_whatever_the_order_of_keys() -> None:
    first = Order("x", "a", {"a": 1, "b": {"c": 2, "d": 3}}, "remote")
    assert first.digest() == Order("x", "a", {"b": {"d": 3, "c": 2}, "a": 1}, "remote").digest()
    assert first.digest() != Order("y", "a", dict(first.body), "remote").digest()
    assert first.digest() != Order("x", "a", {"a": 2}, "remote").digest()


def test_every_type_has_a_schema_and_the_default_list_is_in_the_table() -> None:
    for kind in types.TABLE.values():
        assert kind.schema()["$schema"]
    assert set(Commands().allow) <= set(types.TABLE)
