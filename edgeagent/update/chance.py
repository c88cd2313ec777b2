"""Tails of a few distributions, without a library of them: what probation asks."""

from __future__ import annotations

import math

Counts = dict[str, int]


def homogeneity(one: Counts, other: Counts, spread: float = 1.0) -> float:
    """Chance that two mixes as different as these come from one (G-test, counts / spread)."""
    sums = [sum(one.values()), sum(other.values())]
    labels = [label for label in {*one, *other} if one.get(label, 0) + other.get(label, 0)]
    if len(labels) < 2 or not all(sums):
        return 1.0
    whole = sums[0] + sums[1]
    statistic = 0.0
    for label in labels:
        both = one.get(label, 0) + other.get(label, 0)
        for count, its in ((one.get(label, 0), sums[0]), (other.get(label, 0), sums[1])):
            if count:
                statistic += 2 * count * math.log(count * whole / (both * its))
    return chi_square_above(max(0.0, statistic) / spread, len(labels) - 1)


def rate_at_least(
    before: int, before_ms: float, after: int, after_ms: float, spread: float = 1.0
) -> float:
    """Chance of so many afterwards if the rate is the one of before: of all that came, each lies
    in the time after with the share that it has (binomial)."""
    successes, rest = after / spread, before / spread
    share = after_ms / (before_ms + after_ms)
    trials = round(successes + rest)
    return binomial_at_least(math.ceil(successes), max(trials, math.ceil(successes)), share)


def binomial_at_least(successes: int, trials: int, share: float) -> float:
    """P(X ≥ successes), X ~ Binomial(trials, share)."""
    if successes <= 0 or share >= 1:
        return 1.0
    if share <= 0:
        return 0.0
    terms = (
        math.exp(
            math.lgamma(trials + 1) - math.lgamma(k + 1) - math.lgamma(trials - k + 1)
            + k * math.log(share) + (trials - k) * math.log1p(-share)
        )
        for k in range(successes, trials + 1)
    )  # fmt: skip
    return min(1.0, math.fsum(terms))


def poisson_at_most(count: int, mean: float) -> float:
    """P(X ≤ count), X ~ Poisson(mean)."""
    if mean <= 0:
        return 1.0
    log = math.log(mean)
    terms = (math.exp(k * log - mean - math.lgamma(k + 1)) for k in range(count + 1))
    return min(1.0, math.fsum(terms))


def poisson_at_least(count: int, mean: float) -> float:
    """P(X ≥ count), X ~ Poisson(mean)."""
    if count <= 0:
        return 1.0
    if mean <= 0:
        return 0.0
    # Summed from its own side: one minus nearly one loses all its digits.
    log, term_sum, k = math.log(mean), 0.0, count
    while True:
        term = math.exp(k * log - mean - math.lgamma(k + 1))
        term_sum += term
        k += 1
        if k > mean and term < term_sum * 1e-12:
            return min(1.0, term_sum)


def chi_square_above(statistic: float, freedom: int) -> float:
    """P(X ≥ statistic), X ~ χ² (Wilson and Hilferty 1931: its cube root is nearly normal)."""
    if statistic <= 0:
        return 1.0
    spread = 2.0 / (9.0 * freedom)
    z = ((statistic / freedom) ** (1 / 3) - (1 - spread)) / math.sqrt(spread)
    return 0.5 * math.erfc(z / math.sqrt(2))
