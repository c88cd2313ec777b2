"""Evidence on disk: one file per content, within a quota, sent after its record.

A row in `blob` = a file in the folder. Files are complete and on the medium before the record
that refers to them is committed; what a crash left without a row is swept at the next start.
Evidence that will not come is told by a record of kind ``blob``.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from msgspec import Struct

from edgeagent.durable import sync
from edgeagent.errors import NotFound, StoreError
from edgeagent.store.age import Stamp
from edgeagent.store.allotment import BLOCK
from edgeagent.store.ledger import Ledger
from edgeagent.store.reading import Reading
from edgeagent.types import BlobRef, Draft, Evidence

Post = Callable[[Callable[[Ledger], None]], None]


class BlobToSend(Struct, frozen=True):
    """Evidence whose record is delivered. Send chunks from ``next_index`` on."""

    sha256: str
    bytes: int
    type: str
    next_index: int


class Shelf:
    """The writing side; belongs to the writing thread, inside its transactions."""

    def __init__(self, folder: Path, ledger: Ledger, quota: int) -> None:
        self._folder = folder
        self._ledger = ledger
        self.quota = quota
        self.lost: list[Draft] = []
        """Records to be written in the same transaction."""
        self._unlink: list[str] = []
        self._fresh: set[str] = set()
        """Written in the transaction under way: nothing on the medium refers to them."""
        self.load()

    def load(self) -> None:
        """After a start or a failed transaction."""
        self.lost = []
        self._unlink = []
        self._fresh = set()
        self.bytes = int(
            self._ledger.db.value(
                f"SELECT coalesce(sum((bytes + {BLOCK - 1}) / {BLOCK}), 0) * {BLOCK} FROM blob"
            )
        )
        """On disk, in whole blocks."""

    def sweep(self) -> None:
        """Delete files that no row knows. Raises StoreError."""
        known = {sha for (sha,) in self._ledger.db.rows("SELECT sha256 FROM blob")}
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            for file in self._folder.iterdir():
                if file.name not in known:
                    file.unlink(missing_ok=True)
        except OSError as error:
            raise StoreError(f"{self._folder}: {error.strerror}") from error

    def keep(self, evidence: Evidence, seq: int) -> BlobRef:
        """Store evidence of record ``seq``. Where it can't be, a `blob` record says so."""
        sha256 = hashlib.sha256(evidence.data).hexdigest()
        size = len(evidence.data)
        reference = BlobRef(sha256, size, evidence.type)
        db = self._ledger.db
        if db.value("SELECT 1 FROM blob WHERE sha256 = ?", (sha256,)):
            db.run("UPDATE blob SET seq = ? WHERE sha256 = ?", (seq, sha256))
            return reference
        if _on_disk(size) > self.quota:
            self.lose(reference, seq, "larger than the quota of blobs")
            return reference
        while self.bytes + _on_disk(size) > self.quota:
            self._drop_one()
        fresh = sha256 not in self._unlink
        try:
            self._write(sha256, evidence.data)
        except OSError as error:
            self.lose(reference, seq, f"not stored: {error.strerror}")
            return reference
        self.bytes += _on_disk(size)
        if fresh:
            self._fresh.add(sha256)
        db.run(
            "INSERT INTO blob (sha256, seq, bytes, type) VALUES (?, ?, ?, ?)",
            (sha256, seq, size, evidence.type),
        )
        return reference

    def short(self, size: int) -> bool:
        """Whether ``size`` more bytes would not fit. Files of dropped evidence stay until the
        transaction is on the medium, so room is made in one before that which needs it."""
        return self.bytes > 0 and self.bytes + size > self.quota

    def make_room(self, size: int) -> None:
        """Drop until ``size`` more bytes fit, or nothing is left."""
        while self.short(size):
            self._drop_one()

    def committed(self) -> None:
        """The transaction is on the medium: files without a row may go."""
        for sha256 in self._unlink:
            self._delete(sha256)
        self._unlink = []
        self._fresh = set()

    def _delete(self, sha256: str) -> None:
        try:
            (self._folder / sha256).unlink(missing_ok=True)
        except OSError:
            # Swept at the next start.
            return

    def _drop_one(self) -> None:
        """Sent ones first, then the oldest."""
        row = self._ledger.db.one(
            "SELECT sha256, seq, bytes, type, state FROM blob ORDER BY state DESC, seq LIMIT 1"
        )
        if row is None:
            self.bytes = 0
            return
        sha256, seq, size, type_, state = row
        self._forget(sha256, size)
        if state == 0:
            self.lose(BlobRef(sha256, size, type_), seq, "quota of blobs")

    def erase(self, seq: int) -> None:
        """Evidence of this record goes; nothing tells of it but the record's own gap."""
        rows = self._ledger.db.rows("SELECT sha256, bytes FROM blob WHERE seq = ?", (seq,))
        for sha256, size in rows:
            self._forget(sha256, size)

    def written(self, sha256: str) -> Stamp:
        """When a piece of evidence was stored, by the clock of then."""
        try:
            return Stamp((self._folder / sha256).stat().st_mtime_ns, synced=True)
        except OSError:
            return Stamp(0, synced=True)

    def gone(self, sha256: str) -> None:
        """The file is not there, or not whole: what was not sent yet will not come."""
        row = self._ledger.db.one(
            "SELECT seq, bytes, type FROM blob WHERE sha256 = ? AND state = 0", (sha256,)
        )
        if row is not None:
            seq, size, type_ = row
            self._forget(sha256, size)
            self.lose(BlobRef(sha256, size, type_), seq, "gone from the medium")

    def _forget(self, sha256: str, size: int) -> None:
        self._ledger.db.run("DELETE FROM blob WHERE sha256 = ?", (sha256,))
        self.bytes -= _on_disk(size)
        if sha256 in self._fresh:
            self._fresh.remove(sha256)
            self._delete(sha256)
        else:
            self._unlink.append(sha256)

    def lose(self, blob: BlobRef, seq: int, reason: str) -> None:
        """Tell, within the transaction, of evidence that will not come."""
        self.lost.append(
            Draft(
                kind="blob",
                data={"sha256": blob.sha256, "bytes": blob.bytes, "type": blob.type,
                      "record": seq, "reason": reason},
            )
        )  # fmt: skip

    def _write(self, sha256: str, data: bytes) -> None:
        part = self._folder / f"{sha256}.part"
        with part.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        part.replace(self._folder / sha256)
        # The name must be on the medium before the row that counts on it.
        sync(self._folder)
        if sha256 in self._unlink:
            self._unlink.remove(sha256)


