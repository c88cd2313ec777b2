"""Puts what devices sent into the database, once, and keeps the account of it.

A group of batches is one transaction: records, account, gaps and evidence agree at any time,
however many processes write and whenever one dies. The rows of the streams that a group touches
are locked first, in ascending order, so two processes with batches of one device go one after
the other and never wait for each other in a circle. What is here already is known by the
account, so records go straight into their table without a question a row.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Union

from edgeagent.fleet import evidence
from edgeagent.fleet.account import Account, pieces, stored
from edgeagent.fleet.batches import Arrival, Gap, Ref, total
from edgeagent.fleet.database import Database, StoredRow
from edgeagent.fleet.evidence import Piece
from edgeagent.store.ranges import pack

_ACCOUNTS_MAX = 20_000
Key = tuple[str, str]
"""Device and epoch."""


@dataclass(frozen=True, slots=True)
class Heard:
    """A device's status names its epoch and the last seq that it had given."""

    device: str
    epoch: str
    seq: int
    online: bool


@dataclass(frozen=True, slots=True)
class Refused:
    """A message, or a part of one, that can't be read."""

    topic: str
    reason: str
    payload: bytes


Part = Union[Arrival, Piece, Heard, Refused]
"""What a message brings."""


@dataclass(slots=True)
class Group:
    """What is committed together."""

    arrivals: list[Arrival] = field(default_factory=list)
    pieces: list[Piece] = field(default_factory=list)
    heard: list[Heard] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)
    carried: bool = False
    """Brought by hand: says nothing about which epoch a device writes now."""

    def add(self, part: Part) -> None:
        if isinstance(part, Arrival):
            self.arrivals.append(part)
        elif isinstance(part, Piece):
            self.pieces.append(part)
        elif isinstance(part, Heard):
            self.heard.append(part)
        else:
            self.refused.append(part)

    def __bool__(self) -> bool:
        return bool(self.arrivals or self.pieces or self.heard or self.refused)


@dataclass(frozen=True, slots=True)
class Written:
    """What a group came to."""

    records: int
    duplicates: int
    evidence: int
    """Pieces of evidence that became whole."""


