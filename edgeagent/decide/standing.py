"""States that rules describe, for automations: true or false, without a record for each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgeagent.decide.rules import Expression, Facts


class Standing:
    """One rule with ``do = ["state"]``: becomes true after ``on`` samples in a row in which it
    holds for something, or for nothing in particular where nothing is there, and false after
    ``off`` samples without."""

    def __init__(self, name: str, when: Expression, *, on: int, off: int) -> None:
        self.name = name
        self.true = False
        self._when = when
        self._on, self._off = on, off
        self._against = 0
        """Samples in a row that say the contrary of what is told."""

    def see(self, things: Sequence[Facts]) -> None:
        """What is there in the next sample."""
        if any(self._when(facts) for facts in things) == self.true:
            self._against = 0
            return
        self._against += 1
        if self._against >= (self._off if self.true else self._on):
            self.true = not self.true
            self._against = 0