def weight(drafts: Sequence[Draft]) -> int:
    """What the evidence of ``drafts`` takes on disk."""
    return sum(_on_disk(len(piece.data)) for draft in drafts for piece in draft.evidence)


def _on_disk(size: int) -> int:
    return -(-size // BLOCK) * BLOCK


class BlobShelf:
    """The sending side, for the link's thread."""

    def __init__(
        self, folder: Path, reading: Reading, post: Post,
        is_sent: Callable[[int], bool], gone: Callable[[str], None],
    ) -> None:  # fmt: skip
        self._folder = folder
        self._reading = reading
        self._post = post
        self._is_sent = is_sent
        self._tell_gone = gone
        self._lock = threading.Lock()
        self._progress: dict[str, int] = {}
        self._offered: dict[str, int] = {}
        self._done: dict[str, int] = {}
        """What needs no sending, though the database does not say so yet, with its record."""

    def next(self) -> BlobToSend | None:
        """The oldest evidence whose record is delivered and that is not sent yet.
        Raises StoreError."""
        with self._lock:
            done = dict(self._done)
        # First these, then the rows: a commit between the two must not offer anything again.
        noted = [sha256 for sha256, seq in done.items() if not self._waits(sha256, seq)]
        rows = self._reading.rows(
            "SELECT sha256, seq, bytes, type, next FROM blob WHERE state = 0 ORDER BY seq LIMIT 64"
        )
        with self._lock:
            for sha256 in noted:
                self._done.pop(sha256, None)
            for sha256, seq, size, type_, index in rows:
                if sha256 not in self._done and self._is_sent(seq):
                    at = max(index, self._progress.get(sha256, 0))
                    self._offered[sha256] = seq
                    return BlobToSend(sha256, size, type_, at)
        return None

    def _waits(self, sha256: str, seq: int) -> bool:
        """Whether the database still wants it sent, for the same record."""
        found = self._reading.value(
            "SELECT seq FROM blob WHERE sha256 = ? AND state = 0", (sha256,)
        )
        return found is not None and seq in (0, found)

    def read(self, sha256: str, index: int, chunk_bytes: int) -> bytes:
        """Chunk ``index``; empty = past the end. Raises NotFound (dropped meanwhile)."""
        try:
            with (self._folder / sha256).open("rb") as file:
                file.seek(index * chunk_bytes)
                return file.read(chunk_bytes)
        except OSError as error:
            raise NotFound(f"evidence {sha256} is not there: {error.strerror}") from error

    def progress(self, sha256: str, next_index: int) -> None:
        """Chunks below ``next_index`` are acknowledged: a later start goes on from there."""
        with self._lock:
            self._progress[sha256] = next_index
        self._post(
            lambda ledger: ledger.db.run(
                "UPDATE blob SET next = ? WHERE sha256 = ?", (next_index, sha256)
            )
        )

    def sent(self, sha256: str) -> None:
        """All chunks are acknowledged. The file stays until the quota needs it."""
        self._settle(sha256)
        self._post(
            lambda ledger: ledger.db.run("UPDATE blob SET state = 1 WHERE sha256 = ?", (sha256,))
        )

    def gone(self, sha256: str) -> None:
        """It can't be read any more: a record of kind ``blob`` tells that it will not come
        (unless one did when it was dropped)."""
        self._settle(sha256)
        self._tell_gone(sha256)

    def _settle(self, sha256: str) -> None:
        with self._lock:
            self._done[sha256] = self._offered.pop(sha256, 0)
            self._progress.pop(sha256, None)
