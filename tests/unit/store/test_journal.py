"""Commands: at most once per id, through crashes and prunings."""

from __future__ import annotations

import threading

import pytest
from store_play import DAY_NS, Opener, TurnedClock

from edgeagent.clock import rfc3339
from edgeagent.errors import NotFound
from edgeagent.store import journal as journals
from edgeagent.store.journal import Claim


def test_one_id_one_claim(opened: Opener) -> None:
    journal = opened().journal
    first = journal.claim("c1", "bench", "d1", at="2026-11-24T10:00:00Z", by="ops")
    assert first.outcome == "new"
    assert first.entry.status == {"status": "accepted"}
    journal.update("c1", {"status": "executing", "progress": 0.5})
    again = journal.claim("c1", "bench", "d1")
    assert (again.outcome, again.entry.status["progress"]) == ("known", 0.5)
    assert journal.claim("c1", "bench", "other").outcome == "conflict"
    # At most once per id over all types.
    assert journal.claim("c1", "ping", "d1").outcome == "conflict"
    entry = journal.get("c1")
    assert entry and (entry.by, entry.at, entry.final) == ("ops", "2026-11-24T10:00:00Z", False)


def test_threads_claim_one_id_once(opened: Opener) -> None:
    journal = opened().journal
    claims: list[Claim] = []
    threads = [
        threading.Thread(target=lambda: claims.append(journal.claim("c", "ping", "d")))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(claim.outcome for claim in claims) == ["known"] * 7 + ["new"]


def test_what_is_open_and_what_is_published(opened: Opener) -> None:
    outbox = opened()
    for number in range(4):
        outbox.journal.claim(f"c{number}", "ping", "d")
    outbox.journal.update("c1", {"status": "successful", "result": {"x": 1}})
    outbox.journal.update("c2", {"status": "executing"})
    outbox.journal.update("c3", {"status": "failed", "reason": "interrupted"})
    outbox.journal.clear("c3")
    outbox.close()
    journal = opened().journal
    assert [entry.id for entry in journal.open_commands()] == ["c0", "c2"]
    assert [entry.id for entry in journal.published()] == ["c0", "c1", "c2"]
    assert [entry.id for entry in journal.latest(2)] == ["c3", "c2"]
    done = journal.get("c1")
    assert done and done.final and done.status["result"] == {"x": 1}
    assert journal.get("unknown") is None


def test_updating_the_unknown(opened: Opener) -> None:
    outbox = opened()
    with pytest.raises(NotFound):
        outbox.journal.update("nobody", {"status": "failed"})
    # The failed job left nothing behind.
    assert outbox.journal.claim("somebody", "ping", "d").outcome == "new"


def test_old_and_many_commands_are_forgotten_but_not_their_age(
    opened: Opener, clock: TurnedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journals, "KEEP", 5)
    journal = opened(clock=clock).journal
    assert journal.newest_pruned_at == ""
    for number in range(4):
        journal.claim(f"old{number}", "ping", "d", at=f"2026-01-0{9 - number}T00:00:00Z")
        journal.update(f"old{number}", {"status": "successful"})
    journal.claim("running", "bench", "d", at="2026-01-01T00:00:00Z")
    clock.go(91 * 86_400)
    journal.claim("fresh", "ping", "d", at="2026-06-01T00:00:00Z")
    assert [entry.id for entry in journal.latest(9)] == ["fresh", "running"]
    # The newest of what was forgotten, not the last.
    assert journal.newest_pruned_at == "2026-01-09T00:00:00Z"
    for number in range(7):
        at = rfc3339(clock.wall_ns() + number * 10**9)
        journal.claim(f"new{number}", "ping", "d", at=at, status={"status": "successful"})
    assert {entry.id for entry in journal.latest(99)} == {
        "running", "fresh", "new4", "new5", "new6",
    }  # fmt: skip
    assert journal.newest_pruned_at == rfc3339(clock.wall_ns() + 3 * 10**9)


def test_nothing_expires_by_a_clock_that_is_not_trusted(opened: Opener, clock: TurnedClock) -> None:
    clock.trust = False
    journal = opened(clock=clock).journal
    journal.claim("a", "ping", "d", status={"status": "successful"})
    clock.wall += 1000 * DAY_NS
    journal.claim("b", "ping", "d")
    assert [entry.id for entry in journal.latest(9)] == ["b", "a"]


def test_a_journal_knows_its_age(opened: Opener, clock: TurnedClock) -> None:
    outbox = opened(clock=clock)
    born = outbox.journal.born_at
    assert born == rfc3339(clock.wall_ns())
    outbox.close()
    clock.go(1000)
    outbox = opened(clock=clock, machine="m2")
    # Carried into a new epoch it is as old as it was.
    assert outbox.journal.born_at == born
