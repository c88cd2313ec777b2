"""The time of day by the clock on the wall, in nights that have an hour more or less."""

from __future__ import annotations

import math
from datetime import datetime, timedelta, timezone
from typing import Any

import numpy as np
import pytest

from edgeagent.config.model import Pipeline, Privacy, RecordWhat, Rule
from edgeagent.decide.course import Courses
from edgeagent.decide.decider import Decide
from edgeagent.decide.lines import Lines
from edgeagent.decide.readings import STALE_S, Readings
from edgeagent.decide.rules import Facts, parse
from edgeagent.decide.scene import Surveyor, note_values
from edgeagent.decide.zones import Zones
from edgeagent.types import Anomaly, Label, Regression, Window

SPRING = datetime(2026, 3, 28, 21, 0, tzinfo=timezone.utc)  # 22:00 in Berlin, the clocks go on
AUTUMN = datetime(2026, 10, 24, 20, 0, tzinfo=timezone.utc)  # 22:00 in Berlin, they go back
PLAIN = datetime(2026, 6, 10, 20, 0, tzinfo=timezone.utc)


def surveyor(trusted: Any = lambda: True, zone: str = "Europe/Berlin") -> Surveyor:
    lines = Lines({})
    return Surveyor({"time"}, 0.5, Courses(Zones({}), lines, 2), lines, Readings(), zone, trusted)


def window(at: datetime, source: str = "imu", values: Any = None) -> Window:
    rows = np.array([[0.0, 0.0]] if values is None else values, np.float32)
    return Window(source, 1, rows, 1.0, ("x", "y"), int(at.timestamp()) * 10**9, 0.0)


def minutes_true(when: str, start: datetime, hours: float) -> int:
    """Minutes for which a rule holds, asked in the middle of each."""
    rule, look = parse(when), surveyor()
    total = 0
    for minute in range(int(hours * 60)):
        at = start + timedelta(minutes=minute, seconds=30)
        total += rule(Facts("a", 0.9, scene=look.scene(window(at), [])))
    return total


@pytest.mark.parametrize(
    ("when", "night", "hours"),
    [
        ("time in 22:00..06:00", PLAIN, 8),
        ("time in 22:00..06:00", SPRING, 7),
        ("time in 22:00..06:00", AUTUMN, 9),
        ("time in 02:00..03:00", PLAIN, 1),
        ("time in 02:00..03:00", SPRING, 0),  # there is no such hour
        ("time in 02:00..03:00", AUTUMN, 2),  # it comes twice
        ("time in 01:30..02:30", SPRING, 0.5),
        ("time in 01:30..02:30", AUTUMN, 1.5),
        ("time >= 22:00 or time < 03:00", SPRING, 4),
        ("day == 'sun' and time < 03:00", AUTUMN, 4),
        ("day == 'sat'", SPRING, 2),
    ],
)
def test_nights_when_the_clocks_change(when: str, night: datetime, hours: float) -> None:
    assert minutes_true(when, night, 12) == hours * 60


def test_by_the_zone_of_the_device() -> None:
    at = datetime(2026, 1, 1, 23, 30, 15, tzinfo=timezone.utc)
    for zone, seconds, day in (
        ("UTC", 84615, "thu"), ("", 84615, "thu"), ("Asia/Kolkata", 18015, "fri"),
        ("America/New_York", 66615, "thu"),
    ):  # fmt: skip
        scene = surveyor(zone=zone).scene(window(at), [])
        assert (scene.time, scene.day, scene.clock) == (seconds, day, "synced")


def test_a_clock_that_is_not_trusted_has_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = surveyor(lambda: False).scene(window(PLAIN), [])
    assert math.isnan(scene.time) and scene.day == "" and scene.clock == "unsynced"
    monkeypatch.setenv("EDGEAGENT_CLOCK", "unsynced")
    rules = [Rule("label == 'yes' and time in 00:00..24:00")]
    for when, told in (("", 0), (" or clock == 'unsynced'", 1)):
        decide = Decide(
            "p", Pipeline("m", on=1, rules=[Rule(rules[0].when + when)]), Privacy("never"),
            ("yes",), threshold=0.5,
        )  # fmt: skip
        assert len(decide(window(PLAIN), [Label("yes", 0.9)])) == told
    monkeypatch.setenv("EDGEAGENT_CLOCK", "synced")
    decide = Decide(
        "p", Pipeline("m", on=1, rules=rules), Privacy("never"), ("yes",), threshold=0.5
    )
    assert len(decide(window(PLAIN), [Label("yes", 0.9)])) == 1


def test_values_of_other_pipelines() -> None:
    readings = Readings()
    when = "label == 'yes' and value('heat') > 40"
    decide = Decide(
        "p", Pipeline("m", on=1, off=1, rules=[Rule(when)]), Privacy("never"), ("yes",),
        threshold=0.5, readings=readings,
    )  # fmt: skip
    other = Decide(
        "heat", Pipeline("t", record=RecordWhat(events=False)), Privacy("never"), (),
        threshold=0.5, readings=readings,
    )  # fmt: skip

    def told(celsius: float | None) -> list[str]:
        if celsius is not None:
            other(window(PLAIN), [Regression("celsius", celsius)])
        return [draft.data["phase"] for draft in decide(window(PLAIN), [Label("yes", 0.9)])]

    phases = [told(value) for value in (None, 39.0, 41.0, None, 20.0)]
    assert phases == [[], [], ["new"], [], ["end"]]


def test_readings_are_kept_if_wanted_and_forgotten_when_stale() -> None:
    now = [100.0]
    readings = Readings(lambda: now[0])
    readings.want(["imu.y", "bearing", "motor.rms"])
    note_values(readings, "bearing", window(PLAIN, values=[[1, 2], [3, 4.5]]), [Anomaly(2.5, 1.8)])
    note_values(readings, "motor", window(PLAIN, "else"), [Regression("rms", 0.25)])
    assert [readings.get(name) for name in ("imu.y", "bearing", "motor.rms")] == [4.5, 2.5, 0.25]
    for name in ("imu.x", "motor", "nothing"):
        assert math.isnan(readings.get(name))
    now[0] += STALE_S
    assert readings.get("bearing") == 2.5
    now[0] += 0.1
    assert math.isnan(readings.get("bearing"))
