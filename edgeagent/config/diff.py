"""What two effective configurations differ in, as dotted keys."""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from edgeagent.config.check import dotted
from edgeagent.config.model import Config, to_builtins
from edgeagent.config.secret import redacted
from edgeagent.config.toml import KeyPath


class Change(Struct, frozen=True):
    """One key; ``None`` = it is not set on that side."""

    key: str
    before: Any
    after: Any


def diff(before: Config, after: Config) -> list[Change]:
    """Changes in the order of keys. Arrays are compared whole, as they are replaced whole;
    secrets are hidden (a change of one is told as a change)."""
    return changes(to_builtins(before), to_builtins(after))


def changes(before: dict[str, Any], after: dict[str, Any]) -> list[Change]:
    """As `diff`, of the tables: those of an agent of another version may have other keys."""
    found: list[Change] = []
    _compare((), before, after, found)
    return sorted(found, key=lambda change: change.key)


def _compare(path: KeyPath, before: Any, after: Any, found: list[Change]) -> None:
    if before == after:
        return
    if isinstance(before, dict) and isinstance(after, dict):
        for key in {**before, **after}:
            _compare((*path, key), before.get(key), after.get(key), found)
        return
    name = str(path[-1])
    found.append(Change(dotted(path), redacted(before, name), redacted(after, name)))
