"""The outbox as its users see it: appending, lanes, handing back, starting again."""

from __future__ import annotations

import json
import threading
import time
from hashlib import sha256
from pathlib import Path

import pytest
from store_play import Opener, Receiver, TurnedClock, drain, event, result

from edgeagent.errors import Busy
from edgeagent.store.verify import verify
from edgeagent.types import Draft, Evidence


def bodies(outbox: object, **keys: object) -> list[dict[str, object]]:
    batch = outbox.next_batch(max_bytes=1 << 20, **keys)  # type: ignore[attr-defined]
    return [] if batch is None else [json.loads(body) for body in batch.bodies]


def test_a_record_reads_as_the_contract_says(opened: Opener, clock: TurnedClock) -> None:
    outbox = opened(clock=clock)
    ticket = outbox.append(
        Draft(
            "event", "door", at_ns=1_795_545_789_120_000_000, mono_ms=812345.6,
            data={"phase": "new", "label": "crack", "score": 0.93}, model="parts@1.2.0/int8",
            config="c3f1", source="cam0", frame=88123, event="k",
            evidence=(Evidence("image/jpeg", b"jpeg"),),
        )
    )  # fmt: skip
    assert ticket.wait(2) == 1
    assert bodies(outbox) == [
        {
            "seq": 1, "kind": "event", "pipeline": "door", "at": "2026-11-24T18:43:09.120Z",
            "clock": "synced", "boot": "b1", "mono_ms": 812345, "model": "parts@1.2.0/int8",
            "config": "c3f1", "source": "cam0", "frame": 88123,
            "data": {"id": "e-1", "phase": "new", "label": "crack", "score": 0.93},
            "blobs": [
                {"sha256": sha256(b"jpeg").hexdigest(), "bytes": 4, "type": "image/jpeg"}
            ],
        }
    ]  # fmt: skip


def test_empty_fields_are_left_out(opened: Opener, clock: TurnedClock) -> None:
    outbox = opened(clock=clock)
    outbox.append(Draft("health"))
    outbox.flush(2)
    assert bodies(outbox) == [
        {
            "seq": 1, "kind": "health", "at": "2026-11-18T11:06:40.000Z", "clock": "synced",
            "boot": "b1", "mono_ms": 1_000_000,
        }
    ]  # fmt: skip


def test_seqs_follow_the_order_of_append(opened: Opener) -> None:
    outbox = opened()
    tickets = [outbox.append(result(number)) for number in range(3000)]
    assert outbox.flush(10)
    assert [ticket.seq for ticket in tickets] == list(range(1, 3001))
    assert outbox.last_seq == outbox.stats().produced == 3000


