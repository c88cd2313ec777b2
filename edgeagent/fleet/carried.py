"""The data mule: what ``outbox export --carry DIR`` wrote on a device, brought to the database.

The folder holds ``{device}.{epoch}.{first}-{last}.batch`` (a batch as on the wire) and
``{sha256}.blob``. What was here already is not stored twice, so a folder may be imported again,
and a device may send the same records by itself later. Its account is settled by the confirm:
published by a running collector on the same database, or carried back as a file.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from pathlib import Path

from edgeagent.errors import Busy, InputError, LinkDown, NotFound, StoreError
from edgeagent.fleet import evidence
from edgeagent.fleet.archive import Archive, Group
from edgeagent.fleet.batches import Arrival, read
from edgeagent.fleet.confirms import Confirms
from edgeagent.fleet.meeting import meet
from edgeagent.fleet.sharing import own_topics
from edgeagent.sync.endpoint import LinkSettings
from edgeagent.sync.link import Link
from edgeagent.sync.reasons import Reason
from edgeagent.sync.topics import Topics

_ANSWER_S = 15.0
_GROUP_RECORDS = 10_000


@dataclass(frozen=True, slots=True)
class CarriedConfirm:
    """What a device is to be told."""

    device: str
    epoch: str
    payload: bytes
    """The JSON of the contract (§2)."""


@dataclass(slots=True)
class Imported:
    """What an import came to."""

    batches: int = 0
    records: int = 0
    duplicates: int = 0
    evidence: int = 0
    refused: list[str] = field(default_factory=list)
    """Files that could not be used, and why."""
    confirms: list[CarriedConfirm] = field(default_factory=list)


def import_carried(archive: Archive, folder: Path, *, collector: str = "main") -> Imported:
    """Bring a folder into the database.

    Raises: NotFound (no such folder, nothing of the kind in it), StoreError (a file can't be
    read), and what `Database` does.
    """
    try:
        files = sorted(path for path in folder.iterdir() if path.suffix in (".batch", ".blob"))
    except OSError as error:
        raise NotFound(f"{folder} can't be read: {error.strerror}") from error
    if not files:
        raise NotFound(
            f"{folder} holds no carried export",
            remedy="Write one on the device: edgeagent outbox export --carry DIR.",
        )
    imported = Imported()
    heard: set[tuple[str, str]] = set()
    group: list[Arrival] = []
    for path in files:
        if path.suffix == ".blob":
            _bring_evidence(archive, path, imported)
            continue
        arrival = _read(path, imported)
        if arrival is None:
            continue
        heard.add((arrival.device, arrival.epoch))
        group.append(arrival)
        if sum(len(a.rows) for a in group) >= _GROUP_RECORDS:
            _bring(archive, group, imported)
            group = []
    if group:
        _bring(archive, group, imported)
    imported.confirms = _confirms(archive, heard, collector)
    return imported


def _read(path: Path, imported: Imported) -> Arrival | None:
    try:
        arrival = read(_bytes(path))
    except InputError as error:
        imported.refused.append(f"{path.name}: {error}")
        return None
    imported.batches += 1
    imported.refused += [f"{path.name}: {why}" for _, why in arrival.refused]
    return arrival


def _bring(archive: Archive, arrivals: list[Arrival], imported: Imported) -> None:
    written = archive.write(Group(arrivals=arrivals, carried=True))
    imported.records += written.records
    imported.duplicates += written.duplicates
    imported.evidence += written.evidence


def _bring_evidence(archive: Archive, path: Path, imported: Imported) -> None:
    data = _bytes(path)
    with archive.db.transaction():
        if not evidence.named(path.stem, data):
            imported.refused.append(f"{path.name}: its content has another hash")
        elif evidence.whole(archive.db, data, archive.db.now()):
            imported.evidence += 1


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise StoreError(f"{path}: {error.strerror}") from error


def _confirms(
    archive: Archive, heard: set[tuple[str, str]], collector: str
) -> list[CarriedConfirm]:
    confirms = Confirms(archive, collector)
    return [
        CarriedConfirm(device, epoch, confirms.present(archive.stream(device, epoch), epoch))
        for device, epoch in sorted(heard)
    ]


def write_confirms(confirms: list[CarriedConfirm], folder: Path) -> list[Path]:
    """Files ``{device}.{epoch}.confirm``, to be carried back. Raises StoreError."""
    written: list[Path] = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for confirm in confirms:
            path = folder / f"{confirm.device}.{confirm.epoch}.confirm"
            path.write_bytes(confirm.payload)
            written.append(path)
    except OSError as error:
        raise StoreError(f"{error.filename or folder}: {error.strerror}") from error
    return written


def publish_confirms(
    confirms: list[CarriedConfirm], settings: LinkSettings, prefix: str, collector: str
) -> None:
    """Publish them, retained, and wait until the broker has them.

    Raises: LinkDown with the reason.
    """
    if not confirms:
        return
    link = Link(settings, own_topics(prefix, settings).confirm)
    left, done = len(confirms), threading.Event()
    failed: list[Reason] = []

    def told(reason: Reason | None) -> None:
        nonlocal left
        left -= 1
        if reason is not None:
            failed.append(reason)
        if not left:
            done.set()

    meet(link, _ANSWER_S)
    try:
        for confirm in confirms:
            topic = Topics(prefix, confirm.device).confirm(collector)
            link.publish(topic, confirm.payload, retain=True, on_done=told)
        if not done.wait(_ANSWER_S) or failed:
            raise LinkDown(f"not all confirms were taken: {failed[0] if failed else 'no answer'}")
    except Busy as error:
        raise LinkDown(str(error)) from error
    finally:
        link.stop()
