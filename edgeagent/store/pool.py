"""Samples that are worth a label, on disk: one file each, within a quota of bytes and of samples
for each reason; the least useful ones go first, and before them those that were sent.

A file is ``EAP1``, the length of a JSON text and the CRC-32 of all that follows (4 bytes each,
little endian), the text, and the sample (JPEG, WAV, NPY). It is written beside and named in one
step, so after a power cut it is whole or not there. What must be known to choose is in its name:
``p000012c4e1-uncertain-087.sample``, or ``.sent``.
"""

from __future__ import annotations

import secrets
import struct
import zlib
from collections.abc import Callable, Collection
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, Protocol

import msgspec
from msgspec import Struct

from edgeagent import durable
from edgeagent.errors import NotFound, NotPermitted, StoreCorrupt, StoreError, unwritable
from edgeagent.store.allotment import BLOCK

FOLDER = "pool"
_MAGIC = b"EAP1"
_HEAD = struct.Struct("<4sII")
_WAITS, _SENT = ".sample", ".sent"
SUFFIXES = {"image/jpeg": ".jpg", "audio/wav": ".wav", "application/x-npy": ".npy"}


class Claims(Protocol):
    """Whom to ask for room in the data folder (an `allotment.Allotment`)."""

    def claim(self, size: int, what: str) -> AbstractContextManager[None]:
        """Raises StoreFull."""


class Pooled(Struct, frozen=True):
    """What a file's place says about the sample in it."""

    id: str
    pipeline: str
    reason: str
    useful: int
    """0 … 100; what is least useful goes first."""
    sent: bool
    bytes: int
    """On disk."""
    file: Path

    def told(self) -> dict[str, Any]:
        """For people and for the command."""
        return {"id": self.id, "pipeline": self.pipeline, "reason": self.reason,
                "useful": self.useful, "sent": self.sent, "bytes": self.bytes}  # fmt: skip


class Pool:
    """The folder of one data folder. One thread at a time keeps; any process may read or remove.

    Args:
        data_dir: the agent's.
        max_bytes: of all samples together, in whole blocks of the disk.
        room: whom to ask before writing; None = there is no cap.
    """

    def __init__(
        self, data_dir: Path, max_bytes: int,
        room: Callable[[], Claims | None] = lambda: None,
    ) -> None:  # fmt: skip
        self.folder = data_dir / FOLDER
        self._max_bytes = max_bytes
        self._room = room
        self.kept = 0
        """Since the start."""
        self.gone = 0
        """Samples that made room for others since the start."""
        self.written = 0
        """Bytes since the start."""

    # --- keeping ---------------------------------------------------------------------------

    def keep(
        self, pipeline: str, reason: str, useful: int, meta: dict[str, Any], body: bytes, each: int
    ) -> str:
        """Put a sample in. Returns its id; empty = all that it would have to displace is more
        useful.

        Args:
            useful: 0 … 100.
            meta: what is known of it, plain values; ``id`` is added.
            each: samples that one pipeline may have of one reason.

        Raises: StoreFull (``storage.max``, or the disk), NotPermitted, StoreError.
        """
        here = self.samples()
        number = 1 + max((int(its.id[1:7]) for its in here), default=0)
        id_ = f"p{number % 1_000_000:06d}{secrets.token_hex(2)}"
        data = _framed({"id": id_, **meta}, body)
        rivals = [its for its in here if (its.pipeline, its.reason) == (pipeline, reason)]
        leaving = _leaving(here, rivals, useful, each, self._max_bytes - _on_disk(len(data)))
        if leaving is None:
            return ""
        for its in leaving:
            self.remove(its)
        self.gone += len(leaving)
        room = self._room()
        with room.claim(_on_disk(len(data)), "the pool") if room else nullcontext():
            name = f"{id_}-{reason}-{useful:03d}{_WAITS}"
            durable.replace(self.folder / pipeline / name, data)
        self.kept += 1
        self.written += len(data)
        return id_

    # --- looking ---------------------------------------------------------------------------

    def samples(self, pipeline: str = "", reason: str = "") -> list[Pooled]:
        """All, or those of a pipeline or reason, in the order in which they came.

        Raises NotPermitted, StoreError.
        """
        found: list[Pooled] = []
        try:
            for file in self.folder.glob("*/*"):
                its = _known(file)
                if (
                    its is not None
                    and pipeline in ("", its.pipeline)
                    and reason in ("", its.reason)
                ):
                    found.append(its)
        except PermissionError as error:
            raise NotPermitted(
                f"{self.folder}: the pool may not be read by this user",
                remedy="Ask as the agent's user: sudo -u edgeagent edgeagent pool …",
            ) from error
        except OSError as error:
            raise StoreError(f"{self.folder}: {error.strerror}") from error
        return sorted(found, key=lambda its: its.id)

    def find(self, ids: Collection[str]) -> list[Pooled]:
        """Samples by their ids. Raises NotFound for one that is not there."""
        here = {its.id: its for its in self.samples()}
        for id_ in ids:
            if id_ not in here:
                raise NotFound(
                    f"the pool has no sample {id_!r}", remedy="See what it has: edgeagent pool ls"
                )
        return [here[id_] for id_ in ids]

    def sweep(self) -> int:
        """Remove what a power cut left half written; how many. Only for who keeps."""
        left = [file for file in self.folder.glob("*/*~") if file.is_file()]
        for file in left:
            file.unlink(missing_ok=True)
        return len(left)

    # --- changing --------------------------------------------------------------------------

    def remove(self, its: Pooled) -> None:
        """Raises StoreError, NotPermitted."""
        try:
            its.file.unlink(missing_ok=True)
        except OSError as error:
            raise unwritable(its.file, error) from error

    def purge(self, old: Callable[[dict[str, Any]], bool], *, dry: bool) -> int:
        """Remove those of which ``old`` says so, given what is known of them, and damaged ones;
        how many. Raises StoreError, NotPermitted."""
        leaving = [its for its in self.samples() if _is(old, its)]
        for its in leaving if not dry else ():
            self.remove(its)
        return len(leaving)

    def sent(self, its: Pooled) -> None:
        """Somebody has it, or will: it is the first to go. Raises StoreError, NotPermitted."""
        try:
            its.file.rename(its.file.with_suffix(_SENT))
        except FileNotFoundError:
            return  # removed meanwhile
        except OSError as error:
            raise unwritable(its.file, error) from error


