"""Budgets of metered links: never above, across crashes and without a clock; events go on."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeagent.config.model import Allowance, Sync
from edgeagent.config.model import Budget as BudgetConfig
from edgeagent.config.spans import Calendar, Window
from edgeagent.errors import ConfigError, StoreError
from edgeagent.store.encode import Record, encoded, kind_of
from edgeagent.store.outbox import Outbox
from edgeagent.sync.budget import Budget, BudgetSettings
from edgeagent.sync.envelope import Encoding
from edgeagent.sync.topics import Topics
from edgeagent.testing.broker import Mosquitto
from edgeagent.types import Draft, Evidence

Eventually = Callable[..., Any]
TOPICS = Topics("edgeagent", "d1")
NOON = int(datetime(2026, 11, 24, 12, 0, tzinfo=timezone.utc).timestamp())


@dataclass
class Clock:
    """A clock that a test winds."""

    wall_s: float = NOON
    boot_s: float = 5.0
    trusted: bool = True

    def wall_ns(self) -> int:
        return int(self.wall_s * 1e9)

    def mono_ms(self) -> float:
        return self.boot_s * 1000

    def synced(self) -> bool:
        return self.trusted

    def pass_s(self, seconds: float) -> None:
        self.wall_s += seconds
        self.boot_s += seconds


class Notes:
    """Memory that survives what uses it."""

    def __init__(self) -> None:
        self.kept: dict[str, bytes] = {}
        self.writes = 0
        self.broken = False

    def remember(self, key: str, value: bytes | None) -> None:
        if self.broken:
            raise StoreError("disk full")
        self.writes += 1
        self.kept[key] = value or b""

    def recall(self, key: str) -> bytes | None:
        return self.kept.get(key)


def budget(clock: Clock, notes: Notes | None = None, **limits: dict[Any, int]) -> Budget:
    return Budget(BudgetSettings(limits), TOPICS, notes, clock)


# --- limits --------------------------------------------------------------------------------


def test_without_limits_everything_is_open_and_counted() -> None:
    free = budget(Clock())
    free.charge("results", 1000, 10)
    free.sent(TOPICS.status, 300)
    free.received(TOPICS.command("ping", "a"), 200)
    assert all(free.open(name) for name in ("events", "results", "evidence", "updates"))
    status = free.status()
    assert status["day"] == {"results": 1000, "total": 1500, "control": 500}
    assert status["bytes_per_result"] == 100 and status["held"] == {}


def test_a_class_closes_and_opens_with_the_next_span() -> None:
    clock = Clock()
    its = budget(clock, results={"hour": 10_000, "day": 25_000})
    assert its.left("results") == 10_000
    its.charge("results", 9_700, 30)
    assert not its.open("results") and its.open("events")
    assert its.status()["held"] == {
        "results": "the hour's budget is used up, until 2026-11-24T13:00Z"
    }
    clock.pass_s(3600)
    assert its.left("results") == 10_000
    its.charge("results", 10_000)
    clock.pass_s(3600)
    assert its.left("results") == 25_000 - 19_700
    its.charge("results", 5_300)
    clock.pass_s(3600)
    assert "day's budget is used up, until 2026-11-25T00:00Z" in its.status()["held"]["results"]
    clock.pass_s(12 * 3600)
    assert its.left("results") == 10_000


def test_the_total_holds_everything_but_answers() -> None:
    its = budget(Clock(), total={"day": 5_000})
    its.sent(TOPICS.status, 3_000)
    assert its.left("events") == 2_000
    its.received(TOPICS.command("logs", "x"), 1_900)
    assert not its.open("events") and not its.may(TOPICS.metrics)
    assert not its.may(TOPICS.state("belt")) and its.may(TOPICS.status)
    assert "in total" in its.status()["held"]["events"]
    assert "control" not in its.status()["held"]


def test_records_are_metered_by_what_is_in_them() -> None:
    its = budget(Clock())
    its.sent(TOPICS.records, 500)  # The publisher charges them.
    its.sent(TOPICS.blob("0" * 64, 0), 700)
    its.sent(TOPICS.metrics, 90)
    its.sent(TOPICS.state("belt"), 80)
    its.charge("events", 600, 3)
    assert its.status()["sent"] == {"events": 600, "evidence": 700, "state": 80, "metrics": 90}
    assert its.status()["bytes_per_event"] == 200
    assert its.status()["evidence_bytes_per_event"] == 233


def test_quiet_windows_let_events_and_answers_pass() -> None:
    clock = Clock()
    quiet = (Window.parse("12:00-13:00"),)
    its = Budget(BudgetSettings(quiet=quiet), TOPICS, None, clock)
    assert its.open("events") and its.may(TOPICS.status)
    assert not its.open("results") and not its.open("evidence") and not its.open("metrics")
    assert its.status()["held"]["results"] == "quiet window"
    clock.pass_s(3600)
    assert its.open("results")
    clock.pass_s(-1800)
    clock.trusted = False
    clock.pass_s(2)
    assert its.open("results"), "a window can't be known without a clock"


# --- memory --------------------------------------------------------------------------------


def test_a_clean_stop_keeps_the_count_exactly_and_a_crash_never_too_low() -> None:
    clock, notes = Clock(), Notes()
    its = budget(clock, notes, results={"day": 640_000})
    its.charge("results", 1_234)
    its.charge("events", 50)
    its.close()
    again = budget(clock, notes, results={"day": 640_000})
    assert again.status()["day"] == {"results": 1_234, "total": 1_284, "events": 50}
    again.charge("results", 20_000)
    crashed = budget(clock, notes, results={"day": 640_000})
    used = crashed.status()["day"]["results"]
    assert 21_234 <= used <= 21_234 + 10_000


def test_notes_are_few() -> None:
    notes = Notes()
    its = budget(Clock(), notes, results={"day": 640_000})
    for _ in range(630):
        its.charge("results", 1_000)
    assert notes.writes <= 65


def test_a_disk_that_can_t_be_written_does_not_stop_the_link(
    caplog: pytest.LogCaptureFixture,
) -> None:
    notes = Notes()
    its = budget(Clock(), notes, results={"day": 640_000})
    notes.broken = True
    for _ in range(5):
        its.charge("results", 20_000)
    assert its.left("results") == 540_000
    assert [r.message for r in caplog.records] == [
        "what the link has used can't be noted: disk full"
    ]


@pytest.mark.parametrize("stored", [b"nonsense", b"[]", b'{"day":{"key":1}}', b'{"day":3}'])
def test_notes_that_can_t_be_read_are_told(stored: bytes, caplog: pytest.LogCaptureFixture) -> None:
    notes = Notes()
    notes.kept["sync.budget"] = stored
    assert budget(Clock(), notes, results={"day": 1000}).left("results") == 1000
    assert "can't be read" in caplog.text


STEP = st.one_of(
    st.tuples(st.just("send"), st.integers(1, 3000)),
    st.tuples(st.just("pass"), st.integers(1, 2500)),
    st.tuples(st.just("crash"), st.integers(0, 600)),
    st.tuples(st.just("stop"), st.integers(0, 600)),
)


@given(st.lists(STEP, max_size=80))
@settings(max_examples=150, deadline=None)
def test_no_span_ever_gets_more_than_its_budget(steps: list[tuple[str, int]]) -> None:
    clock, notes = Clock(), Notes()
    limits: dict[str, dict[Any, int]] = {
        "results": {"hour": 8_000}, "total": {"day": 20_000, "hour": 9_000}
    }  # fmt: skip
    its = budget(clock, notes, **limits)
    hours: dict[str, int] = {}
    days: dict[str, int] = {}
    calendar = Calendar()
    for what, amount in steps:
        if what == "pass":
            clock.pass_s(amount)
        elif what == "send":
            if its.left("results") >= amount:
                its.charge("results", amount, 1)
                for span, sums in (("hour", hours), ("day", days)):
                    key = calendar.key(span, clock.wall_ns())  # type: ignore[arg-type]
                    sums[key] = sums.get(key, 0) + amount
        else:
            if what == "stop":
                its.close()
            clock.pass_s(amount)
            clock.boot_s = 1.0 if amount % 2 else clock.boot_s
            its = budget(clock, notes, **limits)
    assert all(total <= 8_000 for total in hours.values())
    assert all(total <= 20_000 for total in days.values())


# --- time ----------------------------------------------------------------------------------


def test_without_a_clock_a_span_ends_after_its_length_in_this_boot() -> None:
    clock, notes = Clock(wall_s=0.0, trusted=False), Notes()
    its = budget(clock, notes, results={"hour": 4_000})
    its.charge("results", 4_000)
    clock.pass_s(3500)
    assert not its.open("results")
    assert "the clock is not trusted" in its.status()["held"]["results"]
    # Starting anew does not help: how long it was off is not known.
    its.close()
    clock.boot_s = 1.0
    its = budget(clock, notes, results={"hour": 4_000})
    clock.pass_s(3500)
    assert not its.open("results")
    clock.pass_s(150)
    assert its.left("results") == 4_000


def test_what_was_used_without_a_clock_counts_for_the_span_that_it_names() -> None:
    clock, notes = Clock(wall_s=0.0, trusted=False), Notes()
    its = budget(clock, notes, results={"day": 4_000})
    its.charge("results", 3_000)
    clock.wall_s, clock.trusted = NOON, True
    clock.pass_s(2)
    assert its.left("results") == 1_000
    clock.pass_s(12 * 3600)
    assert its.left("results") == 4_000


def test_a_clock_that_is_put_back_gives_nothing() -> None:
    clock = Clock()
    its = budget(clock, results={"hour": 4_000})
    its.charge("results", 3_000)
    clock.wall_s -= 7200
    clock.boot_s += 2
    assert its.left("results") == 1_000
    clock.pass_s(3600)
    assert its.left("results") == 4_000


@pytest.mark.parametrize(
    ("text", "day", "time", "within"),
    [
        ("22:00-06:00", 24, "23:10", True),
        ("22:00-06:00", 24, "05:59", True),
        ("22:00-06:00", 24, "06:00", False),
        ("mon-fri 08:00-18:00", 24, "08:00", True),  # a Tuesday
        ("mon-fri 08:00-18:00", 28, "12:00", False),  # a Saturday
        ("fri 22:00-06:00", 28, "05:00", True),  # still Friday's night
        ("fri 22:00-06:00", 27, "05:00", False),
        ("sat-mon 00:00-12:00", 30, "11:00", True),
        ("sat-mon 00:00-12:00", 24, "11:00", False),
        ("10:00-10:00", 24, "03:00", True),  # the whole day
    ],
)
def test_windows(text: str, day: int, time: str, within: bool) -> None:
    at = datetime.fromisoformat(f"2026-11-{day}T{time}:00+00:00")
    assert Window.parse(text).holds(at) is within


@pytest.mark.parametrize("text", ["", "22-06", "25:00-06:00", "mo 10:00-11:00", "10:00-11:60"])
def test_windows_that_are_none_are_told(text: str) -> None:
    with pytest.raises(ConfigError, match="is not a time of the day"):
        Window.parse(text)


def test_spans_of_local_time_and_of_the_tariff() -> None:
    berlin = Calendar("Europe/Berlin", month_begins=15)
    at = int(datetime(2026, 11, 14, 23, 30, tzinfo=timezone.utc).timestamp()) * 10**9
    assert berlin.key("day", at) == "2026-11-15" and berlin.key("month", at) == "2026-11"
    before = at - 3600 * 10**9
    assert berlin.key("month", before) == "2026-10"
    assert berlin.end("month", before) == berlin.end("day", before)
    assert berlin.key("month", berlin.end("month", at)) == "2026-12"
    # The night in which summer time ends has 25 hours.
    autumn = int(datetime(2026, 10, 25, 12, tzinfo=timezone.utc).timestamp()) * 10**9
    assert berlin.end("day", autumn - 86400 * 10**9) + 25 * 3600 * 10**9 == berlin.end(
        "day", autumn
    )
    with pytest.raises(ConfigError):
        Calendar("Mars/Olympus")


@given(st.integers(0, 4 * 10**9), st.sampled_from(["hour", "day", "month"]), st.integers(1, 28))
@settings(max_examples=200, deadline=None)
def test_a_span_ends_where_the_next_begins(at_s: int, span: Any, begins: int) -> None:
    calendar = Calendar("America/Sao_Paulo", begins)
    end = calendar.end(span, at_s * 10**9)
    assert end > at_s * 10**9
    assert calendar.key(span, end - 1) <= calendar.key(span, end)
    assert calendar.key(span, at_s * 10**9) == calendar.key(span, end - 10**9)


# --- from the configuration to the wire ----------------------------------------------------


def test_the_configuration_is_taken_over() -> None:
    config = Sync(
        budget=BudgetConfig(
            total=Allowance(month="500 MiB"), results=Allowance(hour="1 MiB", day="10 MiB"),
            quiet=["mon-fri 08:00-18:00"], month_begins=15,
        )
    )  # fmt: skip
    its = BudgetSettings.of(config, "Europe/Berlin")
    assert its.limits == {
        "total": {"month": 500 << 20}, "results": {"hour": 1 << 20, "day": 10 << 20}
    }  # fmt: skip
    assert its.quiet[0].days == frozenset(range(5)) and its.month_begins == 15


@pytest.mark.parametrize("kind", ["event", "result", "gap", "blob"])
def test_the_kind_is_read_off_an_encoded_record(kind: str) -> None:
    assert kind_of(encoded(Record(7, kind, data={"kind": "x"}))) == kind


def put(outbox: Outbox, kind: str, count: int) -> None:
    for n in range(count):
        data = {"phase": "new", "text": f"{n * 7919:x}" * 20}
        outbox.append(Draft(kind, data=data, event=f"{kind}{n}"))
    assert outbox.flush(10)


def kinds(broker: Any) -> dict[str, int]:
    found: dict[str, int] = {}
    for message in broker.records():
        for record in json.loads(message.payload)["records"]:
            found[record["kind"]] = found.get(record["kind"], 0) + 1
    return found


PLAIN = {"encoding": Encoding("json", "none"), "linger_s": 0.0}


def test_events_go_on_where_results_wait_and_nothing_is_lost(
    scripted: Any, make_station: Any, outbox: Outbox, eventually: Eventually
) -> None:
    broker = scripted()
    clock = Clock()
    its = budget(clock, results={"hour": 20_000})
    put(outbox, "result", 200)
    put(outbox, "event", 20)
    station = make_station(broker.port, publishing=PLAIN, budget=its)
    eventually(lambda: kinds(broker).get("event") == 20)
    sent = kinds(broker)["result"]
    assert 0 < sent < 100
    put(outbox, "event", 5)
    eventually(lambda: kinds(broker).get("event") == 25)
    assert kinds(broker)["result"] == sent
    wire = sum(len(m.payload) for m in broker.records())
    assert its.status()["sent"]["results"] <= 20_000
    assert its.status()["sent"]["results"] + its.status()["sent"]["events"] >= wire
    # Hour after hour the rest follows, and nothing comes twice.
    while outbox.stats().pending:
        before = outbox.stats().pending
        clock.pass_s(3600)
        station.link.wake()
        eventually(lambda before=before: outbox.flush(5) and outbox.stats().pending < before)
    assert kinds(broker) == {"result": 200, "event": 25}
    assert outbox.stats().dropped == {}


def test_one_record_larger_than_what_is_left_holds_no_event(
    scripted: Any, make_station: Any, outbox: Outbox, eventually: Eventually
) -> None:
    broker = scripted()
    clock = Clock()
    its = budget(clock, results={"hour": 4_000})
    outbox.append(Draft("result", data={"text": "x" * 2_500}))
    outbox.append(Draft("result", data={"text": "y" * 2_500}))
    put(outbox, "event", 3)
    station = make_station(broker.port, publishing=PLAIN, budget=its)
    eventually(lambda: kinds(broker).get("event") == 3)
    assert kinds(broker)["result"] == 1
    clock.pass_s(3600)
    station.link.wake()
    eventually(lambda: outbox.flush(5) and outbox.stats().pending == 0)
    assert kinds(broker) == {"result": 2, "event": 3}


def test_urgent_records_that_come_back_are_taken_again(outbox: Outbox) -> None:
    put(outbox, "result", 5)
    put(outbox, "event", 6)
    outbox.connected()
    first = outbox.urgent(max_bytes=10_000, max_records=2)
    assert first is not None and first.seqs == (6, 7)
    second = outbox.urgent(max_bytes=10_000)
    assert second is not None and second.seqs == (8, 9, 10, 11)
    assert outbox.urgent(max_bytes=10_000) is None
    outbox.release(first)
    again = outbox.urgent(max_bytes=10_000)
    assert again is not None and again.seqs == (6, 7)
    rest = outbox.next_batch(max_bytes=10_000)
    assert rest is not None and rest.seqs == (1, 2, 3, 4, 5)
    for batch in (second, again, rest):
        outbox.delivered(batch)
    assert outbox.flush(5) and outbox.stats().pending == 0


@pytest.mark.broker
def test_evidence_and_state_wait_for_their_budget(
    broker: Mosquitto, make_station: Any, make_reader: Any, outbox: Outbox, eventually: Eventually
) -> None:
    clock = Clock()
    its = budget(clock, evidence={"hour": 30_000}, state={"hour": 1_000})
    reader = make_reader(broker.port, "edgeagent/d1/#")
    station = make_station(broker.port, budget=its)
    picture = bytes(range(256)) * 300
    outbox.append(Draft("event", data={"phase": "new"}, event="a",
                        evidence=(Evidence("image/jpeg", picture),)))  # fmt: skip
    for n in range(20):
        station.presence.state("belt", {"count": n})
        eventually(lambda n=n: not its.may(TOPICS.state("belt")) or {"count": n} in
                   reader.json(TOPICS.state("belt")))  # fmt: skip
    eventually(lambda: "evidence" in its.status()["held"])

    def chunks() -> int:
        return sum(len(m.payload) for m in list(reader.got) if "/blob/" in m.topic)

    assert 10_000 < chunks() < 30_000
    assert its.status()["sent"]["evidence"] <= 30_000
    seen = reader.json(TOPICS.state("belt"))
    assert seen and seen[-1] != {"count": 19}
    for _ in range(4):
        clock.pass_s(3600)
        station.link.wake()
        before = chunks()
        eventually(lambda before=before: chunks() > before or chunks() == len(picture))
        eventually(lambda: "evidence" in its.status()["held"] or chunks() == len(picture))
    assert chunks() == len(picture)
    # What was held back is coalesced: only the last state counts.
    eventually(lambda: reader.json(TOPICS.state("belt"))[-1] == {"count": 19}, timeout=10)
