"""A full outbox: the cap is never exceeded, what goes is chosen, and the account tells of it."""

from __future__ import annotations

import json
import statistics
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from store_play import Opener, Receiver, TurnedClock, drain, event, result

from edgeagent.store import thin
from edgeagent.store.encode import KIND_NUMBER
from edgeagent.store.export import dead_letters, records
from edgeagent.store.outbox import Outbox
from edgeagent.store.verify import verify
from edgeagent.types import Draft

MIB = 1 << 20


def used(outbox: Outbox) -> int:
    return sum(file.stat().st_size for file in (outbox.folder / "db").iterdir())


def month(outbox: Outbox, clock: TurnedClock, hours: float, *, fps: float = 5.0) -> int:
    """Results at ``fps`` with an event every ten minutes; the cap is watched. Records given."""
    peak = count = 0
    for number in range(int(hours * 3600 * fps)):
        clock.go(1 / fps)
        draft = result(number, size=200, score=(number * 7919 % 1000) / 1000)
        draft.mono_ms = clock.mono
        outbox.append(draft)
        count += 1
        if number % int(600 * fps) == 0:
            outbox.append(event("new", f"k{number}", n=number))
            outbox.append(event("end", f"k{number}", n=number))
            count += 2
        if number % 1000 == 999:
            assert outbox.flush(30)
            peak = max(peak, used(outbox))
    assert outbox.flush(30)
    assert max(peak, used(outbox)) <= outbox.settings.max_bytes
    return count


