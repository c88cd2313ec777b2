"""What a comparison means: kinds that fit, and the closure that answers."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any

from msgspec import Struct, field

from edgeagent.decide.rules.clause import Test
from edgeagent.decide.rules.facts import CALLS, WORDS_OF, Facts, Kind, unasked
from edgeagent.decide.rules.tokens import Token, fault

Span = tuple[float, float]
"""Two times of day; the second may be before the first: over midnight."""

_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "==": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le,
    ">": operator.gt, ">=": operator.ge,
}  # fmt: skip
COMPARISONS = tuple(_COMPARE)
_SETS = ("zones", "lines")
_PLACES: dict[Kind, str] = {"zones": "zones", "lines": "lines"}
_BY_CLOCK = ("time", "day")
_SCENE = ("time", "day", "clock")


class Operand(Struct, frozen=True):
    """One side of a comparison."""

    kind: Kind
    name: str
    """Empty for a literal; ``dwell()`` for a call."""
    value: Any
    """Of a literal; for a list, its operands; for a call, what stands in its brackets."""
    column: int


Named = list[tuple[str, int]]


class Mentioned(Struct):
    """What a rule names that must exist, each with its column (from 1)."""

    names: set[str] = field(default_factory=set)
    labels: Named = field(default_factory=list)
    zones: Named = field(default_factory=list)
    lines: Named = field(default_factory=list)
    readings: Named = field(default_factory=list)
    plugins: Named = field(default_factory=list)

    def add(self, what: str, text: str, column: int) -> None:
        """``what``: label, zone, line, reading or rule."""
        {"label": self.labels, "zone": self.zones, "line": self.lines,
         "reading": self.readings, "rule": self.plugins}[what].append((text, column))  # fmt: skip

    def compared(self, left: Operand, right: Operand) -> None:
        """Take note of the texts that a label, a zone or a line is compared with."""
        for name, other in ((left, right), (right, left)):
            members = other.value if other.kind == "list" else [other]
            texts = [(m.value, m.column) for m in members if m.kind == "text" and not m.name]
            if name.name == "label":
                self.labels += texts
            elif name.kind == "zones":
                self.zones += texts
            elif name.kind == "lines":
                self.lines += texts


def compare(rule: str, left: Operand, right: Operand, sign: Token) -> Test:
    """``left sign right``. Raises ConfigError where the two do not go together."""
    check_kinds(rule, left, right, sign)
    if left.kind in _SETS or right.kind in _SETS:
        places, text = (left, right) if left.kind in _SETS else (right, left)
        if sign.text not in ("==", "!=") or text.kind != "text":
            one = places.kind.rstrip("s")
            said = f"{places.kind} are compared by ==, != or in with a {one}'s name"
            raise fault(rule, sign.column, said)
        is_one_of = _member_of(places, _getter(text))
        return is_one_of if sign.text == "==" else lambda facts: not is_one_of(facts)
    if left.kind == "text" and sign.text not in ("==", "!="):
        raise fault(rule, sign.column, f"texts have no order: {sign.text} needs numbers")
    if "span" in (left.kind, right.kind):
        raise fault(rule, sign.column, "a stretch of time is asked with in: time in 22:00..06:00")
    compares, first, second = _COMPARE[sign.text], _getter(left), _getter(right)
    if not right.name and left.name:  # by far the most common form, and the fastest
        constant = right.value
        return _by_clock(lambda facts: compares(first(facts), constant), left)
    return _by_clock(lambda facts: compares(first(facts), second(facts)), left, right)


def contains(rule: str, left: Operand, right: Operand, sign: Token) -> Test:
    """``left in right``. Raises ConfigError where the two do not go together."""
    if right.kind in _SETS:
        if left.kind != "text":
            said = f"{_a(left)} can't be in {right.kind}: expected a {right.kind[:-1]}'s name"
            raise fault(rule, sign.column, said)
        return _member_of(right, _getter(left))
    if right.kind == "span":
        if left.kind != "time" or not left.name:
            raise fault(rule, sign.column, f"{_a(left)} can't be in a stretch of time: use time")
        return _within(right.value)
    if right.kind != "list":
        raise fault(rule, sign.column, "in needs a list, ['a', 'b'], zones, lines or 22:00..06:00")
    for member in right.value:
        if member.name or member.kind == "span":
            raise fault(rule, member.column, "a list holds texts or numbers only")
        check_kinds(rule, left, member, sign)
    values = frozenset(member.value for member in right.value)
    if left.kind in _SETS:
        places = operator.attrgetter(_PLACES[left.kind])
        return lambda facts: not values.isdisjoint(places(facts))
    get = _getter(left)
    return _by_clock(lambda facts: get(facts) in values, left)


def check_kinds(rule: str, left: Operand, right: Operand, sign: Token) -> None:
    """Raises ConfigError where two operands can't be compared."""
    kinds = {"text" if side.kind in _SETS else side.kind for side in (left, right)}
    bare = left if left.kind == "number" else right
    if kinds == {"duration", "number"} and not bare.name:
        raise fault(
            rule, bare.column, "a duration needs a unit",
            f"Write {bare.value:g} s (or us, ms, min, h, d).",
        )  # fmt: skip
    if kinds == {"time", "number"} and not bare.name:
        raise fault(rule, bare.column, "a time of day is written 22:00 or 22:00:30")
    if (len(kinds) > 1 or kinds == {"list"}) and kinds != {"time", "span"}:
        raise fault(rule, sign.column, f"{_a(left)} can't be compared with {_a(right)}")
    if not left.name and not right.name:
        raise fault(rule, sign.column, "two constants are compared: one side must be a name")
    for name, text in ((left, right), (right, left)):
        words = WORDS_OF.get(name.name)
        if words and not text.name and text.value not in words:
            said = f"{name.name} is never {text.value!r}; it is one of {', '.join(words)}"
            raise fault(rule, text.column, said)


