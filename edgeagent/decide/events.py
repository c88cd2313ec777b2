"""Event phases: when something that was seen begins, changes and ends.

One happening is followed per track, or per label where there are no tracks (a keyword, the
state of a machine, an anomaly). It begins after ``on`` samples in a row that say so, and not
before the median of its last ten scores reaches the threshold; a missed sample counts as
score 0, and where more than one sample is asked for, a short history is padded to three with
zeros (Frigate's rule: one bright flicker is not an object). Once begun it is never doubted
again. It ends after ``off`` samples in a row without it. In between it is told anew when its
zones or what second models call it change, when it crosses a line, comes to rest or moves on, and
once a minute; changes within a second of the last record are told together. How many may begin is
limited (`Bucket`), so that a detector that flickers can't fill the outbox; what was left out is
told as ``suppressed``.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Collection, Hashable
from typing import TYPE_CHECKING, Any, Literal

from edgeagent.decide.course import STATIONARY_S
from edgeagent.decide.data import DIGITS, called, figures, refined, rounded
from edgeagent.decide.thought import Thought
from edgeagent.decide.zones import foot

if TYPE_CHECKING:
    from edgeagent.decide.course import Course
    from edgeagent.decide.limit import Bucket
    from edgeagent.decide.rules import Facts
    from edgeagent.types import Box, Prediction

Phase = Literal["new", "update", "end"]

HISTORY = 10
PADDED = 3
REMINDER_MS = 60_000.0
"""A lasting event is told again after so long."""
AT_LEAST_MS = 1000.0
"""Between two records of one event, but for its end."""


class Happening:
    """One thing that is, or may become, an event."""

    __slots__ = (
        "box", "course", "doubtful", "event", "facts", "first_ms", "hits", "last_ms",
        "misses", "refined", "refused", "scores", "speed", "suppressed", "threshold", "told",
        "told_ms", "top",
    )  # fmt: skip

    def __init__(self, facts: Facts, mono_ms: float) -> None:
        self.facts = facts
        self.first_ms = self.last_ms = mono_ms
        self.scores: deque[float] = deque(maxlen=HISTORY)
        self.hits = self.misses = 0
        self.event = ""
        """Key of its event while that lasts."""
        self.told_ms = 0.0
        self.told: tuple[object, ...] = ()
        """What was `present` when it was told last."""
        self.top = -math.inf
        self.speed = 0.0
        self.box: Box | None = None
        self.course: Course | None = None
        """Of its track, where it has one."""
        self.refused = False
        """The limit has kept it from being an event."""
        self.suppressed = 0
        """Others that were, since an event was last told."""
        self.refined: tuple[tuple[str, Prediction], ...] = ()
        """What second models say about it."""
        self.threshold: float | None = None
        """An anomaly's own, to be told with its score."""
        self.doubtful = True
        """Its score is a share of 0..1 whose median must reach the pipeline's threshold."""

    @property
    def stationary(self) -> bool:
        """Whether it has not moved for a while."""
        return self.course is not None and self.course.still_s >= STATIONARY_S

    def hurry(self, box: Box, now: float) -> float:
        """It is there now: frame sizes a second of its foot, half from now, half from before."""
        passed = (now - self.last_ms) / 1000
        if self.box is None or passed <= 0:
            return self.speed
        (x, y), (was_x, was_y) = foot(box), foot(self.box)
        present = math.hypot(x - was_x, y - was_y) / passed
        self.speed = present if not self.speed else (self.speed + present) / 2
        return self.speed

    def told_all(self) -> None:
        """A record says all that there is to say."""
        self.suppressed = 0
        if self.course is not None:
            self.course.crossings.clear()

    def changed(self) -> bool:
        """Whether there is something that its last record does not say."""
        if self.told != self.present:
            return True
        return self.course is not None and bool(self.course.crossings)

    @property
    def age_s(self) -> float:
        """Seconds from the first to the last time that it was seen."""
        return (self.last_ms - self.first_ms) / 1000

    @property
    def present(self) -> tuple[object, ...]:
        """What is told again as soon as it is otherwise."""
        return self.facts.zones, self.stationary, self.named

    @property
    def named(self) -> tuple[tuple[str, str], ...]:
        """What second models call it: another name is worth telling, another score is not."""
        return tuple((name, called(answer)) for name, answer in self.refined)

    def median(self, padded: int = 1) -> float:
        """Median of the last ten scores, padded with zeros to at least ``padded``."""
        scores = sorted(self.scores)
        if len(scores) < padded:
            scores = [0.0] * (padded - len(scores)) + scores
        middle = len(scores) // 2
        if len(scores) % 2:
            return scores[middle]
        return (scores[middle - 1] + scores[middle]) / 2

    def told_score(self, phase: Phase) -> float:
        """Median of the last ten while it lasts (an anomaly's present one), the best at its end."""
        if phase == "end":
            return self.top
        return self.median() if self.doubtful else self.facts.score

    def data(self, phase: Phase) -> dict[str, Any]:
        """The event's ``data`` in this phase."""
        facts = self.facts
        data: dict[str, Any] = {"phase": phase, "label": facts.label}
        if self.threshold is not None:
            data["score"] = figures(self.told_score(phase))
            data["threshold"] = figures(self.threshold)
        elif self.doubtful:
            data["score"] = round(self.told_score(phase), DIGITS)
        else:
            data["value"] = figures(facts.value)
        if self.box is not None:
            data["box"] = rounded(self.box)
        if facts.zones:
            data["zones"] = list(facts.zones)
        if facts.track:
            data["track"] = facts.track
        if self.course is not None:
            _tell_course(data, self.course, phase)
        if self.stationary:
            data["stationary"] = True
        if self.suppressed:
            data["suppressed"] = self.suppressed
        if self.refined:
            data["refined"] = refined(self.refined)
        data["age_s"] = round(self.age_s, 3)
        return data


