"""The port that every source implements: open, read, close.

A source does no retrying, no threading and no counting: `capture.unit` runs it, reopens it
when it is lost and counts what it gave. Two ends are told apart: `SourceLost` (open it anew
after a pause) and `SourceEnded` (it has finished).
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from edgeagent.types import Sample


@runtime_checkable
class Source(Protocol):
    """What `capture.unit` needs of a source."""

    live: bool
    """True: the world does not wait, so the newest samples are kept and the rest counted as
    dropped. False: it is a file, so reading blocks and nothing is lost."""

    def open(self) -> None:
        """Get ready to read. Raises SourceLost (try again later) or InputError (never)."""

    def read(self) -> Sample:
        """The next sample; blocks at most a few seconds.

        Raises:
            SourceLost: nothing comes any more; close, wait, open.
            SourceEnded: a finite source is at its end.
            InputError: this one sample is unusable (counted as corrupt; reading goes on).
        """

    def close(self) -> None:
        """Let go of everything; may be called twice and from another thread."""
