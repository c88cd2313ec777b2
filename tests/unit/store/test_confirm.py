"""Collectors confirm, miss, and are given again what they miss, as long as it is kept."""

from __future__ import annotations

import json
import time

import pytest
from store_play import Opener, Receiver, TurnedClock, drain, result

from edgeagent.store.lanes import Ages
from edgeagent.store.outbox import Outbox
from edgeagent.store.ranges import Ranges
from edgeagent.store.verify import verify


def fill(outbox: Outbox, count: int) -> None:
    for number in range(count):
        outbox.append(result(number))
    assert outbox.flush(5)


def send_all(outbox: Outbox) -> list[int]:
    """Send and acknowledge what is due now; the seqs."""
    sent: list[int] = []
    while (batch := outbox.next_batch(max_bytes=4000)) is not None:
        sent += batch.seqs
        outbox.delivered(batch)
    assert outbox.flush(5)
    return sent


def test_with_a_collector_a_puback_is_not_enough(opened: Opener, clock: TurnedClock) -> None:
    outbox = opened(confirm="collector", clock=clock)
    fill(outbox, 100)
    assert send_all(outbox) == list(range(1, 101))
    assert (outbox.stats().delivered, outbox.stats().pending) == (0, 100)
    assert outbox.confirmed(outbox.epoch, 60, [], "main")
    outbox.flush(5)
    assert (outbox.stats().delivered, outbox.stats().pending) == (60, 40)
    assert verify(outbox.folder, deep=True).ok
    assert outbox.next_batch(max_bytes=4000) is None


def test_what_is_missing_is_sent_again_when_it_is_old_enough(
    opened: Opener, clock: TurnedClock
) -> None:
    outbox = opened(confirm="collector", clock=clock, resend_after_s=30.0)
    fill(outbox, 100)
    send_all(outbox)
    holes = [(11, 20), (50, 50)]
    missing = [*range(11, 21), 50]
    sent_at = []
    for second in range(0, 400, 5):
        outbox.confirmed(outbox.epoch, 100, holes, "main")
        outbox.flush(5)
        again = send_all(outbox)
        if again:
            assert again == missing
            sent_at.append(second)
        clock.go(5)
    # After 30 s, then each time twice as long after the last acknowledgement.
    assert sent_at == [30, 90, 210]
    outbox.confirmed(outbox.epoch, 100, [], "main")
    outbox.flush(5)
    assert outbox.stats().pending == 0
    assert verify(outbox.folder, deep=True).ok


def test_a_backlog_that_was_not_sent_yet_is_not_missing(opened: Opener, clock: TurnedClock) -> None:
    outbox = opened(confirm="collector", clock=clock)
    fill(outbox, 50)
    outbox.connected()
    fill(outbox, 10)
    live = outbox.pending("live", max_bytes=100_000)
    assert live and live.seqs == tuple(range(51, 61))
    outbox.delivered(live)
    clock.go(3600)
    outbox.confirmed(outbox.epoch, 60, [(1, 50)], "main")
    assert outbox.pending("resend", max_bytes=100_000) is None
    backlog = outbox.pending("backlog", max_bytes=100_000)
    assert backlog and backlog.seqs == tuple(range(1, 51))


def test_all_collectors_must_have_it(opened: Opener) -> None:
    outbox = opened(confirm="collector", collectors=("main", "second"))
    fill(outbox, 30)
    send_all(outbox)
    for by, upto, holes, delivered in (
        ("main", 20, [(5, 6)], 0), ("stranger", 30, [], 0), ("second", 30, [(1, 2)], 16),
        ("main", 20, [], 18), ("main", 10, [], 18), ("second", 30, [], 20), ("main", 30, [], 30),
    ):  # fmt: skip
        outbox.confirmed(outbox.epoch, upto, holes, by)
        outbox.flush(5)
        assert outbox.stats().delivered == delivered, by
        assert verify(outbox.folder).ok


def test_confirms_survive_a_restart_and_nothing_is_sent_twice_for_it(
    opened: Opener, clock: TurnedClock
) -> None:
    outbox = opened(confirm="collector", clock=clock)
    fill(outbox, 40)
    send_all(outbox)
    outbox.confirmed(outbox.epoch, 30, [(10, 12)], "main")
    outbox.close()
    outbox = opened(confirm="collector", clock=clock)
    fill(outbox, 1)
    assert send_all(outbox) == [41]
    outbox.confirmed(outbox.epoch, 41, [(10, 12)], "main")
    outbox.flush(5)
    assert (outbox.stats().delivered, outbox.stats().pending) == (38, 3)
    clock.go(31)
    outbox.confirmed(outbox.epoch, 41, [(10, 12)], "main")
    assert send_all(outbox) == [10, 11, 12]


