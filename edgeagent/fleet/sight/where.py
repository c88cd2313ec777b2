"""The language of ``--where``: which devices are meant.

    site == "hall 2" and model.parts < "1.3"
    not online and "canary" in groups
    profile in ["rpi4", "rpi5"] or tags.line == "3"
    model["line-3"] == "2.0.0" and version >= "0.2"

Comparisons, ``and``, ``or``, ``not``, ``in`` and parentheses, as Python writes them: its own parser
reads the text, and nothing but these forms is taken; nothing is ever evaluated by Python. Names of
versions compare by the order of semantic versioning, ``"1.3"`` meaning ``"1.3.0"``. What a device
does not have is an empty text, which is neither smaller nor larger than anything.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from typing import Any

from edgeagent.config.words import did_you_mean
from edgeagent.errors import UsageError
from edgeagent.prove.semver import is_version, version_order

Facts = Mapping[str, Any]
"""What is known of one device: `facts.facts`."""
Where = Callable[[Facts], bool]
_Value = Callable[[Facts], Any]

PLAIN = (
    "device", "name", "site", "state", "online", "profile", "arch", "version", "groups", "reasons",
    "config", "held", "rev",
)  # fmt: skip
TABLES = ("model", "tags")
"""Asked with a name of their own: ``model.parts``."""
VERSIONS = ("version", "model")
_MOST_CHARACTERS = 4096


def parse(text: str) -> Where:
    """The test that an expression stands for; an empty one is true of every device.

    Raises UsageError, which tells the column.
    """
    if not text.strip():
        return lambda _facts: True
    if len(text) > _MOST_CHARACTERS:
        raise UsageError(f"--where is longer than {_MOST_CHARACTERS} characters")
    try:
        tree = ast.parse(text.strip(), mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        at = getattr(error, "offset", None)
        raise UsageError(
            f"--where {text!r} can't be read" + (f" at column {at}" if at else ""),
            remedy='Write it like: site == "hall 2" and model.parts < "1.3"',
        ) from error
    return _test(tree.body)


def _test(node: ast.expr) -> Where:
    if isinstance(node, ast.BoolOp):
        parts = [_test(its) for its in node.values]
        every = isinstance(node.op, ast.And)
        return lambda facts: (all if every else any)(part(facts) for part in parts)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        inner = _test(node.operand)
        return lambda facts: not inner(facts)
    if isinstance(node, ast.Compare):
        return _comparison(node)
    if isinstance(node, ast.Constant) and isinstance(node.value, bool):
        value = node.value
        return lambda _facts: value
    if isinstance(node, ast.Name):
        known = _operand(node)
        return lambda facts: bool(known(facts))
    raise _fault(node, "a comparison was expected")


def _comparison(node: ast.Compare) -> Where:
    operands = [node.left, *node.comparators]
    versions = any(_of_version(its) for its in operands)
    values = [_operand(its, versions=versions) for its in operands]
    pairs = [
        (_sign(op, node), left, right)
        for op, left, right in zip(node.ops, values, values[1:], strict=False)
    ]
    return lambda facts: all(sign(left(facts), right(facts)) for sign, left, right in pairs)


def _sign(op: ast.cmpop, node: ast.Compare) -> Callable[[Any, Any], bool]:
    match op:
        case ast.Eq():
            return lambda left, right: bool(left == right)
        case ast.NotEq():
            return lambda left, right: bool(left != right)
        case ast.In():
            return _within
        case ast.NotIn():
            return lambda left, right: not _within(left, right)
        case ast.Lt():
            return lambda left, right: _ordered(left, right) and left < right
        case ast.LtE():
            return lambda left, right: _ordered(left, right) and left <= right
        case ast.Gt():
            return lambda left, right: _ordered(left, right) and left > right
        case ast.GtE():
            return lambda left, right: _ordered(left, right) and left >= right
        case _:
            raise _fault(node, "compare with ==, !=, <, <=, >, >=, in or not in")


def _within(left: Any, right: Any) -> bool:
    if isinstance(right, str):
        return isinstance(left, str) and left in right
    return isinstance(right, (list, tuple)) and left in right


def _ordered(left: Any, right: Any) -> bool:
    """Whether one can be smaller than the other: never an unknown value."""
    if isinstance(left, tuple) or isinstance(right, tuple):
        return isinstance(left, tuple) and isinstance(right, tuple)
    if isinstance(left, str) or isinstance(right, str):
        return isinstance(left, str) and isinstance(right, str) and bool(left) and bool(right)
    numbers = (int, float)
    return isinstance(left, numbers) and isinstance(right, numbers)


def _operand(node: ast.expr, *, versions: bool = False) -> _Value:
    if isinstance(node, ast.Constant) and isinstance(node.value, (str, int, float, bool)):
        value = _version(node.value) if versions else node.value
        return lambda _facts: value
    if isinstance(node, (ast.List, ast.Tuple)):
        members = [_operand(its, versions=versions) for its in node.elts]
        return lambda facts: [member(facts) for member in members]
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        number = node.operand.value if isinstance(node.operand, ast.Constant) else None
        if isinstance(number, bool) or not isinstance(number, (int, float)):
            raise _fault(node, "a number was expected after -")
        negative = -number
        return lambda _facts: negative
    table, name = _named(node)
    if not table:
        return (lambda facts: _version(facts[name])) if versions else (lambda facts: facts[name])
    if versions:
        return lambda facts: _version(facts[table].get(name, ""))
    return lambda facts: facts[table].get(name, "")


def _named(node: ast.expr) -> tuple[str, str]:
    """(table or empty, name)."""
    if isinstance(node, ast.Name):
        if node.id in PLAIN:
            return "", node.id
        if node.id in TABLES:
            raise _fault(node, f"{node.id} is asked with a name: {node.id}.parts")
        known = (*PLAIN, *(f"{table}.NAME" for table in TABLES))
        hint = did_you_mean(node.id, known)
        raise _fault(node, f"there is no {node.id}; {hint}; put texts in quotes")
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
        return _table(node.value, node.attr)
    if (
        isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name)
        and isinstance(node.slice, ast.Constant) and isinstance(node.slice.value, str)
    ):  # fmt: skip
        return _table(node.value, node.slice.value)
    raise _fault(node, "a name, a text in quotes, a number or a list was expected")


def _table(owner: ast.Name, name: str) -> tuple[str, str]:
    if owner.id not in TABLES:
        raise _fault(owner, f"{owner.id} has no parts; {' and '.join(TABLES)} have")
    return owner.id, name


def _of_version(node: ast.expr) -> bool:
    """Whether it names a version."""
    owner = node.value if isinstance(node, (ast.Attribute, ast.Subscript)) else node
    return isinstance(owner, ast.Name) and owner.id in VERSIONS


def _version(text: Any) -> Any:
    """A version as it is compared: ``1.3`` as ``1.3.0``; an unknown one stays an empty text."""
    if not isinstance(text, str) or not text:
        return text if isinstance(text, str) else str(text)
    core, sign, rest = text.partition("-")
    padded = ".".join([*core.split("."), "0", "0"][:3]) + sign + rest
    return version_order(padded if is_version(padded) else text)


def _fault(node: ast.expr, what: str) -> UsageError:
    return UsageError(
        f"--where, column {node.col_offset + 1}: {what}",
        remedy='Write it like: site == "hall 2" and model.parts < "1.3"',
    )
