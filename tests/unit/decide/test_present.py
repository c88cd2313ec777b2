"""The present state follows the event records."""

from __future__ import annotations

from dataclasses import dataclass

from edgeagent.decide.present import Present
from edgeagent.types import Draft, Evidence


@dataclass
class Receipt:
    seq: int | None = None


def event(key: str, phase: str, label: str, *zones: str, test: bool = False) -> Draft:
    data = {"phase": phase, "label": label, **({"zones": list(zones)} if zones else {})}
    return Draft("event", "door", data=data, event=key, test=test)


def test_counts_by_label_and_zone() -> None:
    present = Present()
    assert present.document() == {"alarm": False, "counts": {}, "zones": {}, "event": ""}
    present.note(event("a", "new", "crack", "belt"), Receipt(7))
    present.note(event("b", "new", "crack", "belt", "exit"), Receipt(9))
    present.note(event("c", "new", "whole"), Receipt(11))
    assert present.document() == {
        "alarm": True,
        "counts": {"crack": 2, "whole": 1},
        "zones": {"belt": {"crack": 2}, "exit": {"crack": 1}},
        "event": "e-11",
        "label": "whole",
    }


def test_updates_move_and_ends_remove() -> None:
    present = Present()
    present.note(event("a", "new", "crack", "belt"), Receipt(1))
    present.note(event("a", "update", "crack", "exit"), Receipt(2))
    assert present.document()["zones"] == {"exit": {"crack": 1}}
    assert present.document()["event"] == "e-1"
    present.note(event("a", "end", "crack"), Receipt(3))
    assert present.document() == {
        "alarm": False, "counts": {}, "zones": {}, "event": "e-1", "label": "crack",
    }  # fmt: skip


def test_what_is_not_committed_has_no_id_yet() -> None:
    present, receipt = Present(), Receipt()
    present.note(event("a", "new", "crack"), receipt)
    assert present.document()["event"] == ""
    receipt.seq = 4
    assert present.document()["event"] == "e-4"


def test_results_and_drills_do_not_move_it() -> None:
    present = Present()
    present.note(Draft("result", "door", data={"predictions": []}), Receipt(1))
    present.note(event("a", "new", "crack", test=True), Receipt(2))
    assert not present.document()["alarm"]


def test_the_last_picture_is_kept_where_it_is_shown() -> None:
    present = Present()
    first = event("a", "new", "crack")
    first.evidence = (Evidence("image/jpeg", b"one"),)
    present.note(first, Receipt(1))
    assert present.picture is None
    present.shows = True
    present.note(first, Receipt(1))
    clip = event("b", "new", "crack")
    clip.evidence = (Evidence("image/jpeg", b"two"), Evidence("video/mp4", b"film"))
    clip.data["score"] = 0.9
    present.note(clip, Receipt(2))
    assert present.picture == b"two" and present.document()["score"] == 0.9


def test_whether_something_is_there_by_label_and_zone() -> None:
    present = Present()
    assert not present.has((), ())
    present.note(event("a", "new", "person", "yard"), Receipt(1))
    assert present.has((), ())
    assert present.has(["person", "dog"], ())
    assert present.has((), ["yard"])
    assert not present.has(["dog"], ())
    assert not present.has(["person"], ["hall"])
    present.note(event("a", "end", "person"), Receipt(2))
    assert not present.has((), ())