def test_a_lost_tail_is_probed_for(opened: Opener, clock: TurnedClock) -> None:
    outbox = opened(confirm="collector", clock=clock, resend_after_s=30.0)
    fill(outbox, 20)
    send_all(outbox)
    probes = []
    for second in range(0, 1000, 10):
        clock.go(10)
        sent = send_all(outbox)
        if sent:
            assert sent == [20]
            probes.append(second + 10)
    # Slower and slower: a collector that is down for days gets no heap of copies.
    assert probes == [120, 240, 480, 960]


def test_kept_records_are_given_again_in_broker_mode(opened: Opener, clock: TurnedClock) -> None:
    outbox = opened(clock=clock, keep_sent_s=3600.0, resend_after_s=30.0)
    fill(outbox, 100)
    send_all(outbox)
    clock.go(40)
    outbox.confirmed(outbox.epoch, 100, [(1, 10), (70, 70)], "main")
    outbox.flush(5)
    assert send_all(outbox) == [*range(1, 11), 70]
    stats = outbox.stats()
    assert (stats.delivered, stats.pending, stats.dropped) == (100, 0, {})


def test_what_is_kept_no_more_becomes_a_gap(opened: Opener, clock: TurnedClock) -> None:
    outbox = opened(clock=clock, keep_sent_s=60.0, resend_after_s=30.0, max_record_bytes=500)
    fill(outbox, 20)
    outbox.append(result(20, size=900))
    fill(outbox, 20)
    receiver = Receiver()
    drain(outbox, receiver)
    assert outbox.stats().delivered == 41
    clock.go(3600)
    outbox.remember("upkeep", b"follows")
    deadline = time.monotonic() + 5
    while verify(outbox.folder).kept:
        assert time.monotonic() < deadline
        outbox.wait_pending(0.1)
    # The broker lost 5..8 and all from 18 on, the first gap (42) with them.
    for _ in range(3):
        outbox.confirmed(outbox.epoch, 42, [(5, 8), (18, 42)], "main")
        outbox.flush(5)
    batch = outbox.next_batch(max_bytes=10_000)
    assert batch
    gaps = [json.loads(body) for body in batch.bodies]
    assert [(gap["kind"], gap["reason"], gap["count"]) for gap in gaps] == [
        ("gap", "no longer kept", 4 + 25)
    ]
    stats = outbox.stats()
    assert stats.dropped == {"too large": 1, "no longer kept": 28}
    assert stats.produced == stats.delivered + stats.pending + sum(stats.dropped.values())
    assert verify(outbox.folder, deep=True).ok
    outbox.delivered(batch)
    outbox.flush(5)
    for _ in range(3):
        clock.go(45)
        outbox.confirmed(outbox.epoch, 43, [(5, 8), (18, 43)], "main")
        outbox.flush(5)
    # The gap itself is missing as well: it is there, and is sent again rather than made anew.
    again = outbox.next_batch(max_bytes=10_000)
    assert again and again.seqs == (43,)
    assert outbox.last_seq == 43


def test_a_confirm_without_any_link_settles_too(opened: Opener) -> None:
    """What a person carried to the collector is delivered, whatever the mode."""
    for mode in ("broker", "collector"):
        outbox = opened(confirm=mode)
        fill(outbox, 10)
        outbox.confirmed(outbox.epoch, outbox.last_seq, [], "main")
        outbox.flush(5)
        assert outbox.stats().pending == 0
        assert outbox.next_batch(max_bytes=1000) is None
        outbox.close()


def test_without_collectors_the_broker_s_word_counts_again(opened: Opener) -> None:
    outbox = opened(confirm="collector")
    fill(outbox, 30)
    batch = outbox.next_batch(max_bytes=1000)
    assert batch
    outbox.delivered(batch)
    outbox.close()
    outbox = opened(confirm="broker")
    assert outbox.stats().delivered == len(batch.seqs)
    assert send_all(outbox) == list(range(batch.last + 1, 31))
    assert outbox.stats().pending == 0
    assert verify(outbox.folder, deep=True).ok


@pytest.mark.parametrize("huge", [10**6, 10**12])
def test_a_foolish_confirm_is_refused(opened: Opener, huge: int) -> None:
    outbox = opened()
    fill(outbox, 10)
    assert outbox.confirmed(outbox.epoch, huge, [], "main") is False
    assert outbox.confirmed(outbox.epoch, 5, [(3, huge), (7, 9)], "main") is True
    outbox.flush(5)
    assert outbox.stats().delivered == 2


def test_ages_double() -> None:
    ages = Ages(1000.0)
    ages.acked([(1, 10)], 0.0)
    wanted = Ranges([(3, 4)])
    assert not ages.due(wanted, 999.0)
    assert list(ages.due(wanted, 1000.0)) == [(3, 4)]
    ages.acked([(3, 4)], 1000.0)
    assert not ages.due(wanted, 2999.0)
    assert list(ages.due(wanted, 3000.0)) == [(3, 4)]
    ages.acked([(3, 3)], 3000.0)
    # 4 is not acknowledged again yet; 3 has to wait four times as long now.
    assert list(ages.due(wanted, 6999.0)) == [(4, 4)]
    assert list(ages.due(wanted, 7000.0)) == [(3, 4)]
