"""Evidence: content-addressed, within its quota, after its record, told when it will not come."""

from __future__ import annotations

import json
import os
import threading
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from store_play import Opener, Receiver, drain, event

from edgeagent.errors import NotFound
from edgeagent.store.age import Limit, Now
from edgeagent.store.erase import Wish
from edgeagent.store.ledger import Ledger
from edgeagent.store.outbox import Outbox
from edgeagent.types import Evidence


def append(outbox: Outbox, key: str, *pieces: bytes) -> None:
    draft = event("new", key)
    draft.evidence = tuple(Evidence("image/jpeg", piece) for piece in pieces)
    outbox.append(draft)
    assert outbox.flush(5)


def records(outbox: Outbox) -> list[dict[str, Any]]:
    batch = outbox.next_batch(max_bytes=1 << 20)
    if batch is None:
        return []
    outbox.delivered(batch)
    outbox.flush(5)
    return [json.loads(body) for body in batch.bodies]


def test_sent_after_its_record_and_resumed(opened: Opener) -> None:
    outbox = opened()
    data = bytes(range(256)) * 10
    append(outbox, "k", data)
    assert outbox.blobs.next() is None
    assert records(outbox)[0]["blobs"] == [
        {"sha256": sha256(data).hexdigest(), "bytes": 2560, "type": "image/jpeg"}
    ]
    blob = outbox.blobs.next()
    assert blob and (blob.bytes, blob.type, blob.next_index) == (2560, "image/jpeg", 0)
    assert outbox.blobs.read(blob.sha256, 0, 1000) == data[:1000]
    outbox.blobs.progress(blob.sha256, 2)
    again = outbox.blobs.next()
    assert again and again.next_index == 2
    outbox.close()
    outbox = opened()
    again = outbox.blobs.next()
    assert again and again.next_index == 2
    assert outbox.blobs.read(blob.sha256, 2, 1000) == data[2000:]
    assert outbox.blobs.read(blob.sha256, 3, 1000) == b""
    outbox.blobs.sent(blob.sha256)
    assert outbox.blobs.next() is None
    outbox.close()
    outbox = opened()
    assert outbox.blobs.next() is None
    # Kept as local evidence until the quota needs its place.
    assert outbox.stats().blob_bytes == 2560


def test_the_same_content_is_stored_once(opened: Opener) -> None:
    outbox = opened()
    append(outbox, "a", b"same", b"same")
    append(outbox, "b", b"same")
    assert len(list((outbox.folder / "blobs").iterdir())) == 1
    assert outbox.stats().blob_bytes == 4


def test_the_quota_takes_the_sent_then_the_oldest_and_tells(opened: Opener) -> None:
    outbox = opened(blobs_bytes=10_000)
    pieces = [bytes([number]) * 4000 for number in range(4)]
    append(outbox, "a", pieces[0])
    append(outbox, "b", pieces[1])
    records(outbox)
    newest = sha256(pieces[1]).hexdigest()
    outbox.blobs.sent(newest)
    append(outbox, "c", pieces[2])
    # The sent one went, nobody waits for it: nothing to tell.
    assert [record["kind"] for record in records(outbox)] == ["event"]
    append(outbox, "d", pieces[3])
    told = [record for record in records(outbox) if record["kind"] == "blob"]
    assert [record["data"] for record in told] == [
        {
            "sha256": sha256(pieces[0]).hexdigest(), "bytes": 4000, "type": "image/jpeg",
            "record": 1, "reason": "quota of blobs",
        }
    ]  # fmt: skip
    left = {path.name for path in (outbox.folder / "blobs").iterdir()}
    assert left == {sha256(piece).hexdigest() for piece in pieces[2:]}
    with pytest.raises(NotFound):
        outbox.blobs.read(newest, 0, 100)


def test_evidence_larger_than_the_quota(opened: Opener) -> None:
    outbox = opened(blobs_bytes=1000)
    append(outbox, "a", bytes(5000))
    kinds = [(record["kind"], record["data"].get("reason")) for record in records(outbox)]
    assert kinds == [("event", None), ("blob", "larger than the quota of blobs")]


