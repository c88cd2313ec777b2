"""A rule as a row of words, each with its column."""

from __future__ import annotations

import re

from msgspec import Struct

from edgeagent.errors import ConfigError

LONGEST = 2000

_TOKEN = re.compile(
    r"(?P<space>\s+)"
    r"|(?P<time>\d{1,2}:\d{2}(?::\d{2})?)"
    r"|(?P<number>\d+(?:\.\d+)?(?:[eE][+-]?\d+)?|\.\d+)"
    r"|(?P<text>'[^'\\]*'|\"[^\"\\]*\")"
    r"|(?P<name>[A-Za-zµ_][A-Za-z0-9µ_]*)"
    r"|(?P<mark>==|!=|<=|>=|\.\.|<|>|\(|\)|\[|\]|,|%|-)"
)


class Token(Struct, frozen=True):
    kind: str
    text: str
    column: int


def fault(text: str, column: int, message: str, remedy: str = "") -> ConfigError:
    """A ConfigError that shows where in the rule it is."""
    return ConfigError(
        f"rule, column {column}: {message}\n  {text}\n  {' ' * (column - 1)}^", remedy=remedy
    )


def split(text: str) -> list[Token]:
    """The words of a rule and an ``end``. Raises ConfigError that points at the column."""
    tokens, at = list[Token](), 0
    if len(text) > LONGEST:
        raise fault(text[:60] + "…", 1, f"longer than {LONGEST} characters")
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise fault(text, at + 1, _unreadable(text[at]))
        if match.lastgroup != "space":
            tokens.append(Token(str(match.lastgroup), match.group(), at + 1))
        at = match.end()
    tokens.append(Token("end", "", len(text) + 1))
    return tokens


def _unreadable(character: str) -> str:
    if character in "'\"":
        return "this quote is not closed (a text can't hold quotes of its own kind or \\)"
    if character == "=":
        return "compare with =="
    return f"{character!r} means nothing here"
