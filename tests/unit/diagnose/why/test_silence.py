"""Silences that were planted, each explained in one sentence with its number."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from edgeagent.config.model import Gate, Limit, Pipeline, RecordWhat, Rule, Zone
from edgeagent.errors import InferenceError, InputError, NotFound, UsageError
from edgeagent.types import Anomaly, Detection, Prepared

Device = Any

ZONE = {"belt": Zone([(0.5, 0.5), (1, 0.5), (1, 1), (0.5, 1)])}
AT = r"\d\d:\d\d"


def seen(score: float, label: str = "crack", track: int = 1) -> Detection:
    """A thing in the upper left."""
    return Detection(label, score, (0.1, 0.1, 0.3, 0.3), track=track)


def refuse(_sample: Any) -> Prepared:
    raise InputError("8x8 pixels are too few")


NEAR: dict[str, tuple[list[Any], dict[str, Any], str, str]] = {
    "below the threshold": (
        [[seen(0.41)]] * 20 + [[seen(0.46)]] + [[seen(0.3)]] * 10,
        {}, "threshold", rf"crack 0\.46 < 0\.50, 31 times; nearest {AT}",
    ),
    "hardly below the threshold": (
        [[seen(0.4996)]] * 3, {}, "threshold", rf"crack 0\.4996 < 0\.5000, 3 times; nearest {AT}",
    ),
    "too young for the rule": (
        [[seen(0.9)]] * 4, {"rules": [Rule("label == 'crack' and age > 5 s")]}, "rule",
        rf"crack 0\.90 was seen 4 times, and the rule wants age > 5 s, and it was 0\.6 s at most; "
        rf"nearest {AT}",
    ),
    "in another zone": (
        [[seen(0.9)]] * 3, {"zones": ZONE, "rules": [Rule("zone == 'belt'", name="on the belt")]},
        "rule",
        rf"crack 0\.90 was seen 3 times, and the rule \(on the belt\) wants zone == 'belt', and it "
        rf"was in no zone; nearest {AT}",
    ),
    "another label than the rule's": (
        [[seen(0.9, "whole")]] * 3, {"rules": [Rule("label == 'crack'")]}, "rule",
        rf"whole 0\.90 was seen 3 times, and the rule wants label == 'crack', and it was 'whole'; "
        rf"nearest {AT}",
    ),
    "no rule that makes events": (
        [[seen(0.9)]] * 3, {"rules": [Rule("score > 0.1", ["state"], "door")]}, "rule",
        rf"crack 0\.90 was seen 3 times, and no rule makes events; nearest {AT}",
    ),
    "not often enough in a row": (
        [[seen(0.9)], [seen(0.9)], []] * 4, {"on": 3, "off": 1}, "few",
        rf"crack 0\.90 was there in 2 of the 3 samples in a row that an event needs, 8 times; "
        rf"nearest {AT}",
    ),
    "median too low": (
        [[seen(0.55)]] + [[seen(0.3)]] * 6, {}, "median",
        rf"crack: the median of its last scores 0\.30 < 0\.50, 6 times; nearest {AT}",
    ),
    "more than the limit": (
        [[seen(0.9, track=number)] for number in range(1, 7)],
        {"on": 1, "limit": Limit(1, "1 h")}, "event", r"1 event began in the last hour, .*",
    ),
    "events are not recorded": (
        [[seen(0.9)]] * 3, {"record": RecordWhat(events=False)}, "unrecorded",
        rf"crack 0\.90 was seen 3 times, and record\.events = false; nearest {AT}",
    ),
    "nothing in the picture": (
        [[]] * 12, {}, "nothing",
        r"the model saw no sign of anything in 12 samples of cam in the last hour",
    ),
    "an anomaly's own threshold": (
        [[Anomaly(2.13, 3.5)]] * 2 + [[Anomaly(3.1, 3.5)]], {}, "threshold",
        rf"anomaly 3\.10 < 3\.50, 3 times; nearest {AT}",
    ),
    "held back by the rate": (
        [[]] * 20, {"gate": Gate(max_fps=0.1)}, "gate",
        rf"19 of 20 samples were held back by the gate: more came than gate\.max_fps lets "
        rf"through, the last at {AT}",
    ),
    "paused": (
        [[]] * 9, {"paused": True}, "paused",
        rf"9 of 9 samples were thrown away: p is stopped or paused, the last at {AT}",
    ),
    "resting, for the device is too hot": (
        [[]] * 7, {"rest": "84 °C"}, "governor",
        rf"7 of 7 samples were left out by the governor: 84 °C, the last at {AT}",
    ),
    "no sample can be used": (
        [[]] * 4, {"prepare": refuse}, "skipped",
        rf"4 of 4 samples could not be used: 8x8 pixels are too few, the last at {AT}",
    ),
    "the runtime refuses": (
        [InferenceError("out of memory")] * 2, {}, "failed",
        rf"2 of 2 samples were refused by the runtime: out of memory, the last at {AT}",
    ),
}  # fmt: skip


@pytest.mark.parametrize("planted", NEAR)
def test_what_kept_it_from_being_an_event(device: Device, planted: str) -> None:
    found, keys, cause, sentence = NEAR[planted]
    device.run("p", found, **keys)
    answer = device.why("p")
    assert (answer.cause, re.fullmatch(sentence, answer.sentence) is not None) == (cause, True), (
        answer.sentence
    )
    assert answer.remedy or cause == "event"


def test_the_limit_and_what_it_left_out_is_a_line(device: Device) -> None:
    device.run("p", *NEAR["more than the limit"][:1], **NEAR["more than the limit"][1])
    answer = device.why("p")
    assert answer.lines[0].startswith("crack 0.90 was left out 5 times: the limit of 1 in 1 h")
    assert device.why("p", label="whole").cause == "nothing"


STATES: dict[str, tuple[tuple[str, ...], tuple[str, ...], str, str]] = {
    "the camera is covered": (
        ("cam: is covered (since 10:00)",), (), "source", r"cam is covered, since \d\d:\d\d \(.*\)",
    ),
    "the camera refuses": (
        ("cam: rtsp://10.0.0.9: connection refused",), (), "source",
        r"cam: rtsp://10\.0\.0\.9: connection refused, since \d\d:\d\d \(.*\)",
    ),
    "the model is not installed": (
        ("p: there is no model parts. edgeagent models list", "cam: opening"), (), "source",
        r"p: there is no model parts\. edgeagent models list, since .*",
    ),
    "another pipeline's trouble": (
        ("other: its model crashed",), (), "source", r"no sample came from cam in the last hour",
    ),
    "the link alone does not silence a camera": (
        (), ("broker:1883: connection refused",), "source",
        r"no sample came from cam in the last hour",
    ),
}  # fmt: skip


@pytest.mark.parametrize("planted", STATES)
def test_what_the_agent_said_of_a_pipeline_without_samples(device: Device, planted: str) -> None:
    reasons, link, cause, sentence = STATES[planted]
    device.pipelines["p"] = Pipeline("parts", "cam")
    device.decisions.state("degraded", [*reasons, *link], link)
    answer = device.why("p")
    assert answer.cause == cause and re.fullmatch(sentence, answer.sentence), answer.sentence


def test_what_a_plugins_rule_said_is_kept(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    """It can't be asked again: what it would say depends on what it remembers."""
    asked: list[float] = []

    class Queue:
        def __init__(self, pipeline: str, options: Any) -> None:
            pass

        def __call__(self, facts: Any) -> float:
            asked.append(facts.age)
            return 2.5

    monkeypatch.setattr("edgeagent.plugins.find", lambda kind, name: Queue)
    monkeypatch.setattr("edgeagent.plugins.known", lambda kind: ("queue",))
    device.run(
        "p", [[seen(0.9)]] * 3, rules=[Rule("plugin('queue') > 4"), Rule("plugin('queue') > 9")]
    )
    answer = device.why("p")
    assert "wants plugin('queue') > 4, and it was 2.5 at most" in answer.sentence, answer.sentence
    assert len(asked) == 3, "once about each thing, however many rules ask"


