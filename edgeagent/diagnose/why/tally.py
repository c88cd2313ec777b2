"""What a pipeline has seen in a stretch of time, counted by what kept it from being an event."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

from msgspec import Struct, field

from edgeagent.decide.block import Block, Seen, Step
from edgeagent.decide.rules import Expression, Failed, because, parse
from edgeagent.decide.thought import Setup
from edgeagent.diagnose.why.times import Moment, Now, Since

FARTHEST = ("low", "rule", "few", "median", "limit", "unrecorded")
"""Reasons in the order in which a thing gets past them."""


class Near(Struct):
    """All that failed for one reason, and the one that came nearest."""

    label: str
    verdict: str
    count: int = 0
    best: float = 0.0
    """The highest score."""
    seen: Seen = field(default_factory=Seen)
    """The nearest …"""
    at: Moment | None = None
    """… and when."""
    last: Moment | None = None
    """When it was so last."""
    frame: int = 0
    failed: tuple[Failed, ...] = ()
    """Comparisons of the nearest rule that do not hold for it."""
    rule: str = ""
    setup: Setup = field(default_factory=Setup)


class Tally(Struct):
    """Of one pipeline."""

    looked: int = 0
    """Samples that went through the model."""
    first: Moment | None = None
    last: Moment | None = None
    held: Counter[str] = field(default_factory=Counter)
    """Samples without an inference, by reason."""
    held_last: dict[str, Moment] = field(default_factory=dict)
    near: dict[tuple[str, str, str], Near] = field(default_factory=dict)
    """By label, verdict and what failed."""
    begun: list[tuple[Moment, Seen, int | None]] = field(default_factory=list)
    """Events, each with the seq of its first record."""
    models: dict[str, Moment] = field(default_factory=dict)
    setup: Setup | None = None
    """The last."""
    lost: int = 0

    @property
    def samples(self) -> int:
        return self.looked + self.held.total()


def count(blocks: Iterable[Block], since: Since, now: Now, label: str = "") -> Tally:
    """Of blocks of one pipeline. ``label``: things of this name only."""
    tally = Tally()
    numbers = {(block.session, key): seq for block in blocks for key, seq in block.events.items()}
    for block in blocks:
        tally.lost += block.lost
        for step in block.steps:
            moment = Moment.of(block, step.last_ms or step.ms, now)
            if since.holds(moment, now):
                _add(tally, block, step, moment, label, numbers)
    return tally


def _add(
    tally: Tally, block: Block, step: Step, moment: Moment, label: str,
    numbers: dict[tuple[str, str], int],
) -> None:  # fmt: skip
    tally.first = tally.first or moment
    tally.last = moment
    if step.held:
        tally.held[step.held] += step.count
        tally.held_last[step.held] = moment
        return
    tally.looked += step.count
    tally.setup = block.setup
    tally.models.setdefault(block.setup.model, moment)
    for seen in step.seen:
        if label and seen.label != label:
            continue
        if seen.phase == "new":
            tally.begun.append((moment, seen, numbers.get((block.session, seen.event))))
        elif seen.verdict in FARTHEST:
            _miss(tally, block, step, seen, moment)


def _miss(tally: Tally, block: Block, step: Step, seen: Seen, moment: Moment) -> None:
    failed: tuple[Failed, ...] = ()
    rule = ""
    if seen.verdict == "rule":
        rule, failed = nearest_rule(block.setup, block.pipeline, seen)
    what = " and ".join(its.text for its in failed)
    near = tally.near.get((seen.label, seen.verdict, what))
    if near is None:
        near = tally.near[seen.label, seen.verdict, what] = Near(seen.label, seen.verdict)
    near.count += 1
    near.last = moment
    near.best = max(near.best, seen.score)
    if near.at is None or _is_nearer(seen, failed, near):
        near.seen, near.at, near.frame = seen, moment, step.frame
        near.failed, near.rule, near.setup = failed, rule, block.setup


def _is_nearer(seen: Seen, failed: tuple[Failed, ...], near: Near) -> bool:
    if seen.verdict == "median":
        return seen.median >= near.seen.median
    if seen.verdict == "few":
        return seen.hits >= near.seen.hits
    if seen.verdict == "rule" and failed:
        ours, theirs = failed[0].value, near.failed[0].value
        if isinstance(ours, (int, float)) and isinstance(theirs, (int, float)):
            return bool(ours <= theirs if upper(failed[0].text) else ours >= theirs)
        return True  # the last one is as near as any
    return seen.score >= near.seen.score


def upper(comparison: str) -> bool:
    """Whether a comparison sets a limit above, ``speed < 0.2``."""
    denied = comparison.startswith("not ")
    return bool(re.search(r"^[^'\"]*<", comparison)) != denied


def nearest_rule(setup: Setup, pipeline: str, seen: Seen) -> tuple[str, tuple[Failed, ...]]:
    """The rule that lacks least, and the comparisons that it lacks."""
    facts = seen.facts(pipeline)
    found: list[tuple[int, int, str, tuple[Failed, ...]]] = []
    for place, (name, when, event) in enumerate(setup.rules):
        if event:
            failed = because(_parsed(when).clause, facts)
            # A rule about other things lacks more than one about this that only lacks patience.
            weight = sum(3 if its.name == "label" else 1 for its in failed)
            found.append((weight, place, name, failed))
    if not found:
        return "", ()
    _, _, name, failed = min(found, key=lambda its: its[:2])
    return name, failed


def matching(setup: Setup, pipeline: str, seen: Seen) -> list[str]:
    """Names of the rules that hold."""
    facts = seen.facts(pipeline)
    return [name for name, when, event in setup.rules if event and _parsed(when)(facts)]


@lru_cache(maxsize=256)
def _parsed(when: str) -> Expression:
    return parse(when)


def figures(tally: Tally) -> dict[str, Any]:
    """For ``--json``."""
    return {
        "samples": tally.samples,
        "looked_at": tally.looked,
        "held": dict(tally.held.most_common()),
        "events": [f"e-{seq}" if seq else "" for _, _, seq in tally.begun],
        "not_noted": tally.lost,
        "near": [
            {
                "label": its.label, "reason": its.verdict, "count": its.count, "best": its.best,
                "nearest_at_ms": its.at.wall_ms if its.at else None, "frame": its.frame,
                "lacking": [one.text for one in its.failed], "rule": its.rule,
            }
            for its in ranked(tally)
        ],
    }  # fmt: skip


def ranked(tally: Tally) -> list[Near]:
    """What came near, the nearest first: what got farthest, of that what came most often. A thing
    that no rule is about comes last."""

    def key(its: Near) -> tuple[int, int, int]:
        stranger = any(one.name == "label" for one in its.failed)
        return (stranger, -FARTHEST.index(its.verdict), -its.count)

    return sorted(tally.near.values(), key=key)
