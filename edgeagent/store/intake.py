"""From drafts to numbered rows: the event's id, the time, the evidence, the limits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from edgeagent.errors import InputError
from edgeagent.store.encode import (
    EVENT,
    KIND_NUMBER,
    OTHER_KIND,
    UNWRITABLE,
    URGENT,
    Record,
    checksum,
    decoded,
    encoded,
    encoded_again,
    intact,
    rfc3339,
)
from edgeagent.store.ledger import Ledger
from edgeagent.types import BlobRef, Draft, Evidence

TOO_LARGE = "too large"
NOT_JSON = "not JSON"
FULL_NEWEST = "outbox full: newest refused"
COARSER = "flash budget: coarser"
Keep = Callable[[Evidence, int], BlobRef]
"""Stores evidence of a record (its seq). Raises StoreError."""


class Events:
    """Which events are open, under which id. Survives the process, for their sake."""

    def __init__(self, ledger: Ledger, session: str) -> None:
        self._ledger = ledger
        self._session = session
        self.load()

    def load(self) -> None:
        """At the start and after a failed transaction: what is open by the database."""
        rows = self._ledger.db.rows(
            "SELECT id, pipeline, key FROM event WHERE session = ?", (self._session,)
        )
        self._open: dict[tuple[str, str], str] = {(pipe, key): id_ for id_, pipe, key in rows}

    def identified(self, draft: Draft, seq: int) -> dict[str, Any]:
        """The draft's data with its event's id; keeps track of new and end. Raises InputError."""
        data = draft.data
        if not draft.event:
            return data if "id" in data else {"id": f"e-{seq}", **data}
        key = (draft.pipeline, draft.event)
        phase = data.get("phase")
        id_ = self._open.get(key)
        if id_ is None or phase == "new":
            # The first that the store sees of it; a `new` that was lost makes this one the first.
            id_ = f"e-{seq}"
            if phase != "end":
                self._begin(key, id_, data)
        elif phase == "end":
            del self._open[key]
            self._ledger.db.run("DELETE FROM event WHERE id = ?", (id_,))
        return {**data, "id": id_} if "id" in data else {"id": id_, **data}

    def _begin(self, key: tuple[str, str], id_: str, data: dict[str, Any]) -> None:
        """Raises InputError for what can't be kept, before anything is."""
        first = _first(key, data)
        former = self._open.get(key)
        if former is not None:
            self._ledger.db.run("DELETE FROM event WHERE id = ?", (former,))
        self._open[key] = id_
        self._ledger.db.run(
            "INSERT OR REPLACE INTO event VALUES (?, ?, ?, ?, ?)",
            (id_, *key, self._session, first),
        )

    def forget(self) -> None:
        """In a new epoch the events of this process begin anew, under new ids."""
        self._ledger.db.run("DELETE FROM event WHERE session = ?", (self._session,))
        self._open = {}

    def end_left(self) -> list[Draft]:
        """Drafts that end what former processes left open; forgets it."""
        drafts = []
        for id_, pipeline, first in self._ledger.db.rows(
            "SELECT id, pipeline, data FROM event WHERE session != ?", (self._session,)
        ):
            # Of a former epoch, nothing of it pending: the end is its first record here.
            name = {"was": id_} if "/" in id_ else {"id": id_}
            try:
                known = decoded(first)
            except InputError:
                # Damaged: it ends all the same, without its label.
                known = {}
            data = {**name, "phase": "end", "reason": "restarted", **known}
            drafts.append(Draft(kind="event", pipeline=pipeline, data=data))
        self._ledger.db.run("DELETE FROM event WHERE session != ?", (self._session,))
        return drafts


def _first(key: tuple[str, str], data: dict[str, Any]) -> bytes:
    """What an event is ended with when its process can't do that any more. Raises InputError."""
    kept = {name: data[name] for name in ("label", "score", "box", "zones", "track")
            if name in data}  # fmt: skip
    try:
        for name in key:
            name.encode()
        return msgspec.json.encode(kept)
    except UNWRITABLE as error:
        raise InputError(f"an event can't be kept as JSON: {error}") from error


