"""Whether a wave's devices see the world as they did before. Pure: counts and scores come in.

* **Event rate.** Events per device-hour after over before, as a ratio. The hour of the day and
  the season change it as well, so where enough devices of the profile have not been asked yet
  the wave is compared with them: ratio of the ratios (difference in differences on the log
  scale). Counts are taken as Poisson: the variance of the log of a ratio is the sum of 1/count,
  and a change is believed at 3 standard deviations.
* **Scores.** The 10th, 50th and 90th percentile of new events' scores. A shift is believed if
  it exceeds what the Dvoretzky–Kiefer–Wolfowitz bound allows for by chance (95 %) as well: the
  quantile of the one sample must lie outside the band of the other.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from msgspec import Struct

from edgeagent.fleet.rollout.plan import Quality

LEAST_EVENTS = 20
"""On each side; fewer say nothing."""
QUANTILES = (0.1, 0.5, 0.9)
_BELIEVED = 3.0


class Sample(Struct, frozen=True):
    """What some devices did in a stretch of time."""

    events: int = 0
    hours: float = 0.0
    """Summed over the devices."""
    scores: tuple[float, ...] = ()
    """Of new events, ascending."""


class Compared(Struct, frozen=True):
    """One profile (empty = all) of a wave, before and after."""

    profile: str
    before: Sample
    after: Sample
    control_before: Sample = Sample()
    """Devices of it that were not asked, at the same times."""
    control_after: Sample = Sample()


class Finding(Struct, frozen=True):
    """What a comparison came to."""

    profile: str
    bad: bool
    sentence: str
    figures: Mapping[str, float]


def judge(its: Compared, limits: Quality) -> list[Finding]:
    """Findings about event rate and scores, as far as they are judged and can be."""
    found = []
    if limits.rate:
        found.append(_rate(its, limits.rate))
    if limits.score:
        found.append(_scores(its, limits.score))
    return found


def _rate(its: Compared, limit: float) -> Finding:
    who = _who(its)
    if its.before.events < LEAST_EVENTS or not its.before.hours or not its.after.hours:
        return Finding(
            its.profile, False,
            f"{who}: {its.before.events} events before are too few to judge the rate", {},
        )  # fmt: skip
    change, variance = _log_ratio(its.before, its.after)
    against = ""
    if min(its.control_before.events, its.control_after.events) >= LEAST_EVENTS:
        control, more = _log_ratio(its.control_before, its.control_after)
        change, variance = change - control, variance + more
        against = " against those not asked"
    ratio = math.exp(change)
    # Half is as bad as double, for any limit: both ways on the log scale.
    bad = abs(change) >= math.log1p(limit) and abs(change) >= _BELIEVED * math.sqrt(variance)
    before, after = (s.events / s.hours for s in (its.before, its.after))
    return Finding(
        its.profile, bad,
        f"{who}: {after:.3g} events per device-hour, {before:.3g} before: × {ratio:.2f}{against} "
        f"(limit × {1 / (1 + limit):.2f} … {1 + limit:.2f})",
        {"before": before, "after": after, "ratio": ratio},
    )  # fmt: skip


def _log_ratio(before: Sample, after: Sample) -> tuple[float, float]:
    """Log of the ratio of rates, and its variance; half an event in place of none."""
    first, second = max(before.events, 0.5), max(after.events, 0.5)
    change = math.log(second / after.hours) - math.log(first / before.hours)
    return change, 1 / first + 1 / second


def _scores(its: Compared, limit: float) -> Finding:
    who = _who(its)
    before, after = its.before.scores, its.after.scores
    if min(len(before), len(after)) < LEAST_EVENTS:
        return Finding(
            its.profile, False,
            f"{who}: {len(before)} and {len(after)} scores are too few to judge", {},
        )  # fmt: skip
    worst, worst_q, figures = 0.0, 0.5, dict[str, float]()
    for q in QUANTILES:
        old, new = quantile(before, q), quantile(after, q)
        figures[f"p{q * 100:.0f}_before"], figures[f"p{q * 100:.0f}_after"] = old, new
        low, high = _band(before, len(after), q)
        if not low <= new <= high and abs(new - old) > abs(worst):
            worst, worst_q = new - old, q
    text = ", ".join(f"p{q * 100:.0f} {quantile(after, q):.2f}" for q in QUANTILES)
    was = ", ".join(f"{quantile(before, q):.2f}" for q in QUANTILES)
    moved = f"; p{worst_q * 100:.0f} moved by {worst:+.2f}" if worst else ""
    return Finding(
        its.profile, abs(worst) >= limit,
        f"{who}: scores {text} ({was} before){moved} (limit ± {limit:.2f})", figures,
    )  # fmt: skip


def _band(scores: Sequence[float], others: int, q: float) -> tuple[float, float]:
    """Where the quantile of ``others`` further values lies by chance (DKW, both samples)."""
    reach = math.sqrt(math.log(2 / 0.05) / 2) * (1 / math.sqrt(len(scores)) + 1 / math.sqrt(others))
    low = quantile(scores, q - reach) if q > reach else -math.inf
    high = quantile(scores, q + reach) if q + reach < 1 else math.inf
    return low, high


def quantile(scores: Sequence[float], q: float) -> float:
    """By linear interpolation (type 7). ``scores`` ascending and not empty."""
    place = max(0.0, min(1.0, q)) * (len(scores) - 1)
    low = math.floor(place)
    high = min(low + 1, len(scores) - 1)
    return scores[low] + (scores[high] - scores[low]) * (place - low)


def _who(its: Compared) -> str:
    return f"profile {its.profile}" if its.profile else "all profiles"
