"""Reading a rule: a parser by descent, one method a line of the grammar."""

from __future__ import annotations

from msgspec import Struct

from edgeagent.decide.rules.clause import Clause, Test, denied, joined
from edgeagent.decide.rules.facts import CALLS, NAMES, Facts
from edgeagent.decide.rules.meaning import (
    COMPARISONS,
    Mentioned,
    Operand,
    asked,
    compare,
    contains,
)
from edgeagent.decide.rules.tokens import Token, fault, split
from edgeagent.errors import ConfigError

DEEPEST = 50

_SECONDS = {"us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
_WORDS = ("and", "or", "not", "in")
_DAY_S = 86400


class Expression(Struct, frozen=True):
    """A parsed ``when``."""

    text: str
    clause: Clause
    """Its comparisons, to be asked one by one."""
    test: Test
    names: frozenset[str]
    """Names that it asks; calls as ``dwell()``."""
    labels: tuple[tuple[str, int], ...]
    """Labels that it compares with, each with its column (from 1)."""
    zones: tuple[tuple[str, int], ...]
    lines: tuple[tuple[str, int], ...] = ()
    """``gate`` or ``gate:in``."""
    readings: tuple[tuple[str, int], ...] = ()
    """What stands in ``value('…')``."""
    plugins: tuple[tuple[str, int], ...] = ()
    """What stands in ``plugin('…')``."""

    def __call__(self, facts: Facts) -> bool:
        return self.test(facts)


def parse(text: str) -> Expression:
    """Read a ``when`` expression. Raises ConfigError that points at the column."""
    return _Parser(text).parse()


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = split(text)
        self._at = 0
        self._depth = 0
        self._mentioned = Mentioned()

    def parse(self) -> Expression:
        clause = self._rule()
        rest = self._next()
        if rest.kind != "end":
            if rest.text in COMPARISONS or rest.text == "in":
                raise self._fault(rest, "comparisons can't be chained", "Join two with and.")
            raise self._fault(rest, f"{rest.text!r} is too much: expected and, or, or the end")
        its = self._mentioned
        return Expression(
            self._text, clause, clause.test, frozenset(its.names), tuple(its.labels),
            tuple(its.zones), tuple(its.lines), tuple(its.readings), tuple(its.plugins),
        )  # fmt: skip

    # --- grammar ---------------------------------------------------------------------------

    def _rule(self) -> Clause:
        began = self._peek().column
        parts = [self._both()]
        while self._take("name", "or"):
            parts.append(self._both())
        return joined("any", parts, self._since(began))

    def _both(self) -> Clause:
        began = self._peek().column
        parts = [self._clause()]
        while self._take("name", "and"):
            parts.append(self._clause())
        return joined("all", parts, self._since(began))

    def _clause(self) -> Clause:
        self._depth += 1
        if self._depth > DEEPEST:
            raise self._fault(self._peek(), f"nested deeper than {DEEPEST}")
        began = self._peek().column
        try:
            if self._take("name", "not"):
                return denied(self._clause(), self._since(began))
            if self._take("mark", "("):
                clause = self._rule()
                self._demand(")")
                return clause
            return self._comparison()
        finally:
            self._depth -= 1

    def _comparison(self) -> Clause:
        began = self._peek().column
        left = self._operand()
        sign = self._next()
        if sign.kind == "name" and sign.text in ("in", "not"):
            if sign.text == "not" and not self._take("name", "in"):
                raise self._fault(self._peek(), "expected in after not")
            right = self._operand()
            test = contains(self._text, left, right, sign)
            if sign.text == "not":
                test = _denied(test, left)
        elif sign.text == "=":
            raise self._fault(sign, "= sets nothing here; compare with ==")
        elif sign.text not in COMPARISONS:
            found = "the end" if sign.kind == "end" else repr(sign.text)
            raise self._fault(sign, f"expected a comparison (==, !=, <, …, in), not {found}")
        else:
            right = self._operand()
            test = compare(self._text, left, right, sign)
        self._mentioned.compared(left, right)
        name, get = asked(left if left.name else right)
        return Clause("comparison", test, self._since(began), name=name, get=get)

    def _since(self, column: int) -> str:
        """The text from there to the last word that was taken."""
        last = self._tokens[self._at - 1]
        return self._text[column - 1 : last.column - 1 + len(last.text)]

    def _operand(self) -> Operand:
        token = self._next()
        if token.kind == "number" or token.text == "-":
            return self._number(token)
        if token.kind == "time":
            return self._time(token)
        if token.kind == "text":
            return Operand("text", "", token.text[1:-1], token.column)
        if token.text == "[":
            members = [self._member()]
            while self._take("mark", ","):
                members.append(self._member())
            self._demand("]")
            return Operand("list", "", members, token.column)
        if token.kind == "name" and token.text in CALLS and self._take("mark", "("):
            return self._call(token)
        if token.kind == "name" and token.text in NAMES:
            self._mentioned.names.add(token.text)
            return Operand(NAMES[token.text], token.text, None, token.column)
        raise self._no_operand(token)

    def _no_operand(self, token: Token) -> ConfigError:
        if token.kind == "name" and token.text in CALLS:
            about = CALLS[token.text][1]
            return self._fault(token, f"{token.text} is asked with a {about}: {token.text}('…')")
        if token.kind == "name" and token.text not in _WORDS:
            known = [*NAMES, *CALLS]
            import difflib

            close = difflib.get_close_matches(token.text, known, n=1)
            hint = f"did you mean {close[0]}?" if close else f"known: {', '.join(NAMES)}"
            remedy = "Put texts in quotes: 'crack'."
            return self._fault(token, f"there is no {token.text}; {hint}", remedy)
        found = "the end" if token.kind == "end" else repr(token.text)
        return self._fault(token, f"expected a name, a text in quotes or a number, not {found}")

    def _call(self, name: Token) -> Operand:
        kind, about = CALLS[name.text]
        token = self._next()
        if token.kind != "text":
            raise self._fault(token, f"{name.text} is asked with the name of a {about} in quotes")
        self._demand(")")
        asked = token.text[1:-1]
        self._mentioned.add(about, asked, token.column)
        self._mentioned.names.add(f"{name.text}()")
        return Operand(kind, f"{name.text}()", asked, name.column)

    def _member(self) -> Operand:
        if self._peek().text == "[":
            raise self._fault(self._peek(), "a list holds texts or numbers only")
        return self._operand()

    def _number(self, first: Token) -> Operand:
        token = first
        if first.text == "-":
            token = self._next()
            if token.kind != "number":
                raise self._fault(token, "expected a number after -")
        value = float(token.text) * (-1 if first.text == "-" else 1)
        unit = self._peek()
        if unit.text == "%":
            self._next()
            return Operand("number", "", value / 100, first.column)
        if unit.kind == "name" and unit.text in _SECONDS:
            self._next()
            return Operand("duration", "", value * _SECONDS[unit.text], first.column)
        if unit.kind == "name" and unit.text not in _WORDS and unit.text not in NAMES:
            raise self._fault(unit, f"{unit.text!r} is no unit; known: {', '.join(_SECONDS)}, %")
        return Operand("number", "", value, first.column)

    def _time(self, token: Token) -> Operand:
        start = self._seconds(token)
        if not self._take("mark", ".."):
            return Operand("time", "", start, token.column)
        last = self._next()
        if last.kind != "time":
            raise self._fault(last, "expected a time such as 06:00 after ..")
        return Operand("span", "", (start, self._seconds(last)), token.column)

    def _seconds(self, token: Token) -> float:
        hour, minute, second = (*map(int, token.text.split(":")), 0)[:3]
        seconds = hour * 3600 + minute * 60 + second
        if minute > 59 or second > 59 or seconds > _DAY_S:
            raise self._fault(token, f"{token.text} is no time of day")
        return float(seconds)

    # --- tokens ----------------------------------------------------------------------------

    def _peek(self) -> Token:
        return self._tokens[self._at]

    def _next(self) -> Token:
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

    def _fault(self, token: Token, message: str, remedy: str = "") -> ConfigError:
        return fault(self._text, token.column, message, remedy)


def _denied(test: Test, left: Operand) -> Test:
    if left.name in ("time", "day"):  # unknown is not "not in" either
        return lambda facts: bool(facts.scene.day) and not test(facts)
    return lambda facts: not test(facts)
