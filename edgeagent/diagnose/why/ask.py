"""The two questions: about an event by its id, and about a pipeline's silence."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import msgspec
from msgspec import Struct

from edgeagent.config.model import Config
from edgeagent.decide.block import Block
from edgeagent.diagnose.why import event as of_event
from edgeagent.diagnose.why import silence as of_silence
from edgeagent.diagnose.why.answer import Answer
from edgeagent.diagnose.why.times import Moment, Now, age_s, said, since, span
from edgeagent.errors import NotFound

_EVENT = re.compile(r"e-\d+")
_RUNS_S = 150.0
"""An agent that runs leaves a block more often."""


class Asked(Struct, frozen=True):
    """A question, and what there is to answer it from."""

    target: str
    """``e-1041`` or the name of a pipeline."""
    since: str = ""
    label: str = ""


def why(
    asked: Asked,
    chunks: Iterable[bytes],
    config: Config,
    now: Now,
    *,
    record: Callable[[str], dict[str, Any] | None] = lambda _id: None,
    pending: int = 0,
    running: bool | None = None,
    labels: Sequence[str] = (),
) -> Answer:
    """Answer from blocks as `store.decisions` keeps them, oldest first.

    Args:
        record: the first record of an event by its id, where the outbox still has it.
        pending: records that wait to be sent.
        running: whether an agent runs; None = that is to be seen from what it has left.
        labels: what the pipeline's model can say; empty = that is not known.

    Raises:
        NotFound: there is no such pipeline or event, or its model has no such label.
        UsageError: ``since`` can't be understood.
    """
    blocks = decoded(chunks)
    if _EVENT.fullmatch(asked.target) and asked.target not in config.pipelines:
        return of_event.event(blocks, asked.target, now, record(asked.target))
    pipeline = config.pipelines.get(asked.target)
    if pipeline is None:
        from edgeagent.config.words import did_you_mean

        known = list(config.pipelines)
        raise NotFound(
            f"there is no pipeline {asked.target!r}, and no event of that id",
            remedy=did_you_mean(asked.target, known) if known else "No pipeline is configured.",
        )
    if asked.label and labels and asked.label not in labels and not _told(blocks, asked.label):
        from edgeagent.config.words import did_you_mean

        raise NotFound(
            f"{pipeline.model}, the model of {asked.target}, has no label {asked.label!r}",
            remedy=did_you_mean(asked.label, labels),
        )
    from_then = since(asked.since, now)
    if not pipeline.enabled:
        return Answer(
            f"{asked.target} is switched off: pipelines.{asked.target}.enabled = false",
            cause="off", remedy=f"edgeagent config show pipelines.{asked.target} --origin",
        )  # fmt: skip
    sources = (pipeline.source,) if pipeline.source else tuple(pipeline.sources.values())
    answer = of_silence.silence(
        blocks, asked.target, sources, from_then, now, label=asked.label, pending=pending
    )
    stopped = "" if running else _not_running(blocks, now, sure=running is False)
    if stopped and answer.cause in ("source", "nothing"):
        return Answer(stopped, [answer.sentence, *answer.lines], "sudo systemctl start edgeagent",
                      "not-running", answer.facts)  # fmt: skip
    if stopped:
        answer.lines.append(stopped)
    return answer


def _told(blocks: Iterable[Block], label: str) -> bool:
    """Whether something of this name was decided about: by a former model, or a second one."""
    return any(its.label == label for block in blocks for step in block.steps for its in step.seen)


def decoded(chunks: Iterable[bytes]) -> list[Block]:
    """Blocks of this and of earlier agents; what can't be read is left out."""
    decoder = msgspec.msgpack.Decoder(Block)
    found: list[Block] = []
    for chunk in chunks:
        try:
            found.append(decoder.decode(chunk))
        except msgspec.DecodeError:
            continue  # of another version's form
    return found


def _not_running(blocks: list[Block], now: Now, *, sure: bool) -> str:
    """That no agent runs, if so."""
    agent = [block for block in blocks if not block.pipeline]
    if not agent:
        does = "does not run and has" if sure else "has"
        return (
            f"the agent {does} left no decisions here: it has not run, was ended by force within "
            "seconds of its start, or storage.decisions is 0 B"
        )
    last = agent[-1]
    until = Moment.of(last, last.until_ms, now)
    age = age_s(until, now)
    if last.states and last.states[-1].state == "stopped":
        return f"the agent was stopped at {said(until, now)}"
    if sure or age is None or age > _RUNS_S:
        ago = f" ({span(age)} ago)" if age is not None and now.synced else ""
        return (
            f"the agent does not run, and was not stopped in good order: what it decided is kept "
            f"until {said(until, now)}{ago}, at most a minute before its end"
        )
    return ""
