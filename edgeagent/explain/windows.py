"""Which channels and which stretch of a window an answer depends on."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from msgspec import Struct
from msgspec.structs import replace

from edgeagent.explain.target import Target, target_of
from edgeagent.types import Window

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from edgeagent.prove.predict import Predictor

_STRETCHES = 24


class Attributed(Struct):
    """How much of an answer goes with each stretch of each channel."""

    target: Target
    channels: tuple[str, ...]
    lost: NDArray[np.float64]
    """(channels, stretches), in units of the score; negative = hiding it makes more of it."""
    span_s: float
    runs: int

    def by_channel(self) -> dict[str, float]:
        """What hiding a whole channel would take, as a share of all that is lost."""
        lost = np.clip(self.lost, 0, None).sum(axis=1)
        total = float(lost.sum()) or 1.0
        return {name: float(its) / total for name, its in zip(self.channels, lost, strict=True)}

    def strongest(self) -> tuple[str, float, float]:
        """Channel, beginning and end (seconds within the window) of what matters most."""
        channel, stretch = np.unravel_index(int(self.lost.argmax()), self.lost.shape)
        length = self.span_s / self.lost.shape[1]
        return self.channels[channel], float(stretch) * length, float(stretch + 1) * length

    def told(self, model: str) -> dict[str, Any]:
        """As a table: ``model, label, score, channels, strongest, lost, span_s, runs``."""
        channel, begin, end = self.strongest()
        return {
            "model": model, "label": self.target.label, "score": self.target.score,
            "channels": self.by_channel(),
            "strongest": {"channel": channel, "from_s": begin, "to_s": end},
            "lost": self.lost.tolist(), "span_s": self.span_s, "runs": self.runs,
        }  # fmt: skip


def explain_window(
    predictor: Predictor,
    window: Window,
    *,
    target: Target | None = None,
    label: str = "",
    tell: Callable[[str], None] = lambda _what: None,
) -> Attributed:
    """Replace each stretch of each channel by a straight line, and see what that does.

    Raises: as `explain_picture`.
    """
    target = target or target_of(predictor(window).predictions, label)
    length, channels = window.values.shape
    edges = np.linspace(0, length, min(_STRETCHES, length) + 1).round().astype(int)
    lost = np.zeros((channels, len(edges) - 1))
    predictor.reset()
    full = target.left_in(predictor(window).predictions)
    for channel in range(channels):
        for stretch, (begin, end) in enumerate(pairwise(edges.tolist())):
            tell(window.channels[channel])
            values = window.values.copy()
            # A line between its neighbours: a step would be an event of its own.
            before, after = values[[max(0, begin - 1), min(length - 1, end)], channel].tolist()
            values[begin:end, channel] = np.linspace(before, after, end - begin)
            predictor.reset()
            left = target.left_in(predictor(replace(window, values=values)).predictions)
            lost[channel, stretch] = full - left
    span_s = length / window.rate_hz if window.rate_hz else float(length)
    return Attributed(target, window.channels, lost, span_s, lost.size + 1)
