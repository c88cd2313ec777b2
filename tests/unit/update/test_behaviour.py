"""What a pipeline shows: things and not sightings, by the samples' own time."""

from __future__ import annotations

import msgspec
import pytest

from edgeagent.types import Anomaly, Detection, Label, Prediction
from edgeagent.update.behaviour import MINUTE_MS, Watch, behaviours

BOX = (0.1, 0.1, 0.2, 0.2)


def part(label: str, track: int, score: float = 0.9) -> Prediction:
    return Detection(label, score, BOX, track=track)


def test_a_thing_is_counted_once_however_often_it_is_seen() -> None:
    watch = Watch("parts@1.0.0/int8")
    for n in range(300):
        watch.saw([part("whole", 1 + n // 100), part("crack", 50, 0.3)], n * 100.0, 0.005, 0.5)
    watch.began("whole")
    whole = watch.behaviour().whole()
    assert whole.things == {"whole": 3}
    assert whole.events == {"whole": 1}
    assert whole.scores["whole"][9] == 300
    assert "crack" not in whole.scores  # below the threshold nothing is seen
    assert whole.steps == 300
    assert whole.minutes == pytest.approx(299 * 0.1 / 60)


def test_labels_of_whole_samples_count_when_they_change() -> None:
    watch = Watch()
    for n, label in enumerate(["go"] * 5 + ["stop"] * 5 + [""] * 3 + ["go"] * 2):
        watch.saw([Label(label or "go", 0.9 if label else 0.1)], n * 100.0, 0.001, 0.5)
    assert watch.behaviour().whole().things == {"go": 2, "stop": 1}


def test_alarms_of_anomalies_are_things() -> None:
    watch = Watch()
    for n, score in enumerate([0.1, 0.2, 3.0, 3.1, 0.1, 2.5]):
        watch.saw([Anomaly(score, 1.0)], n * 100.0, 0.001, 1.0)
    assert watch.behaviour().whole().things == {"anomaly": 2}


def test_minutes_become_hours_and_nothing_is_lost() -> None:
    watch = Watch()
    for n in range(200):
        watch.saw([part("whole", n + 1)], n * MINUTE_MS / 2, 0.005, 0.5)
    shown = watch.behaviour()
    assert len(shown.minutes) == 60
    assert len(shown.hours) == 1
    assert shown.whole().things == {"whole": 200}
    assert shown.whole().steps == 200
    # Nobody looked between two samples that are half a minute apart.
    assert shown.whole().ms == 199 * 5000.0
    assert len(shown.memory_mb) == 60 or len(shown.memory_mb) > 0


def test_times_and_failures() -> None:
    watch = Watch()
    for n in range(100):
        watch.saw([], n * 100.0, 2.0 if n in (50, 70) else 0.010, 0.5)
    watch.missed(10_000.0)
    shown = watch.behaviour()
    assert shown.stalls == 2
    assert shown.worst_ms == 2000.0
    assert shown.p50_ms == pytest.approx(10, rel=0.05)
    assert shown.slower(1000.0) == 2
    assert shown.whole().failed == 1


def test_it_survives_a_file_and_what_is_damaged_is_not_known() -> None:
    watch = Watch("parts@1.0.0/int8")
    for n in range(50):
        watch.saw([part("whole", n + 1)], n * 5000.0, 0.005, 0.5)
    plain = {"door": msgspec.to_builtins(watch.behaviour())}
    again = behaviours(msgspec.json.decode(msgspec.json.encode(plain)))
    assert again == {"door": watch.behaviour()}
    assert behaviours({"door": {"minutes": "?"}}) == {}
    assert behaviours(None) == {}