class Archive:
    """One thread's way to the database. Raises what `Database` does; nothing of a group that
    raised is in the database."""

    def __init__(self, db: Database) -> None:
        self.db = db
        self._streams: dict[Key, int] = {}
        self._accounts: dict[int, Account] = {}

    def write(self, group: Group) -> Written:
        try:
            with self.db.transaction():
                return self._write(group)
        except BaseException:
            # The accounts in memory ran ahead of the database.
            self.forget()
            raise

    def forget(self) -> None:
        """Read everything anew."""
        self._streams.clear()
        self._accounts.clear()

    def stream(self, device: str, epoch: str) -> int:
        """The id of a stream that was written to."""
        return self._streams[device, epoch]

    def locked(self, streams: Iterable[int]) -> dict[int, Account]:
        """Accounts as they are in the database, locked until the transaction ends."""
        wanted = sorted(set(streams))
        if not wanted:
            return {}
        condition, value = self.db.among("s.id", wanted)
        rows = self.db.rows(
            "SELECT s.id, s.version, s.top, s.floor, s.ended_from IS NOT NULL, d.stream"
            f" FROM stream s LEFT JOIN device d ON d.device = s.device WHERE {condition}"
            f" ORDER BY s.id{self.db.for_update}",
            (value,),
        )
        stale: dict[int, Account] = {}
        if len(self._accounts) > _ACCOUNTS_MAX:
            self._accounts.clear()
        for stream, version, top, floor, ended, current in rows:
            account = self._accounts.get(stream)
            if account is None or account.version != version:
                account = self._accounts[stream] = stale[stream] = Account()
                account.version, account.top, account.floor = version, top, floor
            account.ended, account.current = bool(ended), current == stream
        self._load(stale)
        return {stream: self._accounts[stream] for stream in wanted}

    def _load(self, stale: dict[int, Account]) -> None:
        if not stale:
            return
        condition, value = self.db.among("b.stream", stale)
        rows = self.db.rows(
            "SELECT b.stream, b.block, b.have, b.told FROM block b"
            f" JOIN stream s ON s.id = b.stream WHERE {condition} AND b.block >= s.floor",
            (value,),
        )
        for stream, number, have, told in rows:
            stale[stream].load(number, have, told)
        for account in stale.values():
            account.prune()

    # --- one group -----------------------------------------------------------------------

    def _write(self, group: Group) -> Written:
        now = self.db.now()
        keys = dict.fromkeys((a.device, a.epoch) for a in group.arrivals)
        keys.update(dict.fromkeys((h.device, h.epoch) for h in group.heard))
        for arrival in group.arrivals:
            keys.update(dict.fromkeys((arrival.device, c.epoch) for c in arrival.copies))
            keys.update(dict.fromkeys((arrival.device, g.epoch) for g in arrival.gaps if g.epoch))
        self._name(keys, now)
        accounts = self.locked(self._streams[key] for key in keys)
        self._need(group.arrivals, accounts)
        touched: set[int] = set()
        rows: list[StoredRow] = []
        refs: list[tuple[int, Ref]] = []
        for arrival in group.arrivals:
            stream = self._streams[arrival.device, arrival.epoch]
            known = self._take(arrival, stream, accounts, touched)
            refs += [(stream, ref) for ref in arrival.refs if ref.seq not in known]
            rows += self._rows(arrival, stream, accounts, touched, known)
        self._hear(group, accounts, touched)
        self.db.put(rows, now)
        self._save({stream: accounts[stream] for stream in touched}, now)
        lost = [loss for arrival in group.arrivals for loss in arrival.lost]
        whole = 0
        if refs or lost or group.pieces:
            whole = evidence.settle(self.db, refs, lost, group.pieces, now)
        self._refuse(group, now)
        return Written(len(rows), total(group.arrivals) - len(rows), whole)

    def _name(self, keys: Iterable[Key], now: float) -> None:
        """Give streams their ids."""
        new = sorted(key for key in keys if key not in self._streams)
        if not new:
            return
        self.db.many(
            "INSERT INTO stream (device, epoch, first_heard, last_heard) VALUES (?, ?, ?, ?)"
            " ON CONFLICT (device, epoch) DO NOTHING",
            [(device, epoch, now, now) for device, epoch in new],
        )
        condition, value = self.db.among("device", {device for device, _ in new})
        found = self.db.rows(f"SELECT device, epoch, id FROM stream WHERE {condition}", (value,))
        self._streams.update({(device, epoch): stream for device, epoch, stream in found})

    def _need(self, arrivals: Sequence[Arrival], accounts: dict[int, Account]) -> None:
        """Read the blocks that are closed, or not in memory, and that the group speaks of."""
        needed: dict[int, set[int]] = {}
        for arrival in arrivals:
            own = self._streams[arrival.device, arrival.epoch]
            needed.setdefault(own, set()).update(row.seq >> 12 for row in arrival.rows)
            for copy in arrival.copies:
                other = self._streams[arrival.device, copy.epoch]
                needed.setdefault(other, set()).add(copy.old_seq >> 12)
            for gap in arrival.gaps:
                if gap.last is not None:
                    told = self._streams[arrival.device, gap.epoch] if gap.epoch else own
                    needed.setdefault(told, set()).update((gap.first >> 12, gap.last >> 12))
        for stream, blocks in needed.items():
            account = accounts[stream]
            absent = account.absent(blocks)
            if not absent or account.version == 0:
                continue
            condition, value = self.db.among("block", absent)
            for number, have, told_bits in self.db.rows(
                f"SELECT block, have, told FROM block WHERE stream = ? AND {condition}",
                (stream, value),
            ):
                account.load(number, have, told_bits)

    def _take(
        self, arrival: Arrival, stream: int, accounts: dict[int, Account], touched: set[int]
    ) -> frozenset[int]:
        """Account for one batch; the seqs that were here before."""
        # A batch that brings nothing new is a device that asks: it is to be confirmed again.
        touched.add(stream)
        known = accounts[stream].take(arrival.seqs)
        for gap in arrival.gaps:
            if gap.seq not in known:
                self._tell(gap, arrival.device, stream, accounts, touched)
        return known

    def _rows(
        self, arrival: Arrival, stream: int, accounts: dict[int, Account], touched: set[int],
        known: frozenset[int],
    ) -> Iterable[StoredRow]:  # fmt: skip
        """The rows of a batch that are new."""
        copies: set[int] = set()
        for copy in arrival.copies:
            if copy.seq not in known:
                other = self._streams[arrival.device, copy.epoch]
                touched.add(other)
                if accounts[other].take([copy.old_seq]):
                    copies.add(copy.seq)
        return [
            StoredRow(stream, row, row.seq in copies)
            for row in arrival.rows
            if row.seq not in known
        ]

    def _tell(
        self, gap: Gap, device: str, source: int, accounts: dict[int, Account], touched: set[int]
    ) -> None:
        stream = self._streams[device, gap.epoch] if gap.epoch else source
        touched.add(stream)
        if gap.last is None:
            self.db.run(
                "UPDATE stream SET ended_from = ?, ended_reason = ? WHERE id = ?"
                " AND (ended_from IS NULL OR ended_from > ?)",
                (gap.first, gap.reason, stream, gap.first),
            )
            accounts[stream].ended = True
            return
        for number, bits in pieces(gap.first, gap.last, gap.bits):
            accounts[stream].tell(number, bits)
        self.db.run(
            "INSERT INTO gap (stream, source, seq, first, last, bits, reason)"
            " VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (stream, source, seq) DO NOTHING",
            (
                stream, source, gap.seq, gap.first, gap.last,
                None if gap.bits is None else pack(gap.bits), gap.reason,
            ),
        )  # fmt: skip

    def _hear(self, group: Group, accounts: dict[int, Account], touched: set[int]) -> None:
        """What the group says about devices' present epochs and how far they got."""
        written = [(a.device, self._streams[a.device, a.epoch]) for a in group.arrivals]
        for heard in group.heard:
            stream = self._streams[heard.device, heard.epoch]
            if heard.online:
                written.append((heard.device, stream))
            if heard.seq > accounts[stream].top:
                accounts[stream].top = heard.seq
                touched.add(stream)
        # A late batch of an epoch that a later one has told of changes nothing.
        present = {device: stream for device, stream in written if not accounts[stream].ended}
        news = sorted(item for item in present.items() if not accounts[item[1]].current)
        if news:
            known = "NOTHING" if group.carried else "UPDATE SET stream = excluded.stream"
            self.db.many(
                "INSERT INTO device (device, stream) VALUES (?, ?)"
                f" ON CONFLICT (device) DO {known}",
                news,
            )

    def _save(self, touched: dict[int, Account], now: float) -> None:
        blocks = [
            (stream, number, *stored(block))
            for stream, account in sorted(touched.items())
            for number, block in account.changed()
        ]
        if blocks:
            self.db.many(
                "INSERT INTO block (stream, block, have, told) VALUES (?, ?, ?, ?)"
                " ON CONFLICT (stream, block)"
                " DO UPDATE SET have = excluded.have, told = excluded.told",
                blocks,
            )
        for account in touched.values():
            account.version += 1
            account.prune()
        if touched:
            self.db.many(
                "UPDATE stream SET top = ?, floor = ?, version = ?, last_heard = ? WHERE id = ?",
                [(a.top, a.floor, a.version, now, stream) for stream, a in touched.items()],
            )

    def _refuse(self, group: Group, now: float) -> None:
        refused = [(int(now), r.topic, r.reason[:1000], r.payload) for r in group.refused]
        for arrival in group.arrivals:
            origin = f"{arrival.device} {arrival.epoch}"
            refused += [(int(now), origin, why[:1000], raw) for raw, why in arrival.refused]
        if refused:
            self.db.many(
                "INSERT INTO refused (received, topic, reason, payload) VALUES (?, ?, ?, ?)",
                [(at, _plain(topic), _plain(why), raw) for at, topic, why, raw in refused],
            )


def _plain(text: str) -> str:
    return text.replace("\0", "\ufffd").encode("utf-8", "replace").decode()