def test_events_that_cant_be_sent(device: Device) -> None:
    device.decisions.state("degraded", ["broker:1883: refused"], ["broker:1883: refused"])
    device.run("p", [[seen(0.9)]] * 3)
    answer = device.why("p", pending=7)
    assert re.fullmatch(
        rf"1 event began in the last hour, the last e-1 \(crack 0\.90\) at {AT}, but they can't be "
        r"sent: broker:1883: refused",
        answer.sentence,
    )
    assert answer.cause == "link" and "7 records wait to be sent" in answer.lines
    device.decisions.state("online", ())
    assert device.why("p").cause == "event"


def test_events_that_cant_be_kept(device: Device) -> None:
    device.decisions.state("degraded", ["outbox: no space left on the disk"])
    device.run("p", [[seen(0.9)]] * 3)
    answer = device.why("p")
    assert answer.cause == "outbox" and "can't be kept: no space left" in answer.sentence


def test_a_camera_that_is_covered_now_explains_more_than_events_before(device: Device) -> None:
    device.run("p", [[seen(0.9)]] * 3, ago_s=5)
    device.decisions.state("degraded", ["cam: is covered (since 10:00)"])
    answer = device.why("p")
    assert answer.sentence.startswith("cam is covered, since") and answer.cause == "source"
    assert answer.lines[0].startswith("1 event began in the last hour, the last e-1")
    # What is seen after it began is not explained by it.
    device.run("p", [[seen(0.9)]] * 3, ago_s=-5)
    assert device.why("p", wait_s=6).cause == "event"
    # It is over: only a line is left of it.
    device.decisions.state("online", ())
    answer = device.why("p", wait_s=6)
    assert any(line.startswith("cam is covered, from") for line in answer.lines)


