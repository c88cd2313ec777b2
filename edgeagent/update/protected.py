"""What desired state may not change without an operator's signature (contract §3).

Judged by effect, not by the words of the patch: the configuration that would result is compared
with the one that is in force. So it does not matter whether a mask is removed, its source is
replaced, or a second pipeline is put beside the one that hides faces.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

Table = Mapping[str, Any]

LOCAL = (("device", "id"), ("mqtt", "prefix"), ("storage", "data_dir"))
"""Keys that only the device's own files may set: with another name nobody finds it again."""
_SECTIONS = ("commands", "trust", "mqtt", "privacy", "retention", "serve", "plugins")
_OF_PIPELINES = ("redact", "live", "image")
_OF_SOURCES = ("mask", "password_file")


def local_only(before: Table, after: Table) -> list[str]:
    """Keys that would change and may not, whoever has signed."""
    return [".".join(path) for path in LOCAL if _at(before, path) != _at(after, path)]


def protected(before: Table, after: Table) -> list[str]:
    """Protected keys that would change, dotted; empty = anybody may ask for it.

    Args:
        before: the effective configuration in force, as plain tables.
        after: the one that would be.
    """
    return [
        *_sections(before, after),
        *_pipelines(_table(before, "pipelines"), _table(after, "pipelines")),
        *_sources(_table(before, "sources"), _table(after, "sources")),
    ]


def _sections(before: Table, after: Table) -> Iterator[str]:
    for section in _SECTIONS:
        was, becomes = before.get(section), after.get(section)
        if was == becomes:
            continue
        if not isinstance(was, Mapping) or not isinstance(becomes, Mapping):
            yield section
            continue
        for key in sorted(was.keys() | becomes.keys()):
            if was.get(key) != becomes.get(key):
                yield f"{section}.{key}"


def _pipelines(before: Table, after: Table) -> Iterator[str]:
    hidden = [its["redact"] for its in before.values() if its.get("redact")]
    for name, its in after.items():
        known = before.get(name)
        for key in _OF_PIPELINES if known is not None else ("live", "image"):
            if its.get(key) != (known or {}).get(key) and (known is not None or its.get(key)):
                yield f"pipelines.{name}.{key}"
        moved = known is None or _sources_of(known) != _sources_of(its)
        if moved and hidden and its.get("redact") not in hidden:
            # It may look at what the others hide.
            yield f"pipelines.{name}.redact"


def _sources(before: Table, after: Table) -> Iterator[str]:
    masked = any(its.get("mask") for its in before.values())
    for name, its in after.items():
        known = before.get(name)
        if known is None and masked and not its.get("mask"):
            yield f"sources.{name}.mask"
        for key in _OF_SOURCES:
            named = key == "password_file" and its.get(key)
            if named if known is None else its.get(key) != known.get(key):
                yield f"sources.{name}.{key}"


def _sources_of(pipeline: Table) -> Any:
    return pipeline.get("source"), pipeline.get("sources")


def _table(config: Table, name: str) -> Table:
    found = config.get(name)
    return found if isinstance(found, Mapping) else {}


def _at(config: Table, path: tuple[str, ...]) -> Any:
    found: Any = config
    for key in path:
        found = found.get(key) if isinstance(found, Mapping) else None
    return found
