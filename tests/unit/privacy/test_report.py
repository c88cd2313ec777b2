"""A report of files: faults are said in their place, and its pages hold what it says."""

from __future__ import annotations

import os
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from edgeagent.agent.decisions import Decisions
from edgeagent.config.load import Loaded
from edgeagent.config.model import Config, Mqtt, Pipeline, Privacy, Redact, Refine, Retention
from edgeagent.config.toml import Places
from edgeagent.errors import UsageError
from edgeagent.privacy import page
from edgeagent.privacy.purge import Hands, known, limit_of, purge
from edgeagent.privacy.report import report
from edgeagent.privacy.stores import NAMES, STORES
from edgeagent.store import looks
from edgeagent.store.age import Limit, Now, Stamp
from edgeagent.store.entry import give_back
from edgeagent.store.outbox import Outbox
from edgeagent.store.settings import OutboxSettings


def told(folder: Path, **keys: Any) -> dict[str, Any]:
    config = Config(retention=Retention(evidence="72 h"), **keys)
    return report(folder, Loaded(config, "abcd1234", (), Places()), "door-7")


def test_what_no_row_describes_is_still_counted(tmp_path: Path) -> None:
    (tmp_path / "notes-of-the-installer.txt").write_text("names")
    (tmp_path / "decisions").mkdir()
    (tmp_path / "decisions" / "00000001.blocks").write_bytes(b"x" * 10)
    stores = {its["store"]: its for its in told(tmp_path)["stores"]}
    other = stores["other files"]
    assert (other["count"], other["bytes"]) == (1, 5)
    assert other["names"] == ["notes-of-the-installer.txt"]
    assert (stores["decisions"]["count"], stores["decisions"]["bytes"]) == (1, 10)
    assert stores["evidence"]["max_age"] == "72 h"


def test_ways_out_are_those_that_are_configured(tmp_path: Path) -> None:
    broker = Mqtt(host="broker.example")
    two = {"door": Pipeline(source="c", model="m", live=True, image=True),
           "gate": Pipeline(source="c", model="m")}  # fmt: skip
    ways = {its["topic"] for its in told(tmp_path, mqtt=broker, pipelines=two)["sent"]}
    assert {"edgeagent/door-7/live/door", "edgeagent/door-7/image/door"} <= ways
    assert not any(way.endswith("/gate") for way in ways)
    never = told(tmp_path, mqtt=broker, pipelines=two, privacy=Privacy(pictures="never"))
    assert "edgeagent/door-7/image/door" not in {its["topic"] for its in never["sent"]}
    assert told(tmp_path, pipelines=two)["sent"] == []


def test_galleries_are_told_wherever_they_lie(tmp_path: Path) -> None:
    gallery = tmp_path / "elsewhere" / "people.gallery"
    gallery.parent.mkdir()
    gallery.write_bytes(b"v" * 12)
    gallery.chmod(0o600)
    second = Refine(model="faces", gallery=str(gallery))
    its = told(
        tmp_path, pipelines={"door": Pipeline(source="c", model="m", refine={"who": second})}
    )
    (row,) = [row for row in its["stores"] if row["store"].startswith("gallery")]
    assert (row["count"], row["bytes"], row["modes"]) == (1, 12, ["-rw-------"])
    assert str(gallery) in row["contents"] and row["personal"]


def test_a_damaged_store_is_told_in_its_place(tmp_path: Path) -> None:
    (tmp_path / "db").mkdir()
    (tmp_path / "db" / "outbox.db").write_bytes(b"no database" * 100)
    rows = {its["store"]: its for its in told(tmp_path)["stores"]}
    assert "outbox.db" in rows["outbox"]["fault"]
    assert "fault" not in rows["looks"]


def test_pages_hold_every_store_and_no_markup_of_others(tmp_path: Path) -> None:
    looks.note(tmp_path, "capture", "mqtt:<script>alert(1)</script>", {"source": "a|b"})
    hidden = Pipeline(source="cam0", model="people", redact=Redact(labels=["person"]))
    its = told(tmp_path, pipelines={"door": hidden}, mqtt=Mqtt(host="broker.example"))
    for text in (page.html(its), page.markdown(its)):
        for store in STORES:
            assert store.name in text
        assert "edgeagent/door-7/records" in text and "person by its own model" in text
    assert "<script>" not in page.html(its)
    assert "a\\|b" in page.markdown(its)
    assert re.findall(r"(?:src|href)=(?!\"https?://)", page.html(its)) == []
    for sheet in page.sheets(its):
        assert all(len(row) == len(sheet.columns) for row in sheet.rows)


def test_what_before_may_be() -> None:
    now = Now(1_790_000_000 * 10**9, 1e6, "b", True)
    assert limit_of("30 d", now).age_s == 30 * 86400
    assert limit_of("2026-01-31T06:00:00Z", now).age_s is None
    for wrong in ("yesterday", "2026-01-31T06:00:00", "3 weeks", "-1 d", ""):
        with pytest.raises(UsageError, match="--before"):
            limit_of(wrong, now)
    assert known(()) == frozenset(NAMES) - {"looks"}, "who looked goes only when it is named"
    with pytest.raises(UsageError, match="expected one of"):
        known(("outbox",))


