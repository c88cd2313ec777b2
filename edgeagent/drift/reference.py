"""What is usual: the chapters of a week, or of the data that a model was made with.

A camera sees day and night, a machine runs and rests. So the usual is no single distribution but a
few chapters that are unlike one another, and what is seen now is compared with the chapter that is
nearest to it. How far the looks of the second half of the week still were from all chapters before
them says how much change is usual here, and no smaller change is called drift.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from pathlib import Path
from typing import Any, Literal

import msgspec
from msgspec import Struct, field

from edgeagent.drift.chapter import LABELS, Chapter, PackedChapter, distances
from edgeagent.errors import InputError

MOST = 12
"""Chapters; beyond it the two that are nearest to each other become one."""
_MARGIN = 1.4
"""What is called drift is so much further away than what was usual."""
_LIMIT = 0.9
_VERSION = 1

Origin = Literal["device", "package"]


class Reference(Struct):
    """See the module."""

    model: str = ""
    """``parts@1.2.0``, and ``~`` with the threshold on a device."""
    threshold: float = 0.5
    """By which answers were counted."""
    form: str = ""
    """Of the samples (`look.form`)."""
    origin: Origin = "device"
    chapters: list[Chapter] = field(default_factory=list)
    usual: dict[str, float] = field(default_factory=dict)
    """Feature → the largest distance of late looks from all chapters before them."""
    span_ms: float = 0.0
    """Of the samples' time, without pauses."""
    learned: bool = False
    _apart: list[list[float]] | None = None

    @property
    def looks(self) -> int:
        return sum(its.n for its in self.chapters)

    def widen(self, now: Chapter, least: int, enough: float) -> None:
        """These looks are usual as well, however far they are from all chapters."""
        for name, its in self.apart(now, least, enough).items():
            self.usual[name] = max(self.usual.get(name, 0.0), its)

    def take(self, chapter: Chapter, least: int) -> None:
        """Learn from another chapter."""
        apart = [distances(chapter, its, least) for its in self.chapters]
        if self._apart is None:
            self._apart = [[0.0] * len(self.chapters) for _ in self.chapters]
            for i, j in combinations(range(len(self.chapters)), 2):
                one = _mean(distances(self.chapters[i], self.chapters[j], least))
                self._apart[i][j] = self._apart[j][i] = one
        self._place(chapter, [_mean(its) for its in apart])
        if len(self.chapters) > MOST:
            self._join(least)

    def _place(self, chapter: Chapter, apart: list[float]) -> None:
        assert self._apart is not None
        for row, its in zip(self._apart, apart, strict=True):
            row.append(its)
        self._apart.append([*apart, 0.0])
        self.chapters.append(chapter)

    def _join(self, least: int) -> None:
        """Make one of the two chapters that are nearest to each other."""
        assert self._apart is not None
        known = self._apart
        one, other = min(
            combinations(range(len(self.chapters)), 2), key=lambda pair: known[pair[0]][pair[1]]
        )
        joined = self.chapters[one]
        joined.merge(self.chapters[other])
        for place in (other, one):
            del self.chapters[place]
            del known[place]
            for row in known:
                del row[place]
        self._place(joined, [_mean(distances(joined, its, least)) for its in self.chapters])

    def apart(self, now: Chapter, least: int, enough: float) -> dict[str, float]:
        """Feature → distance from the nearest chapter, or from the first one that is as near as
        ``enough``: for most samples one chapter answers for all features."""
        found: dict[str, float] = {}
        open_: set[str] | None = None
        for its in self.chapters:
            for name, one in distances(now, its, least, open_).items():
                found[name] = min(found.get(name, 1.0), one)
            open_ = {*now.numbers, LABELS} - {n for n, one in found.items() if one <= enough}
            if not open_:
                break
        return found

    def limit(self, feature: str, threshold: float) -> float:
        """From which distance on a feature has drifted."""
        return min(_LIMIT, max(threshold, _MARGIN * self.usual.get(feature, 0.0)))

    def whole(self) -> Chapter:
        """All chapters in one, to be shown."""
        together = Chapter()
        for its in self.chapters:
            together.merge(its)
        return together


def _mean(apart: Mapping[str, float]) -> float:
    return sum(apart.values()) / len(apart) if apart else 1.0


class _File(Struct):
    """A reference in a file, and what goes on meanwhile."""

    version: int
    model: str
    threshold: float
    form: str
    chapters: list[PackedChapter]
    usual: dict[str, float]
    span_ms: float
    learned: bool
    begun: PackedChapter | None = None
    """The chapter that is not full yet."""
    incident: dict[str, Any] | None = None
    """What is open (`incident.Incident`)."""


def encoded(its: Reference, begun: Chapter | None, incident: dict[str, Any] | None) -> bytes:
    """As it lies in a file."""
    return msgspec.msgpack.encode(
        _File(
            _VERSION, its.model, its.threshold, its.form,
            [PackedChapter.of(one) for one in its.chapters], its.usual, its.span_ms, its.learned,
            PackedChapter.of(begun) if begun is not None and begun.n else None, incident,
        )
    )  # fmt: skip


def decoded(
    data: bytes, place: Path, origin: Origin = "device"
) -> tuple[Reference, Chapter, dict[str, Any] | None]:
    """What `encoded` gave. Raises InputError."""
    try:
        kept = msgspec.msgpack.decode(data, type=_File)
        if kept.version != _VERSION:
            raise ValueError(f"it is of version {kept.version}")
        reference = Reference(
            kept.model, kept.threshold, kept.form, origin,
            [its.chapter() for its in kept.chapters], kept.usual, kept.span_ms,
            kept.learned,
        )  # fmt: skip
        begun = kept.begun.chapter() if kept.begun is not None else Chapter()
    except (msgspec.MsgspecError, ValueError) as error:
        raise InputError(
            f"{place}: can't be read as a reference for drift: {error}",
            remedy="Make it anew: edgeagent models reference MODEL --samples DIR, or on the "
            "device: edgeagent drift learn PIPELINE",
        ) from error
    return reference, begun, kept.incident
