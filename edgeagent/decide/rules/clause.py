"""A rule as a tree of its comparisons, for people who ask why it did not hold.

The pipeline asks only `Clause.test`, one closure; nothing here costs it anything.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

from msgspec import Struct

from edgeagent.decide.rules.facts import Facts

Test = Callable[[Facts], bool]


class Clause(Struct, frozen=True):
    """A part of a rule: one comparison, or several joined."""

    kind: Literal["comparison", "all", "any", "not"]
    test: Test
    text: str
    """As it stands in the rule."""
    parts: tuple[Clause, ...] = ()
    name: str = ""
    """What a comparison asks: ``age``, ``dwell('door')``."""
    get: Callable[[Facts], Any] | None = None
    """Its present value."""


class Failed(Struct, frozen=True):
    """A comparison that keeps a rule from holding, and the value that it found."""

    text: str
    name: str
    value: Any


def joined(kind: Literal["all", "any"], parts: Sequence[Clause], text: str) -> Clause:
    """Parts with ``and`` or ``or`` between them; one alone is itself."""
    if len(parts) == 1:
        return parts[0]
    tests = [part.test for part in parts]
    if kind == "all":
        return Clause("all", lambda facts: all(test(facts) for test in tests), text, tuple(parts))
    return Clause("any", lambda facts: any(test(facts) for test in tests), text, tuple(parts))


def denied(part: Clause, text: str) -> Clause:
    """``not`` before a part."""
    test = part.test
    return Clause("not", lambda facts: not test(facts), text, (part,))


def because(clause: Clause, facts: Facts, wanted: bool = True) -> tuple[Failed, ...]:
    """The comparisons that keep a clause from being ``wanted``; empty = it is. Of several ways
    by ``or`` the one that lacks least is told."""
    if clause.test(facts) == wanted:
        return ()
    if clause.kind == "comparison":
        value = clause.get(facts) if clause.get is not None else None
        text = clause.text if wanted else f"not {clause.text}"
        return (Failed(text, clause.name, value),)
    if clause.kind == "not":
        return because(clause.parts[0], facts, not wanted)
    each = [its for part in clause.parts if (its := because(part, facts, wanted))]
    if (clause.kind == "all") == wanted:
        return tuple(failed for some in each for failed in some)
    return min(each, key=len)


def comparisons(clause: Clause) -> Iterator[Clause]:
    """All comparisons of a rule, from left to right."""
    if clause.kind == "comparison":
        yield clause
    for part in clause.parts:
        yield from comparisons(part)
