"""A rule: whether a label is still new here."""

from __future__ import annotations

from collections import Counter
from typing import Any

from edgeagent.decide.rules import Facts


class Fresh:
    """``plugin('fresh')``: 1 for what has been seen at most ``times`` times (20), else 0."""

    def __init__(self, pipeline: str, options: dict[str, Any]) -> None:
        del pipeline
        self._times = int(options.get("times", 20))
        self._seen: Counter[str] = Counter()

    def __call__(self, facts: Facts) -> float:
        self._seen[facts.label] += 1
        return float(self._seen[facts.label] <= self._times)
