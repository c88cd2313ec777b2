"""Erasing: nothing is left in any file, the account adds up, and ages are honest."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from store_play import Opener

from edgeagent.store.age import Limit, Now, Stamp
from edgeagent.store.erase import Erased, Wish
from edgeagent.store.milestones import MOST, PARTS, Milestones
from edgeagent.store.outbox import Outbox
from edgeagent.store.verify import verify
from edgeagent.types import Draft, Evidence

SECOND = 10**9
BEGAN_NS = 1_790_000_000 * SECOND


def marked(outbox: Outbox, mark: str, count: int, at_ns: int, seed: int = 0) -> None:
    """Records of many sizes that all hold the mark."""
    sizes = random.Random(seed)
    for number in range(count):
        text = f"{mark}-{number}-" * sizes.choice((1, 3, 12, 60, 300))
        draft = Draft("event", "p", at_ns + number, float(number), {"note": text})
        if number % 7 == 0:
            draft.evidence = (Evidence("image/jpeg", f"{mark}-picture-{number}".encode()),)
        outbox.append(draft)
    assert outbox.flush(10)


def files_with(outbox: Outbox, mark: str) -> list[Path]:
    return [its for its in Path(outbox.folder).rglob("*")
            if its.is_file() and mark.encode() in its.read_bytes()]  # fmt: skip


def before(ns: int, **keys: Any) -> Wish:
    limit = Limit(Now(BEGAN_NS, 1e6, "b1", True), ns)
    return Wish(lambda _, its: limit.reached(its), **keys)


@pytest.mark.parametrize("max_bytes", [1 << 20, 8 << 20])
@pytest.mark.parametrize("overwrite", [False, True])
def test_nothing_of_what_was_deleted_at_any_time_is_left_in_any_file(
    opened: Opener, max_bytes: int, *, overwrite: bool
) -> None:
    """By a purge, which fills free pages; by a rule, for which all is overwritten as it goes."""
    outbox = opened(max_bytes=max_bytes, keep_sent_s=0.0, boot="b0", overwrite=overwrite)
    for turn in range(4):
        marked(outbox, "a-face-of-old", 120, BEGAN_NS - 5000 * SECOND, seed=turn)
        outbox.connected()
        while batch := outbox.next_batch(max_bytes=65536):  # delivered: deleted by and by
            outbox.delivered(batch)
        marked(outbox, "somebody-else", 20, BEGAN_NS - 10 * SECOND, seed=turn)
    assert files_with(outbox, "a-face-of-old")
    done = outbox.erase(
        before(BEGAN_NS - 1000 * SECOND, undelivered=True, scrub=not overwrite)
    )  # fmt: skip
    assert done.any
    assert files_with(outbox, "a-face-of-old") == []
    assert files_with(outbox, "somebody-else")
    outbox.close()
    report = verify(Path(outbox.folder), deep=True)
    assert report.ok, report.problems
    assert files_with(outbox, "a-face-of-old") == []


def test_what_nobody_has_got_stays_unless_it_is_asked_for(opened: Opener) -> None:
    outbox = opened(boot="b0")
    marked(outbox, "old", 21, BEGAN_NS - 5000 * SECOND)
    seen = outbox.erase(before(BEGAN_NS, dry=True))
    assert (seen.records, seen.kept, seen.evidence, seen.evidence_kept) == (0, 21, 0, 3)
    assert outbox.erase(before(BEGAN_NS)) == seen
    assert outbox.stats().pending == 21
    foreseen = outbox.erase(before(BEGAN_NS, undelivered=True, dry=True))
    assert outbox.stats().pending == 21
    done = outbox.erase(before(BEGAN_NS, undelivered=True))
    assert done == foreseen == Erased(21, 21, 0, 3, done.evidence_bytes, 3)
    stats = outbox.stats()
    assert stats.dropped == {"erased": 21}
    assert stats.produced == stats.delivered + stats.pending + 21
    assert stats.blob_bytes == 0


def test_evidence_alone_is_told_by_a_record_where_nobody_has_got_it(opened: Opener) -> None:
    outbox = opened()
    marked(outbox, "old", 1, BEGAN_NS - 5000 * SECOND)
    done = outbox.erase(
        Wish(lambda *_: True, upto=1, records=False, undelivered=True, reason="retention")
    )
    assert (done.records, done.evidence, done.unsent) == (0, 1, 1)
    outbox.connected()
    records = [record for record in _sent(outbox) if record["kind"] == "blob"]
    assert [(its["data"]["record"], its["data"]["reason"]) for its in records] == [(1, "retention")]


def _sent(outbox: Outbox) -> list[dict[str, Any]]:
    from edgeagent.store.export import records

    return [record for record, _ in records(Path(outbox.folder))]


# --- ages ------------------------------------------------------------------------------------


def now(mono_s: float, boot: str = "b2", *, synced: bool = True, wall_s: float = 0.0) -> Now:
    return Now(BEGAN_NS + int(wall_s * SECOND), mono_s * 1000, boot, synced)


def test_within_a_boot_the_age_is_known_whatever_the_clock_says() -> None:
    limit = Limit.of_age(now(7200, synced=False, wall_s=-9e8), 3600, careful=True)
    assert limit.reached(Stamp(0, 3_600_000.0, "b2"))
    assert not limit.reached(Stamp(0, 3_600_001.0, "b2"))


def test_of_another_boot_nothing_goes_by_a_clock_that_was_wrong() -> None:
    ancient = Stamp(0, 5.0, "b1", synced=False)
    assert not Limit.of_age(now(3599), 3600, careful=True).reached(ancient)
    # This boot is as old as the rule says, so what came before it is older.
    assert Limit.of_age(now(3600), 3600, careful=True).reached(ancient)
    assert not Limit.of_age(now(10, synced=False), 3600, careful=True).reached(
        Stamp(BEGAN_NS - 7200 * SECOND, 5.0, "b1", synced=True)
    )
    # Who asks for it to be gone does not want what is in doubt to stay.
    assert Limit.of_age(now(10), 3600, careful=False).reached(ancient)


@given(
    st.lists(st.tuples(st.floats(0.1, 500), st.integers(1, 50)), min_size=1, max_size=80),
    st.floats(50, 5000),
)
def test_milestones_keep_to_the_rule_from_both_sides(
    steps: list[tuple[float, int]], age_s: float
) -> None:
    """Whatever is said to be old enough is, by 1/64; and nothing older than that stays, if it was
    looked often enough."""
    stones, at, seq = Milestones(), 0.0, 0
    born: dict[int, float] = {}
    for pause, count in steps:
        at += pause
        for _ in range(count):
            seq += 1
            born[seq] = at
        stones.note("e", seq, now(at), age_s / PARTS)
        reached = stones.reached(Limit.of_age(now(at), age_s * (1 - 1 / PARTS), careful=True))
        assert all(
            at - born[its] >= age_s * (1 - 1 / PARTS) - 1e-3 for its in range(1, reached + 1)
        )
        longest = max(pause for pause, _ in steps)
        for its in range(reached + 1, seq + 1):
            assert at - born[its] <= age_s + longest + 1e-3
    assert len(stones.set) <= MOST


def test_milestones_are_put_right_when_the_clock_is_known() -> None:
    stones = Milestones()
    stones.note("e", 5, now(100, synced=False, wall_s=-1e8), 1.0)
    assert not stones.set[0].stamp.synced
    stones.note("e", 5, now(160, synced=True), 1.0)
    assert stones.set[0].stamp.wall_ns == BEGAN_NS - 60 * SECOND
    again = Milestones.decoded(stones.encoded())
    assert again == stones
    later = now(30, "b3", synced=True, wall_s=4000)
    assert again.reached(Limit.of_age(later, 4059, careful=True)) == 5
    assert again.reached(Limit.of_age(later, 4061, careful=True)) == 0
    again.note("another", 1, later, 1.0)
    assert [its.seq for its in again.set] == [1]
