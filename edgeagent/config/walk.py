"""The walk behind `check_table`: a table beside its type, every fault named.

Imported only where something is wrong: a sound configuration costs one ``msgspec.convert``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from typing import Any

from msgspec import inspect as mi

from edgeagent.config.check import Fault, dotted
from edgeagent.config.toml import KeyPath, Places
from edgeagent.config.words import (
    choice,
    close_to,
    conversion,
    describe,
    did_you_mean,
    elsewhere,
    found,
    of_another,
    unit_hint,
)

_MISSING = object()


def walk(table: dict[str, Any], struct: Any, file: str, places: Places) -> Iterator[Fault]:
    """Every fault of ``table`` as a ``struct``."""
    kind = mi.type_info(struct)
    return Walk(file, places, kind).check((), table, kind)


class Walk:
    """Goes down a table and its type side by side."""

    def __init__(self, file: str, places: Places, root: mi.Type) -> None:
        self.file = file
        self.places = places
        self.root = root

    def fault(
        self, path: KeyPath, expected: str, found: str, remedy: str = "", problem: str = ""
    ) -> Fault:
        place = self.places.nearest(path, self.file)
        return Fault(place.file, place.line, dotted(path), expected, found, remedy, problem)

    def check(self, path: KeyPath, value: Any, kind: mi.Type, said: str = "") -> Iterator[Fault]:
        """``said`` is a description of the type in words, from its ``Meta``."""
        if isinstance(kind, mi.Metadata):
            words = (kind.extra_json_schema or {}).get("description", said)
            yield from self.check(path, value, kind.type, words)
        elif isinstance(kind, mi.UnionType):
            yield from self.union(path, value, kind, said)
        elif not _fits(value, kind):
            expected = said or describe(kind)
            yield self.fault(path, expected, found(value), conversion(value, kind, said))
        elif isinstance(kind, mi.StructType):
            yield from self.struct(path, value, kind)
        elif isinstance(kind, mi.DictType):
            for name, item in value.items():
                for bad in self.check((*path, name), name, kind.key_type):
                    yield self.fault((*path, name), bad.expected, bad.found)
                yield from self.check((*path, name), item, kind.value_type)
        elif isinstance(kind, (mi.ListType, mi.TupleType)):
            yield from self.items(path, value, kind, said)
        elif isinstance(kind, mi.LiteralType):
            if value not in kind.values:
                texts = [str(choice) for choice in kind.values]
                close = close_to(str(value), texts)
                remedy = f'did you mean "{close}"?' if close else ""
                yield self.fault(path, choice(kind.values), found(value), remedy)
        elif not _within(value, kind):
            yield self.fault(path, said or describe(kind), found(value), unit_hint(value, kind))

    def struct(self, path: KeyPath, table: dict[str, Any], kind: mi.StructType) -> Iterator[Fault]:
        fields = {field.encode_name: field for field in kind.fields}
        tag = kind.tag_field
        for name, value in table.items():
            if name in fields:
                yield from self.check((*path, name), value, fields[name].type)
            elif name != tag:
                names = [*([tag] if tag else []), *fields]
                remedy = elsewhere(name, kind)
                if not remedy and not close_to(name, names):
                    remedy = of_another(name, self.root)
                remedy = remedy or did_you_mean(name, names)
                yield self.fault((*path, name), "a known key", name, remedy, "unknown key")
        for name, field in fields.items():
            if field.required and name not in table:
                expected = describe(field.type)
                yield self.fault((*path, name), expected, "nothing", f"add {name} = …")

    def union(self, path: KeyPath, value: Any, kind: mi.UnionType, said: str) -> Iterator[Fault]:
        structs = [item for item in kind.types if isinstance(item, mi.StructType)]
        tagged = [item for item in structs if item.tag_field]
        if tagged and isinstance(value, dict):
            yield from self.tagged(path, value, tagged)
            return
        fitting = [item for item in kind.types if _fits(value, item)]
        if not fitting:
            expected = said or describe(kind)
            yield self.fault(path, expected, found(value), conversion(value, kind, said))
        elif all(any(self.check(path, value, item)) for item in fitting):
            yield from self.check(path, value, fitting[0], said)

    def tagged(
        self, path: KeyPath, table: dict[str, Any], structs: list[mi.StructType]
    ) -> Iterator[Fault]:
        field = structs[0].tag_field or ""
        tags = {str(item.tag): item for item in structs}
        tag = table.get(field, _MISSING)
        if isinstance(tag, str) and tag in tags:
            yield from self.struct(path, table, tags[tag])
            return
        expected = choice(tags)
        if tag is _MISSING:
            yield self.fault((*path, field), expected, "nothing", f'add {field} = "…"')
            return
        close = close_to(str(tag), tags)
        remedy = f'did you mean "{close}"?' if close else ""
        yield self.fault((*path, field), expected, found(tag), remedy)

    def items(
        self, path: KeyPath, value: list[Any], kind: mi.ListType | mi.TupleType, said: str
    ) -> Iterator[Fault]:
        if isinstance(kind, mi.TupleType):
            if len(value) != len(kind.item_types):
                yield self.fault(path, said or describe(kind), f"{len(value)} values")
                return
            kinds: Iterable[mi.Type] = kind.item_types
        else:
            least, most = kind.min_length or 0, kind.max_length
            if len(value) < least or (most is not None and len(value) > most):
                yield self.fault(path, said or describe(kind), f"{len(value)} values")
                return
            kinds = [kind.item_type] * len(value)
        for position, (item, its) in enumerate(zip(value, kinds, strict=True)):
            yield from self.check((*path, position), item, its)


def _fits(value: Any, kind: mi.Type) -> bool:
    """Whether the value is of the right sort (limits aside)."""
    if isinstance(kind, mi.Metadata):
        return _fits(value, kind.type)
    if isinstance(kind, mi.UnionType):
        return any(_fits(value, item) for item in kind.types)
    if isinstance(kind, mi.LiteralType):
        return isinstance(value, type(kind.values[0]))
    if isinstance(kind, mi.FloatType):
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    if isinstance(kind, mi.IntType):
        return isinstance(value, int) and not isinstance(value, bool)
    for its, sort in _SORTS:
        if isinstance(kind, its):
            return isinstance(value, sort)
    return True


_SORTS: tuple[tuple[type[mi.Type], type[Any]], ...] = (
    (mi.StructType, dict),
    (mi.DictType, dict),
    (mi.ListType, list),
    (mi.TupleType, list),
    (mi.StrType, str),
    (mi.BoolType, bool),
    (mi.NoneType, type(None)),
)


def _within(value: Any, kind: mi.Type) -> bool:
    """Whether a value of the right sort keeps the type's limits."""
    if isinstance(kind, mi.StrType):
        if kind.pattern is not None and not re.search(kind.pattern, value):
            return False
        return (kind.min_length or 0) <= len(value) <= (kind.max_length or len(value))
    if isinstance(kind, (mi.IntType, mi.FloatType)):
        return (
            math.isfinite(value)
            and (kind.ge is None or value >= kind.ge)
            and (kind.gt is None or value > kind.gt)
            and (kind.le is None or value <= kind.le)
            and (kind.lt is None or value < kind.lt)
        )
    return True
