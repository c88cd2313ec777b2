"""Confirms that a person carried back: they settle the account of a device without a link.

The fleet's side writes them (``fleet import … --confirms DIR``), one file a device and epoch,
``{device}.{epoch}.confirm`` with the JSON of the contract (§2). Files of other devices and of
former epochs are passed over, so one stick can serve a whole site.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import msgspec
import msgspec.structs
from msgspec import Struct, field

from edgeagent import clock
from edgeagent.errors import InputError, NotFound, StoreError, UsageError
from edgeagent.store.database import close_quietly
from edgeagent.store.entry import give_back
from edgeagent.store.outbox import Outbox
from edgeagent.store.settings import OutboxSettings
from edgeagent.store.stats import OutboxStats
from edgeagent.store.verify import open_to_read, resolve

SUFFIX = ".confirm"
_FLUSH_S = 30.0
_Seq = Annotated[int, msgspec.Meta(ge=1)]


class Carried(msgspec.Struct):
    """One confirm."""

    epoch: str
    upto: Annotated[int, msgspec.Meta(ge=0)]
    missing: Annotated[list[tuple[_Seq, _Seq]], msgspec.Meta(max_length=256)] = msgspec.field(
        default_factory=list
    )
    by: str = ""

    def to_dict(self) -> dict[str, Any]:
        """As it was in the file."""
        return msgspec.structs.asdict(self)


class Found(Struct):
    """What a folder holds for one device."""

    confirms: list[Carried] = field(default_factory=list)
    passed_over: int = 0
    """Of other devices, or of another epoch."""


def find(folder: Path, device: str, epoch: str) -> Found:
    """The confirms in ``folder`` for this device's present epoch.

    Raises: NotFound (no such folder, no confirm in it), InputError (one can't be read).
    """
    try:
        files = sorted(path for path in folder.iterdir() if path.suffix == SUFFIX)
    except OSError as error:
        raise NotFound(f"{folder} can't be read: {error.strerror}") from error
    if not files:
        raise NotFound(
            f"{folder} holds no confirms",
            remedy="They are written by: edgeagent fleet import DIR --confirms DIR.",
        )
    found = Found()
    for file in files:
        if file.stem != f"{device}.{epoch}":
            found.passed_over += 1
            continue
        try:
            carried = msgspec.json.decode(file.read_bytes(), type=Carried)
        except (OSError, msgspec.MsgspecError) as error:
            raise InputError(f"{file}: {error}") from error
        if carried.epoch != epoch:
            raise InputError(f"{file}: it confirms another epoch, {carried.epoch!r}")
        found.confirms.append(carried)
    return found


def whose(path: Path) -> tuple[str, str, str]:
    """Device, epoch and machine of an outbox. Raises NotFound, StoreError."""
    db = open_to_read(path)
    try:
        row = db.one("SELECT device, epoch, machine FROM account")
    finally:
        close_quietly(db)
    if row is None:
        raise StoreError(f"{path}: it holds no account")
    return str(row[0]), str(row[1]), str(row[2])


def apply(outbox: Outbox, carried: Carried) -> None:
    """Settle what ``carried`` confirms, and wait until that is on the medium.

    Raises: UsageError (a collector that this device does not report to, or numbers that it never
    gave), StoreError.
    """
    by = carried.by or "main"
    if by not in outbox.settings.collectors:
        raise UsageError(
            f"{by!r} is none of this device's collectors", remedy="See sync.collectors."
        )
    if not outbox.confirmed(carried.epoch, carried.upto, carried.missing, by):
        raise UsageError(
            f"it confirms numbers up to {carried.upto}, and this outbox gave {outbox.last_seq}",
            remedy="The outbox was restored from a copy: connect it, it begins a new epoch then.",
        )
    if not outbox.flush(_FLUSH_S):
        raise StoreError(f"the outbox takes nothing: {outbox.stats().fault or 'busy'}")


def settle(path: Path, confirms: list[Carried], settings: OutboxSettings) -> OutboxStats:
    """Settle an outbox that no agent has open; the account afterwards.

    Raises: Busy (an agent has it open), and what `apply` does.
    """
    folder = resolve(path).parent.parent
    device, _, machine = whose(path)
    outbox = Outbox.open(
        folder, device=device, machine=machine, boot=clock.boot_id(), settings=settings
    )
    try:
        for carried in confirms:
            apply(outbox, carried)
        return outbox.stats()
    finally:
        outbox.close()
        give_back(folder, "reserve", "lock", "epoch.json", "db")
