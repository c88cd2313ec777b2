"""The port that every source implements: open, read, close.

A source does no retrying, no threading and no counting: `capture.unit` runs it, reopens it
when it is lost and counts what it gave. Two ends are told apart: `SourceLost` (open it anew
after a pause) and `SourceEnded` (it has finished).

Every source is made by ``Class(name, config, wanted)``. Beyond the port it may have *traits*,
plain attributes that `unit` looks for: ``network = True`` (reopen with long, jittered pauses),
``thins = True`` (it keeps to ``fps`` by itself), those of `Timed`, `Counting`, `Interruptible`,
`Living`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol, runtime_checkable

from msgspec import Struct, field
from msgspec.structs import replace

from edgeagent.errors import ConfigError
from edgeagent.types import Sample


class Wanted(Struct, frozen=True):
    """What the models behind a source need of its windows; all None for pictures."""

    channels: tuple[str, ...] | None = None
    """Names of the channels in order; None = all that the source has."""
    rate_hz: float | None = None
    """Rows per second; a source with another rate resamples. None = the source's own."""
    length: int | None = None
    """Rows of a window."""
    hop: int | None = None
    """Rows from the start of one window to the next; None = ``length`` (no overlap)."""


PICTURES = Wanted()


def merge(source: str, wishes: Iterable[Wanted]) -> Wanted:
    """What several pipelines want of one source, which cuts one kind of window.

    Their channels may differ: each takes its own out of the window.

    Raises:
        ConfigError: they disagree in the rest; give each its own source.
    """
    merged = PICTURES
    for wish in wishes:
        if wish in (PICTURES, merged):
            continue
        if merged != PICTURES:
            joined = _joined(merged, wish)
            if joined is not None:
                merged = joined
                continue
            raise ConfigError(
                f"sources.{source}: its pipelines want different windows "
                f"({_told(merged)} and {_told(wish)})",
                remedy="Give each pipeline a source of its own.",
            )
        merged = wish
    return merged


def _joined(one: Wanted, other: Wanted) -> Wanted | None:
    """Windows that hold the channels of both; None where they are cut in other ways."""
    if one.channels is None or other.channels is None:
        return None
    channels = tuple(dict.fromkeys((*one.channels, *other.channels)))
    same = replace(one, channels=None) == replace(other, channels=None)
    return replace(one, channels=channels) if same else None


def _told(wanted: Wanted) -> str:
    rate = "the source's rate" if wanted.rate_hz is None else f"{wanted.rate_hz:g} Hz"
    channels = "all channels" if wanted.channels is None else ", ".join(wanted.channels)
    return f"{wanted.length} rows every {wanted.hop or wanted.length} at {rate} of {channels}"


class Tally(Struct):
    """What a source counts below the sight of `unit`, since it was made."""

    dropped: int = 0
    """Samples that newer ones replaced before `read` could take them."""
    corrupt: int = 0
    """Samples that could not be decoded."""
    thinned: int = 0
    """Samples left out to keep to ``fps``."""
    unused: int = 0
    """Rows at the end of a recording or beside a broken row that fill no window."""
    note: str = ""
    """What was negotiated, for people: ``1280x720 MJPG, 30 fps``."""
    rate_hz: float = 0.0
    """Samples per second as the source promises; 0 = unknown."""
    ailing: str = ""
    """What of it is missing while the rest goes on, for people; empty = all is well."""
    figures: dict[str, Any] = field(default_factory=dict)
    """What only this kind of source measures; stands in its health."""


@runtime_checkable
class Source(Protocol):
    """What `capture.unit` needs of a source."""

    live: bool
    """True: the world does not wait, so the newest samples are kept and the rest counted as
    dropped. False: it is a file, so reading blocks and nothing is lost."""

    def open(self) -> None:
        """Get ready to read. Raises SourceLost (try again later) or InputError (never)."""

    def read(self) -> Sample:
        """The next sample, whose arrays belong to the caller; blocks at most a few seconds.

        Raises:
            SourceLost: nothing comes any more; close, wait, open.
            SourceEnded: a finite source is at its end.
            InputError: this one sample is unusable (counted as corrupt; reading goes on).
        """

    def close(self) -> None:
        """Let go of everything; may be called twice, by the thread that reads."""


@runtime_checkable
class Timed(Protocol):
    """A source whose samples have a time of their own, as recordings do."""

    paced: bool
    """True: hand samples over at the times when they were taken, not as fast as possible."""
    position_s: float
    """Time of the last sample since the first one; goes on through loops."""


@runtime_checkable
class Counting(Protocol):
    """A source that counts what `unit` can't see."""

    tally: Tally


@runtime_checkable
class Interruptible(Protocol):
    """A source whose blocking calls can be ended from another thread."""

    def interrupt(self) -> None:
        """Make `open` and `read`, the present calls and all later ones, raise SourceLost."""


@runtime_checkable
class Living(Protocol):
    """A source whose samples are far apart by nature, such as windows of minutes: it shows signs
    of life between them, and knows by itself when it is lost."""

    alive_at: float
    """time.monotonic() of the last one."""
