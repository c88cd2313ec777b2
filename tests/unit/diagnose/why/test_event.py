"""How an event came about."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from edgeagent.config.model import Rule, Zone
from edgeagent.diagnose.why import Answer
from edgeagent.errors import NotFound
from edgeagent.types import Detection, Regression

Device = Any


def part(score: float, x: float = 0.6, track: int = 4) -> Detection:
    return Detection("crack", score, (x, 0.6, x + 0.2, 0.8), track=track)


def test_an_event_with_its_frame_scores_rule_zone_and_track(device: Device) -> None:
    device.run(
        "belt",
        [[], [part(0.62)], [part(0.7), part(0.3, 0.1, 9)], [part(0.91)], [part(0.8)]],
        zones={"belt": Zone([(0.5, 0.5), (1, 0.5), (1, 1), (0.5, 1)])},
        rules=[Rule("label == 'crack' and zone == 'belt'", name="cracks"), Rule("score > 2")],
    )
    answer = device.why("e-1")
    assert re.fullmatch(
        r"e-1: crack 0\.70 ≥ 0\.50 in 2 samples in a row at \d\d:\d\d \(frame 3\), and rule "
        r"'cracks' held",
        answer.sentence,
    )
    assert answer.cause == "event"
    assert answer.lines[:4] == [
        "pipeline belt, source cam, model parts@1.2.0/int8",
        "track 4, zones belt, it was 0.2 s old",
        "scores up to then and after: 0.62 0.70 0.91 0.80",
        "rule: label == 'crack' and zone == 'belt'",
    ]
    assert "in the same sample: crack 0.30 (low)" in answer.lines
    assert answer.facts["frames"] == [2, 3, 4, 5] and answer.facts["rules"] == ["cracks"]
    again = Answer.from_dict({**answer.to_dict(), "of a later version": 1})
    assert again == answer


def test_an_event_that_ended_and_one_that_asked_for_a_value(device: Device) -> None:
    device.run("p", [[part(0.9)]] * 2 + [[]] * 5, off=5)
    (ended,) = [its for its in device.why("e-1").lines if its.startswith("it ended at")]
    assert re.fullmatch(r"it ended at \d\d:\d\d, after 1 s", ended)
    device.run("heat", [[Regression("temperature", 91.5, "°C")]] * 2, rules=[Rule("value > 90")])
    number = len(device.sink.drafts)
    answer = device.why(f"e-{number - 1}")
    assert f"e-{number - 1}: temperature 91.5 ≥ any value in 2 samples" in answer.sentence


def test_a_long_event_is_told_by_its_ends(device: Device) -> None:
    device.run("p", [[part(0.9)]] * 400)
    facts = device.why("e-1").facts
    assert len(facts["frames"]) == 100
    assert facts["frames"][0] == 1 and facts["frames"][-1] == 400
    assert len(msgspec.json.encode(device.why("e-1").to_dict())) < 16 * 1024


def test_an_event_of_an_earlier_run_keeps_its_own_samples(device: Device, tmp_path: Path) -> None:
    """Keys of events begin anew with each run; numbers do not."""
    device.run("p", [[part(0.9)]] * 2, ago_s=60)
    device.decisions.stop()
    later = type(device)(tmp_path)
    later.sink.drafts = list(device.sink.drafts)
    later.run("p", [[part(0.8)]] * 2)
    first, second = device.why("e-1"), later.why("e-3")
    assert "crack 0.90" in first.sentence and first.facts["scores"] == [0.9, 0.9]
    assert "crack 0.80" in second.sentence and second.facts["scores"] == [0.8, 0.8]


def test_an_event_of_which_only_the_record_is_left(tmp_path: Path) -> None:
    from edgeagent.config.model import Config
    from edgeagent.diagnose.why import Asked, why
    from edgeagent.diagnose.why.times import Now

    record = {"at": "2026-11-25T10:00:00Z", "frame": 8, "pipeline": "p", "model": "m",
              "config": "c", "data": {"label": "crack", "score": 0.9}}  # fmt: skip
    now = Now.read()
    answer = why(Asked("e-7"), [], Config(), now, record={"e-7": record}.get)
    assert answer.cause == "not-kept"
    assert answer.sentence.startswith("e-7: crack 0.9 at 2026-11-25T10:00:00Z (frame 8); the")
    with pytest.raises(NotFound, match="nothing is kept of e-8") as caught:
        why(Asked("e-8"), [], Config(), now, record={"e-7": record}.get)
    assert "outbox peek --kind event" in caught.value.remedy
