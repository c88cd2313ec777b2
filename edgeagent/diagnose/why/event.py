"""How one event came about, sample by sample."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from msgspec import Struct

from edgeagent.decide.block import Block, Seen, Step
from edgeagent.decide.thought import Setup
from edgeagent.diagnose.why.answer import Answer
from edgeagent.diagnose.why.tally import matching
from edgeagent.diagnose.why.times import Moment, Now, said, span
from edgeagent.errors import NotFound

_BEFORE = 10
"""Sightings before it began that are told."""
_TOLD = 50
"""Samples from each end of a long event whose scores are told."""


class Trail(Struct):
    """What is kept of one event."""

    block: Block
    """That in which it began."""
    steps: list[tuple[Block, Step, Seen]]
    """All that was thought of it, from the first sighting on."""

    @property
    def begin(self) -> tuple[Block, Step, Seen]:
        """The sample that made it an event."""
        return next(its for its in self.steps if its[2].phase == "new")


def event(
    blocks: Sequence[Block], id_: str, now: Now, record: dict[str, Any] | None = None
) -> Answer:
    """The answer for ``e-1041``; ``record`` = its first record, where the outbox still has it.

    Raises:
        NotFound: nothing is kept of it.
    """
    trail = find(blocks, id_)
    if trail is None:
        if record is None:
            raise NotFound(
                f"nothing is kept of {id_}",
                remedy="See which events there are: edgeagent outbox peek --kind event",
            )
        return _of_record(id_, record)
    block, step, seen = trail.begin
    setup = block.setup
    when = said(Moment.of(block, step.ms, now), now)
    rules = matching(setup, block.pipeline, seen)
    score, limit = _score(seen, setup)
    because = f"rule {rules[0]!r} held" if rules else "there is no rule, so all is told"
    in_a_row = f"{seen.hits} sample{'s' if seen.hits != 1 else ''} in a row"
    sentence = (
        f"{id_}: {seen.label} {score} ≥ {limit} in {in_a_row} at {when} (frame {step.frame}), "
        f"and {because}"
    )
    return Answer(sentence, list(_lines(trail, now, record)), cause="event", facts=_facts(trail))


def find(blocks: Sequence[Block], id_: str) -> Trail | None:
    """What is kept of an event; of several epochs' the newest."""
    number = id_[2:]
    for home in reversed(blocks):
        keys = [key for key, seq in home.events.items() if str(seq) == number]
        if keys:
            trail = _followed(blocks, home, keys[0])
            if trail is not None:
                return trail
    return None


def _followed(blocks: Sequence[Block], home: Block, key: str) -> Trail | None:
    own = [
        (block, step)
        for block in blocks
        if block.session == home.session and block.pipeline == home.pipeline
        for step in block.steps
    ]
    begun = next(
        (
            place
            for place, (_, step) in enumerate(own)
            for seen in step.seen
            if seen.event == key and seen.phase == "new"
        ),
        None,
    )
    if begun is None:
        return None
    first = next(seen for seen in own[begun][1].seen if seen.event == key)
    before = [
        (block, step, seen)
        for block, step in own[max(0, begun - 4 * _BEFORE) : begun]
        for seen in step.seen
        if seen.label == first.label and seen.track == first.track and not seen.event
    ][-_BEFORE:]
    after = [
        (block, step, seen)
        for block, step in own[begun:]
        for seen in step.seen
        if seen.event == key
    ]
    return Trail(own[begun][0], before + after)


def _score(seen: Seen, setup: Setup) -> tuple[str, str]:
    if seen.value is not None and seen.threshold is None:
        return f"{seen.value:.4g}", "any value"
    limit = setup.threshold if seen.threshold is None else seen.threshold
    return (
        (f"{seen.score:.2f}", f"{limit:.2f}")
        if limit < 10
        else (f"{seen.score:.4g}", f"{limit:.4g}")
    )


def _lines(trail: Trail, now: Now, record: dict[str, Any] | None) -> Any:
    block, step, seen = trail.begin
    setup = block.setup
    yield f"pipeline {block.pipeline}, source {block.source or '?'}, model {setup.model}"
    where = [f"track {seen.track}"] if seen.track else []
    where += [f"zones {', '.join(seen.zones)}"] if seen.zones else []
    where += [f"lines {', '.join(seen.lines)}"] if seen.lines else []
    where += [f"it was {seen.age:.3g} s old"] if seen.age else []
    if where:
        yield ", ".join(where)
    scores = " ".join(f"{its.score:.2f}" for _, _, its in trail.steps[: _BEFORE + 1])
    yield f"scores up to then and after: {scores}"
    for name, when, makes in setup.rules:
        if makes and name in matching(setup, block.pipeline, seen):
            yield f"rule: {when}"
    others = [its for its in step.seen if its.event != seen.event]
    if others:
        told = ", ".join(f"{its.label} {its.score:.2f} ({its.verdict})" for its in others[:5])
        yield f"in the same sample: {told}"
    ends = [(b, s) for b, s, its in trail.steps if its.phase == "end"]
    if ends:
        end, last = ends[-1]
        lasted = span((last.ms - step.ms) / 1e3)
        yield f"it ended at {said(Moment.of(end, last.ms, now), now)}, after {lasted}"
    data = (record or {}).get("data", {})
    if data.get("suppressed"):
        yield f"{data['suppressed']} others before it were left out by the limit of {setup.limit}"
    if data.get("picture"):
        yield f"its picture: {data['picture']}"
    yield f"configuration {setup.config}"


def _facts(trail: Trail) -> dict[str, Any]:
    from msgspec import to_builtins

    block, step, seen = trail.begin
    # It may have lasted for hours: how it began and how it ended is what people ask for.
    steps = trail.steps if len(trail.steps) <= 2 * _TOLD else (
        trail.steps[:_TOLD] + trail.steps[-_TOLD:]
    )  # fmt: skip
    return {
        "pipeline": block.pipeline,
        "source": block.source,
        "frame": step.frame,
        "model": block.setup.model,
        "config": block.setup.config,
        "threshold": block.setup.threshold,
        "rules": matching(block.setup, block.pipeline, seen),
        "seen": to_builtins(seen),
        "frames": [its.frame for _, its, _ in steps],
        "scores": [its.score for _, _, its in steps],
    }


def _of_record(id_: str, record: dict[str, Any]) -> Answer:
    data = record.get("data", {})
    value = data.get("score", data.get("value", ""))
    return Answer(
        f"{id_}: {data.get('label')} {value} at {record.get('at')} (frame "
        f"{record.get('frame', '?')}); the decisions that led to it are no longer kept",
        [f"pipeline {record.get('pipeline')}, model {record.get('model')}, configuration "
         f"{record.get('config')}"],
        cause="not-kept", remedy="Raise storage.decisions to keep them longer",
        facts={"record": record},
    )  # fmt: skip
