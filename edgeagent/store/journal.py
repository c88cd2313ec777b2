"""The journal of commands: at most once per id, through crashes (contract §3)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True, slots=True)
class Entry:
    """One journaled command."""

    id: str
    type: str
    digest: str
    """Hash of the command's content: another content under a known id is a conflict."""
    by: str
    at: str
    """The command's own time, RFC 3339 or empty."""
    status: dict[str, Any]
    """The last status as it is put on the wire."""
    final: bool


@dataclass(frozen=True, slots=True)
class Claim:
    """Answer to `Journal.claim`. ``new``: it is journaled now, do it. ``known``: same id, same
    content: answer with ``entry.status``. ``conflict``: same id, other content."""

    outcome: Literal["new", "known", "conflict"]
    entry: Entry


class Journal:
    """Blocking calls (some ms): they return when the entry is on the medium. Any thread.

    Raises of all: StoreError, when the medium takes nothing.
    """

    def claim(
        self, id: str, type: str, digest: str, at: str = "", by: str = "",
        status: Mapping[str, Any] | None = None,
    ) -> Claim:  # fmt: skip
        """Journal ``id`` if it is unknown. ``status`` (default ``{"status": "accepted"}``) is
        what a crash right after this leaves behind."""
        raise NotImplementedError

    def update(self, id: str, status: Mapping[str, Any]) -> None:
        """Replace the status; it is final when ``status["status"]`` is successful, failed,
        rejected, expired or cancelled. Raises NotFound."""
        raise NotImplementedError

    def get(self, id: str) -> Entry | None:
        raise NotImplementedError

    def open_commands(self) -> list[Entry]:
        """Not final, oldest first: after a start they resume or fail ``interrupted``."""
        raise NotImplementedError

    def clear(self, id: str) -> None:
        """The requester has cleared it: it is never published again (the id stays known)."""
        raise NotImplementedError

    def published(self) -> list[Entry]:
        """Entries that are not cleared: to be re-published at each connect."""
        raise NotImplementedError

    @property
    def newest_pruned_at(self) -> str:
        """A command whose ``at`` is not after this is stale; empty = nothing was pruned."""
        raise NotImplementedError

    @property
    def born_at(self) -> str:
        """When this journal began, RFC 3339 (a younger journal than a command = re-flashed)."""
        raise NotImplementedError
