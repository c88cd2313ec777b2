"""How many queries a percentile needs before it may be told, and what may then be told.

Source: MLPerf Inference, LoadGen (mlcommons/inference, loadgen/early_stopping.cc and
results.cc) and "Early stopping criterion" of its rules. Each query is over the latency that is
promised with a probability of at most 1 − p. After n queries of which t were over it, the
promise holds with confidence c if so few would be a rare chance otherwise:
P(X ≤ t) ≤ 1 − c for X ~ Binomial(n, 1 − p). With c = 0.99 and t = 1 that takes 64 queries at
p = 0.90 and 662 at p = 0.99. Of more queries the largest such t counts: the t − 1 slowest are
left out, and the slowest of the rest is the estimate.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

CONFIDENCE = 0.99


def least_queries(percentile: float, over: int = 1, confidence: float = CONFIDENCE) -> int:
    """Queries with which ``over`` slow ones still let the percentile (0..1) be promised."""
    high = over + 1
    while not _holds(high, over, percentile, confidence):
        high *= 2
    low = high // 2
    while low + 1 < high:
        middle = (low + high) // 2
        if middle > over and _holds(middle, over, percentile, confidence):
            high = middle
        else:
            low = middle
    return high


@lru_cache(maxsize=256)
def allowed_over(queries: int, percentile: float, confidence: float = CONFIDENCE) -> int:
    """How many of ``queries`` may be slower than what is promised; 0 = they are too few."""
    low, high = 0, queries
    while low + 1 < high:
        middle = (low + high) // 2
        if _holds(queries, middle, percentile, confidence):
            low = middle
        else:
            high = middle
    return low


def estimate(
    latencies: Sequence[float], percentile: float, confidence: float = CONFIDENCE
) -> float | None:
    """The latency that may be promised at a percentile; None = too few queries."""
    over = allowed_over(len(latencies), percentile, confidence)
    return sorted(latencies)[-over] if over else None


def meets(
    latencies: Sequence[float], bound: float, percentile: float, confidence: float = CONFIDENCE
) -> bool:
    """Whether it may be promised that the percentile lies within ``bound``."""
    over = sum(latency > bound for latency in latencies)
    return max(over, 1) <= allowed_over(len(latencies), percentile, confidence)


def _holds(queries: int, over: int, percentile: float, confidence: float) -> bool:
    return _at_most(over, queries, 1.0 - percentile) <= 1.0 - confidence


def _at_most(count: int, trials: int, chance: float) -> float:
    """P(X ≤ count) of a binomial distribution. Summed from the largest term down: terms that no
    longer count end it."""
    if count >= trials:
        return 1.0
    log_odds = math.log(chance) - math.log1p(-chance)
    log_term = (
        math.lgamma(trials + 1) - math.lgamma(count + 1) - math.lgamma(trials - count + 1)
        + count * math.log(chance) + (trials - count) * math.log1p(-chance)
    )  # fmt: skip
    total = 0.0
    mode = (trials + 1) * chance
    for k in range(count, -1, -1):
        term = math.exp(log_term)
        total += term
        if k < mode and term < total * 1e-15:
            break
        # C(n, k − 1) = C(n, k) · k / (n − k + 1)
        if k:
            log_term += math.log(k) - math.log(trials - k + 1) - log_odds
    return total
