"""`storage.max` shared out, and the count of bytes written over restarts."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from store_play import Opener, TurnedClock, event, result

from edgeagent.errors import StoreFull
from edgeagent.store.allotment import LEAST, SLACK, Allotment, shares, tree_bytes
from edgeagent.types import Evidence

MIB = 1 << 20
SIZES = st.integers(0, 1 << 36)


@given(cap=st.integers(4 * MIB, 1 << 40), outbox=st.integers(MIB, 1 << 36), blobs=SIZES)
def test_the_shares_never_pass_the_cap(cap: int, outbox: int, blobs: int) -> None:
    given_ = shares(cap, outbox, blobs)
    assert given_.store + given_.others + SLACK <= cap
    assert LEAST <= given_.outbox <= outbox and 0 <= given_.blobs <= blobs
    if 2 * outbox + blobs + SLACK <= cap:
        assert (given_.outbox, given_.blobs) == (outbox, blobs)


def test_the_outbox_is_scaled_down_to_its_share(opened: Opener) -> None:
    outbox = opened(max_bytes=64 * MIB, blobs_bytes=64 * MIB, storage_bytes=32 * MIB)
    assert outbox.settings.max_bytes < 11 * MIB and outbox.settings.blobs_bytes < 11 * MIB
    for number in range(8000):
        outbox.append(result(number, size=4000))
        if number % 500 == 0:
            assert outbox.flush(20)
    assert outbox.flush(20)
    assert outbox.stats().dropped and tree_bytes(outbox.folder) <= 32 * MIB


def test_others_ask_before_they_write(tmp_path: Path) -> None:
    allotment = Allotment(tmp_path, 20 * MIB, shares(20 * MIB, 4 * MIB, 2 * MIB))
    room = 20 * MIB - SLACK - 10 * MIB
    assert allotment.left() == room
    (tmp_path / "db").mkdir()
    (tmp_path / "db" / "outbox.db").write_bytes(bytes(3 * MIB))
    (tmp_path / "models").mkdir()
    with allotment.claim(4 * MIB, "model parts 1.3.0"):
        with (
            pytest.raises(StoreFull, match=r"model other 1 needs .* storage\.max leaves"),
            allotment.claim(6 * MIB, "model other 1"),
        ):
            raise AssertionError
        assert allotment.left() == room - 4 * MIB
        (tmp_path / "models" / "parts.tflite").write_bytes(os.urandom(4 * MIB))
    # What was claimed is counted as the file that it has become; the database is not others'.
    assert room - 5 * MIB < allotment.left() <= room - 4 * MIB


def test_evidence_gives_way_to_what_others_wrote_without_asking(
    opened: Opener, clock: TurnedClock
) -> None:
    outbox = opened(
        clock=clock, max_bytes=2 * MIB, blobs_bytes=2 * MIB, storage_bytes=10 * MIB
    )  # fmt: skip
    for number in range(15):
        draft = event("new", f"k{number}")
        draft.evidence = (Evidence("image/jpeg", bytes([number]) * 100_000),)
        outbox.append(draft)
    assert outbox.flush(10)
    assert outbox.stats().blob_bytes == 1_500_000
    allotment = outbox.allotment
    assert allotment
    models = outbox.folder / "models"
    models.mkdir()
    (models / "copied").write_bytes(os.urandom(allotment.shares.others + MIB))
    clock.go(60)
    outbox.remember("look", b"now")
    outbox.remember("look", b"again")
    assert outbox.flush(10)
    stats = outbox.stats()
    assert 0 < stats.blob_bytes <= MIB and stats.overdrawn_bytes == 0
    assert tree_bytes(outbox.folder) <= 10 * MIB
    (models / "more").write_bytes(os.urandom(3 * MIB))
    clock.go(60)
    outbox.remember("look", b"now")
    outbox.remember("look", b"again")
    assert outbox.stats().blob_bytes == 0 and outbox.stats().overdrawn_bytes > MIB
    shutil.rmtree(models)
    clock.go(60)
    outbox.remember("look", b"now")
    outbox.remember("look", b"again")
    assert outbox.stats().overdrawn_bytes == 0
    # What went is told, each piece once.
    kinds = [record["kind"] for record in _records(outbox)]
    assert kinds.count("blob") == 15


def _records(outbox: object) -> list[dict[str, object]]:
    from edgeagent.store.export import records

    return [record for record, _ in records(outbox.folder)]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("boot", "trusted", "hours", "kept"),
    [("b1", True, 2.0, True), ("b1", False, 30.0, False), ("b2", True, 2.0, True),
     ("b2", True, 30.0, False), ("b2", False, 30.0, True)],
)  # fmt: skip
def test_the_day_s_bytes_are_counted_over_a_restart(
    opened: Opener, clock: TurnedClock, boot: str, trusted: bool, hours: float, kept: bool
) -> None:
    """Over a reboot only a clock that was trusted on both sides says how much time has passed:
    else none has, and the budget is not renewed by pulling the plug."""
    clock.trust = trusted
    outbox = opened(clock=clock, written_per_day=10 * MIB)
    for number in range(200):
        outbox.append(result(number, size=2000))
    assert outbox.flush(5)
    outbox.close()
    clock.go(hours * 3600)
    if boot == "b2":
        clock.mono = 5000.0
    again = opened(clock=clock, written_per_day=10 * MIB, boot=boot)
    again.append(result(1))
    assert again.flush(5)
    again.remember("look", b"now")
    again.remember("look", b"again")
    stats = again.stats()
    if stats.written_bytes == 0:
        pytest.skip("this file system or kernel counts no bytes written")
    assert (stats.written_today_bytes > stats.written_bytes + 300_000) is kept
