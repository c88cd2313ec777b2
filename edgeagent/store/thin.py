"""Which records a full outbox can do without, so that a month still reads as a month.

Time is cut into slots of 100 ms × 2^level, and one record is kept in each: the one with the
highest score. What tells more gets finer slots: the first and last sight of a track and rare
labels, updates of events, and most of all their beginnings and ends; a pipeline's priority
moves its slots by one level a step. Slots are counted in boot time (CLOCK_BOOTTIME), boot by
boot: a wall clock that jumps cannot crowd or empty them. Since the slots of a level nest in
those of the next, thinning again only ever merges neighbours.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec
from msgspec import Struct

from edgeagent.store.encode import DEPLOYMENT, EVENT, GAP, KIND_NUMBER, UNREADABLE

BASE_MS = 100
TOP_LEVEL = 48
"""Slots of 900 years: nothing is left to thin."""
_TELLING = 6
_UPDATE = 12
_TURN = 24
"""Events begin to go when of results one is left in half an hour (2^14), their beginnings and
ends when there is one in 19 days (2^24): not before everything else."""
_SHARE = 0.25
"""A level is worth its work if it frees this share."""
_LEAST_SHARE = 0.001
_BLOB = KIND_NUMBER["blob"]


class _Sight(msgspec.Struct):
    pipeline: str = ""
    boot: str = ""
    mono_ms: float = 0.0
    data: Any = None


_decode = msgspec.json.Decoder(_Sight).decode


class Thinnable(Struct):
    """What thinning must know of one record."""

    seq: int
    pipeline: str
    boot: str
    mono_ms: float
    group: str
    score: float
    finer: int
    """Levels by which its slots are finer than the level asked for."""
    bytes: int = 0


def thinnable(
    rows: Iterable[tuple[int, int, bytes]],
    priorities: Mapping[str, int],
    shares: Mapping[str, float] | None = None,
) -> list[Thinnable]:
    """Read rows (seq, kind, body) of one block. Gaps and deployments are never thinned.

    ``shares``: pipeline → part of the block's bytes that its records may take (1 where absent);
    with twice as much its slots are a level coarser, with four times two, and so on.
    """
    found: list[Thinnable] = []
    labels: Counter[str] = Counter()
    sights: list[tuple[Thinnable, set[str], set[tuple[str, int]]]] = []
    for seq, kind, body in rows:
        if kind in (GAP, DEPLOYMENT):
            continue
        try:
            sight = _decode(body)
        except UNREADABLE:
            sight = _Sight()
        score, seen, tracks = _contents(sight.data)
        group, finer = _rank(kind, sight.data)
        finer += priorities.get(sight.pipeline, 5) - 5
        item = Thinnable(seq, sight.pipeline, sight.boot, sight.mono_ms, group, score, finer)
        item.bytes = len(body)
        found.append(item)
        if not group:
            labels.update(seen)
            sights.append((item, seen, {(sight.pipeline, track) for track in tracks}))
    for item in _telling(sights, labels):
        item.group = "telling"
        item.finer += _TELLING
    if shares:
        _keep_to_shares(found, shares)
    return found


def _keep_to_shares(items: Sequence[Thinnable], shares: Mapping[str, float]) -> None:
    taken: Counter[str] = Counter()
    for item in items:
        taken[item.pipeline] += item.bytes
    total = taken.total()
    coarser = {
        name: math.ceil(math.log2(taken[name] / (max(share, _LEAST_SHARE) * total)))
        for name, share in shares.items()
        if taken[name] > max(share, _LEAST_SHARE) * total
    }
    for item in items:
        # What an event says is not paid for with its pipeline's results.
        if item.group in ("", "telling"):
            item.finer -= coarser.get(item.pipeline, 0)


def _rank(kind: int, data: Any) -> tuple[str, int]:
    if kind == EVENT:
        phase = data.get("phase") if isinstance(data, dict) else None
        return ("update", _UPDATE) if phase == "update" else ("turn", _TURN)
    return ("blob", _UPDATE) if kind == _BLOB else ("", 0)


def _contents(data: Any) -> tuple[float, set[str], set[int]]:
    """Highest score, labels and tracks, wherever they stand: the data itself and the objects
    in its lists (a decoder's predictions)."""
    score, labels, tracks = 0.0, set(), set()
    if isinstance(data, dict):
        for thing in _things(data):
            value = thing.get("score")
            if isinstance(value, (int, float)):
                score = max(score, float(value))
            if isinstance(label := thing.get("label"), str):
                labels.add(label)
            if isinstance(track := thing.get("track"), int) and track:
                tracks.add(track)
    return score, labels, tracks


def _things(data: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield data
    for value in data.values():
        if isinstance(value, list):
            yield from (thing for thing in value if isinstance(thing, dict))


def _telling(
    sights: Sequence[tuple[Thinnable, set[str], set[tuple[str, int]]]], labels: Counter[str]
) -> list[Thinnable]:
    """First and last sights of tracks, and labels seen in less than one of a hundred."""
    rare = {label for label, count in labels.items() if count * 100 < len(sights)}
    first: dict[tuple[str, int], Thinnable] = {}
    last: dict[tuple[str, int], Thinnable] = {}
    chosen: dict[int, Thinnable] = {}
    for item, seen, tracks in sights:
        for track in tracks:
            first.setdefault(track, item)
            last[track] = item
        if seen & rare:
            chosen[item.seq] = item
    for item in (*first.values(), *last.values()):
        chosen[item.seq] = item
    return list(chosen.values())


def victims(items: Sequence[Thinnable], level: int) -> list[int]:
    """The seqs (ascending) that are not the best of their slot at ``level``."""
    best: dict[tuple[str, str, str, int], Thinnable] = {}
    gone: list[int] = []
    for item in items:
        effective = level - item.finer
        if effective <= 0:
            continue
        key = (item.group, item.pipeline, item.boot, int(item.mono_ms) // (BASE_MS << effective))
        other = best.get(key)
        if other is None:
            best[key] = item
        elif item.score > other.score:
            best[key] = item
            gone.append(other.seq)
        else:
            gone.append(item.seq)
    return sorted(gone)


def worthwhile(items: Sequence[Thinnable], level: int) -> int:
    """The lowest level from ``level`` on that frees a fair share of ``items``, a sample."""
    while level < TOP_LEVEL and len(victims(items, level)) < max(1, _SHARE * len(items)):
        level += 1
    return level
