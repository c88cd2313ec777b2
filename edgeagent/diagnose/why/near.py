"""What came near to being an event, in one sentence: the reason, its number, and when."""

from __future__ import annotations

from edgeagent.decide.block import Seen
from edgeagent.decide.rules import Failed
from edgeagent.diagnose.why.answer import Answer
from edgeagent.diagnose.why.tally import Near, upper
from edgeagent.diagnose.why.times import Now, said


def near_sentence(its: Near, now: Now) -> Answer:
    """One reason, its number, and when it was nearest."""
    seen, setup = its.seen, its.setup
    when = f"; nearest {said(its.at, now)}" if its.at is not None else ""
    times = "once" if its.count == 1 else f"{its.count:,} times"
    label = its.label
    if its.verdict == "low":
        threshold = setup.threshold if seen.threshold is None else seen.threshold
        value, limit = told(seen.score, threshold)
        remedy = "Lower its threshold, or retrain the model"
        return Answer(f"{label} {value} < {limit}, {times}{when}", cause="threshold", remedy=remedy)
    if its.verdict == "few":
        return Answer(
            f"{label} {its.best:.2f} was there in {seen.hits} of the {setup.on} samples in a row "
            f"that an event needs, {times}{when}",
            cause="few", remedy="Lower on = … of the pipeline, or raise fps of the source",
        )  # fmt: skip
    if its.verdict == "median":
        value, limit = told(seen.median, setup.threshold)
        return Answer(
            f"{label}: the median of its last scores {value} < {limit}, {times}{when}",
            cause="median", remedy="Lower its threshold, or retrain the model",
        )  # fmt: skip
    if its.verdict == "limit":
        return Answer(
            f"{label} {its.best:.2f} was left out {times}: the limit of {setup.limit} was reached"
            f"{when}",
            cause="limit", remedy="Raise limit of the pipeline, or on = … against flicker",
        )  # fmt: skip
    if its.verdict == "unrecorded":
        return Answer(
            f"{label} {its.best:.2f} was seen {times}, and record.events = false{when}",
            cause="unrecorded", remedy="Set record = { events = true } of the pipeline",
        )  # fmt: skip
    return _ruled_out(its, times, when)


def _ruled_out(its: Near, times: str, when: str) -> Answer:
    if not its.failed:
        return Answer(
            f"{its.label} {its.best:.2f} was seen {times}, and no rule makes events{when}",
            cause="rule", remedy='Write do = ["event"] in one of its rules',
        )  # fmt: skip
    wants = "; ".join(_lack(one, its.seen) for one in its.failed)
    name = f" ({its.rule})" if its.rule and its.rule not in [r[1] for r in its.setup.rules] else ""
    return Answer(
        f"{its.label} {its.best:.2f} was seen {times}, and the rule{name} wants {wants}{when}",
        cause="rule", remedy="Change the rule, then try it: edgeagent replay",
    )  # fmt: skip


def _lack(one: Failed, seen: Seen) -> str:
    """``age > 0.5 s, not 0.2 s``"""
    value = one.value
    if one.name in ("zone", "zones", "line", "lines"):
        places = ", ".join(value) if value else f"in no {one.name.rstrip('s')}"
        return f"{one.text}, and it was {places}"
    if one.name in ("time", "day", "clock") and not seen.scene.get("day"):
        return f"{one.text}, and the clock can't be trusted"
    if one.name == "time":
        minutes = int(value) // 60
        return f"{one.text}, and it was {minutes // 60:02d}:{minutes % 60:02d}"
    if isinstance(value, float) and value != value:
        return f"{one.text}, and that has no value"
    if isinstance(value, float):
        unit = " s" if one.name in ("age", "still") or one.name.startswith("dwell") else ""
        most = "at least" if upper(one.text) else "at most"
        return f"{one.text}, and it was {value:.3g}{unit} {most}"
    if isinstance(value, int):
        return f"{one.text}, and it was {value} {'at least' if upper(one.text) else 'at most'}"
    return f"{one.text}, and it was {value!r}"


def told(value: float, limit: float) -> tuple[str, str]:
    """Two figures, with as many digits as tell them apart and show the limit as it was set."""
    for digits in range(2, 6):
        a, b = f"{value:.{digits}f}", f"{limit:.{digits}f}"
        if a != b and abs(float(b) - limit) < 1e-6:
            return a, b
    return f"{value:.5g}", f"{limit:.5g}"
