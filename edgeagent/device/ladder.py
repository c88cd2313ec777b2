"""Steps that are taken one by one and taken back one by one, without going to and fro.

What made a step necessary is seldom over when the step has helped. So it is taken back only after
a time of ease, and where that was too early, the next time of ease must be twice as long: steps in
a lasting want grow rarer and rarer.
"""

from __future__ import annotations

from typing import Literal

_LONGEST_S = 3600.0
_REGRET = 4.0
"""A step that must be taken again within so many times the patience was taken back too early."""


class Ladder:
    """Says when to take a step, or to take one back; knows how deep one is, not what steps do.

    Args:
        settle_s: how long a want must last, and a step have worked, before the next.
        patience_s: how long ease must last before a step is taken back.
    """

    def __init__(self, settle_s: float, patience_s: float) -> None:
        self.depth = 0
        self.patience_s = patience_s
        self._first_patience_s = patience_s
        self._settle_s = settle_s
        self._want_since: float | None = None
        self._ease_since: float | None = None
        self._moved_at = float("-inf")
        self._back_at = float("-inf")

    def feel(self, now: float, *, want: bool, ease: bool) -> Literal[-1, 0, 1]:
        """1 = take the next step, -1 = take the last one back. Neither ``want`` nor ``ease``: all
        is as it should be."""
        self._want_since = (now if self._want_since is None else self._want_since) if want else None
        self._ease_since = (now if self._ease_since is None else self._ease_since) if ease else None
        if self._lasts(self._want_since, now, self._settle_s):
            self._moved_at = now
            if now - self._back_at < _REGRET * self.patience_s:
                self.patience_s = min(2 * self.patience_s, _LONGEST_S)
            self._back_at = float("-inf")
            return 1
        if self.depth and self._lasts(self._ease_since, now, self.patience_s):
            self._moved_at = self._back_at = now
            self._ease_since = None
            return -1
        if not self.depth and now - self._moved_at > _REGRET * self.patience_s:
            self.patience_s = self._first_patience_s
        return 0

    def _lasts(self, since: float | None, now: float, needed_s: float) -> bool:
        return since is not None and now - max(since, self._moved_at) >= needed_s
