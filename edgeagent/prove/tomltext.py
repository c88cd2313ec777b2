"""Writing model.toml: a whole manifest, or the ``[files]`` table of one that people wrote."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any

import msgspec

from edgeagent.manifest import FileEntry, Manifest

_BARE = re.compile(r"^[A-Za-z0-9_-]+$")
_HEADER = re.compile(r"^\s*\[")
_FILES = re.compile(r"^\s*\[\s*files\s*(\.|\])")


def table_text(manifest: Manifest) -> str:
    """A manifest as TOML; keys with their default value are left out."""
    table = _bare(manifest)
    lines: list[str] = []
    plain = {key: value for key, value in table.items() if not _is_table(value)}
    lines += [f"{_key(key)} = {_value(value)}" for key, value in plain.items()]
    for key, value in table.items():
        if key in plain:
            continue
        for one in value if isinstance(value, list) else [value]:
            lines += ["", f"[[{key}]]" if isinstance(value, list) else f"[{key}]"]
            lines += [f"{_key(name)} = {_value(item)}" for name, item in one.items()]
    return "\n".join(lines) + "\n"


def with_files(text: str, files: Mapping[str, FileEntry]) -> str:
    """``text`` of a model.toml with its ``[files]`` replaced, everything else as it was."""
    table = ["[files]"] + [
        f'{_string(name)} = {{ bytes = {entry.bytes}, sha256 = "{entry.sha256}" }}'
        for name, entry in sorted(files.items())
    ]
    kept: list[str] = []
    place: int | None = None
    inside = False
    for line in text.splitlines():
        if _HEADER.match(line):
            inside = bool(_FILES.match(line))
            if inside and place is None:
                place = len(kept)
        if not inside:
            kept.append(line)
    if place is None:
        while kept and not kept[-1].strip():
            kept.pop()
        return "\n".join([*kept, "", *table]) + "\n"
    after = ["", *kept[place:]] if place < len(kept) else []
    return "\n".join([*kept[:place], *table, *after]) + "\n"


def with_key(text: str, key: str, value: str) -> str:
    """``text`` of a model.toml with one key of its top level set, everything else as it was."""
    lines = text.splitlines()
    top = next((i for i, line in enumerate(lines) if _HEADER.match(line)), len(lines))
    new = f"{key} = {_string(value)}"
    for place in range(top):
        if re.match(rf"^\s*{re.escape(key)}\s*=", lines[place]):
            lines[place] = new
            break
    else:
        while top and not lines[top - 1].strip():
            top -= 1
        lines.insert(top, new)
    return "\n".join(lines) + "\n"


def _bare(struct: Any) -> dict[str, Any]:
    """The fields of a Struct that differ from their defaults, required ones always."""
    table: dict[str, Any] = {}
    for field in msgspec.structs.fields(struct):
        value = getattr(struct, field.name)
        default = (
            field.default_factory()
            if field.default_factory is not msgspec.NODEFAULT
            else field.default
        )
        if value is None or (not field.required and value == default):
            continue
        if isinstance(value, list):
            value = [_bare(one) if isinstance(one, msgspec.Struct) else one for one in value]
        elif isinstance(value, msgspec.Struct):
            value = _bare(value)
        table[field.encode_name] = value
    return table


def _is_table(value: Any) -> bool:
    return isinstance(value, dict) or (
        isinstance(value, list) and bool(value) and isinstance(value[0], dict)
    )


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return _string(value)
    if isinstance(value, float):
        return _float(value)
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(_value(one) for one in value) + "]"
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{_key(k)} = {_value(v)}" for k, v in value.items()) + " }"
    return str(value)


def _float(value: float) -> str:
    if not math.isfinite(value):
        return "nan" if math.isnan(value) else ("inf" if value > 0 else "-inf")
    text = repr(value)
    return text if any(mark in text for mark in ".e") else f"{text}.0"


def _string(text: str) -> str:
    # JSON's escapes are a subset of TOML's basic strings, except for a bare DEL.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _key(key: str) -> str:
    return key if _BARE.match(key) else _string(key)
