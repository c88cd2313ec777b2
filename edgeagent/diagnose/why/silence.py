"""Why a pipeline has told nothing, or less than somebody expected."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from msgspec import Struct

from edgeagent.decide.block import Block
from edgeagent.diagnose.why.answer import Answer
from edgeagent.diagnose.why.near import near_sentence
from edgeagent.diagnose.why.tally import Near, Tally, count, figures, ranked
from edgeagent.diagnose.why.times import Moment, Now, Since, after, age_s, said, span

_GATES = {
    "still": "nothing moved",
    "rate": "more came than gate.max_fps lets through",
    "schedule": "outside of its hours",
    "trigger": "the other pipeline had no open event",
}
_LINES = 6
LINK, OUTBOX = "the link", "outbox"
"""Units of what keeps records from being sent, and from being kept. No source has such a name."""
DRIFT = "drift: "
"""How what the agent says of a pipeline begins, where that is about drift."""
_VERBS = ("is ", "sees ", "looks ", "gives ", "repeats ", "does ")


class Trouble(Struct):
    """Something that was wrong with the pipeline or its source for a while."""

    unit: str
    reason: str
    began: Moment
    ended: Moment | None = None
    """None = it still is."""


class Stretch(Struct):
    """All that is known of one pipeline in a stretch of time."""

    pipeline: str
    sources: tuple[str, ...]
    label: str
    since: Since
    now: Now
    tally: Tally
    troubles: list[Trouble]
    losses: dict[str, dict[str, int]]
    pending: int
    """Records that wait to be sent."""

    def said(self, moment: Moment) -> str:
        return said(moment, self.now)


def silence(
    blocks: Sequence[Block], pipeline: str, sources: tuple[str, ...], since: Since, now: Now, *,
    label: str = "", pending: int = 0,
) -> Answer:  # fmt: skip
    """The answer from what is kept.

    Args:
        sources: what the pipeline reads.
        pending: records that wait to be sent.
    """
    own = [block for block in blocks if block.pipeline == pipeline]
    agent = [block for block in blocks if not block.pipeline]
    stretch = Stretch(
        pipeline, sources, label, since, now, count(own, since, now, label),
        troubles(agent, (pipeline, *sources), since, now), agent[-1].losses if agent else {},
        pending,
    )  # fmt: skip
    answer = _cause(stretch)
    answer.lines = list(_lines(stretch, answer))[:_LINES]
    answer.facts = {
        **figures(stretch.tally),
        "pipeline": pipeline,
        "label": label,
        "since_s": round(since.span_s, 1),
        "troubles": [f"{its.unit}: {its.reason}" for its in stretch.troubles],
        "pending": pending,
    }
    return answer


def troubles(agent: Sequence[Block], units: Sequence[str], since: Since, now: Now) -> list[Trouble]:
    """What the agent said of these units and of its link, as far as it lasted into the span."""
    open_: dict[tuple[str, str], Trouble] = {}
    found: list[Trouble] = []
    for block in agent:
        for state in block.states:
            moment = Moment.of(block, state.ms, now)
            present = {_split(reason) for reason in state.reasons}
            present |= {(LINK, reason) for reason in state.link}
            for key in [key for key in open_ if key not in present]:
                its = open_.pop(key)
                its.ended = moment
                if since.holds(moment, now):
                    found.append(its)
            for unit, reason in sorted(present):
                if unit in (*units, LINK, OUTBOX) and (unit, reason) not in open_:
                    open_[unit, reason] = Trouble(unit, reason, moment)
    return [*found, *open_.values()]


def _split(reason: str) -> tuple[str, str]:
    unit, _, rest = reason.partition(": ")
    return unit, rest


def _cause(its: Stretch) -> Answer:
    tally = its.tally
    best = next(iter(ranked(tally)), None)
    # Drift stands in the lines: what it sees is other than it was, and it does look.
    own = [one for one in its.troubles
           if one.unit not in (LINK, OUTBOX) and not one.reason.startswith(DRIFT)]  # fmt: skip
    # What the pipeline itself says explains more than what its source says.
    own.sort(key=lambda one: one.unit != its.pipeline)
    wrong = next((one for one in own if one.ended is None), None)
    if wrong is not None and not _told_since(wrong, tally, best):
        return _troubled(wrong, its.now)
    if tally.begun:
        return _events(its)
    if not tally.samples:
        return _troubled(own[0], its.now) if own else _no_samples(its)
    reason, held = (tally.held.most_common(1) or [("", 0)])[0]
    if best is not None:
        return near_sentence(best, its.now)
    if held > tally.looked:
        return _held(its, reason, held)
    source = next(iter(its.sources), "")
    return Answer(
        f"the model saw no sign of {its.label or 'anything'} in {tally.looked:,} samples of "
        f"{source or 'its source'} {its.since.text}",
        cause="nothing", remedy=f"Look at what it sees: edgeagent devices try {source}".strip(),
    )  # fmt: skip


def _told_since(wrong: Trouble, tally: Tally, best: Near | None) -> bool:
    """Whether something was seen after the trouble had begun, so that it does not explain all."""
    if tally.begun and after(tally.begun[-1][0], wrong.began):
        return True
    return best is not None and best.verdict != "low" and after(best.last, wrong.began)


def _events(its: Stretch) -> Answer:
    begun = its.tally.begun
    moment, seen, seq = begun[-1]
    many = "1 event began" if len(begun) == 1 else f"{len(begun)} events began"
    last = f"the last{f' e-{seq}' if seq else ''} ({seen.label} {seen.score:.2f})"
    sentence = f"{many} {its.since.text}, {last} at {its.said(moment)}"
    present = {one.unit: one for one in its.troubles if one.ended is None}
    if OUTBOX in present:
        return Answer(
            f"{sentence}, but they can't be kept: {present[OUTBOX].reason}", cause="outbox",
            remedy="edgeagent doctor tells what to do about the disk",
        )  # fmt: skip
    if LINK in present:
        reason, _, advice = present[LINK].reason.partition(". ")
        return Answer(
            f"{sentence}, but they can't be sent: {reason}", cause="link",
            remedy=f"{advice} edgeagent doctor looks at the way to the broker".strip(),
        )  # fmt: skip
    return Answer(sentence, cause="event", remedy=f"edgeagent why e-{seq}" if seq else "")


def _no_samples(its: Stretch) -> Answer:
    where = ", ".join(its.sources)
    what = f"no sample came from {where}" if where else f"{its.pipeline} has looked at nothing"
    return Answer(
        f"{what} {its.since.text}", cause="source", remedy="edgeagent status; edgeagent doctor"
    )


def _troubled(its: Trouble, now: Now) -> Answer:
    reason = its.reason.partition(" (since ")[0].rstrip(".")
    verb = "" if reason.startswith(_VERBS) else ":"
    age = age_s(its.began, now)
    if age is None:
        since = f"since {said(its.began, now)}"
    elif now.synced:
        since = f"since {said(its.began, now)} ({span(age)})"
    else:
        since = f"for {span(max(1.0, age))}"
    if its.ended is not None:
        return Answer(
            f"{its.unit}{verb} {reason}, from {said(its.began, now)} to {said(its.ended, now)}",
            cause="source", remedy="edgeagent doctor",
        )  # fmt: skip
    return Answer(
        f"{its.unit}{verb} {reason}, {since}",
        cause="source", remedy="edgeagent doctor tells what to do",
    )  # fmt: skip


def _held(its: Stretch, reason: str, held: int) -> Answer:
    kind, _, what = reason.partition(": ")
    share = f"{held:,} of {its.tally.samples:,} samples"
    at = its.said(its.tally.held_last[reason])
    if kind == "gate":
        return Answer(
            f"{share} were held back by the gate: {_GATES.get(what, what)}, the last at {at}",
            cause="gate", remedy=f"See pipelines.{its.pipeline}.gate in the configuration",
        )  # fmt: skip
    if kind == "paused":
        return Answer(
            f"{share} were thrown away: {its.pipeline} is stopped or paused, the last at {at}",
            cause="paused", remedy=f"edgeagent pipeline start {its.pipeline}",
        )  # fmt: skip
    if kind in ("rest", "pace"):
        said = what or "the device has no time for more"
        return Answer(
            f"{share} were left out by the governor: {said}, the last at {at}", cause="governor",
            remedy="edgeagent status tells what it is short of; edgeagent doctor",
        )  # fmt: skip
    verb = "could not be used" if kind == "skipped" else "were refused by the runtime"
    return Answer(
        f"{share} {verb}: {what}, the last at {at}", cause=kind, remedy="edgeagent doctor"
    )


def _lines(its: Stretch, answer: Answer) -> Iterator[str]:
    """What else is known, without what the answer says already."""
    tally = its.tally
    sentences = [_events(its).sentence] if tally.begun else []
    sentences += [near_sentence(one, its.now).sentence for one in ranked(tally)[:3]]
    sentences += [_troubled(one, its.now).sentence for one in its.troubles]
    yield from (one for one in sentences if one != answer.sentence)
    if tally.samples:
        parts = [f"{tally.samples:,} samples, {tally.looked:,} of them looked at"]
        parts += [f"{count:,} {reason}" for reason, count in tally.held.most_common(3)]
        yield "; ".join(parts)
    for source in its.sources:
        lost = {key: n for key, n in its.losses.get(source, {}).items() if key != "read"}
        if lost:
            figures_ = ", ".join(f"{n:,} {key}" for key, n in lost.items())
            yield f"{source} has lost since its start: {figures_}"
    if len(tally.models) > 1:
        model, moment = list(tally.models.items())[-1]
        yield f"the model was changed to {model} at {its.said(moment)}"
    if tally.lost:
        yield f"{tally.lost:,} samples came faster than they could be noted"
    if its.pending and answer.cause in ("event", "link"):
        yield f"{its.pending:,} records wait to be sent"