def test_thinning_keeps_events_and_spreads_results_evenly(
    opened: Opener, clock: TurnedClock
) -> None:
    outbox = opened(clock=clock, max_bytes=2 * MIB, queue=8000)
    began = clock.mono
    month(outbox, clock, 3.0)
    kept = [record for record, _ in records(outbox.folder)]
    kinds = Counter(record["kind"] for record in kept)
    assert kinds["event"] == 2 * 6 * 3
    times = [record["mono_ms"] - began for record in kept if record["kind"] == "result"]
    assert len(times) > 500
    # A month must read as a month: no stretch of time is empty, none is crowded. The newest
    # records have not been thinned yet.
    per_half_hour = Counter(int(at // 1_800_000) for at in times)
    old = [per_half_hour[slot] for slot in range(5)]
    assert min(old) >= statistics.median(old) / 2.5
    assert max(old) <= statistics.median(old) * 2.5
    report = verify(outbox.folder, deep=True)
    assert report.ok, report
    assert set(report.dropped) == {"outbox full: thinned"}
    receiver = Receiver()
    assert outbox.flush(20)
    drain(outbox, receiver, max_bytes=60_000)
    assert receiver.unknown(outbox.epoch, outbox.last_seq) == []
    assert outbox.stats().pending == 0


@pytest.mark.parametrize("policy", ["drop-oldest", "drop-newest"])
def test_the_simple_policies(opened: Opener, clock: TurnedClock, policy: Any) -> None:
    outbox = opened(clock=clock, max_bytes=MIB, when_full=policy, queue=8000)
    given = month(outbox, clock, 0.5)
    numbers = [
        record["data"]["n"] for record, _ in records(outbox.folder) if record["kind"] == "result"
    ]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    if policy == "drop-oldest":
        assert numbers[-1] == int(0.5 * 3600 * 5) - 1
        assert set(outbox.stats().dropped) == {"outbox full: oldest dropped"}
    else:
        assert numbers[0] == 0
        assert set(outbox.stats().dropped) == {"outbox full: newest refused"}
        # Events still come in.
        assert outbox.append(event("new", "k")).wait(5)
        assert sum(1 for r, _ in records(outbox.folder) if r["kind"] == "event") == 2 * 3 + 1
    assert outbox.last_seq > given
    assert verify(outbox.folder, deep=True).ok
    receiver = Receiver()
    drain(outbox, receiver, max_bytes=60_000)
    assert receiver.unknown(outbox.epoch, outbox.last_seq) == []
    # Delivered records make room: it takes results again.
    tickets = [outbox.append(result(number)) for number in range(100)]
    outbox.flush(5)
    assert not any(ticket.lost for ticket in tickets)


def test_records_that_are_only_kept_go_first(opened: Opener, clock: TurnedClock) -> None:
    outbox = opened(clock=clock, max_bytes=MIB, keep_sent_s=1e9, queue=8000)
    receiver = Receiver()
    for _ in range(6):
        for number in range(400):
            outbox.append(result(number, size=400))
        assert outbox.flush(10)
        drain(outbox, receiver, max_bytes=60_000)
        assert used(outbox) <= MIB
    report = verify(outbox.folder, deep=True)
    assert report.ok and report.dropped == {}
    assert (report.delivered, report.pending) == (2400, 0)
    assert 0 < report.kept < 2400


def test_large_records_are_thinned_as_well(opened: Opener, clock: TurnedClock) -> None:
    outbox = opened(clock=clock, max_bytes=2 * MIB)
    for number in range(300):
        clock.go(1)
        outbox.append(result(number, size=20_000))
        if number % 20 == 0:
            outbox.flush(10)
            assert used(outbox) <= 2 * MIB
    outbox.flush(10)
    report = verify(outbox.folder, deep=True)
    assert report.ok and report.pending > 15
    numbers = [
        record["data"]["n"] for record, _ in records(outbox.folder) if record["kind"] == "result"
    ]
    assert min(numbers) < 20 and max(numbers) == 299


def test_gaps_stay_few_however_much_is_lost(opened: Opener, clock: TurnedClock) -> None:
    outbox = opened(clock=clock, max_bytes=2 * MIB, queue=8000)
    month(outbox, clock, 2.0)
    report = verify(outbox.folder)
    assert sum(report.dropped.values()) > 25_000
    assert report.gaps_pending <= outbox.last_seq // 4096 + 2


def test_old_particulars_are_folded(opened: Opener, monkeypatch: pytest.MonkeyPatch) -> None:
    from edgeagent.store import ledger

    monkeypatch.setattr(ledger, "FOLD_AT", 3)
    outbox = opened(max_record_bytes=500)
    receiver = Receiver()
    for _ in range(10):
        for number in range(2500):
            outbox.append(result(number, size=600 if number % 50 == 0 else 0))
            if number % 1000 == 0:
                outbox.flush(10)
        outbox.flush(10)
        drain(outbox, receiver, max_bytes=60_000)
        outbox.remember("upkeep", b"follows")
    outbox.close()
    report = verify(outbox.folder, deep=True)
    assert report.ok, report
    assert report.dropped == {"too large": report.produced - report.delivered}
    import sqlite3

    db = sqlite3.connect(outbox.folder / "db" / "outbox.db")
    folded, gaps = db.execute("SELECT folded, (SELECT count(*) FROM gap) FROM account").fetchone()
    db.close()
    assert folded > 16_000 and gaps <= 8
    assert receiver.unknown(outbox.epoch, outbox.last_seq) == []


# --- what thinning chooses, without a database --------------------------------------------


def row(seq: int, kind: str = "result", mono: float = 0.0, **keys: Any) -> tuple[int, int, bytes]:
    pipeline = keys.pop("pipeline", "p")
    boot = keys.pop("boot", "b")
    body = {"pipeline": pipeline, "boot": boot, "mono_ms": mono, "data": keys}
    return seq, KIND_NUMBER[kind], json.dumps(body).encode()


def survivors(rows: list[tuple[int, int, bytes]], level: int, **priorities: int) -> set[int]:
    gone = thin.victims(thin.thinnable(rows, priorities), level)
    assert gone == sorted(set(gone))
    return {seq for seq, _, _ in rows} - set(gone)


def test_one_result_a_slot_the_best_scored() -> None:
    rows = [row(n, mono=n * 100, score=n * 37 % 100 / 100) for n in range(1, 65)]
    assert survivors(rows, 0) == set(range(1, 65))
    for level in (1, 2, 3, 4):
        left = survivors(rows, level)
        slots = [n // 2**level for n in sorted(left)]
        assert slots == sorted({n // 2**level for n in range(1, 65)})
        for n in left:
            rivals = [m for m in range(1, 65) if m // 2**level == n // 2**level]
            assert n * 37 % 100 == max(m * 37 % 100 for m in rivals)
        assert left <= survivors(rows, level - 1)


def test_first_and_last_of_a_track_stay() -> None:
    rows = [
        row(n, mono=n * 200, predictions=[{"label": "a", "score": 0.5, "track": n // 50 + 1}])
        for n in range(200)
    ]
    left = survivors(rows, 6)
    assert {0, 49, 50, 99, 100, 149, 150, 199} <= left
    assert len(left) < 30


def test_rare_labels_stay() -> None:
    rows = [row(n, mono=n * 200, label="rare" if n == 77 else "usual") for n in range(300)]
    assert 77 in survivors(rows, 8)
    assert len(survivors(rows, 8)) < 10


def test_events_outlive_results_and_ends_outlive_updates() -> None:
    rows = [row(n, "result", n * 100) for n in range(0, 1000, 3)]
    rows += [row(n, "event", n * 100, phase="update") for n in range(1, 1000, 3)]
    rows += [row(n, "event", n * 100, phase="new" if n % 2 else "end") for n in range(2, 1000, 3)]
    rows.sort()
    assert {n for n in survivors(rows, 8) if n % 3} == {n for n in range(1000) if n % 3}
    kinds = [len([n for n in survivors(rows, 16) if n % 3 == kind]) for kind in range(3)]
    assert kinds[0] < 6 and kinds[0] < kinds[1] < 90 and kinds[2] == 333


def test_gaps_and_deployments_are_never_thinned() -> None:
    rows = [row(n, "gap" if n % 2 else "deployment", n * 10) for n in range(100)]
    assert survivors(rows, thin.TOP_LEVEL) == set(range(100))


def test_priorities_shift_by_a_level_a_step() -> None:
    rows = [row(n, mono=n // 2 * 100, pipeline="pq"[n % 2]) for n in range(400)]
    left = survivors(rows, 4, p=7, q=4)
    counts = Counter("pq"[n % 2] for n in left)
    assert (counts["p"], counts["q"]) == (200 // 2**2, -(-200 // 2**5))


def test_a_share_holds_back_who_takes_more() -> None:
    """Two of the same rate, one of them with records four times as large."""

    def rows() -> list[tuple[int, int, bytes]]:
        made = []
        for number in range(2000):
            name, fill = (("wide", 1100), ("narrow", 200))[number % 2]
            body = {
                "pipeline": name,
                "boot": "b",
                "mono_ms": number * 100,
                "data": {"f": "x" * fill},
            }
            made.append((number + 1, KIND_NUMBER["result"], json.dumps(body).encode()))
        return made

    def left(shares: dict[str, float]) -> Counter[str]:
        items = thin.thinnable(rows(), {}, shares)
        gone = set(thin.victims(items, 5))
        return Counter(item.pipeline for item in items if item.seq not in gone)

    even = left({})
    assert abs(even["wide"] - even["narrow"]) <= 1
    held = left({"wide": 0.2})
    assert held["narrow"] == even["narrow"] and held["wide"] * 4 <= even["wide"] + 4
    assert left({"wide": 0.9, "narrow": 0.9}) == even


def test_a_noisy_pipeline_takes_nothing_from_a_quiet_one(
    opened: Opener, clock: TurnedClock
) -> None:
    outbox = opened(clock=clock, max_bytes=MIB, queue=8000)
    for number in range(20_000):
        clock.go(0.05)
        drafts = [result(number, pipeline="noisy", size=200)]
        if number % 400 == 0:
            drafts.append(result(number, pipeline="quiet", size=200))
        for draft in drafts:
            draft.mono_ms = clock.mono
            outbox.append(draft)
        if number % 1000 == 999:
            assert outbox.flush(30)
    kept = Counter(r["pipeline"] for r, _ in records(outbox.folder) if r["kind"] == "result")
    assert sum(outbox.stats().dropped.values()) > 15_000
    assert kept["quiet"] == 50 and kept["noisy"] > 200


def test_dead_letters_of_an_untrusted_clock_are_the_newest(
    opened: Opener, clock: TurnedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgeagent.store.delivery.DEAD_LETTERS", 3)
    outbox = opened(clock=clock)
    for number in range(8):
        if number == 4:
            clock.wall, clock.trust = 10**9, False
        outbox.append(result(number))
        assert outbox.flush(5)
        batch = outbox.next_batch(max_bytes=4000)
        assert batch
        outbox.refused(batch, "no")
        assert outbox.flush(5)
        outbox.next_batch(max_bytes=4000)
    letters = [letter["record"]["data"]["n"] for letter in dead_letters(outbox.folder)]
    assert letters == [5, 6, 7]


def test_boots_have_slots_of_their_own() -> None:
    rows = [row(n, mono=1000, boot=f"b{n}") for n in range(20)]
    assert survivors(rows, 20) == set(range(20))


def test_what_can_not_be_read_is_thinned_like_anything_else() -> None:
    rows = [(n, 0, b"{damaged") for n in range(10)]
    assert len(survivors(rows, 5)) == 1


def test_the_next_level_is_one_that_helps() -> None:
    items = thin.thinnable([row(n, mono=n * 60_000) for n in range(100)], {})
    level = thin.worthwhile(items, 1)
    assert len(thin.victims(items, level)) >= 25
    assert len(thin.victims(items, level - 1)) < 25


def test_the_flash_budget_makes_results_coarser(opened: Opener, clock: TurnedClock) -> None:
    outbox = opened(clock=clock, written_per_day=100_000)
    for minute in range(8):
        for number in range(60):
            clock.go(1)
            outbox.append(result(minute * 60 + number, size=2000))
            outbox.append(Draft("event", "door", data={"phase": "new"}))
        assert outbox.flush(10)
        # Upkeep, which looks at the budget, follows a job.
        outbox.remember("minute", b"%d" % minute)
        outbox.remember("minute", b"%d again" % minute)
    stats = outbox.stats()
    if stats.written_bytes == 0:
        pytest.skip("this kernel does not count what a thread writes")
    assert set(stats.dropped) == {"flash budget: coarser"}
    assert stats.written_today_bytes == stats.written_bytes > 100_000
    assert sum(1 for r, _ in records(outbox.folder) if r["kind"] == "event") == 480
    assert verify(outbox.folder).ok


def test_an_outbox_below_a_mebibyte_is_refused(opened: Opener, tmp_path: Path) -> None:
    from edgeagent.errors import UsageError

    with pytest.raises(UsageError):
        opened(max_bytes=500_000)


def test_a_thinned_backlog_drains_by_stretches(opened: Opener, clock: TurnedClock) -> None:
    """What is left of a month lies one here, one there: nobody keeps a range for each."""
    outbox = opened(clock=clock, max_bytes=MIB, queue=8000, keep_sent_s=1e6)
    month(outbox, clock, 2.0)
    pending = outbox.stats().pending
    assert sum(outbox.stats().dropped.values()) > 10 * pending
    receiver, batches = Receiver(), 0
    outbox.connected()
    flying = []
    while (batch := outbox.next_batch(max_bytes=10_000)) is not None:
        assert len(batch.spans) == 1 < len(batch.seqs)
        flying.append(batch)
        batches += 1
    assert len(outbox._lanes.in_flight()) < 10
    # A lost connection, halves that were split, and all of it again.
    outbox.release(flying[0])
    for half in flying[1].split():
        outbox.release(half)
    for batch in flying[2:]:
        receiver.take(batch)
        outbox.delivered(batch)
    drain(outbox, receiver)
    assert receiver.unknown(outbox.epoch, outbox.last_seq) == []
    assert len(outbox._lanes._done) < 10 and len(outbox._committer.ledger.settled) < 10
    assert sum(len(ranges) for _, ranges in outbox._committer.room.kept._buckets) < 10
    assert outbox.stats().pending == 0 and verify(outbox.folder, deep=True).ok
