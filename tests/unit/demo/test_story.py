"""From what arrived to what is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from edgeagent.demo.story import Arrivals, Story


def test_an_event_is_put_together_from_its_records(told: Any) -> None:
    blob = {"sha256": "ab", "bytes": 1, "type": "image/jpeg"}
    id_ = told.event("belt", "cracked", (2.0, 3.5), blobs=[blob])
    (event,) = told.arrivals().events()
    assert (event.id, event.label, event.picture, event.over) == (id_, "cracked", "ab", True)
    assert (event.end_ns - event.start_ns) == 1_500_000_000
    assert event.score == 0.95


def test_an_event_that_never_ended_lasts_to_what_was_heard_last(told: Any) -> None:
    told.record("event", "belt", 1, data={"id": "e-1", "phase": "new", "label": "cracked"})
    told.record("event", "belt", 4, data={"id": "e-1", "phase": "update", "label": "cracked"})
    (event,) = told.arrivals().events()
    assert not event.over
    assert event.end_ns - event.start_ns == 3_000_000_000


def test_a_record_that_came_twice_counts_once(told: Any) -> None:
    told.record("result", "face", 1, data={"predictions": [{"label": "face", "score": 0.9}]})
    told.lines *= 2
    assert len(told.arrivals().records) == 1


def test_scores_are_read_from_results_and_anomalies(told: Any) -> None:
    told.record("result", "belt", 1, data={"predictions": [
        {"label": "whole", "score": 0.9}, {"label": "cracked", "score": 0.8}]})  # fmt: skip
    told.record("anomaly", "bearing", 2, data={"label": "anomaly", "score": 2.5, "alarming": True})
    arrivals: Arrivals = told.arrivals()
    assert [(label, score) for _, label, score in arrivals.measured("belt")] == [
        ("whole", 0.9), ("cracked", 0.8),
    ]  # fmt: skip
    assert [score for *_, score in arrivals.measured("bearing")] == [2.5]
    assert arrivals.measured("face") == []


def test_the_delay_is_from_capture_to_arrival(told: Any) -> None:
    told.record("result", "belt", 1, data={})
    assert told.arrivals().records[0].delay_s == pytest.approx(0.2, abs=0.002)


def test_nothing_received_is_no_error(tmp_path: Path) -> None:
    file = tmp_path / "received.jsonl"
    file.touch()
    assert Arrivals(file).events() == []


@pytest.mark.parametrize(
    ("change", "sound"),
    [
        ({}, True),
        ({"delivered": 11}, False),
        ({"delivered": 11, "pending": 1}, True),
        ({"problems": ["1 seq is neither there nor told"]}, False),
        ({"delivered": 10, "dropped": {"too large": 2}}, True),
    ],
)
def test_soundness_is_the_account_of_the_contract(
    story: Story, change: dict[str, Any], sound: bool
) -> None:
    story.account.update(change)
    assert story.sound is sound


def test_what_did_not_get_out_in_time_is_not_sound(story: Story) -> None:
    story.drained = False
    story.account.update({"delivered": 11, "pending": 1})
    assert story.balanced and not story.sound


def test_a_hole_at_the_reader_is_not_sound(story: Story) -> None:
    story.reader["epochs"][0]["holes"] = [7]
    assert story.balanced and not story.sound