def test_a_pipeline_that_is_switched_off(device: Device) -> None:
    device.pipelines["p"] = Pipeline("parts", "cam", enabled=False)
    assert device.why("p").sentence == "p is switched off: pipelines.p.enabled = false"


def test_an_agent_that_was_stopped_or_killed(device: Device, tmp_path: Path) -> None:
    device.pipelines["p"] = Pipeline("parts", "cam")
    never = device.why("p", running=False)
    assert never.cause == "not-running" and "it has not run, was ended by force" in never.sentence
    device.decisions.state("online", ())
    device.decisions.keep()
    killed = device.why("p", running=False)
    assert killed.cause == "not-running"
    assert re.fullmatch(
        rf"the agent does not run, and was not stopped in good order: what it decided is kept "
        rf"until {AT} \(.* ago\), at most a minute before its end",
        killed.sentence,
    )
    # Nobody says whether one runs: it has left something just now, or not for long.
    assert device.why("p", running=None).cause == "source"
    assert device.why("p", running=None, wait_s=600).cause == "not-running"
    device.decisions.stop()
    assert re.fullmatch(rf"the agent was stopped at {AT}", device.why("p", running=False).sentence)


def test_what_was_seen_before_the_end_is_told_first(device: Device) -> None:
    device.run("p", [[seen(0.4)]] * 3)
    device.decisions.stop()
    answer = device.why("p", running=False)
    assert answer.cause == "threshold" and answer.lines[-1].startswith("the agent was stopped at")


def test_relative_times_on_a_clock_that_nobody_set(
    device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEAGENT_CLOCK", "unsynced")
    device.run("p", [[seen(0.4)]] * 3, ago_s=240)
    answer = device.why("p", "10 min", synced=False)
    assert answer.sentence == "crack 0.40 < 0.50, 3 times; nearest 4 min ago"
    assert device.why("p", "2 min", synced=False).sentence.startswith("no sample came from cam")
    with pytest.raises(UsageError, match="the clock of this device can't be trusted"):
        device.why("p", "10:00", synced=False)
    # The clock was set since, in the same run of the machine: now the time can be told.
    assert re.search(rf"nearest {AT}", device.why("p", "10 min").sentence)


def test_trouble_on_a_clock_that_nobody_set(
    device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEAGENT_CLOCK", "unsynced")
    device.pipelines["p"] = Pipeline("parts", "cam")
    device.decisions.state("degraded", ["cam: is covered (since 10:00)"])
    answer = device.why("p", synced=False, wait_s=240)
    assert answer.sentence == "cam is covered, for 4 min"


def test_a_span_a_label_and_what_nobody_knows(device: Device) -> None:
    device.run("p", [[seen(0.4)]] * 3, ago_s=600)
    assert device.why("p", "5m").cause == "source"
    assert device.why("p", "15 min").cause == "threshold"
    with pytest.raises(UsageError, match="expected a span such as 2h"):
        device.why("p", "yesterday")
    with pytest.raises(NotFound, match="no pipeline 'q'") as caught:
        device.why("q")
    assert "p" in caught.value.remedy


def test_a_change_of_the_model_is_a_line(device: Device) -> None:
    device.run("p", [[seen(0.4)]] * 2, ago_s=10)
    device.run("p", [[seen(0.3)]] * 2, model="parts@1.3.0/int8")
    answer = device.why("p")
    assert any(its.startswith("the model was changed to parts@1.3.0/int8") for its in answer.lines)
    assert answer.facts["near"][0]["count"] == 4 and answer.facts["looked_at"] == 4


def test_a_label_that_the_model_does_not_have(device: Device) -> None:
    device.run("door", [[seen(0.41)]] * 3)
    known = ["crack", "whole"]
    with pytest.raises(NotFound, match="has no label 'crakc'") as told:
        device.why("door", label="crakc", labels=known)
    assert told.value.remedy == 'did you mean "crack"?'
    assert device.why("door", label="whole", labels=known).cause == "nothing"
    # A former model knew it: what it said is still explained.
    device.run("door", [[seen(0.41, "dent")]] * 3)
    assert "dent" in device.why("door", label="dent", labels=known).sentence
