"""All faults of a table at once, each with file, line, key, what was expected and found.

``msgspec`` stops at its first fault and knows no lines. `check_table` therefore asks it only
whether there is any; if so, `walk` goes through the type beside the table and names every one.
Limits, patterns and choices come from the Structs alone, so a new key needs no code here.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from typing import Any

import msgspec
from msgspec import Struct

from edgeagent.config.toml import KeyPath, Places

_BARE = re.compile(r"^[A-Za-z0-9_-]+$")


class Fault(Struct, frozen=True):
    """One thing that is wrong, and how to put it right."""

    file: str
    line: int
    """0 = not in a file with lines (a flag, a remote patch)."""
    key: str
    """Dotted, e.g. ``pipelines.door.rules[0].when``; empty = the file as a whole."""
    expected: str
    found: str
    remedy: str = ""
    problem: str = ""
    """A sentence that says it better than "expected …, found …"."""

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        key = f" {self.key}:" if self.key else ""
        said = self.problem or f"expected {self.expected}, found {self.found}"
        return f"{place}:{key} {said}" + (f"; {self.remedy}" if self.remedy else "")


def faults_text(faults: Iterable[Fault]) -> str:
    """One fault a line, in the order of files and lines."""
    ordered = sorted(faults, key=lambda fault: (fault.file, fault.line, fault.key))
    return "\n".join(str(fault) for fault in ordered)


def dotted(path: KeyPath) -> str:
    """``("a", 0, "b c")`` → ``a[0]."b c"``."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
            continue
        text += "." if text else ""
        text += part if _BARE.match(part) else '"' + part.replace('"', '\\"') + '"'
    return text


def check_table(
    table: dict[str, Any], struct: Any, *, file: str, places: Places | None = None
) -> list[Fault]:
    """Everything that keeps ``table`` from being a ``struct``; empty = it is one.

    Args:
        table: as TOML or JSON give it.
        struct: a msgspec Struct type.
        file: named where ``places`` does not know a key.
        places: lines of the keys, from `parse_toml`.
    """
    try:
        msgspec.convert(table, struct)
        broken = ""
    except msgspec.ValidationError as error:
        broken = str(error)
    if not broken and not _holds_nan(table):
        return []
    from edgeagent.config.walk import walk

    faults = list(walk(table, struct, file, places or Places()))
    if broken and not faults:
        # Never let a fault pass because the walk does not know its kind.
        faults = [Fault(file, 0, "", "a table that fits", broken)]
    return sorted(faults, key=lambda fault: (fault.file, fault.line))


def _holds_nan(value: Any) -> bool:
    if isinstance(value, dict):
        return any(_holds_nan(item) for item in value.values())
    if isinstance(value, list):
        return any(_holds_nan(item) for item in value)
    return isinstance(value, float) and not math.isfinite(value)
