"""The process in which python-tuf's client decides what is trusted.

It has no network and no keys of ours: it asks its parent for files by path, over a pipe, and
tells what the signed metadata says. Nothing of the daemon is loaded here, and it goes away with
all its memory once the question is answered.

Messages both ways: length (4 bytes, big endian), kind (``J`` JSON, ``B`` bytes), content.
"""

from __future__ import annotations

import json
import struct
import sys
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from edgeagent.durable import sync

if TYPE_CHECKING:
    from tuf.ngclient import TargetFile, Updater

HEAD = struct.Struct(">Ic")
MOST = 8 << 20
METADATA, TARGETS = "metadata/", "targets/"


class Channel:
    """Messages over two pipes."""

    def __init__(self, source: BinaryIO, sink: BinaryIO) -> None:
        self._source, self._sink = source, sink

    def send(self, content: dict[str, Any] | bytes) -> None:
        raw, kind = (content, b"B") if isinstance(content, bytes) else (dump(content), b"J")
        self._sink.write(HEAD.pack(len(raw), kind) + raw)
        self._sink.flush()

    def receive(self) -> Any:
        """The next message. Raises EOFError when the other side is gone."""
        head = self._source.read(HEAD.size)
        if len(head) < HEAD.size:
            raise EOFError
        length, kind = HEAD.unpack(head)
        if length > MOST:
            raise ValueError(f"a message of {length} bytes")
        raw = self._source.read(length)
        if len(raw) < length:
            raise EOFError
        return raw if kind == b"B" else json.loads(raw)


def dump(content: dict[str, Any]) -> bytes:
    return json.dumps(content, separators=(",", ":")).encode()


def main() -> None:
    """Answer one question after the other until the parent is gone."""
    channel = Channel(sys.stdin.buffer, sys.stdout.buffer)
    try:
        setup = channel.receive()
        sys.path[:] = setup["path"]
        if setup["ed25519_only"]:
            # Its verification in pure Python is what every board has: taking the same path
            # everywhere costs milliseconds and saves 9 MB.
            sys.modules["cryptography"] = None  # type: ignore[assignment]
        guard = _Guard(channel, setup, channel.receive())
        while True:
            channel.send(guard.answer(channel.receive()))
    except EOFError:
        return


class _Guard:
    """An Updater of python-tuf, and what it has been asked."""

    def __init__(self, channel: Channel, setup: dict[str, Any], bootstrap: bytes) -> None:
        self._channel = channel
        self._setup = setup
        self._bootstrap = bootstrap
        self._folder = Path(setup["folder"])
        self._on_disk = _stamps(self._folder)
        self._updater: Updater | None = None

    def answer(self, question: dict[str, Any]) -> dict[str, Any]:
        from tuf.api.exceptions import DownloadError, DownloadLengthMismatchError, RepositoryError

        try:
            refresh = question["do"] == "refresh"
            found = self._refresh(question["listed"]) if refresh else self._target(question)
            self._persist()
            return found
        except DownloadLengthMismatchError as error:
            return _failed("untrusted", error)
        except DownloadError as error:
            return _failed("unreachable", error)
        except RepositoryError as error:
            return _failed("untrusted", error)
        except OSError as error:
            return _failed("store", error)

    def _refresh(self, listed: str) -> dict[str, Any]:
        """``listed`` is a target that is looked up in the top-level listing only."""
        from tuf.ngclient import Updater

        from edgeagent.update.trust.pipe import PipeFetcher

        self._folder.mkdir(parents=True, exist_ok=True)
        try:
            updater = self._updater = Updater(
                metadata_dir=str(self._folder), metadata_base_url=METADATA,
                fetcher=PipeFetcher(self._channel), bootstrap=self._bootstrap,
            )  # fmt: skip
            if self._setup["reference"]:
                # There is no public setting; see docs/adr/0033-time-of-trust.md.
                reference = datetime.fromisoformat(self._setup["reference"])
                updater._trusted_set.reference_time = reference
            updater.refresh()
        finally:
            self._persist()  # A new root counts whatever came of the rest.
        known = updater._trusted_set
        return {
            "root": known.root.version, "timestamp": known.timestamp.version,
            "snapshot": known.snapshot.version, "expires": known.timestamp.expires.isoformat(),
            "listed": self._told(known.targets.targets.get(listed)),
        }  # fmt: skip

    def _target(self, question: dict[str, Any]) -> dict[str, Any]:
        assert self._updater is not None
        return {"target": self._told(self._updater.get_targetinfo(question["path"]))}

    def _told(self, found: TargetFile | None) -> dict[str, Any] | None:
        if found is None or self._updater is None:
            return None
        at = found.path
        if self._updater._trusted_set.root.consistent_snapshot:
            folder, slash, name = at.rpartition("/")
            at = f"{folder}{slash}{next(iter(found.hashes.values()))}.{name}"
        return {
            "path": found.path, "length": found.length, "hashes": dict(found.hashes),
            "custom": found.custom or {}, "at": TARGETS + at,
        }  # fmt: skip

    def _persist(self) -> None:
        """Have on the medium what the client has written: it never syncs itself."""
        now = _stamps(self._folder)
        changed = [path for path, stamp in now.items() if self._on_disk.get(path) != stamp]
        for path in changed:
            sync(path)
        if changed:
            for folder in {path.parent for path in changed} | {self._folder.parent}:
                sync(folder)
        self._on_disk = now


def _failed(kind: str, error: Exception) -> dict[str, Any]:
    return {"failed": kind, "error": type(error).__name__, "text": str(error)}


def _stamps(folder: Path) -> dict[Path, tuple[int, int, int]]:
    found = {}
    for path in _files(folder):
        state = path.stat()
        found[path] = (state.st_ino, state.st_mtime_ns, state.st_size)
    return found


def _files(folder: Path) -> Iterator[Path]:
    for place in (folder, folder / "root_history"):
        if place.is_dir():
            yield from (path for path in place.iterdir() if path.is_file())
