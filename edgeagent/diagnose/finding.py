"""What a check found, and all findings together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from msgspec import Struct, to_builtins

Severity = Literal["ok", "note", "problem", "failed"]
"""ok = fine · note = worth knowing · problem = works with a loss, or soon won't ·
failed = does not work."""

ORDER: tuple[Severity, ...] = ("ok", "note", "problem", "failed")


class Finding(Struct, frozen=True):
    """One sentence about one thing."""

    check: str
    """Name of the check, e.g. ``storage``."""
    severity: Severity
    what: str
    how: str = ""
    """How it was found: the file, call or address that said so."""
    remedy: str = ""
    """What to do, with the exact command where there is one."""
    fix: tuple[tuple[str, ...], ...] = ()
    """Programs that put it right and can do no harm; only those of `doctor` itself are run, never
    what came from elsewhere."""


def _shown(its: Finding) -> dict[str, Any]:
    told: dict[str, Any] = to_builtins(its)
    del told["fix"]  # what may be run is decided where it is run
    return {**told, "fixable": bool(its.fix)}


class Report(Struct, frozen=True):
    """All findings of one run."""

    findings: tuple[Finding, ...]
    took_s: float

    @property
    def worst(self) -> Severity:
        return max((its.severity for its in self.findings), key=ORDER.index, default="ok")

    @property
    def exit_code(self) -> int:
        """0 = nothing is wrong, 1 = a problem was found."""
        return 1 if self.worst in ("problem", "failed") else 0

    def problems(self) -> Sequence[Finding]:
        """What a person should look at, the worst first."""
        wrong = [its for its in self.findings if its.severity in ("problem", "failed")]
        return sorted(wrong, key=lambda its: ORDER.index(its.severity), reverse=True)

    @classmethod
    def from_dict(cls, told: dict[str, Any]) -> Report:
        """What `to_dict` gave, also that of an agent of another version."""
        # What may be run is never taken from elsewhere.
        known = [name for name in Finding.__struct_fields__ if name != "fix"]
        findings = [
            Finding(**{name: its[name] for name in known if name in its})
            for its in told["findings"]
        ]
        return cls(tuple(findings), told["took_s"])

    def to_dict(self) -> dict[str, Any]:
        """For ``--json`` and the answer to the command."""
        return {
            "worst": self.worst,
            "took_s": round(self.took_s, 3),
            "counts": {
                severity: sum(its.severity == severity for its in self.findings)
                for severity in ORDER
            },
            "findings": [_shown(its) for its in self.findings],
        }
