"""Drafts of records from predictions."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest

from edgeagent.config.model import Pipeline, Privacy, RecordWhat, Redact, Rule, Zone
from edgeagent.decide.decider import Decide
from edgeagent.decide.track import IouTracker
from edgeagent.errors import ConfigError
from edgeagent.types import Anomaly, Detection, Frame, Keypoints, Label, Mask, Regression, Window

LABELS = ("whole", "crack", "person")
BELT = {"belt": Zone([(0, 0.5), (1, 0.5), (1, 1), (0, 1)])}


def frame(number: int, fill: int = 200) -> Frame:
    pixels = np.full((60, 80, 3), fill, np.uint8)
    return Frame("cam0", number, pixels, 10**9 * number, 100.0 * number)


def window(number: int) -> Window:
    return Window(
        "imu", number, np.zeros((4, 1), np.float32), 10.0, ("x",), 10**9 * number, 100.0 * number
    )


def part(
    x: float = 0.1, y: float = 0.3, label: str = "crack", score: float = 0.9, track: int = 1
) -> Any:
    return Detection(label, score, (x, y, x + 0.2, y + 0.3), track=track)


def decide(
    privacy: str = "events", labels: Any = LABELS, threshold: float = 0.5, **keys: Any
) -> Decide:
    redactor_labels = keys.pop("redactor_labels", ())
    return Decide(
        "door", Pipeline("parts", **{"on": 2, "off": 3, **keys}), Privacy(privacy), labels,
        threshold=threshold, model="parts@1.2.0/int8", config="c3f1",
        redactor_labels=redactor_labels,
    )  # fmt: skip


def phases(drafts: Any) -> list[str]:
    return [draft.data["phase"] for draft in drafts]


# --- events --------------------------------------------------------------------------------


def test_an_event_from_beginning_to_end() -> None:
    decided = decide(zones=BELT)
    told = []
    for number in range(1, 8):
        told += decided(frame(number), [part(0.1 + 0.01 * number)] if number < 4 else [])
    new, end = told
    assert new.kind == end.kind == "event" and new.event == end.event
    assert (new.pipeline, new.model, new.config, new.source) == (
        "door", "parts@1.2.0/int8", "c3f1", "cam0",
    )  # fmt: skip
    assert (new.frame, new.at_ns, new.mono_ms) == (2, 2 * 10**9, 200.0)
    assert new.data == {
        "phase": "new", "label": "crack", "score": 0.9, "box": [0.12, 0.3, 0.32, 0.6],
        "zones": ["belt"], "track": 1, "age_s": 0.1,
    }  # fmt: skip
    assert end.frame == 6 and end.data["phase"] == "end" and end.data["age_s"] == 0.2
    assert not new.evidence and not new.test


def test_boxes_are_told_to_four_digits() -> None:
    decided = decide(on=1)
    (draft,) = decided(
        frame(1), [Detection("crack", 1 / 3 + 0.5, (1 / 3, 0.1, 2 / 3, 0.9), track=4)]
    )
    assert draft.data["box"] == [0.3333, 0.1, 0.6667, 0.9]
    assert draft.data["score"] == 0.8333


def test_each_track_is_an_event_of_its_own() -> None:
    decided, tracker = decide(), IouTracker(missed=3)
    told = []
    for number in range(1, 4):
        found = [part(0.1), part(0.6)]
        told += decided(frame(number), tracker.update(found, 100.0 * number))
    assert sorted(draft.data["track"] for draft in told) == [1, 2]
    assert len({draft.event for draft in told}) == 2


def test_without_tracks_a_label_is_one_event() -> None:
    decided = decide(on=1)
    told = decided(frame(1), [part(track=0), part(0.6, track=0)])
    assert len(told) == 1


def test_below_the_threshold_is_no_event() -> None:
    decided = decide(threshold=0.7)
    for number in range(1, 6):
        assert decided(frame(number), [part(score=0.69), Label("crack", 0.6)]) == []


def test_no_rules_means_every_label() -> None:
    decided = decide(on=1)
    told = decided(window(1), [Label("whole", 0.8), Label("crack", 0.7), Label("person", 0.1)])
    assert [draft.data["label"] for draft in told] == ["whole", "crack"]
    assert told[0].data == {"phase": "new", "label": "whole", "score": 0.8, "age_s": 0.0}


def test_keyword_as_a_level() -> None:
    decided = decide(on=2, off=2, labels=("yes", "silence"), rules=[Rule("label == 'yes'")])
    story = ["silence", "yes", "yes", "yes", "silence", "silence", "silence"]
    told = []
    for number, word in enumerate(story, 1):
        told += decided(window(number), [Label(word, 0.9)])
    assert [(draft.data["phase"], draft.frame) for draft in told] == [("new", 3), ("end", 6)]


def test_rules_choose() -> None:
    rules = [
        Rule("label == 'crack' and zone == 'belt' and age > 0.25 s"),
        Rule("label == 'person' and count > 1"),
    ]
    decided = decide(on=1, zones=BELT, rules=rules)
    told: dict[int, list[str]] = {}
    for number in range(1, 6):
        found = [
            part(track=1),
            part(y=0.0, track=2),  # stands above the belt
            part(0.5, label="whole", track=3),
            part(0.2, label="person", track=4),
            part(0.7, label="person", track=5, score=0.9 if number > 3 else 0.2),
        ]
        for draft in decided(frame(number), found):
            told.setdefault(draft.data["track"], []).append(f"{draft.data['phase']}@{number}")
    assert told == {1: ["new@4"], 4: ["new@4"], 5: ["new@4"]}


def test_speed_in_frames_a_second() -> None:
    decided = decide(on=1, rules=[Rule("speed > 0.5 and speed < 0.7")])
    told = []
    for number in range(1, 5):
        told += decided(frame(number), [part(0.06 * number)])  # 0.06 in 0.1 s
    assert phases(told) == ["new"] and told[0].frame == 2


def test_anomaly_and_its_threshold() -> None:
    decided = decide(on=2, off=2, labels=("anomaly",))
    told = []
    for number, score in enumerate([1.0, 12.3456789, 14.0, 13.0, 2.0, 1.0], 1):
        told += decided(window(number), [Anomaly(score, 10.0)])
    new, end = told
    assert new.data == {
        "phase": "new", "label": "anomaly", "score": 14.0, "threshold": 10.0, "age_s": 0.1,
    }  # fmt: skip
    assert end.data["score"] == 14.0 and end.data["age_s"] == 0.2 and end.frame == 6


def test_a_quantity_needs_a_rule() -> None:
    plain = decide(on=1)
    assert plain(window(1), [Regression("flow", 9.0, "l/min")]) == []
    decided = decide(on=1, labels=("flow",), rules=[Rule("value > 5")])
    assert decided(window(1), [Regression("flow", 4.0)]) == []
    (draft,) = decided(window(2), [Regression("flow", 9.0)])
    assert draft.data == {"phase": "new", "label": "flow", "value": 9.0, "age_s": 0.1}


def test_masks_and_poses() -> None:
    decided = decide(on=1)
    told = decided(
        frame(1), [Mask("crack", 0.9, 0.2), Keypoints("person", 0.8, (), (0, 0, 1, 1), 3)]
    )
    assert [draft.data["label"] for draft in told] == ["crack", "person"]
    assert told[1].data["track"] == 3 and told[1].data["box"] == [0, 0, 1, 1]


def test_finish_ends_what_is_open() -> None:
    decided = decide(on=1)
    (new,) = decided(frame(1), [part()])
    (end,) = decided.finish(5, 6.0)
    assert end.event == new.event and end.data["phase"] == "end"
    assert (end.kind, end.at_ns, end.mono_ms, end.model) == ("event", 5, 6.0, "parts@1.2.0/int8")
    assert decided.finish(5, 6.0) == []


def test_events_can_be_switched_off() -> None:
    decided = decide(on=1, record=RecordWhat(events=False, every=0))
    assert decided(frame(1), [part()]) == []


# --- results -------------------------------------------------------------------------------


def test_every_nth_result() -> None:
    decided = decide(record=RecordWhat(events=False, every=3))
    told = []
    for number in range(1, 8):
        told += decided(frame(number), [part(), Label("crack", 0.123456)])
    assert [draft.frame for draft in told] == [3, 6]
    assert told[0].kind == "result"
    assert told[0].data == {
        "predictions": [
            {"label": "crack", "score": 0.9, "box": [0.1, 0.3, 0.3, 0.6], "track": 1},
            {"label": "crack", "score": 0.1235},
        ]
    }


def test_results_of_an_anomaly_model_are_of_their_own_kind() -> None:
    decided = decide(record=RecordWhat(events=False, every=1))
    (draft,) = decided(window(1), [Anomaly(1.23456789, 2.0)])
    assert draft.kind == "anomaly"
    assert draft.data == {
        "label": "anomaly", "score": 1.23457, "threshold": 2.0, "alarming": False,
    }  # fmt: skip


# --- pictures ------------------------------------------------------------------------------


def picture_of(draft: Any) -> Any:
    (evidence,) = draft.evidence
    assert evidence.type == "image/jpeg"
    return cv2.imdecode(np.frombuffer(evidence.data, np.uint8), cv2.IMREAD_COLOR)


def person_frame(number: int) -> Frame:
    """A grey frame with a bright checked patch where the person is (x 40–80 %, y 20–80 %)."""
    pixels = np.full((60, 80, 3), 100, np.uint8)
    pixels[12:48, 32:64] = np.indices((36, 32)).sum(0)[..., None] % 2 * 255
    return Frame("cam0", number, pixels, 10**9 * number, 100.0 * number)


PERSON = Detection("person", 0.9, (0.4, 0.2, 0.8, 0.8), track=9)


def recognisable(picture: Any) -> bool:
    """Whether the checks are still there."""
    return float(picture[12:48, 32:64].astype(float).std()) > 60


def test_a_snapshot_with_the_new_event_only() -> None:
    decided = decide(snapshot=True)
    told = []
    for number in range(1, 7):
        told += decided(person_frame(number), [part()] if number < 4 else [])
    new, end = told
    assert recognisable(picture_of(new)) and end.evidence == ()


@pytest.mark.parametrize("method", ["fill", "blur", "pixelate"])
def test_people_are_hidden_in_it(method: str) -> None:
    decided = decide(snapshot=True, redact=Redact(["person"], method=method))
    told = []
    for number in range(1, 13):
        told += decided(person_frame(number), [part(), PERSON])
    assert [(its.data["phase"], its.frame) for its in told[:2]] == [("new", 2), ("new", 2)]
    assert all(its.data["picture"] == "follows" and not its.evidence for its in told[:2])
    assert phases(told[2:]) == ["update", "update"]
    for draft in told[2:]:
        picture = picture_of(draft)
        assert not recognisable(picture)
        assert abs(int(picture[2, 2, 0]) - 100) < 8  # what is not a person is still there


def test_a_person_missed_for_one_frame_stays_hidden() -> None:
    assert not recognisable(snapshot_of(2, {1}))
    assert not recognisable(snapshot_of(12, {2}))
    assert recognisable(snapshot_of(12, {1}))  # 1.1 s on: the hold is over


def test_a_person_who_is_found_only_later_is_hidden_before() -> None:
    assert not recognisable(snapshot_of(1, {2}))
    assert not recognisable(snapshot_of(1, {11}))
    assert recognisable(snapshot_of(1, {12}))


def snapshot_of(event: int, found: set[int]) -> Any:
    """The picture of an event that begins in that frame, the person being found in some."""
    decided = decide(
        on=1, off=100, snapshot=True, redact=Redact(["person"], hold="1 s"),
        rules=[Rule("label == 'crack'")],
    )  # fmt: skip
    told = []
    for number in range(1, event + 12):
        people = [PERSON] if number in found else []
        told += decided(person_frame(number), [*people, *([part()] if number >= event else [])])
    (draft,) = [draft for draft in told if draft.evidence]
    assert draft.data["phase"] == "update" and draft.event == told[0].event
    return picture_of(draft)


def test_an_end_waits_for_the_picture_of_its_event() -> None:
    decided = decide(on=1, off=2, snapshot=True, redact=Redact(["person"], hold="1 s"))
    told = [
        (number, draft)
        for number in range(1, 14)
        for draft in decided(person_frame(number), [part()] if number == 1 else [])
    ]
    assert [(number, its.data["phase"]) for number, its in told] == [(1, "new"), (11, "end")]
    assert told[1][1].frame == 3 and told[1][1].mono_ms == 300.0  # when it ended
    assert recognisable(picture_of(told[1][1]))


@pytest.mark.parametrize("ended", [True, False])
def test_pictures_that_wait_at_the_end(ended: bool) -> None:
    decided = decide(on=1, snapshot=True, redact=Redact(["person"]))
    decided(person_frame(1), [part(), PERSON])
    told = decided.finish(1, 100.0, ended=ended)
    assert phases(told) == ["end", "end"]
    for draft in told:
        assert bool(draft.evidence) is ended
        assert (draft.data.get("picture") == "withheld") is not ended


@pytest.mark.parametrize("privacy", ["never", "asked"])
def test_no_picture_where_privacy_says_so(privacy: str) -> None:
    decided = decide(privacy, on=1, snapshot=True, redact=Redact(["person"]))
    (draft,) = decided(person_frame(1), [part()])
    assert draft.evidence == () and "picture" not in draft.data
    assert decided.picture(person_frame(1), asked=True) is None  # nobody knows yet what to hide
    for number in range(2, 13):
        for draft in decided(person_frame(number), [part()]):
            assert draft.evidence == () and "picture" not in draft.data
    assert (decided.picture(person_frame(12), asked=True) is None) is (privacy == "never")
    assert decided.picture(person_frame(12)) is None


def test_a_rule_can_ask_for_a_snapshot() -> None:
    rules = [Rule("label == 'crack'", ["snapshot"]), Rule("label == 'whole'")]
    decided = decide(on=1, rules=rules)
    told = decided(frame(1), [part(track=1), part(0.6, label="whole", track=2)])
    assert [len(draft.evidence) for draft in told] == [1, 0]


def test_the_second_model_must_have_answered() -> None:
    redact = Redact(["person"], model="people")
    decided = decide(
        on=1, snapshot=True, redact=redact, labels=("crack",), redactor_labels=("person",)
    )
    assert decided.needs_hidden
    (draft,) = decided(person_frame(1), [part(track=1)])
    assert draft.evidence == () and draft.data["picture"] == "withheld"
    told = []
    for number in range(2, 13):
        told += decided(person_frame(number), [part(track=2)], [PERSON])
    (draft,) = [draft for draft in told if draft.evidence]
    assert not recognisable(picture_of(draft)) and draft.data["track"] == 2
    assert "picture" not in draft.data
    assert not decide(redact=Redact(["person"])).needs_hidden


def test_broken_redaction_means_no_picture(monkeypatch: pytest.MonkeyPatch, caplog: Any) -> None:
    caplog.set_level("INFO", logger="edgeagent.redact")
    decided = decide(on=1, snapshot=True, redact=Redact(["person"]))

    def broken(*_: Any, **__: Any) -> Any:
        raise MemoryError("no room")

    told = []
    with monkeypatch.context() as patched:
        patched.setattr("edgeagent.decide.redact.cv2.resize", broken)
        for number in range(1, 14):
            told += decided(person_frame(number), [PERSON, part()])
    assert not any(draft.evidence for draft in told)
    assert [its.data["picture"] for its in told] == ["follows"] * 2 + ["withheld"] * 2
    told = []
    for number in range(14, 30):
        told += decided(person_frame(number), [PERSON, part(track=40)])
    (draft,) = [draft for draft in told if draft.evidence]
    assert not recognisable(picture_of(draft)) and draft.data["track"] == 40
    assert [record.levelname for record in caplog.records] == ["ERROR", "INFO"]


def test_a_picture_that_cannot_be_written_costs_no_event(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> Any:
        raise cv2.error("encoder")

    monkeypatch.setattr("edgeagent.decide.picture.cv2.imencode", broken)
    (draft,) = decide(on=1, snapshot=True)(frame(1), [part()])
    assert draft.evidence == () and draft.data["picture"] == "withheld"


def test_a_window_has_no_picture() -> None:
    decided = decide(on=1, snapshot=True)
    (draft,) = decided(window(1), [Label("crack", 0.9)])
    assert draft.evidence == () and "picture" not in draft.data


# --- wrong configurations ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        (
            {"redact": Redact(["persn"])},
            "pipelines.door.redact.labels: there is no label 'persn'; did you mean 'person'?",
        ),
        ({"redact": Redact(["face"]), "labels": ()}, "there is no label 'face'; known: none"),
        ({"redact": Redact([])}, "redact.labels is empty"),
        (
            {"rules": [Rule("label == 'crak'")]},
            "pipelines.door.rules[0].when: rule, column 10: there is no label 'crak'; "
            "did you mean 'crack'?",
        ),
        (
            {"rules": [Rule("score > 0.1"), Rule("zone == 'belt'")]},
            "pipelines.door.rules[1].when: rule, column 9: there is no zone 'belt'; known: none",
        ),
        ({"rules": [Rule("score >")]}, "rules[0].when: rule, column 8"),
        (
            {"rules": [Rule("score > 0", ["snapshots"])]},
            "rules[0].do: there is no action 'snapshots'; did you mean 'snapshot'?",
        ),
    ],
)
def test_faults_name_the_key(keys: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        decide(**keys)
    assert words in str(caught.value)


def test_a_model_without_labels_is_believed() -> None:
    decide(labels=(), rules=[Rule("label == 'anything'")])