def _within(span: Span) -> Test:
    start, end = span
    if start <= end:
        return lambda facts: start <= facts.scene.time < end
    return lambda facts: facts.scene.time >= start or facts.scene.time < end


def _member_of(places: Operand, get: Callable[[Facts], Any]) -> Test:
    if places.kind == "zones":
        return lambda facts: get(facts) in facts.zones
    return lambda facts: get(facts) in facts.lines


def _by_clock(test: Test, *sides: Operand) -> Test:
    """What depends on the time of day is false where nobody knows it, != and all."""
    if not any(side.name in _BY_CLOCK for side in sides):
        return test
    return lambda facts: bool(facts.scene.day) and test(facts)


def asked(operand: Operand) -> tuple[str, Callable[[Facts], Any]]:
    """What a side of a comparison asks, as a person would write it, and its value."""
    name = operand.name
    if name.endswith("()"):
        name = f"{name[:-2]}('{operand.value}')"
    return name, _getter(operand)


def _getter(operand: Operand) -> Callable[[Facts], Any]:
    value = operand.value
    if operand.name.endswith("()"):
        return _ASKED[operand.name[:-2]](value)
    if operand.name:
        name = _PLACES.get(operand.kind, operand.name)
        return operator.attrgetter(f"scene.{name}" if name in _SCENE else name)
    return lambda _facts: value


def _plugged(rule: str) -> Callable[[Facts], float]:
    """Asked once about each thing; of what is asked about later, the answer is kept."""

    def get(facts: Facts) -> float:
        if rule not in facts.plugged:
            facts.plugged[rule] = facts.scene.plugins.get(rule, unasked)(facts)
        return facts.plugged[rule]

    return get


_ASKED: dict[str, Callable[[str], Callable[[Facts], Any]]] = {
    "count": lambda label: lambda facts: facts.scene.counts.get(label, 0),
    "inside": lambda zone: lambda facts: facts.scene.inside.get(zone, 0),
    "dwell": lambda zone: lambda facts: facts.dwell.get(zone, 0.0),
    "crossed": lambda line: lambda facts: facts.scene.crossed.get(line, 0),
    "value": lambda reading: lambda facts: facts.scene.values.get(reading, math.nan),
    "plugin": _plugged,
}
assert _ASKED.keys() == CALLS.keys()


def _a(operand: Operand) -> str:
    if operand.name:
        return f"{operand.name} (a {operand.kind.rstrip('s')})"
    return "a stretch of time" if operand.kind == "span" else f"a {operand.kind}"
