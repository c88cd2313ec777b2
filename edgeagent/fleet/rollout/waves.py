"""Who is in which wave: stratified by hardware profile, the same for everybody who asks.

A wave is an experiment. What fails on one kind of board only must be seen while few devices of
it have the new version, so each wave takes from each profile what its share says and never less
than ``least`` while there are so many (proportional allocation with a floor per stratum). Within
a profile the order is by a hash, so neighbours on a shelf do not go together; in a wave the
first ``least`` of every profile are asked before the rest, which then comes in proportion.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple


class Candidate(NamedTuple):
    """A device that may be asked."""

    device: str
    profile: str
    canary: bool = False


def waves(
    candidates: Iterable[Candidate], shares: Sequence[float], *, least: int, seed: str
) -> list[list[Candidate]]:
    """Every candidate in exactly one wave; waves that would be empty are left out.

    Args:
        shares: rising, of each profile by the end of each wave; what they leave over comes last.
        least: devices of each profile in each wave, while there are so many.
        seed: another one gives another order.
    """
    strata: dict[str, list[Candidate]] = {}
    for candidate in sorted(set(candidates)):
        strata.setdefault(candidate.profile, []).append(candidate)
    planned: list[list[list[Candidate]]] = [[] for _ in shares]
    for _, members in sorted(strata.items()):
        # Canaries come first, then whoever the hash says.
        members.sort(key=lambda c: (not c.canary, _hash(seed, c.device)))
        taken = 0
        for number, end in enumerate(_ends(members, shares, least)):
            planned[number].append(members[taken:end])
            taken = end
    return [wave for wave in (_order(parts, least) for parts in planned) if wave]


def _ends(members: Sequence[Candidate], shares: Sequence[float], least: int) -> list[int]:
    """How many of a profile have been asked by the end of each wave."""
    count, ends = len(members), list[int]()
    least_end = max(least, sum(member.canary for member in members))
    for share in shares:
        # 0.05 * 100 is a little more than 5 in binary.
        wanted = math.ceil(round(share * count, 9))
        ends.append(min(count, max(wanted, least_end)))
        least_end = ends[-1] + least
    ends[-1] = count
    return ends


def _order(parts: Sequence[Sequence[Candidate]], least: int) -> list[Candidate]:
    placed = [
        ((0, rank, part[rank].profile) if rank < least
         else (1, (rank + 0.5) / len(part), part[rank].profile), part[rank])
        for part in parts
        for rank in range(len(part))
    ]  # fmt: skip
    return [candidate for _, candidate in sorted(placed)]


def _hash(seed: str, device: str) -> bytes:
    return hashlib.sha256(f"{seed}/{device}".encode()).digest()
