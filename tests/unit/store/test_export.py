"""Looking into an outbox and taking things out: running, stopped, or carried by hand."""

from __future__ import annotations

import csv
import io
import json
import zlib
from pathlib import Path

import pytest
from store_play import Opener, Receiver, result

from edgeagent.errors import StoreError
from edgeagent.store import export
from edgeagent.store.batch import Batch
from edgeagent.store.outbox import Outbox
from edgeagent.types import Draft, Evidence


@pytest.fixture
def outbox(opened: Opener) -> Outbox:
    """Six records, two of them delivered, while the agent runs."""
    made = opened()
    made.append(Draft("event", "door", event="k", at_ns=10**18, data={"phase": "new", "x": "ü,\n"},
                      evidence=(Evidence("image/jpeg", b"picture"),)))  # fmt: skip
    for number in range(5):
        draft = result(number, pipeline="gate" if number % 2 else "door")
        draft.at_ns = 10**18 + number * 60 * 10**9
        made.append(draft)
    made.flush(5)
    batch = made.next_batch(max_bytes=10_000, max_records=2)
    assert batch
    made.delivered(batch)
    made.flush(5)
    return made


def test_peek_shows_the_newest_first(outbox: Outbox) -> None:
    seen = export.peek(outbox.folder, 3)
    assert [(record["seq"], record["state"]) for record in seen] == [
        (6, "pending"), (5, "pending"), (4, "pending"),
    ]  # fmt: skip
    assert [record["seq"] for record in export.peek(outbox.folder, 99)] == [6, 5, 4, 3, 2, 1]


@pytest.mark.parametrize(
    ("chosen", "seqs"),
    [
        (export.Filter(kinds=frozenset({"event"})), [1]),
        (export.Filter(pipeline="gate"), [3, 5]),
        (export.Filter(state="pending"), [3, 4, 5, 6]),
        (export.Filter(state="kept"), [1, 2]),
        (export.Filter(since="2001-09-09T01:48:40.000Z"), [4, 5, 6]),
        (export.Filter(until="2001-09-09T01:48:40.000Z", kinds=frozenset({"result"})), [2, 3]),
    ],
)
def test_filters(outbox: Outbox, chosen: export.Filter, seqs: list[int]) -> None:
    assert [record["seq"] for record, _ in export.records(outbox.folder, chosen)] == seqs


def test_lines_of_json_are_the_records_of_the_wire(outbox: Outbox) -> None:
    batch = outbox.next_batch(max_bytes=10_000)
    assert batch
    lines = list(export.jsonl(outbox.folder, export.Filter(state="pending")))
    assert [json.loads(line) for line in lines] == [json.loads(body) for body in batch.bodies]


def test_csv_reads_back(outbox: Outbox) -> None:
    rows = list(csv.DictReader(io.StringIO("".join(export.csv_lines(outbox.folder)))))
    assert [row["seq"] for row in rows] == ["1", "2", "3", "4", "5", "6"]
    assert json.loads(rows[0]["data"]) == {"id": "e-1", "phase": "new", "x": "ü,\n"}
    assert json.loads(rows[0]["blobs"])[0]["bytes"] == 7
    assert rows[3]["state"] == "pending"


def test_carried_by_hand_and_confirmed_by_hand(outbox: Outbox, tmp_path: Path) -> None:
    folder = tmp_path / "stick"
    files = export.carry(outbox.folder, folder, batch_bytes=250)
    receiver = Receiver()
    for file in files:
        if file.suffix == ".batch":
            message = json.loads(zlib.decompress(file.read_bytes()))
            assert (message["v"], message["device"]) == (1, "d1")
            receiver.take(
                Batch(
                    message["epoch"], "backlog",
                    tuple(record["seq"] for record in message["records"]),
                    tuple(json.dumps(record).encode() for record in message["records"]),
                )
            )  # fmt: skip
    assert list(receiver.records[outbox.epoch]) == [3, 4, 5, 6]
    assert [file.read_bytes() for file in files if file.suffix == ".blob"] == [b"picture"]
    assert len({file.name for file in files}) == len(files) > 2
    outbox.confirmed(outbox.epoch, 6, [(1, 2)], "main")
    outbox.flush(5)
    assert (outbox.stats().delivered, outbox.stats().pending) == (6, 0)


def test_dead_letters_can_be_read(outbox: Outbox) -> None:
    batch = outbox.next_batch(max_bytes=10_000, max_records=1)
    assert batch
    outbox.refused(batch, "packet too large")
    outbox.flush(5)
    letters = export.dead_letters(outbox.folder)
    assert [(letter["seq"], letter["reason"]) for letter in letters] == [(3, "packet too large")]
    assert letters[0]["record"]["data"] == {"n": 1}


def test_a_body_that_can_not_be_read_does_not_end_it(outbox: Outbox) -> None:
    import sqlite3

    outbox.close()
    db = sqlite3.connect(outbox.folder / "db" / "outbox.db")
    db.execute("UPDATE record SET body = x'ff00' WHERE seq = 4")
    db.commit()
    db.close()
    seen = [record["kind"] for record, _ in export.records(outbox.folder)]
    assert seen == ["event", "result", "result", "unreadable", "result", "result"]


def test_a_folder_that_can_not_be_written(outbox: Outbox, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StoreError, match="file"):
        export.carry(outbox.folder, tmp_path / "file")
