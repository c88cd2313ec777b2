"""Whether a version on probation does as well as the one before it, with one sentence of evidence.

The world does not hold still while a model is changed: an hour is quieter than the one before, a
shift ends. So what can be explained by the world is no evidence:

- Best is what both versions say of the *same* samples (`beside`): the world is in both.
- Without it, the mix of labels is compared, which a quiet hour does not change, and rates only
  upwards, against the busiest stretch that this device knows. That nothing is seen at all may
  be a quiet hour, and is no evidence.

Tests are strict (one in 100,000), because they are asked again and again, and things that come in
crowds count for less (counts are divided by their dispersion).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from msgspec import Struct

from edgeagent.config.model import Expect
from edgeagent.prove.agreement import ARROW, NOTHING, Agreement
from edgeagent.update.behaviour import Behaviour, Counts, Span
from edgeagent.update.chance import (
    binomial_at_least,
    homogeneity,
    poisson_at_least,
    poisson_at_most,
    rate_at_least,
)

_CHANCE = 1e-5
_STEPS = 50
"""Samples before times say anything."""
_SLOWER, _SLOWER_MS = 1.5, 1.0
_SETTLED_MS, _MANY = 60_000.0, 2000
"""Time, or samples, before a version is judged by its times: caches fill, a governor turns up."""
_TOGETHER = 10
_FAILED, _FAILED_SHARE = 3, 0.01
_MORE = 4.0
"""Times the busiest stretch before: what the world does not do by itself."""
_LEAST = 8
"""Things before a rate says anything."""
_OTHER = 0.3
"""Share of things that changed their label, from which on a mix is another one …"""
_OTHER_TIMES = 1.5
"""… and so many times what the mix did by itself before."""
_PAIRS = 20
"""Things that both versions were asked about, before that says anything."""
_DIFFER = 0.4
"""Share of those that they may not call differently."""
_LOST = 0.6
_GROWN, _GROWN_MB = 1.25, 32.0
_GROWN_MINUTES = 6


class Fault(Struct, frozen=True):
    """Why a version may not stay."""

    code: str
    """errors | latency | stall | expect | labels | rate | beside | memory"""
    sentence: str


def judge(
    before: Behaviour | None,
    after: Behaviour,
    *,
    versions: tuple[str, str] = ("before", "now"),
    beside: Sequence[Agreement] = (),
    expect: Expect | None = None,
) -> Fault | None:
    """What one pipeline shows against the new version; None = nothing (until now).

    Args:
        before: under the old version; None = there was none.
        after: since the new one was activated.
        versions: what to call the old and the new one.
        beside: what both said of the same samples: of all, and of the last.
        expect: what must hold whatever was before.
    """
    before = before or Behaviour()
    explained = any(its.samples >= _PAIRS and its.busy >= _PAIRS // 2 for its in beside)
    checks = (
        _errors(before, after, versions[1]),
        _latency(before, after, versions[1]),
        _expected(after, expect, versions[1]) if expect else None,
        *(differs(its, *versions) for its in beside),
        # Both were asked about the same: then the world explains what else is different.
        None if explained else _mix(before, after, versions[1]),
        None if explained else _rates(before, after, versions[1]),
        _memory(before, after, versions[1]),
    )
    found = next((fault for fault in checks if fault is not None), None)
    if found is not None and found.code == "beside":
        return Fault(found.code, found.sentence + _turn(before, after, versions[1]))
    return found


def _turn(before: Behaviour, after: Behaviour, new: str) -> str:
    """What became much more or much less often, as people notice it; empty = nothing did."""
    was, now = before.whole(), after.whole()
    if not was.ms or not now.ms:
        return ""
    rates = {
        label: (was.things.get(label, 0) / was.minutes, now.things.get(label, 0) / now.minutes)
        for label in {*was.things, *now.things}
    }
    label, (old, since) = max(
        rates.items(), key=lambda item: abs(item[1][0] - item[1][1]), default=("", (0.0, 0.0))
    )
    if max(old, since) < 2 * min(old, since) or old == since:
        return ""
    return f"; {label} {_figure(old)}/min before, {_figure(since)}/min since {new}"


def differs(beside: Agreement, old: str, new: str) -> Fault | None:
    """Whether two versions say too different things about the same samples."""
    things = sum(beside.same.values()) + sum(beside.changed.values())
    if things < _PAIRS:
        return None
    change, count = beside.foremost()
    was_seen, now_seen = beside.seen()
    told = f"on the same {beside.samples} samples"
    if sum(beside.changed.values()) >= _DIFFER * things:
        return Fault("beside", f"{told} {_called(change, count, old, new)}")
    for label, count in was_seen.items():
        lost = count - beside.same.get(label, 0)
        if lost >= _PAIRS and lost >= _LOST * count:
            said = f"{told} {old} sees {label} {count} times, {new} {now_seen.get(label, 0)} times"
            return Fault("beside", said)
    for label, count in now_seen.items():
        known = was_seen.get(label, 0)
        if count - known >= _PAIRS and count >= _MORE * max(known, 1):
            into = {c: n for c, n in beside.changed.items() if c.endswith(f"{ARROW}{label}")}
            change, times = max(into.items(), key=lambda item: item[1])
            if 2 * times >= count - known and not change.startswith(NOTHING):
                return Fault("beside", f"{told} {_called(change, times, old, new)}")
            return Fault("beside", f"{told} {old} sees {label} {known} times, {new} {count} times")
    return None


def _called(change: str, count: int, old: str, new: str) -> str:
    was, _, now = change.partition(ARROW)
    if was == NOTHING:
        return f"{new} sees {now} {count} times where {old} sees nothing"
    if now == NOTHING:
        return f"{new} misses {was} {count} times"
    return f"what {old} calls {was} {new} calls {now}, {count} times"


# --- one by one ----------------------------------------------------------------------------


def _errors(before: Behaviour, after: Behaviour, new: str) -> Fault | None:
    if after.restarts >= 2 and after.restarts > before.restarts:
        return Fault("errors", f"it had to be opened again {after.restarts} times since {new}")
    was, now = before.whole(), after.whole()
    usual = was.failed / max(1, was.steps + was.failed)
    asked = now.steps + now.failed
    if now.failed >= _FAILED and now.failed > asked * max(3 * usual, _FAILED_SHARE):
        said = "none before" if not was.failed else f"{usual:.1%} of them before"
        return Fault(
            "errors", f"{now.failed} of {asked} samples failed since {new}, {said}"
        )  # fmt: skip
    return None


def _latency(before: Behaviour, after: Behaviour, new: str) -> Fault | None:
    steps = after.whole().steps
    enough = before.whole().steps >= _STEPS and (after.whole().ms >= _SETTLED_MS or steps >= _MANY)
    most = max(before.p95_ms * _SLOWER, before.p95_ms + _SLOWER_MS)
    if enough and after.p95_ms > most:
        # Slow samples come together too: each tenth is a piece of evidence.
        slow = after.slower(most) // _TOGETHER
        if binomial_at_least(slow, steps // _TOGETHER, 0.05) < _CHANCE:
            return Fault(
                "latency",
                f"one sample in 20 takes longer than {after.p95_ms:.3g} ms since {new}, "
                f"{before.p95_ms:.3g} ms before",
            )
    if after.stalls >= 2 and after.stalls > 2 * before.stalls:
        return Fault(
            "stall",
            f"{after.stalls} samples stalled since {new}, for up to {after.worst_ms / 1e3:.1f} s; "
            f"usually one takes {after.p50_ms:.3g} ms",
        )
    return None


def _expected(after: Behaviour, expect: Expect, new: str) -> Fault | None:
    now = after.whole()
    enough = now.steps >= _STEPS
    if expect.p95_ms is not None and enough and after.p95_ms > expect.p95_ms:
        return Fault(
            "expect",
            f"one sample in 20 takes longer than {after.p95_ms:.3g} ms since {new}; "
            f"expect.p95_ms is {expect.p95_ms:g}",
        )
    if expect.events_per_hour is None or not now.ms:
        return None
    least, most = expect.events_per_hour
    hours, events = now.minutes / 60, sum(now.events.values())
    few = events < least * hours and poisson_at_most(events, least * hours) < _CHANCE
    many = events > most * hours and poisson_at_least(events, most * hours) < _CHANCE
    if few or many:
        return Fault(
            "expect",
            f"{events} events in {now.minutes:.0f} min since {new}; expect.events_per_hour is "
            f"{least:g} to {most:g}",
        )
    return None


def _mix(before: Behaviour, after: Behaviour, new: str) -> Fault | None:
    """Other labels than before for what is there."""
    was, now = before.whole().things, after.whole().things
    if sum(was.values()) < _LEAST or sum(now.values()) < _LEAST:
        return None
    apart = distance(was, now)
    spread = dispersion(before.minutes)
    usual = max((distance(was, own.things) for own in _stretches(before, after)), default=0.0)
    if apart < max(_OTHER, _OTHER_TIMES * usual) or homogeneity(was, now, spread) > _CHANCE:
        return None
    label = max((*was, *now), key=lambda its: abs(_share(now, its) - _share(was, its)))
    return Fault(
        "labels",
        f"{label} is {_share(now, label):.0%} of what is seen since {new}, "
        f"{_share(was, label):.0%} before ({_rate(before, label)} before, "
        f"{_rate(after, label)} since)",
    )


def _rates(before: Behaviour, after: Behaviour, new: str) -> Fault | None:
    """More of something than ever before, and of nothing else."""
    was, now = before.whole(), after.whole()
    if not was.ms or not now.ms:
        return None
    spread = dispersion(before.minutes)
    for kind in ("events", "things"):
        counts, known = getattr(now, kind), getattr(was, kind)
        for label, count in counts.items():
            rate = count / now.minutes
            stretches = _stretches(before, after)
            busiest = max((getattr(its, kind).get(label, 0) / its.minutes for its in stretches),
                          default=0.0)  # fmt: skip
            usual = max(busiest, known.get(label, 0) / was.minutes)
            if count < _LEAST or rate < _MORE * usual:
                continue
            others = len(set(known) | set(counts)) > 1
            if others and _share(counts, label) < _OTHER_TIMES * _share(known, label):
                continue  # of everything there is more: the world is busier
            chance = rate_at_least(known.get(label, 0), was.ms, count, now.ms, spread)
            if chance < _CHANCE:
                old = known.get(label, 0) / was.minutes
                return Fault(
                    "rate",
                    f"{label} {_figure(old)}/min before, {_figure(rate)}/min since {new}",
                )
    return None


def _memory(before: Behaviour, after: Behaviour, new: str) -> Fault | None:
    """The agent grows, and goes on growing."""
    shown = after.memory_mb
    if len(shown) < _GROWN_MINUTES or not shown[0]:
        return None
    third = len(shown) // 3
    rising = min(shown[-third:]) > max(shown[third : 2 * third]) > max(shown[:third])
    most = max(shown[0] * _GROWN, shown[0] + _GROWN_MB, *before.memory_mb)
    if rising and shown[-1] > most:
        return Fault(
            "memory",
            f"the agent grew from {shown[0]:.0f} to {shown[-1]:.0f} MB in {len(shown)} min since "
            f"{new}, and goes on growing",
        )
    return None


def _stretches(before: Behaviour, after: Behaviour) -> Iterator[Span]:
    """Stretches of the time before, as long as the time since, or longer."""
    needed = min(after.whole().ms, before.whole().ms)
    spans = [span for span in before.minutes if span.ms]
    for first in range(len(spans)):
        part = Span()
        for span in spans[first:]:
            part.add(span)
            if part.ms >= needed:
                yield part
                break
    yield from (span for span in before.hours if span.ms)


def _share(counts: Counts, label: str) -> float:
    whole = sum(counts.values())
    return counts.get(label, 0) / whole if whole else 0.0


def _rate(behaviour: Behaviour, label: str) -> str:
    whole = behaviour.whole()
    return f"{_figure(whole.things.get(label, 0) / whole.minutes if whole.ms else 0.0)}/min"


def _figure(rate: float) -> str:
    return f"{rate:.1f}" if rate < 100 else f"{rate:.0f}"


def distance(one: Counts, other: Counts) -> float:
    """Total variation between two mixes: the share that would have to change its label, 0..1."""
    return sum(abs(_share(one, label) - _share(other, label)) for label in {*one, *other}) / 2


def dispersion(spans: Sequence[Span]) -> float:
    """How much more the things of a minute vary than chance has it (variance over mean), at
    least 1: what comes in crowds is so many fewer pieces of evidence."""
    counts = [sum(span.things.values()) for span in spans[:-1] or spans if span.ms]
    if len(counts) < 3 or not sum(counts):
        return 1.0
    mean = sum(counts) / len(counts)
    variance = sum((count - mean) ** 2 for count in counts) / (len(counts) - 1)
    return max(1.0, variance / mean)