def read(its: Pooled) -> tuple[dict[str, Any], bytes]:
    """What is known of a sample, and the sample. Raises NotFound, NotPermitted, StoreCorrupt."""
    try:
        data = its.file.read_bytes()
    except PermissionError as error:
        raise NotPermitted(f"{its.file}: may not be read by this user") from error
    except OSError as error:
        raise NotFound(f"sample {its.id} is not there any more: {error.strerror}") from error
    if len(data) >= _HEAD.size:
        magic, length, crc = _HEAD.unpack_from(data)
        rest = data[_HEAD.size :]
        if magic == _MAGIC and length <= len(rest) and zlib.crc32(rest) == crc:
            meta: dict[str, Any] = msgspec.json.decode(rest[:length])
            return meta, rest[length:]
    raise StoreCorrupt(f"{its.file}: this sample is damaged", remedy=f"edgeagent pool rm {its.id}")


def _is(old: Callable[[dict[str, Any]], bool], its: Pooled) -> bool:
    try:
        return old(read(its)[0])
    except StoreCorrupt:
        return True  # nobody can ever use it
    except NotFound:
        return False


def tally(samples: Collection[Pooled]) -> dict[str, dict[str, int]]:
    """Pipeline → reason → samples."""
    found: dict[str, dict[str, int]] = {}
    for its in samples:
        own = found.setdefault(its.pipeline, {})
        own[its.reason] = own.get(its.reason, 0) + 1
    return found


def _leaving(
    here: list[Pooled], rivals: list[Pooled], useful: int, each: int, room: int
) -> list[Pooled] | None:
    """Those that make room for a new sample; None = it is not worth it."""
    if room < 0:
        return None
    leaving: list[Pooled] = []
    for its in _least_first(rivals)[: max(0, len(rivals) - each + 1)]:
        if not its.sent and its.useful > useful:
            return None
        leaving.append(its)
    bytes_ = sum(its.bytes for its in here) - sum(its.bytes for its in leaving)
    others = [its for its in here if its not in leaving]
    while bytes_ > room:
        # Of the reason that has most, so that a talkative one does not drive out the others.
        counts = {(its.pipeline, its.reason): 0 for its in others}
        for its in others:
            counts[its.pipeline, its.reason] += 1
        most = max(counts, key=lambda key: counts[key])
        gone = _least_first(
            [its for its in others if its.sent]
            or [its for its in others if (its.pipeline, its.reason) == most]
        )[0]
        others.remove(gone)
        leaving.append(gone)
        bytes_ -= gone.bytes
    return leaving


def _least_first(samples: list[Pooled]) -> list[Pooled]:
    return sorted(samples, key=lambda its: (not its.sent, its.useful, its.id))


def _known(file: Path) -> Pooled | None:
    """What a name says; None = no sample of this pool, or gone."""
    id_, _, rest = file.stem.partition("-")
    reason, _, useful = rest.rpartition("-")
    if file.suffix not in (_WAITS, _SENT) or not useful.isdigit() or not id_[1:7].isdigit():
        return None
    try:
        size = file.stat().st_size
    except FileNotFoundError:
        return None
    sent = file.suffix == _SENT
    return Pooled(id_, file.parent.name, reason, int(useful), sent, _on_disk(size), file)


def _framed(meta: dict[str, Any], body: bytes) -> bytes:
    text = msgspec.json.encode(meta)
    rest = text + body
    return _HEAD.pack(_MAGIC, len(text), zlib.crc32(rest)) + rest


def _on_disk(size: int) -> int:
    return -(-size // BLOCK) * BLOCK