def test_threads_append_without_losing_or_doubling(opened: Opener) -> None:
    outbox = opened(queue=100_000)
    seqs: list[list[int | None]] = [[] for _ in range(6)]

    def work(mine: list[int | None], name: str) -> None:
        tickets = [outbox.append(result(number, pipeline=name)) for number in range(500)]
        mine.extend(ticket.wait(10) for ticket in tickets)

    threads = [
        threading.Thread(target=work, args=(mine, f"p{number}")) for number, mine in enumerate(seqs)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(seq for mine in seqs for seq in mine if seq) == list(range(1, 3001))
    assert all(mine == sorted(mine, key=lambda seq: seq or 0) for mine in seqs)


def test_events_are_committed_soon_and_results_together(opened: Opener) -> None:
    outbox = opened(events_s=0.05, results_s=0.6)
    began = time.monotonic()
    late = outbox.append(result())
    assert late.wait(0.3) is None
    assert late.wait(2) == 1
    assert 0.5 <= time.monotonic() - began < 1.5
    late = outbox.append(result())
    began = time.monotonic()
    assert outbox.append(event("new", "k")).wait(2) == 3
    assert time.monotonic() - began < 0.4
    # What waited before an event goes with it, for nothing.
    assert late.seq == 2


def test_a_full_queue_is_told(opened: Opener) -> None:
    outbox = opened(queue=16, results_s=30.0, events_s=30.0)
    tickets = [outbox.append(result(number)) for number in range(20)]
    urgent = [outbox.append(event("new", f"k{number}")) for number in range(10)]
    assert [ticket.lost for ticket in tickets] == [""] * 12 + ["writer stalled"] * 8
    assert [ticket.lost for ticket in urgent] == [""] * 4 + ["writer stalled"] * 6
    assert tickets[-1].wait(0.1) is None
    assert outbox.stats().stalled == 14
    outbox.flush(5)
    stats = outbox.stats()
    assert stats.dropped == {"writer stalled": 14}
    assert stats.produced == 12 + 4 + 14 + 1
    receiver = Receiver()
    drain(outbox, receiver)
    assert receiver.unknown(outbox.epoch, outbox.last_seq) == []
    assert len(receiver.told[outbox.epoch]) == 14


def test_evidence_counts_against_the_queue(opened: Opener) -> None:
    outbox = opened(queue_bytes=10_000, results_s=30.0, events_s=30.0)
    piece = Evidence("image/jpeg", bytes(6000))
    drafts = [event("new", "a"), event("new", "b")]
    for draft in drafts:
        draft.evidence = (piece,)
    assert [outbox.append(draft).lost for draft in drafts] == ["", "writer stalled"]


def test_what_json_can_not_say_becomes_a_gap(opened: Opener) -> None:
    outbox = opened(max_record_bytes=2000)
    tickets = [
        outbox.append(result(1)),
        outbox.append(Draft("result", data={"thing": object()})),
        outbox.append(result(2, size=5000)),
        outbox.append(result(3)),
    ]
    outbox.flush(5)
    assert [(ticket.seq, ticket.lost) for ticket in tickets] == [
        (1, ""), (2, "not JSON"), (3, "too large"), (4, ""),
    ]  # fmt: skip
    assert tickets[2].wait(0.1) is None
    gaps = [body for body in bodies(outbox) if body["kind"] == "gap"]
    assert [(gap["from"], gap["to"], gap["count"], gap["reason"]) for gap in gaps] == [
        (2, 2, 1, "not JSON"), (3, 3, 1, "too large"),
    ]  # fmt: skip


def test_event_ids_come_from_the_first_seq(opened: Opener) -> None:
    outbox = opened()
    outbox.append(result())
    for draft in (
        event("new", "k"), event("new", "other"), event("update", "k"), event("end", "k"),
        event("new", "k"), event("update", "unseen"), event("end", "unseen"), event("end", "gone"),
        Draft("event", "door", data={"phase": "new"}),
    ):  # fmt: skip
        outbox.append(draft)
    outbox.flush(5)
    ids = [body["data"]["id"] for body in bodies(outbox)[1:]]  # type: ignore[index]
    assert ids == ["e-2", "e-3", "e-2", "e-2", "e-6", "e-7", "e-7", "e-9", "e-10"]


def test_events_left_open_are_ended_after_a_restart(opened: Opener) -> None:
    outbox = opened()
    outbox.append(event("new", "k", score=0.5))
    outbox.append(event("new", "closed"))
    outbox.append(event("end", "closed"))
    outbox.close()
    outbox = opened()
    # The same key again is another event, and is not ended.
    outbox.append(event("new", "k"))
    outbox.flush(2)
    assert outbox.close_open_events() == 1
    assert outbox.close_open_events() == 0
    last = bodies(outbox)[-1]
    assert (last["seq"], last["kind"], last["pipeline"]) == (5, "event", "door")
    assert last["data"] == {
        "id": "e-1", "phase": "end", "reason": "restarted", "label": "crack", "score": 0.5,
    }  # fmt: skip
    outbox.close()
    outbox = opened()
    assert outbox.close_open_events() == 1


def test_lanes(opened: Opener) -> None:
    outbox = opened()
    for number in range(10):
        outbox.append(result(number))
    outbox.flush(2)
    outbox.connected()
    for number in range(10):
        outbox.append(result(number))
    outbox.flush(2)
    live = outbox.pending("live", max_bytes=1 << 20, max_records=4)
    backlog = outbox.pending("backlog", max_bytes=1 << 20, max_records=4)
    assert live and backlog
    assert live.seqs == (11, 12, 13, 14) and backlog.seqs == (1, 2, 3, 4)
    more = outbox.pending("backlog", max_bytes=1 << 20)
    assert more and more.seqs == (5, 6, 7, 8, 9, 10)
    assert outbox.pending("backlog", max_bytes=1 << 20) is None
    # A lost connection gives back what was in flight, in order.
    for batch in (more, live, backlog):
        outbox.release(batch)
    again = outbox.pending("backlog", max_bytes=1 << 20)
    assert again and again.seqs == tuple(range(1, 11))


def test_the_backlog_always_moves(opened: Opener) -> None:
    outbox = opened()
    for number in range(200):
        outbox.append(result(number))
    outbox.flush(2)
    outbox.connected()
    for number in range(200):
        outbox.append(result(number))
    outbox.flush(2)
    lanes = []
    for _ in range(12):
        batch = outbox.next_batch(max_bytes=1 << 20, max_records=10)
        assert batch
        lanes.append(batch.lane)
        outbox.delivered(batch)
    assert lanes == ["live", "live", "live", "backlog"] * 3


def test_batches_keep_to_their_size(opened: Opener) -> None:
    outbox = opened()
    for number in range(50):
        outbox.append(result(number, size=500))
    outbox.append(result(50, size=9000))
    outbox.flush(2)
    sizes = []
    while (batch := outbox.next_batch(max_bytes=4000)) is not None:
        sizes.append((len(batch.seqs), batch.size))
        outbox.delivered(batch)
    assert sizes[-1][0] == 1 and sizes[-1][1] > 9000
    assert all(3000 < size <= 4000 for _, size in sizes[:-2])


def test_deliveries_settle_and_are_kept_for_a_while(opened: Opener, clock: TurnedClock) -> None:
    outbox = opened(clock=clock, keep_sent_s=60.0)
    for number in range(100):
        outbox.append(result(number))
    outbox.flush(2)
    receiver = Receiver()
    drain(outbox, receiver)
    assert (outbox.stats().delivered, outbox.stats().pending) == (100, 0)
    assert verify(outbox.folder).kept == 100
    clock.go(61)
    outbox.remember("upkeep", b"comes after a job")
    outbox.close()
    assert verify(outbox.folder).kept == 0
    assert verify(outbox.folder).ok


def test_a_refused_record_becomes_a_dead_letter_and_a_gap(opened: Opener) -> None:
    outbox = opened()
    for number in range(9):
        outbox.append(result(number))
    outbox.flush(2)
    batch = outbox.next_batch(max_bytes=1 << 20)
    assert batch
    parts = [batch]
    while len(parts[-1].seqs) > 1:
        parts.extend(parts.pop().split())
    poison, rest = parts[-1], parts[:-1]
    outbox.refused(poison, "packet too large")
    for part in rest:
        outbox.delivered(part)
    outbox.append(event("new", "k"))
    outbox.flush(2)
    stats = outbox.stats()
    assert stats.dropped == {"refused: packet too large": 1}
    assert (stats.dead_letters, stats.delivered) == (1, 8)
    gap = bodies(outbox)[0]
    assert (gap["kind"], gap["from"], gap["to"]) == ("gap", poison.first, poison.first)
    assert outbox.purge_dead_letters() == 1
    assert outbox.stats().dead_letters == 0


def test_only_one_process_may_have_it(opened: Opener) -> None:
    opened()
    with pytest.raises(Busy):
        opened()


def test_small_things_are_remembered(opened: Opener) -> None:
    outbox = opened()
    outbox.remember("retained/a", b"1")
    outbox.remember("retained/b", b"2")
    outbox.remember("other", b"3")
    outbox.remember("retained/a", None)
    outbox.close()
    outbox = opened()
    assert outbox.recall("other") == b"3"
    assert outbox.recall("retained/a") is None
    assert outbox.recall_all("retained/") == {"retained/b": b"2"}


def test_news_wake_the_publisher(opened: Opener) -> None:
    outbox = opened()
    woken = threading.Event()
    outbox.on_commit(woken.set)
    while outbox.wait_pending(0.1):
        continue
    woken.clear()
    outbox.append(event("new", "k"))
    assert outbox.wait_pending(2)
    assert woken.is_set()


def test_a_clock_set_later_back_fills_this_boot_only(opened: Opener, clock: TurnedClock) -> None:
    clock.trust = False
    clock.wall = 5 * 10**9  # 1970
    outbox = opened(clock=clock, boot="earlier")
    outbox.append(result(0))
    outbox.close()
    clock.mono = 10_000.0
    outbox = opened(clock=clock, boot="b2")
    outbox.append(result(1))
    outbox.flush(2)
    sent = outbox.pending("backlog", max_bytes=10_000, max_records=1)
    assert sent is not None
    clock.go(5)
    outbox.append(result(2))
    outbox.flush(2)
    clock.go(5)
    clock.wall, clock.trust = 1_795_000_000 * 10**9, True
    outbox.clock_synced()
    late = result(3)
    late.mono_ms, late.at_ns = 12_000.0, 7 * 10**9  # taken before, committed after
    outbox.append(late)
    outbox.append(result(4))
    outbox.flush(2)
    outbox.release(sent)
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        batches = [
            outbox.pending("backlog", max_bytes=9999),
            outbox.pending("live", max_bytes=9999),
        ]
        taken = [json.loads(body) for batch in batches if batch for body in batch.bodies]
        found = {body["data"]["n"]: body for body in taken}
        if found[2]["clock"] == "backfilled":
            break
        for batch in batches:
            if batch:
                outbox.release(batch)
        outbox.wait_pending(0.2)
    times = {number: (body["clock"], body["at"]) for number, body in found.items()}
    assert times == {
        0: ("unsynced", "1970-01-01T00:00:05.000Z"),
        1: ("backfilled", "2026-11-18T11:06:30.000Z"),
        2: ("backfilled", "2026-11-18T11:06:35.000Z"),
        3: ("backfilled", "2026-11-18T11:06:32.000Z"),
        4: ("synced", "2026-11-18T11:06:40.000Z"),
    }
    assert verify(outbox.folder, deep=True).ok


def test_closing_commits_and_late_appends_are_lost_aloud(opened: Opener, tmp_path: Path) -> None:
    outbox = opened(results_s=60.0)
    ticket = outbox.append(result())
    outbox.close()
    assert ticket.seq == 1
    assert outbox.append(result()).lost == "closed"
    assert verify(tmp_path / "outbox").pending == 1


def test_a_draft_never_takes_long_to_append(opened: Opener) -> None:
    outbox = opened(queue=100_000)
    draft = result(1, score=0.5, label="crack")
    took = []
    for _ in range(2000):
        began = time.perf_counter()
        outbox.append(draft)
        took.append(time.perf_counter() - began)
    assert sorted(took)[len(took) // 2] < 40e-6