def test_looks_are_bounded_survive_torn_lines_and_go_by_age(tmp_path: Path) -> None:
    for number in range(200):
        looks.note(tmp_path, "capture", f"person-{number}", max_bytes=16384)
    files = looks.segments(tmp_path / "looks")
    assert sum(its.stat().st_size for its in files) <= 16384
    lines = list(looks.read(tmp_path))
    assert lines[-1]["by"] == "person-199" and 0 < len(lines) < 200
    with files[-1].open("ab") as file:
        file.write(b'{"at": "2026-')  # a power cut
    looks.note(tmp_path, "capture", "after", max_bytes=16384)
    assert [its["by"] for its in looks.read(tmp_path)][-2:] == ["person-199", "after"]
    count = len(list(looks.read(tmp_path)))
    gone = looks.purge(tmp_path, lambda its: its["by"] != "after", dry=True)
    assert gone == count - 1 == looks.purge(tmp_path, lambda its: its["by"] != "after", dry=False)
    assert [its["by"] for its in looks.read(tmp_path)] == ["after"]
    looks.note(tmp_path, "capture", "who", {"by": "somebody else", "max_bytes": 1, "at": "never"})
    last = list(looks.read(tmp_path))[-1]
    assert (last["by"], last["max_bytes"]) == ("who", 1) and last["at"] > "2026"
    looks.note(tmp_path, "x" * 50, "long", {"x": "y" * 5000})
    assert list(looks.read(tmp_path))[-1]["cut"] > 5000


def test_a_rule_never_takes_what_may_be_young() -> None:
    from edgeagent.store.age import Limit

    now = Now(1_790_000_000 * 10**9, 50_000.0, "b2", False)
    careful = Limit.of_age(now, 60, careful=True)
    assert not careful.reached(Stamp(0, 0.0, "b1"))
    assert not careful.reached(Stamp(0, synced=True)), "by a clock that can't be trusted now"


def test_nobody_who_looks_while_it_is_purged_is_forgotten(tmp_path: Path) -> None:
    """A purge replaces files to which others append."""
    looks.note(tmp_path, "capture", "old")

    def look(who: int) -> None:
        for number in range(25):
            looks.note(tmp_path, "capture", f"{who}-{number}")

    with ThreadPoolExecutor(4) as pool:
        many = [pool.submit(look, who) for who in range(4)]
        while not all(its.done() for its in many):
            looks.note(tmp_path, "capture", "old")
            looks.purge(tmp_path, lambda its: its["by"] == "old", dry=False)
    assert len([its for its in looks.read(tmp_path) if its["by"] != "old"]) == 100
    modes = {its.stat().st_mode & 0o137 for its in (tmp_path / "looks").iterdir()}
    assert modes <= {0, 0o040}, "the group may read at most, others nothing"


def test_what_root_writes_belongs_to_the_owner_of_the_folder(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give files away")
    os.chown(tmp_path, 65534, 65534)
    looks.note(tmp_path, "purge", "local:root")
    give_back(tmp_path, looks.FOLDER, "nothing")
    made = tmp_path / looks.FOLDER
    assert {its.stat().st_uid for its in (made, *made.iterdir())} == {65534}


def test_what_this_user_may_not_look_into_is_said(tmp_path: Path) -> None:
    looks.note(tmp_path, "capture", "somebody")
    told(tmp_path)  # all that it needs is imported
    user = 65534 if os.geteuid() == 0 else os.geteuid()
    tmp_path.chmod(0)
    before = os.geteuid()
    os.seteuid(user)
    try:
        found = told(tmp_path)
    finally:
        os.seteuid(before)
        tmp_path.chmod(0o700)
    rows = {its["store"]: its for its in found["stores"]}
    assert "Permission denied" in rows["decisions"]["fault"]
    assert "Permission denied" in rows["decisions"]["hidden"]
    assert "Permission denied" in rows["other files"]["fault"]
    assert [its["what"] for its in found["looks"]] == ["unreadable"]


def test_who_empties_the_list_of_looks_stands_in_it(tmp_path: Path) -> None:
    looks.note(tmp_path, "purge", "local:mallory")
    looks.note(tmp_path, "capture", "local:mallory")
    box = Outbox.open(tmp_path, device="d", machine="m", boot="b" * 32, settings=OutboxSettings())
    its = Hands(tmp_path, box, Decisions(tmp_path, 0, lambda work: work()))
    only = known(("looks",))
    now = Now.read()
    try:
        assert purge(its, only, limit_of("0 s", now)).others == {"looks": 1}
        assert [line["what"] for line in looks.read(tmp_path)] == ["purge"]
        assert purge(its, only, Limit.of_age(now, 0.0, careful=True)).others == {"looks": 1}
    finally:
        box.close()
