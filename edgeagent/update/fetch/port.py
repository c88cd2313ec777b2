"""What a carrier is, what it fills, and what the one over MQTT needs of the link."""

from __future__ import annotations

import re
from collections.abc import Callable
from threading import Event
from typing import Protocol

from edgeagent.errors import Busy, Untrusted
from edgeagent.update.fetch.pieces import Pieces

MOST_PATH = 512
_PART = re.compile(r"[A-Za-z0-9_.%+@=~-]+")

Take = Callable[[str, bytes], None]
"""Told of an answer: ``info`` or the index of a chunk, and the payload. An empty name: the
connection is a new one, and what was asked on the old one will not come."""


class Sink(Protocol):
    """A file that is filled piece by piece, in any order."""

    pieces: Pieces
    sha256: str
    """Of the whole; empty = not known beforehand."""

    def put(self, offset: int, data: bytes) -> None:
        """Keep bytes. Raises StoreError and its kinds."""

    def pause(self) -> None:
        """A moment without traffic: what is to be remembered may be written down."""


class Carrier(Protocol):
    """Bytes by path, from wherever they lie. Not trusted with anything.

    Every method raises Unavailable (or Busy) where trying later may help, Untrusted where what
    is offered can't be what is meant, and Busy when ``stopped``.
    """

    name: str
    """For people."""

    def read(self, path: str, most: int, stopped: Event) -> bytes | None:
        """A small file; None where there is none. Raises Untrusted for more than ``most`` bytes."""

    def bring(self, path: str, sink: Sink, stopped: Event) -> None:
        """Fill the sink with what it lacks. Raises NotFound."""

    def close(self) -> None: ...


class Exchange(Protocol):
    """Requests and answers on the fetch topics (`sync.fetching`). Any thread."""

    @property
    def up(self) -> bool: ...

    @property
    def largest(self) -> int:
        """Bytes that a chunk may have at the broker."""

    def left(self) -> int:
        """Bytes that the budget for updates allows now."""

    def held(self) -> str:
        """Why the budget allows none, in words; empty = it does."""

    def ask(self, request: bytes) -> bool:
        """Publish a request; False = there is no connection."""

    def listen(self, rid: str, take: Take) -> Callable[[], None]:
        """Have the answers to a transfer; returns what ends it. ``take`` must be brief."""


def checked(path: str) -> str:
    """A path within the repository: relative, of plain names. Raises Untrusted."""
    parts = path.split("/")
    if len(path) > MOST_PATH or not all(
        _PART.fullmatch(part) and part not in (".", "..") for part in parts
    ):
        raise Untrusted(f"{path[:100]!r} is no path of a repository")
    return path


def stop(stopped: Event) -> None:
    """Raises Busy where a transfer is to end for now."""
    if stopped.is_set():
        raise Busy("the transfer was stopped; it goes on later from where it was")