def _tell_course(data: dict[str, Any], course: Course, phase: Phase) -> None:
    """Lines and stays, as far as there are any."""
    if course.lines:
        data["lines"] = [line for line in course.lines if ":" in line]
    if course.crossings:
        data["crossed"] = [f"{name}:{way}" for name, way in course.crossings]
    if phase != "new" and (dwelt := course.dwelt()):
        data["dwell_s"] = {zone: round(stay, 3) for zone, stay in dwelt.items()}


class Happenings:
    """All of one pipeline.

    Args:
        pipeline: its name; part of every event's key.
        on: samples in a row before an event begins.
        off: samples in a row without it before it ends (and before it is forgotten).
        threshold: what the median of the scores must reach.
        limit: what each event takes a token of; None = there may be any number.
    """

    def __init__(
        self, pipeline: str, *, on: int, off: int, threshold: float, limit: Bucket | None = None
    ) -> None:
        self._pipeline = pipeline
        self._on = on
        self._off = off
        self.threshold = threshold
        self._padded = PADDED if on > 1 else 1
        self._limit = limit
        self._suppressed = 0
        self._all: dict[Hashable, Happening] = {}
        self._count = 0

    def __len__(self) -> int:
        return len(self._all)

    def __contains__(self, key: Hashable) -> bool:
        return key in self._all

    def find(self, key: Hashable, facts: Facts, mono_ms: float) -> Happening:
        """The happening under ``key``, made now if nobody knows it, with these facts.

        Sets ``facts.age``.
        """
        happening = self._all.get(key)
        if happening is None:
            happening = self._all[key] = Happening(facts, mono_ms)
        happening.facts = facts
        facts.age = (mono_ms - happening.first_ms) / 1000
        return happening

    def sighted(self, happening: Happening, mono_ms: float, *, wanted: bool) -> Phase | None:
        """It is in this sample, and the rules want it or not. Returns the phase to tell, if any.

        After ``end`` has been told, the caller calls `close`.
        """
        facts = happening.facts
        happening.last_ms = mono_ms
        happening.scores.append(facts.score)
        if not wanted:
            return self._unwanted(happening)
        happening.hits += 1
        happening.misses = 0
        if not happening.event:
            return self._begin(happening, mono_ms)
        if facts.score > happening.top:  # a lower one can't lift the median by much
            happening.top = max(happening.top, happening.told_score("update"))
        return self._update(happening, mono_ms)

    def _update(self, happening: Happening, mono_ms: float) -> Phase | None:
        silent = mono_ms - happening.told_ms
        if silent >= REMINDER_MS or (silent >= AT_LEAST_MS and happening.changed()):
            return self._tell(happening, "update", mono_ms)
        return None

    def thought(
        self, prediction: Prediction | None, its: Happening, wanted: bool, phase: Phase | None
    ) -> Thought:
        """What has just been decided about a happening, for people who ask later."""
        median = -1.0
        if wanted and not its.event and its.hits >= self._on and not its.refused:
            median = its.median(self._padded)
        return Thought(
            prediction, its.facts, wanted, phase or "", its.event, its.hits, median, its.refused
        )

    def missed(self, seen: Collection[Hashable]) -> list[Happening]:
        """Count all but ``seen`` as missed in this sample; returns those whose event ends.

        After ``end`` has been told, the caller calls `close`.
        """
        ended: list[Happening] = []
        if len(seen) == len(self._all):
            return ended
        for key in [key for key in self._all if key not in seen]:
            happening = self._all[key]
            happening.scores.append(0.0)
            happening.hits = 0
            happening.misses += 1
            if happening.misses >= self._off:
                del self._all[key]
                if happening.event:
                    ended.append(happening)
        return ended

    def finish(self) -> list[Happening]:
        """Forget all; returns those whose event was open."""
        open_ = [happening for happening in self._all.values() if happening.event]
        self._all.clear()
        return open_

    def close(self, happening: Happening) -> None:
        """Its event has ended; the same thing may begin another one."""
        happening.event = ""
        happening.refused = False
        happening.hits = happening.misses = 0
        happening.top = -math.inf

    def _begin(self, happening: Happening, mono_ms: float) -> Phase | None:
        if happening.hits < self._on:
            return None
        if happening.doubtful and happening.median(self._padded) < self.threshold:
            return None
        if self._limit is not None and not self._limit.take(mono_ms):
            self._suppressed += not happening.refused
            happening.refused = True
            return None
        happening.suppressed = self._suppressed - happening.refused
        self._suppressed = 0
        self._count += 1
        happening.event = f"{self._pipeline}/{self._count}"
        happening.top = happening.told_score("new")
        return self._tell(happening, "new", mono_ms)

    def _unwanted(self, happening: Happening) -> Phase | None:
        happening.hits = 0
        if not happening.event:
            return None
        happening.misses += 1
        return "end" if happening.misses >= self._off else None

    def _tell(self, happening: Happening, phase: Phase, mono_ms: float) -> Phase:
        happening.told_ms = mono_ms
        happening.told = happening.present
        return phase
