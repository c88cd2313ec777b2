"""How often each label is the answer."""

from __future__ import annotations

from msgspec import Struct, field

NOTHING = "(nothing)"
OTHERS = "(others)"
_MOST = 64
"""Labels that are told apart."""


class Shares(Struct):
    """Counts by label; merged by adding."""

    n: int = 0
    counts: dict[str, int] = field(default_factory=dict)

    def add(self, label: str, count: int = 1) -> None:
        """One answer. Labels beyond the first `_MOST` are counted together."""
        if label not in self.counts and len(self.counts) >= _MOST:
            label = OTHERS
        self.counts[label] = self.counts.get(label, 0) + count
        self.n += count

    def merge(self, other: Shares) -> None:
        """Count what the other one counted."""
        for label, count in other.counts.items():
            self.add(label, count)

    def share(self, label: str) -> float:
        return self.counts.get(label, 0) / self.n if self.n else 0.0


def distance(a: Shares, b: Shares) -> tuple[float, str]:
    """The largest difference between the shares of one label, 0 … 1, and that label.

    The distance of TensorFlow Data Validation for categories ("L-infinity"): like that of
    Kolmogorov and Smirnov it is a difference of shares, and does not grow with the number of labels
    as sums over them do.
    """
    if not a.n or not b.n:
        return 0.0, ""
    return max(
        ((abs(a.share(label) - b.share(label)), label) for label in {*a.counts, *b.counts}),
        default=(0.0, ""),
    )
