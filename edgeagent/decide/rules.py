"""The language of ``when``: what a rule may say, parsed and checked before anything runs.

    label == 'crack' and zone == 'belt' and age > 0.5 s
    score >= 80 % and not label in ['person', 'dog']
    count > 3 or ('gate' in zones and speed > 0.2)

    rule       = both {"or" both}
    both       = clause {"and" clause}
    clause     = "not" clause | "(" rule ")" | comparison
    comparison = operand ("==" | "!=" | "<" | "<=" | ">" | ">=" | ["not"] "in") operand
    operand    = name | text | number [unit] | "[" operand {"," operand} "]"

Names and their kinds stand in `NAMES`. A zone comparison is about any of the zones that the
thing stands in: ``zone == 'a'`` means that it stands in a, ``zone != 'a'`` that it does not.
Durations need a unit (us, ms, s, min, h, d), as in the configuration. There is no evaluation
of code: the parser builds closures over a handful of comparisons.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Sequence
from typing import Any, Literal

from msgspec import Struct

from edgeagent.errors import ConfigError

Kind = Literal["text", "zones", "number", "duration", "list"]

NAMES: dict[str, Kind] = {
    "label": "text",
    "pipeline": "text",
    "zone": "zones",
    "zones": "zones",
    "score": "number",
    "age": "duration",
    "track": "number",
    "count": "number",
    "speed": "number",
    "value": "number",
}
"""What a rule can ask. ``age``: since it was first seen; ``count``: things of this label in
this sample; ``speed``: of its foot, in frame sizes a second; ``value``: a regression's value
or an anomaly's score."""

LONGEST = 2000
DEEPEST = 50

_SECONDS = {"us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
_TOKEN = re.compile(
    r"(?P<space>\s+)"
    r"|(?P<number>\d+(?:\.\d+)?(?:[eE][+-]?\d+)?|\.\d+)"
    r"|(?P<text>'[^'\\]*'|\"[^\"\\]*\")"
    r"|(?P<name>[A-Za-zµ_][A-Za-z0-9µ_]*)"
    r"|(?P<mark>==|!=|<=|>=|<|>|\(|\)|\[|\]|,|%|-)"
)
_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "==": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le,
    ">": operator.gt, ">=": operator.ge,
}  # fmt: skip
_WORDS = ("and", "or", "not", "in")


class Facts(Struct):
    """What is known of one thing in one sample; what a rule is asked about."""

    label: str
    score: float
    pipeline: str = ""
    zones: tuple[str, ...] = ()
    age: float = 0.0
    """Seconds."""
    track: int = 0
    count: int = 1
    speed: float = 0.0
    value: float = math.nan


Test = Callable[[Facts], bool]


class Expression(Struct, frozen=True):
    """A parsed ``when``."""

    text: str
    test: Test
    names: frozenset[str]
    """Names that it asks."""
    labels: tuple[tuple[str, int], ...]
    """Labels that it compares with, each with its column (from 1)."""
    zones: tuple[tuple[str, int], ...]

    def __call__(self, facts: Facts) -> bool:
        return self.test(facts)


def parse(text: str) -> Expression:
    """Read a ``when`` expression. Raises ConfigError that points at the column."""
    return _Parser(text).parse()


def fault(text: str, column: int, message: str, remedy: str = "") -> ConfigError:
    """A ConfigError that shows where in the rule it is."""
    return ConfigError(
        f"rule, column {column}: {message}\n  {text}\n  {' ' * (column - 1)}^", remedy=remedy
    )


class _Token(Struct, frozen=True):
    kind: str
    text: str
    column: int


