"""What a type takes and what a value is, in words a person can act on."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from msgspec import inspect as mi

from edgeagent.config.secret import hide


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """``did you mean "threshold"?`` or the list of what is known; empty without any."""
    names = list(known)
    close = close_to(word, names)
    if close:
        return f'did you mean "{close}"?'
    return f"known here: {', '.join(names)}" if names else ""


def close_to(word: str, names: Iterable[str]) -> str:
    """The name that was probably meant, or an empty text."""
    import difflib

    by_fold = {name.casefold().replace("-", "_"): name for name in names}
    close = difflib.get_close_matches(word.casefold().replace("-", "_"), by_fold, n=1, cutoff=0.65)
    return by_fold[close[0]] if close else ""


def describe(kind: mi.Type) -> str:
    """What a type takes, in words: ``a whole number from 1 to 65535``."""
    if isinstance(kind, mi.Metadata):
        words = (kind.extra_json_schema or {}).get("description")
        return str(words) if words else describe(kind.type)
    if isinstance(kind, mi.UnionType):
        some = [item for item in kind.types if not isinstance(item, mi.NoneType)]
        return " or ".join(dict.fromkeys(describe(item) for item in some))
    if isinstance(kind, mi.LiteralType):
        return choice(kind.values)
    if isinstance(kind, mi.IntType):
        return "a whole number" + _limits(kind)
    if isinstance(kind, mi.FloatType):
        return "a number" + _limits(kind)
    if isinstance(kind, mi.StrType):
        return f"a text that matches {kind.pattern}" if kind.pattern else "a text"
    if isinstance(kind, mi.ListType):
        least = f" of at least {kind.min_length}" if kind.min_length else ""
        return f"a list{least}, each item {describe(kind.item_type)}"
    if isinstance(kind, mi.TupleType):
        return f"a list of {len(kind.item_types)}: {', '.join(map(describe, kind.item_types))}"
    if isinstance(kind, (mi.StructType, mi.DictType)):
        return "a table"
    return "true or false" if isinstance(kind, mi.BoolType) else "a value"


def _limits(kind: mi.IntType | mi.FloatType) -> str:
    low = f"from {kind.ge:g}" if kind.ge is not None else ""
    low = f"above {kind.gt:g}" if kind.gt is not None else low
    high = f"to {kind.le:.10g}" if kind.le is not None else ""
    high = f"below {kind.lt:g}" if kind.lt is not None else high
    if high.startswith("to") and not low.startswith("from"):
        high = "up to" + high[2:]
    if low.startswith("from") and not high:
        low = "of at least" + low[4:]
    return "".join(f" {part}" for part in (low, high) if part)


def choice(values: Iterable[Any]) -> str:
    return "one of " + ", ".join(f'"{value}"' for value in values)


def found(value: Any) -> str:
    """A value as it stands in a file, shortened, without passwords."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return "a table"
    if isinstance(value, list):
        return "a list"
    if isinstance(value, str):
        text = hide(value)
        text = text if len(text) <= 60 else text[:57] + "…"
        return '"' + text.replace("\n", "\\n") + '"'
    if isinstance(value, (int, float)):
        return str(value) if len(str(value)) <= 30 else "a very long number"
    return f"the date {value}"


def conversion(value: Any, kind: mi.Type, said: str) -> str:
    """The remedy where a value is of the wrong sort but shows what was meant."""
    takes = _plain(kind)
    if isinstance(value, str):
        if takes & {"number"} and re.fullmatch(r"\s*-?[0-9.]+\s*", value):
            return f"write {value.strip()} without quotes"
        percent = re.fullmatch(r"\s*([0-9.]+)\s*%\s*", value)
        if takes & {"number"} and percent and percent[1].count(".") < 2:
            return f"write {float(percent[1]) / 100:g}"
        if takes & {"bool"} and value.strip().lower() in ("true", "false", "yes", "no"):
            plain = "true" if value.strip().lower() in ("true", "yes") else "false"
            return f"write {plain} without quotes"
        if takes & {"list"}:
            return f'write a list: ["{value}"]' if len(value) < 60 else "write a list: [ … ]"
    elif isinstance(value, float) and takes & {"number"} and value.is_integer():
        return f"write {value:.0f}"
    elif isinstance(value, bool) and takes & {"text"}:
        return f'write "{str(value).lower()}" in quotes'
    elif isinstance(value, (int, float)) and takes & {"text"}:
        if said.startswith("a duration"):
            return f'write its unit: "{value} s"'
        if said.startswith("a size"):
            return f'write its unit: "{value} MiB"'
        return f'write "{value}" in quotes'
    return ""


def _plain(kind: mi.Type) -> set[str]:
    if isinstance(kind, mi.Metadata):
        return _plain(kind.type)
    if isinstance(kind, mi.UnionType):
        return set().union(*(_plain(item) for item in kind.types))
    if isinstance(kind, (mi.IntType, mi.FloatType)):
        return {"number"}
    if isinstance(kind, mi.BoolType):
        return {"bool"}
    if isinstance(kind, (mi.ListType, mi.TupleType)):
        return {"list"}
    return {"text"} if isinstance(kind, (mi.StrType, mi.LiteralType)) else set()


def unit_hint(value: Any, kind: mi.Type) -> str:
    """``"60"`` or ``"60 sec"`` where a unit is wanted."""
    if not isinstance(kind, mi.StrType) or not isinstance(value, str):
        return ""
    number = re.match(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z]*)\s*$", value)
    if number is None or kind.pattern is None:
        return ""
    for mark, units in (("|min|", _DURATION_UNITS), ("|KiB|", _SIZE_UNITS)):
        if mark in kind.pattern:
            unit = units.get(number[2].casefold(), units[""])
            return f'write "{number[1]} {unit}"'
    return ""


_DURATION_UNITS = {
    "": "s", "sec": "s", "secs": "s", "second": "s", "seconds": "s", "m": "min", "mins": "min",
    "minute": "min", "minutes": "min", "hour": "h", "hours": "h", "hr": "h", "hrs": "h",
    "day": "d", "days": "d", "msec": "ms", "millis": "ms",
}  # fmt: skip
_SIZE_UNITS = {
    "": "MiB", "b": "B", "k": "KiB", "kb": "kB", "kib": "KiB", "m": "MiB", "mb": "MB",
    "mib": "MiB", "g": "GiB", "gb": "GB", "gib": "GiB", "bytes": "B", "byte": "B",
}  # fmt: skip


def elsewhere(name: str, kind: mi.StructType) -> str:
    """Where a key belongs that stands one level too high (``ca`` in ``[mqtt]``: ``tls.ca``)."""
    for field in kind.fields:
        for inner in _structs(field):
            if name in (key.encode_name for key in inner.fields):
                return f'did you mean "{field.encode_name}.{name}"?'
    return ""


def _structs(field: mi.Field) -> list[mi.StructType]:
    types = field.type.types if isinstance(field.type, mi.UnionType) else (field.type,)
    return [inner for inner in types if isinstance(inner, mi.StructType)]


def of_another(name: str, root: mi.Type) -> str:
    """The table at the top that has a key of just this name, which stands in a wrong one."""
    tables = root.fields if isinstance(root, mi.StructType) else ()
    homes = [
        table.encode_name
        for table in tables
        for inner in _structs(table)
        if name in (key.encode_name for key in inner.fields)
    ]
    return f"did you mean {name} of [{homes[0]}]?" if len(homes) == 1 else ""
