"""The last decisions of one pipeline, in memory, to be kept in blocks.

A pipeline notes references only, a fraction of a microsecond for each sample; they are turned into
compact steps later, by whoever takes them. Samples in which nothing was seen, and those that a gate
held back, are one step as long as they follow one another.
"""

from __future__ import annotations

import math
import secrets
from collections import deque
from collections.abc import Sequence
from typing import Any

from edgeagent import clock
from edgeagent.decide.block import Block, Seen, Step
from edgeagent.decide.present import Numbered
from edgeagent.decide.rules import Scene
from edgeagent.decide.thought import Setup, Thought
from edgeagent.types import Anomaly, Joint, Prediction, Sample

SIZE = 4096
"""Notes that may wait to be taken; beyond it the oldest go, counted."""
_MOST = 6
"""Things of one sample that are kept of those that were no candidates, the best first."""
_UNCERTAIN_S = 30.0
"""An event whose number the store does not give within that time has none."""


class Ring:
    """Notes of one pipeline: written by its thread, taken by another.

    Args:
        pipeline: its name.
        source: name of what it reads.
        size: notes that may wait.
    """

    def __init__(self, pipeline: str, source: str = "", size: int = SIZE) -> None:
        self.pipeline = pipeline
        self.source = source
        self.session = secrets.token_hex(4)
        self._notes: deque[tuple[Any, ...]] = deque(maxlen=size)
        self._noted = self._taken = 0
        self._setup = Setup()
        self._told: deque[tuple[str, Numbered, float]] = deque(maxlen=size)

    def __len__(self) -> int:
        return len(self._notes)

    # --- by the pipeline -------------------------------------------------------------------

    def begin(self, setup: Setup) -> None:
        """From now on it decides so."""
        self._note((setup,))

    def saw(self, sample: Sample, found: tuple[Sequence[Prediction], Sequence[Thought]]) -> None:
        """One sample through all stages: what was predicted, and what was thought of it."""
        self._note((sample.mono_ms, sample.number, found))

    def held(self, sample: Sample | Joint, why: str) -> None:
        """One sample that was not looked at."""
        its = sample.lead if isinstance(sample, Joint) else sample
        self._note((its.mono_ms, its.number, None, why))

    def told(self, event: str, receipt: Numbered) -> None:
        """The first record of an event was appended."""
        self._told.append((event, receipt, clock.mono_ms()))

    def _note(self, note: tuple[Any, ...]) -> None:
        self._notes.append(note)
        self._noted += 1

    # --- by who keeps it -------------------------------------------------------------------

    def take(self) -> list[Block]:
        """What was noted since the last call: a block for each setup. One thread at a time."""
        blocks: list[Block] = []
        block = self._block()
        while self._notes:
            note = self._notes.popleft()
            self._taken += 1
            if len(note) == 1:
                if block.steps:
                    blocks.append(block)
                self._setup = note[0]
                block = self._block()
                continue
            _put(block.steps, _step(note, self._setup))
        block.events = self._numbers()
        lost = self._noted - self._taken - len(self._notes)
        if lost > 0:
            block.lost, self._taken = lost, self._taken + lost
        if block.steps or block.events or block.lost:
            blocks.append(block)
        return blocks

    def _block(self) -> Block:
        ahead = clock.wall_ns() / 1e6 - clock.mono_ms()
        return Block(
            self.pipeline, clock.boot_id(), self.session, round(ahead, 1), clock.synced(),
            self._setup, self.source,
        )  # fmt: skip

    def _numbers(self) -> dict[str, int]:
        found: dict[str, int] = {}
        now = clock.mono_ms()
        for _ in range(len(self._told)):
            event, receipt, at_ms = self._told.popleft()
            if receipt.seq is not None:
                found[event] = receipt.seq
            elif now - at_ms < 1e3 * _UNCERTAIN_S:
                self._told.append((event, receipt, at_ms))
        return found


def _put(steps: list[Step], step: Step) -> None:
    """Add a step, or count it with the last one where both have nothing to tell."""
    last = steps[-1] if steps else None
    if last is not None and not step.seen and not last.seen and step.held == last.held:
        last.count += 1
        last.last_ms = step.ms
    else:
        steps.append(step)


def _step(note: tuple[Any, ...], setup: Setup) -> Step:
    ms, frame, found = note[0], note[1], note[2]
    if found is None:
        return Step(round(ms, 1), frame, held=note[3])
    predictions, thoughts = found
    seen = [_seen(thought) for thought in thoughts]
    considered = {id(thought.prediction) for thought in thoughts}
    others = [
        its
        for prediction in predictions
        if id(prediction) not in considered and (its := _other(prediction, setup)) is not None
    ]
    others.sort(key=lambda its: -its.score)
    return Step(round(ms, 1), frame, seen + others[:_MOST])


def _other(prediction: Prediction, setup: Setup) -> Seen | None:
    """A prediction that was no candidate; None where there is nothing to compare."""
    if isinstance(prediction, Anomaly):
        return Seen(
            "anomaly", _figures(prediction.score), "low", threshold=_figures(prediction.threshold)
        )
    label, score = getattr(prediction, "label", None), getattr(prediction, "score", None)
    if label is None or score is None:
        return None
    verdict = "twin" if setup.events else "unrecorded"
    if score < setup.threshold:
        verdict = "low"
    return Seen(label, round(score, 4), verdict, track=getattr(prediction, "track", 0))


def _seen(its: Thought) -> Seen:
    facts = its.facts
    verdict = _verdict(its)
    seen = Seen(
        facts.label, round(facts.score, 4), verdict, its.phase, its.event, track=facts.track
    )
    if verdict == "event" and not its.phase:
        return seen
    seen.hits, seen.median = its.hits, round(its.median, 4)
    seen.zones, seen.lines, seen.age = facts.zones, facts.lines, round(facts.age, 3)
    seen.count, seen.speed = facts.count, round(facts.speed, 4)
    seen.value = None if math.isnan(facts.value) else _figures(facts.value)
    seen.refined, seen.still = facts.refined, round(facts.still, 3)
    seen.dwell = {zone: round(stay, 3) for zone, stay in facts.dwell.items()}
    said = facts.plugged.items()
    seen.plugged = {rule: _figures(its) for rule, its in said if not math.isnan(its)}
    seen.scene = _scene(facts.scene)
    if isinstance(its.prediction, Anomaly):
        seen.threshold = _figures(its.prediction.threshold)
    return seen


def _verdict(its: Thought) -> str:
    if its.event:
        return "event"
    if not its.wanted:
        return "rule"
    if its.refused:
        return "limit"
    return "few" if its.median < 0 else "median"


def _scene(scene: Scene) -> dict[str, Any]:
    told: dict[str, Any] = {
        name: dict(its)
        for name in ("counts", "inside", "crossed", "values")
        if (its := getattr(scene, name))
    }
    if scene.day:
        told |= {"time": round(scene.time, 3), "day": scene.day, "clock": scene.clock}
    return told


def _figures(value: float) -> float:
    """Five of them: what is measured has any size."""
    return float(f"{value:.5g}")