class _Operand(Struct, frozen=True):
    kind: Kind
    name: str
    """Empty for a literal."""
    value: Any
    """Of a literal; for a list, its operands."""
    column: int


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = self._split()
        self._at = 0
        self._depth = 0
        self._names: set[str] = set()
        self._labels: list[tuple[str, int]] = []
        self._zones: list[tuple[str, int]] = []

    def parse(self) -> Expression:
        test = self._rule()
        rest = self._next()
        if rest.kind != "end":
            if rest.text in _COMPARE or rest.text == "in":
                raise self._fault(rest, "comparisons can't be chained", "Join two with and.")
            raise self._fault(rest, f"{rest.text!r} is too much: expected and, or, or the end")
        return Expression(
            self._text, test, frozenset(self._names), tuple(self._labels), tuple(self._zones)
        )

    # --- grammar ---------------------------------------------------------------------------

    def _rule(self) -> Test:
        tests = [self._both()]
        while self._take("name", "or"):
            tests.append(self._both())
        return tests[0] if len(tests) == 1 else lambda facts: any(test(facts) for test in tests)

    def _both(self) -> Test:
        tests = [self._clause()]
        while self._take("name", "and"):
            tests.append(self._clause())
        return tests[0] if len(tests) == 1 else lambda facts: all(test(facts) for test in tests)

    def _clause(self) -> Test:
        self._depth += 1
        if self._depth > DEEPEST:
            raise self._fault(self._peek(), f"nested deeper than {DEEPEST}")
        try:
            if self._take("name", "not"):
                denied = self._clause()
                return lambda facts: not denied(facts)
            if self._take("mark", "("):
                test = self._rule()
                self._demand(")")
                return test
            return self._comparison()
        finally:
            self._depth -= 1

    def _comparison(self) -> Test:
        left = self._operand()
        token = self._next()
        if token.kind == "name" and token.text in ("in", "not"):
            if token.text == "not" and not self._take("name", "in"):
                raise self._fault(self._peek(), "expected in after not")
            member = self._membership(left, self._operand(), token)
            return member if token.text == "in" else lambda facts: not member(facts)
        if token.text == "=":
            raise self._fault(token, "= sets nothing here; compare with ==")
        if token.text not in _COMPARE:
            found = "the end" if token.kind == "end" else repr(token.text)
            raise self._fault(token, f"expected a comparison (==, !=, <, …, in), not {found}")
        return self._compare(left, self._operand(), token)

    def _operand(self) -> _Operand:
        token = self._next()
        if token.kind == "number" or token.text == "-":
            return self._number(token)
        if token.kind == "text":
            return _Operand("text", "", token.text[1:-1], token.column)
        if token.text == "[":
            members = [self._member()]
            while self._take("mark", ","):
                members.append(self._member())
            self._demand("]")
            return _Operand("list", "", members, token.column)
        if token.kind == "name" and token.text in NAMES:
            self._names.add(token.text)
            return _Operand(NAMES[token.text], token.text, None, token.column)
        if token.kind == "name" and token.text not in _WORDS:
            import difflib

            close = difflib.get_close_matches(token.text, NAMES, n=1)
            hint = f"did you mean {close[0]}?" if close else f"known: {', '.join(NAMES)}"
            raise self._fault(
                token, f"there is no {token.text}; {hint}", "Put texts in quotes: 'crack'."
            )
        found = "the end" if token.kind == "end" else repr(token.text)
        raise self._fault(token, f"expected a name, a text in quotes or a number, not {found}")

    def _member(self) -> _Operand:
        if self._peek().text == "[":
            raise self._fault(self._peek(), "a list holds texts or numbers only")
        return self._operand()

    def _number(self, first: _Token) -> _Operand:
        token = first
        if first.text == "-":
            token = self._next()
            if token.kind != "number":
                raise self._fault(token, "expected a number after -")
        value = float(token.text) * (-1 if first.text == "-" else 1)
        unit = self._peek()
        if unit.text == "%":
            self._next()
            return _Operand("number", "", value / 100, first.column)
        if unit.kind == "name" and unit.text in _SECONDS:
            self._next()
            return _Operand("duration", "", value * _SECONDS[unit.text], first.column)
        if unit.kind == "name" and unit.text not in _WORDS and unit.text not in NAMES:
            raise self._fault(unit, f"{unit.text!r} is no unit; known: {', '.join(_SECONDS)}, %")
        return _Operand("number", "", value, first.column)

    # --- meaning ---------------------------------------------------------------------------

    def _compare(self, left: _Operand, right: _Operand, sign: _Token) -> Test:
        self._check_kinds(left, right, sign)
        self._remember(left, right)
        if "zones" in (left.kind, right.kind):
            text = right if left.kind == "zones" else left
            if sign.text not in ("==", "!=") or text.kind != "text":
                raise self._fault(sign, "zones are compared by ==, != or in with a zone's name")
            get = _getter(text)
            if sign.text == "==":
                return lambda facts: get(facts) in facts.zones
            return lambda facts: get(facts) not in facts.zones
        if left.kind == "text" and sign.text not in ("==", "!="):
            raise self._fault(sign, f"texts have no order: {sign.text} needs numbers")
        compare, first, second = _COMPARE[sign.text], _getter(left), _getter(right)
        if not right.name and left.name:  # by far the most common form, and the fastest
            constant = right.value
            return lambda facts: compare(first(facts), constant)
        return lambda facts: compare(first(facts), second(facts))

    def _membership(self, left: _Operand, right: _Operand, sign: _Token) -> Test:
        self._remember(left, right)
        if right.kind == "zones":
            if left.kind != "text":
                raise self._fault(sign, f"{_a(left)} can't be in zones: expected a zone's name")
            get = _getter(left)
            return lambda facts: get(facts) in facts.zones
        if right.kind != "list":
            raise self._fault(sign, "in needs a list, ['a', 'b'], or zones")
        members: Sequence[_Operand] = right.value
        for member in members:
            if member.name:
                raise fault(self._text, member.column, "a list holds texts or numbers only")
            self._check_kinds(left, member, sign)
        values = frozenset(member.value for member in members)
        if left.kind == "zones":
            return lambda facts: not values.isdisjoint(facts.zones)
        get = _getter(left)
        return lambda facts: get(facts) in values

    def _check_kinds(self, left: _Operand, right: _Operand, sign: _Token) -> None:
        kinds = {"text" if side.kind == "zones" else side.kind for side in (left, right)}
        if kinds == {"duration", "number"}:
            bare = left if left.kind == "number" else right
            if not bare.name:
                raise fault(
                    self._text, bare.column, "a duration needs a unit",
                    f"Write {bare.value:g} s (or us, ms, min, h, d).",
                )  # fmt: skip
        if len(kinds) > 1 or kinds == {"list"}:
            raise self._fault(sign, f"{_a(left)} can't be compared with {_a(right)}")
        if not left.name and not right.name:
            raise self._fault(sign, "two constants are compared: one side must be a name")

    def _remember(self, left: _Operand, right: _Operand) -> None:
        for name, other in ((left, right), (right, left)):
            members = other.value if other.kind == "list" else [other]
            texts = [(m.value, m.column) for m in members if m.kind == "text" and not m.name]
            if name.name == "label":
                self._labels += texts
            elif name.kind == "zones":
                self._zones += texts

    # --- tokens ----------------------------------------------------------------------------

    def _split(self) -> list[_Token]:
        text, tokens, at = self._text, [], 0
        if len(text) > LONGEST:
            raise fault(text[:60] + "…", 1, f"longer than {LONGEST} characters")
        while at < len(text):
            match = _TOKEN.match(text, at)
            if match is None:
                raise fault(text, at + 1, _unreadable(text[at]))
            if match.lastgroup != "space":
                tokens.append(_Token(str(match.lastgroup), match.group(), at + 1))
            at = match.end()
        tokens.append(_Token("end", "", len(text) + 1))
        return tokens

    def _peek(self) -> _Token:
        return self._tokens[self._at]

    def _next(self) -> _Token:
        token = self._tokens[self._at]
        if token.kind != "end":
            self._at += 1
        return token

    def _take(self, kind: str, text: str) -> bool:
        token = self._peek()
        if token.kind == kind and token.text == text:
            self._at += 1
            return True
        return False

    def _demand(self, mark: str) -> None:
        token = self._next()
        if token.text != mark:
            found = "the end" if token.kind == "end" else repr(token.text)
            raise self._fault(token, f"expected {mark}, not {found}")

    def _fault(self, token: _Token, message: str, remedy: str = "") -> ConfigError:
        return fault(self._text, token.column, message, remedy)


def _getter(operand: _Operand) -> Callable[[Facts], Any]:
    if operand.name:
        return operator.attrgetter("zones" if operand.kind == "zones" else operand.name)
    value = operand.value
    return lambda _facts: value


def _a(operand: _Operand) -> str:
    if operand.name:
        return f"{operand.name} (a {operand.kind.rstrip('s')})"
    return f"a {operand.kind}"


def _unreadable(character: str) -> str:
    if character in "'\"":
        return "this quote is not closed (a text can't hold quotes of its own kind or \\)"
    if character == "=":
        return "compare with =="
    return f"{character!r} means nothing here"
