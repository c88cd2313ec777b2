"""Which samples are worth a label: those of which the model was unsure, those about which another
model says otherwise, those that are unlike what is usual, and some by chance, because only they
show what the model is sure of and wrong about.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Sequence

from msgspec import Struct

from edgeagent.drift.outputs import doubt
from edgeagent.types import Detection, Keypoints, Label, Prediction

UNCERTAIN, DISAGREEMENT, DRIFT, RANDOM = "uncertain", "disagreement", "drift", "random"
_UNKNOWN = "unknown"
"""What a second model calls what it does not know."""


class Pick(Struct, frozen=True):
    """That a sample is kept, and why."""

    reason: str
    useful: int
    """0 … 100."""
    detail: str = ""
    """In words."""


class Picks:
    """Of one pipeline; called by its thread.

    Args:
        reasons: for which samples are kept.
        pause_ms: time between two of them.
        random_ms: about so often one is kept by chance.
        unsure: doubt from which on a sample is uncertain.
    """

    def __init__(
        self, reasons: Collection[str], pause_ms: float, random_ms: float, unsure: float
    ) -> None:
        self._reasons = frozenset(reasons)
        self._pause_ms = pause_ms
        self._random_ms = random_ms
        self._unsure = unsure
        self._chance = random.Random()
        self._kept_ms, self._due_ms = 0.0, float("-inf")
        self._random_due_ms: float | None = None

    def waits(self, when_ms: float) -> bool:
        """Whether it is too early for another one; all that most samples cost."""
        return self._kept_ms <= when_ms < self._due_ms

    def pick(
        self, predictions: Sequence[Prediction], threshold: float, when_ms: float, drifted: bool
    ) -> Pick | None:
        """Whether and why to keep this sample, for the first reason that holds."""
        found = self._why(predictions, threshold, when_ms, drifted)
        if found is not None:
            self.keeps(when_ms)
        return found

    def keeps(self, when_ms: float) -> None:
        """One is kept now."""
        self._kept_ms, self._due_ms = when_ms, when_ms + self._pause_ms

    def wants(self, reason: str) -> bool:
        """Whether samples are kept for it."""
        return reason in self._reasons

    def _why(
        self, predictions: Sequence[Prediction], threshold: float, when_ms: float, drifted: bool
    ) -> Pick | None:
        if DISAGREEMENT in self._reasons and (name := _not_known(predictions, threshold)):
            return Pick(DISAGREEMENT, 50, f"{name} does not know what the model is sure of")
        if UNCERTAIN in self._reasons:
            unsure = doubt(predictions, threshold)
            if unsure >= self._unsure:
                return Pick(UNCERTAIN, round(100 * unsure), f"doubt {unsure:.2f}")
        if drifted and DRIFT in self._reasons:
            return Pick(DRIFT, 0, "what is seen has drifted")
        if RANDOM in self._reasons and self._by_chance(when_ms):
            return Pick(RANDOM, 0, "by chance")
        return None

    def _by_chance(self, when_ms: float) -> bool:
        due = self._random_due_ms
        if due is not None and when_ms < due < when_ms + 100 * self._random_ms:
            return False
        self._random_due_ms = when_ms + self._chance.expovariate(1.0) * self._random_ms
        # Not the first one, nor where a recording begins again.
        return due is not None and when_ms >= due


def _not_known(predictions: Sequence[Prediction], threshold: float) -> str:
    """The second model that does not know a thing of which the first one is sure; empty = none."""
    for its in predictions:
        if not isinstance(its, (Detection, Keypoints)):
            return ""  # a model gives things of one kind
        if its.score < threshold:
            continue
        for name, answer in its.refined:
            if isinstance(answer, Label) and answer.label == _UNKNOWN:
                return name
    return ""