def test_a_disk_that_takes_no_evidence_takes_the_record(
    opened: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    outbox = opened()

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    append(outbox, "a", b"picture")
    monkeypatch.undo()
    kinds = [(record["kind"], record["data"].get("reason")) for record in records(outbox)]
    assert kinds == [("event", None), ("blob", "not stored: No space left on device")]


def test_what_was_sent_is_not_offered_again_while_the_commit_waits(opened: Opener) -> None:
    """Nor is it held for sent once it was dropped and the same content comes again."""
    outbox = opened(results_s=0.05, blobs_bytes=5000)
    append(outbox, "a", b"x" * 3000)
    records(outbox)
    blob = outbox.blobs.next()
    assert blob
    entered, leave = threading.Event(), threading.Event()
    ops = []

    def during(ledger: Ledger) -> None:
        ops.append(outbox.blobs.next())
        entered.set()
        leave.wait(10)

    outbox.blobs.sent(blob.sha256)
    outbox._writer.post(during, 0.0)
    assert entered.wait(10)
    # The mark is made, inside a transaction that is not committed.
    assert outbox.blobs.next() is None
    leave.set()
    assert outbox.flush(5)
    assert ops == [None] and outbox.blobs.next() is None
    append(outbox, "b", b"y" * 4000)
    append(outbox, "c", b"x" * 3000)
    while records(outbox):
        pass
    again = outbox.blobs.next()
    assert again and again.sha256 == blob.sha256


def test_evidence_whose_file_is_gone_is_told_once(opened: Opener) -> None:
    outbox = opened()
    append(outbox, "a", b"picture")
    records(outbox)
    blob = outbox.blobs.next()
    assert blob
    (outbox.folder / "blobs" / blob.sha256).unlink()
    with pytest.raises(NotFound):
        outbox.blobs.read(blob.sha256, 0, 100)
    outbox.blobs.gone(blob.sha256)
    outbox.blobs.gone(blob.sha256)
    assert outbox.flush(5)
    assert outbox.blobs.next() is None
    (told,) = records(outbox)
    assert told["kind"] == "blob" and told["data"]["reason"] == "gone from the medium"
    assert told["data"]["record"] == 1 and outbox.stats().blob_bytes == 0


def test_files_that_no_record_knows_are_swept(opened: Opener) -> None:
    outbox = opened()
    append(outbox, "a", b"picture")
    outbox.close()
    blobs = outbox.folder / "blobs"
    (blobs / ("0" * 64)).write_bytes(b"orphan")
    (blobs / "half.part").write_bytes(b"half")
    outbox = opened()
    assert [path.name for path in blobs.iterdir()] == [sha256(b"picture").hexdigest()]
    drain(outbox, Receiver())


def test_erasing_leaves_no_byte_behind(opened: Opener) -> None:
    outbox = opened()
    secret = "a-face-that-must-go"
    draft = event("new", "k", note=secret)
    draft.at_ns = 1_700_000_000 * 10**9
    draft.evidence = (Evidence("image/jpeg", secret.encode()),)
    outbox.append(draft)
    later = event("new", "later")
    later.at_ns = 1_700_000_100 * 10**9
    outbox.append(later)
    outbox.flush(5)
    limit = Limit(Now.read(), 1_700_000_050 * 10**9)
    wish = Wish(lambda _, its: limit.reached(its), undelivered=True)
    assert outbox.erase(wish).records == 1
    found = [
        path for path in Path(outbox.folder).rglob("*")
        if path.is_file() and secret.encode() in path.read_bytes()
    ]  # fmt: skip
    assert found == []
    kinds = [(record["seq"], record["kind"], record.get("reason")) for record in records(outbox)]
    assert kinds == [(2, "event", None), (3, "gap", "erased")]
    assert outbox.stats().dropped == {"erased": 1}
