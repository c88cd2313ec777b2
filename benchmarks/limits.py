"""What was measured, held against `limits.toml`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeagent.config.toml import parse_toml

FILE = Path(__file__).with_suffix(".toml")
EVERY = "*"

Rows = Mapping[str, Mapping[str, float]]
Limits = Mapping[str, Any]


@dataclass(frozen=True)
class Verdict:
    """One row beside its limits."""

    part: str
    row: str
    bar: str
    """The limits in words."""
    kept: bool
    guarded: bool
    """A row that is over its limit is an error."""
    found: str
    """What was measured of what is limited."""

    def __str__(self) -> str:
        return f"{self.part}, {self.row}: {self.found}, and the limit is {self.bar}"


def read(file: Path = FILE) -> Limits:
    """The table of limits."""
    return parse_toml(file)[0]


def judge(parts: Mapping[str, Rows], limits: Limits) -> list[Verdict]:
    """A verdict for each row that was measured and is limited."""
    verdicts = []
    for part, rows in parts.items():
        table = limits.get(part, {})
        for row, figures in rows.items():
            said = table.get(row, table.get(EVERY, []))
            ways = [said] if isinstance(said, dict) else said
            ways = [way for way in ways if all(key in figures for key in way)]
            if ways:
                verdicts.append(_verdict(part, row, figures, ways, part in limits["guard"]))
    return verdicts


def _verdict(
    part: str, row: str, figures: Mapping[str, float], ways: list[dict[str, float]], guarded: bool
) -> Verdict:
    kept = any(all(figures[key] <= most for key, most in way.items()) for way in ways)
    bar = " or ".join(
        " and ".join(f"{words(key)} ≤ {most:g}" for key, most in way.items()) for way in ways
    )
    keys = dict.fromkeys(key for way in ways for key in way)
    found = ", ".join(f"{words(key)} {figures[key]:g}" for key in keys)
    return Verdict(part, row, bar, kept, guarded, found)


_WORDS = {
    "pss_mb": "PSS, MB", "more_mb": "+ MB", "own_mb": "own MB", "mb_a_day": "MB a day",
    "later_cpu_ms": "later by ms of processor time", "overhead_us": "+ µs", "ratio": "×",
    "more_percent": "+ % of a core",
}  # fmt: skip


def words(key: str) -> str:
    """What a figure is called in the report."""
    return _WORDS.get(key, key)
