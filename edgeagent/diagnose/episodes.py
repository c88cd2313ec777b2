"""Events of a run as episodes, and two runs beside each other: what both tell, what only one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal

from msgspec import Struct

Verdict = Literal["same", "changed", "gone", "new"]

SCORE_TOLERANCE = 0.06
"""Two correct kernels differ by less."""
TIME_TOLERANCE_S = 0.5


class Episode(Struct, frozen=True):
    """One event from its beginning to its end."""

    id: str
    label: str
    began_s: float
    """Time of the recording."""
    ended_s: float
    score: float
    """The best, or an anomaly's highest."""
    zones: tuple[str, ...] = ()
    rule: str = ""
    box: tuple[float, float, float, float] | None = None
    """Where it was when it began."""


class Pair(Struct, frozen=True):
    """An episode of the first run, of the second, or of both."""

    verdict: Verdict
    first: Episode | None
    second: Episode | None
    why: str = ""
    """What has changed, in words."""


def episodes(records: Iterable[dict[str, Any]]) -> list[Episode]:
    """The events of a run, in the order in which they began.

    Args:
        records: as `replay` gives them: ``t`` in seconds and ``data`` with ``id`` and ``phase``.
    """
    found: dict[str, Episode] = {}
    for record in records:
        data = record.get("data", {})
        if record.get("kind") != "event" or "phase" not in data:
            continue
        earlier = found.get(data["id"])
        score = float(data.get("score", 0.0))
        zones = tuple(data.get("zones", ()))
        found[data["id"]] = Episode(
            data["id"],
            str(data.get("label", "")),
            earlier.began_s if earlier else record["t"],
            record["t"],
            max(score, earlier.score) if earlier else score,
            tuple(dict.fromkeys((*earlier.zones, *zones))) if earlier else zones,
            str(data.get("rule", earlier.rule if earlier else "")),
            earlier.box if earlier else _box(data),
        )
    return list(found.values())


def compare(
    first: Sequence[Episode],
    second: Sequence[Episode],
    *,
    score_tolerance: float = SCORE_TOLERANCE,
    time_tolerance_s: float = TIME_TOLERANCE_S,
) -> list[Pair]:
    """Episodes of two runs of one recording, paired by label and by how well their times agree;
    in the order of time. An episode has one partner at most."""
    near = sorted(
        (-_shared_s(a, b, time_tolerance_s), abs(a.began_s - b.began_s), i, j)
        for i, a in enumerate(first)
        for j, b in enumerate(second)
        if a.label == b.label and _shared_s(a, b, time_tolerance_s) > 0
    )
    partner: dict[int, int] = {}
    taken: set[int] = set()
    for _, _, i, j in near:
        if i not in partner and j not in taken:
            partner[i] = j
            taken.add(j)
    pairs = [
        _pair(a, second[partner[i]], score_tolerance, time_tolerance_s)
        if i in partner
        else Pair("gone", a, None)
        for i, a in enumerate(first)
    ]
    pairs += [Pair("new", None, b) for j, b in enumerate(second) if j not in taken]
    return sorted(pairs, key=_when)


def differing(pairs: Iterable[Pair]) -> list[Pair]:
    """Those in which the runs do not agree."""
    return [pair for pair in pairs if pair.verdict != "same"]


def _box(data: dict[str, Any]) -> tuple[float, float, float, float] | None:
    box = data.get("box")
    return (box[0], box[1], box[2], box[3]) if box else None


def _shared_s(a: Episode, b: Episode, tolerance_s: float) -> float:
    """How long both last at once; what is apart by less than the tolerance touches."""
    return min(a.ended_s, b.ended_s) - max(a.began_s, b.began_s) + tolerance_s


def _pair(a: Episode, b: Episode, score_tolerance: float, time_tolerance_s: float) -> Pair:
    said = []
    if abs(a.score - b.score) > score_tolerance * max(1.0, abs(a.score)):
        said.append(f"score {a.score:.2f} → {b.score:.2f}")
    if abs(a.began_s - b.began_s) > time_tolerance_s:
        said.append(f"began {a.began_s:.1f} s → {b.began_s:.1f} s")
    if abs(a.ended_s - b.ended_s) > time_tolerance_s:
        said.append(f"ended {a.ended_s:.1f} s → {b.ended_s:.1f} s")
    if set(a.zones) != set(b.zones):
        said.append(f"zones {', '.join(a.zones) or 'none'} → {', '.join(b.zones) or 'none'}")
    return Pair("changed" if said else "same", a, b, "; ".join(said))


def _when(pair: Pair) -> tuple[float, str]:
    episode = pair.first or pair.second
    assert episode is not None
    return episode.began_s, episode.label
