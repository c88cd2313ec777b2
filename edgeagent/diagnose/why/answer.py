"""What `why` says."""

from __future__ import annotations

from typing import Any

from msgspec import Struct, field, to_builtins


class Answer(Struct):
    """One sentence with the cause, then what else is known."""

    sentence: str
    lines: list[str] = field(default_factory=list)
    remedy: str = ""
    cause: str = ""
    """Stable word: event, threshold, rule, few, median, limit, unrecorded, nothing, gate, governor,
    paused, skipped, failed, source, link, outbox, off, not-running, not-kept"""
    facts: dict[str, Any] = field(default_factory=dict)
    """The same in figures."""

    def to_dict(self) -> dict[str, Any]:
        """For ``--json`` and the answer to the command."""
        told: dict[str, Any] = to_builtins(self)
        return told

    @classmethod
    def from_dict(cls, told: dict[str, Any]) -> Answer:
        """What `to_dict` gave, also that of an agent of another version."""
        return cls(**{name: told[name] for name in cls.__struct_fields__ if name in told})