class Intake:
    """Turns a group of drafts into rows of the ledger, inside the writer's transaction."""

    def __init__(
        self,
        ledger: Ledger,
        events: Events,
        keep: Keep,
        *,
        max_record_bytes: int,
        group_bytes: int,
    ) -> None:
        self._ledger = ledger
        self._events = events
        self._keep = keep
        self._max = max_record_bytes
        self._group_bytes = group_bytes
        self.refuse_results = False
        """Refuse all but events, deployments and gaps (`drop-newest`, while full)."""
        self.coarse_ms = 0
        """> 0: one result in so many ms and pipeline (the flash budget is overspent)."""
        self._slots: dict[str, int] = {}
        self.backfill_ns = 0
        """Wall minus boot time, once a clock became trusted within this process."""
        self.backfill_before_ms = 0.0

    def take(self, drafts: Sequence[Draft]) -> list[tuple[int, str]]:
        """Number and insert. Returns (seq, why it is lost or "") in the order of ``drafts``;
        shorter than ``drafts`` where the rest goes into the next transaction."""
        ledger = self._ledger
        rows: list[tuple[int, int, bytes]] = []
        refused: dict[str, list[int]] = {}
        results: list[tuple[int, str]] = []
        unsynced: list[int] = []
        now_ns, now_ms = ledger.clock.wall_ns(), ledger.clock.mono_ms()
        trust = "synced" if ledger.trusted else "unsynced"
        limit, room = self._max, self._group_bytes
        seq = ledger.produced
        for draft in drafts:
            seq += 1
            reason = self._unwanted(draft) if self.refuse_results or self.coarse_ms else ""
            if not reason:
                try:
                    body = self._body(draft, seq, trust, now_ns, now_ms)
                except InputError:
                    reason = NOT_JSON
                else:
                    if len(body) > limit:
                        reason = TOO_LARGE
                    else:
                        rows.append((seq, KIND_NUMBER.get(draft.kind, OTHER_KIND), body))
                        room -= len(body)
            if reason:
                refused.setdefault(reason, []).append(seq)
            elif not ledger.trusted:
                unsynced.append(seq)
            results.append((seq, reason))
            if room <= 0:
                break
        ledger.add(rows, refused)
        if unsynced:
            ledger.unsynced.add(unsynced[0], unsynced[-1])
        return results

    def _body(self, draft: Draft, seq: int, trust: str, now_ns: int, now_ms: float) -> bytes:
        mono = draft.mono_ms or now_ms
        at = draft.at_ns if draft.at_ns > 0 else now_ns
        if mono < self.backfill_before_ms:
            # Seen before the clock was set, committed after.
            at, trust = self.backfill_ns + int(mono * 1e6), "backfilled"
        data = self._events.identified(draft, seq) if draft.kind == "event" else draft.data
        try:
            stamp = rfc3339(at)
        except (ValueError, OverflowError, OSError):
            stamp = rfc3339(now_ns)
        blobs = tuple(self._keep(piece, seq) for piece in draft.evidence) if draft.evidence else ()
        return encoded(
            Record(
                seq, draft.kind, draft.pipeline, stamp, trust, self._ledger.boot, int(mono),
                draft.model, draft.config, draft.source, draft.frame, data, blobs, draft.test,
            )
        )  # fmt: skip

    def _unwanted(self, draft: Draft) -> str:
        if draft.kind in URGENT:
            return ""
        if self.refuse_results:
            return FULL_NEWEST
        slot = int((draft.mono_ms or self._ledger.clock.mono_ms()) // self.coarse_ms)
        if self._slots.get(draft.pipeline) == slot:
            return COARSER
        self._slots[draft.pipeline] = slot
        return ""


def backfill(ledger: Ledger, offset_ns: int, *, limit: int) -> bool:
    """Give up to ``limit`` pending records of this boot their true time. True = more to do.

    ``offset_ns``: wall minus boot time in ns.
    """
    todo = next(iter(ledger.unsynced), None)
    if todo is None:
        return False
    first, last = todo
    rows = ledger.db.rows(
        "SELECT seq, crc, body FROM record WHERE seq BETWEEN ? AND ? ORDER BY seq LIMIT ?",
        (first, last, limit),
    )
    changed: list[tuple[int, bytes, int]] = []
    for seq, crc, body in rows:
        if seq in ledger.settled or seq in ledger.acked or not intact(seq, crc, body):
            continue
        record = decoded(body)
        if record.get("clock") == "unsynced" and record.get("boot") == ledger.boot:
            record["at"] = rfc3339(offset_ns + int(record.get("mono_ms", 0)) * 1_000_000)
            record["clock"] = "backfilled"
            again = encoded_again(record)
            changed.append((checksum(seq, again), again, seq))
    ledger.db.run_many("UPDATE record SET crc = ?, body = ? WHERE seq = ?", changed)
    done = rows[-1][0] if len(rows) == limit else last
    ledger.unsynced.remove(first, done)
    return bool(ledger.unsynced)


__all__ = ["EVENT", "Events", "Intake", "backfill"]
