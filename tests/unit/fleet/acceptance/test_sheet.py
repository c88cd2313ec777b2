"""What keeps a device from being accepted, and how the page says it."""

import re
from typing import Any

import pytest

from edgeagent.fleet.acceptance.page import page
from edgeagent.fleet.acceptance.sheet import Sheet

GOOD: dict[str, Any] = {
    "device": "door-7", "name": "Door 7", "site": "hall 2", "state": "online",
    "doctor": "successful", "first_seq": 1, "first_at": "2026-11-25T10:00:00Z", "records": 12,
    "clock": "synced", "rates": {"door": 5.0}, "picture": b"\xff\xd8", "picture_type": "image/jpeg",
}  # fmt: skip


def test_one_that_works_is_accepted() -> None:
    assert Sheet(**GOOD).accepted


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"state": ""}, "it has never said anything"),
        ({"state": "offline", "reasons": ["connection lost"]}, "it is offline: connection lost"),
        ({"state": "degraded", "reasons": ["cam0: gone"]}, "it is degraded: cam0: gone"),
        ({"doctor": "silent"}, "doctor did not answer (silent)"),
        ({"findings": [{"severity": "failed", "what": "the disk is full"}]},
         "doctor: the disk is full"),
        ({"first_seq": 0}, "no record of it has arrived"),
        ({"clock": "unsynced"}, "its clock is not set"),
        ({"rates": {"door": 0.0}}, "pipeline door stands still"),
    ],
)  # fmt: skip
def test_what_is_missing_is_said(changed: dict[str, Any], said: str) -> None:
    its = Sheet(**{**GOOD, **changed})
    assert its.faults == [said]
    assert said in page([its], when="now", by="me")


def test_a_note_of_doctor_is_shown_and_keeps_nobody_back() -> None:
    its = Sheet(**{**GOOD, "findings": [{"severity": "note", "what": "no swap"}]})
    assert its.accepted
    assert "nothing is wrong (notes: no swap)" in page([its], when="now", by="me")


def test_what_devices_tell_is_text_on_the_page_and_nothing_else() -> None:
    evil = '"><script>alert(1)</script>'
    its = Sheet(**{
        **GOOD, "device": f"d{evil}", "name": evil, "site": evil, "state": evil,
        "reasons": [evil], "runs": {evil: evil}, "profile": evil, "picture_type": evil,
        "findings": [{"severity": "failed", "what": evil}],
    })  # fmt: skip
    made = page([its], when=evil, by=evil)
    assert "<script" not in made
    assert not re.search(r"https?://", made)


def test_forty_are_on_one_page_with_a_table_first() -> None:
    sheets = [Sheet(**{**GOOD, "device": f"door-{n}", "clock": "unsynced" if n == 3 else "synced"})
              for n in range(40)]  # fmt: skip
    made = page(sheets, when="now", by="me")
    assert "39 of 40 devices are in order" in made
    assert made.count('<section class="sheet"') == 40
    assert made.index("<table>") < made.index('<section class="sheet"')
