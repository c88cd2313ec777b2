"""What of a sample is worth telling: events by rules, every n-th result, redacted pictures."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from edgeagent.decide import ACTIONS
from edgeagent.decide.data import ANOMALY, as_data
from edgeagent.decide.events import Happening, Happenings, Phase
from edgeagent.decide.rules import Expression, Facts, fault, parse
from edgeagent.decide.zones import Zones, foot
from edgeagent.errors import ConfigError, InputError
from edgeagent.types import (
    Anomaly,
    Detection,
    Draft,
    Evidence,
    Frame,
    Keypoints,
    Label,
    Mask,
    Regression,
)

if TYPE_CHECKING:
    from edgeagent.config.model import Pipeline, Privacy, Rule
    from edgeagent.decide.redact import Redactor
    from edgeagent.types import Prediction, Sample

WITHHELD = "withheld"


class _Case(Struct, frozen=True):
    """A rule, ready to be asked."""

    when: Expression
    snapshot: bool


class Decide:
    """Turns the predictions of one pipeline into drafts of records.

    Args:
        name: the pipeline's.
        pipeline: its configuration.
        privacy: whether pictures may be kept.
        labels: all labels that its model can give; empty = unknown.
        threshold: scores below it are no candidates for an event.
        model: as it stands in records, ``parts@1.2.0/int8``.
        config: hash of the effective configuration.
        redactor_labels: labels of ``redact.model``, which then must be given ``hidden``.

    Raises:
        ConfigError: a rule can't be read or names an unknown label, zone or action; a label
            to redact is known to no model of the pipeline.
    """

    def __init__(
        self,
        name: str,
        pipeline: Pipeline,
        privacy: Privacy,
        labels: Collection[str],
        *,
        threshold: float,
        model: str = "",
        config: str = "",
        redactor_labels: Collection[str] = (),
    ) -> None:
        self.name = name
        self._threshold = threshold
        self._model = model
        self._config = config
        self._zones = Zones(pipeline.zones)
        self._cases = [
            _case(name, number, rule, labels, pipeline)
            for number, rule in enumerate(pipeline.rules)
        ]
        asked = frozenset[str]().union(*(case.when.names for case in self._cases))
        self._ask_count, self._ask_speed = "count" in asked, "speed" in asked
        self._snapshot = pipeline.snapshot
        self._events = pipeline.record.events
        self._every = pipeline.record.every
        self._happenings = Happenings(name, on=pipeline.on, off=pipeline.off, threshold=threshold)
        self._pictures = privacy.pictures
        self._second = bool(pipeline.redact and pipeline.redact.model)
        self._redactor = _redactor(name, pipeline, privacy, labels, redactor_labels)
        self._watched = False
        self._number = 0

    @property
    def needs_hidden(self) -> bool:
        """Whether each call must bring the predictions of ``redact.model``."""
        return self._second and self._redactor is not None

    def __call__(
        self,
        sample: Sample,
        predictions: Sequence[Prediction],
        hidden: Sequence[Prediction] | None = None,
    ) -> list[Draft]:
        """Drafts for one sample; samples come in the order of time.

        Args:
            sample: where the predictions come from.
            predictions: with track numbers, where there is a tracker.
            hidden: what the redact model found in the same sample; None = it did not answer,
                and then there is no picture.
        """
        self._number += 1
        if self._redactor is not None:
            self._watched = hidden is not None or not self._second
            self._redactor.watch([*predictions, *(hidden or ())], sample.mono_ms)
        drafts = self._happened(sample, predictions) if self._events else []
        if self._every and self._number % self._every == 0:
            drafts.append(self._result(sample, predictions))
        return drafts

    def finish(self, at_ns: int, mono_ms: float) -> list[Draft]:
        """End all open events, because no more samples will come."""
        return [
            Draft(
                kind="event", pipeline=self.name, at_ns=at_ns, mono_ms=mono_ms,
                data=happening.data("end"), model=self._model, config=self._config,
                event=happening.event,
            )
            for happening in self._happenings.finish()
        ]  # fmt: skip

    def picture(self, sample: Sample, *, asked: bool = False) -> Evidence | None:
        """The sample that was decided last, as a redacted JPEG; None where that must not be.

        ``asked`` = by a person's command, which ``privacy.pictures = "asked"`` allows too.

        Raises:
            InputError: it can't be written as JPEG.
        """
        allowed = ("events", "asked") if asked else ("events",)
        if self._pictures not in allowed or not isinstance(sample, Frame):
            return None
        from edgeagent.decide.picture import jpeg

        pixels = sample.pixels
        if self._redactor is not None:
            hidden = self._redactor.hide(pixels, sample.mono_ms) if self._watched else None
            if hidden is None:
                return None
            pixels = hidden
        return Evidence("image/jpeg", jpeg(pixels))

    # --- events ----------------------------------------------------------------------------

    def _happened(self, sample: Sample, predictions: Sequence[Prediction]) -> list[Draft]:
        drafts: list[Draft] = []
        seen: set[int | str] = set()
        now = sample.mono_ms
        counts = self._counts(predictions) if self._ask_count else {}
        for prediction in predictions:
            facts = self._facts(prediction)
            key: int | str = (facts.track or facts.label) if facts is not None else ""
            if facts is None or key in seen:
                continue
            seen.add(key)
            happening = self._happenings.find(key, facts, now)
            if type(prediction) is not Label:
                self._describe(happening, prediction, now)
            facts.count = counts.get(facts.label, 1)
            wanted, snapshot = self._judge(facts)
            phase = self._happenings.sighted(happening, now, wanted=wanted)
            if phase is not None:
                drafts.append(self._event(sample, happening, phase, snapshot))
        for happening in self._happenings.missed(seen):
            drafts.append(self._event(sample, happening, "end", False))
        return drafts

    def _facts(self, prediction: Prediction) -> Facts | None:
        """What is known of a prediction; None where it is no candidate for an event."""
        if isinstance(prediction, (Label, Mask)):
            if prediction.score < self._threshold:
                return None
            return Facts(prediction.label, prediction.score, self.name)
        if isinstance(prediction, (Detection, Keypoints)):
            if prediction.score < self._threshold:
                return None
            zones = self._zones.of(prediction.box)
            return Facts(
                prediction.label, prediction.score, self.name, zones, track=prediction.track
            )
        if isinstance(prediction, Anomaly):
            if not prediction.alarming:
                return None
            return Facts(ANOMALY, prediction.score, self.name, value=prediction.score)
        if isinstance(prediction, Regression) and self._cases:
            # Without a rule nobody said which value is worth an event.
            return Facts(prediction.name, 1.0, self.name, value=prediction.value)
        return None

    def _describe(self, happening: Happening, prediction: Prediction, now: float) -> None:
        """What only some kinds of predictions have: a box and a speed, a threshold."""
        if isinstance(prediction, (Detection, Keypoints)):
            if self._ask_speed:
                happening.speed = _speed(happening, prediction.box, now)
                happening.facts.speed = happening.speed
            happening.box = prediction.box
        elif isinstance(prediction, Anomaly):
            happening.threshold = prediction.threshold
            happening.doubtful = False
        elif isinstance(prediction, Regression):
            happening.doubtful = False

    def _counts(self, predictions: Sequence[Prediction]) -> Counter[str]:
        return Counter(
            prediction.label
            for prediction in predictions
            if isinstance(prediction, (Label, Detection, Keypoints, Mask))
            and prediction.score >= self._threshold
        )

    def _judge(self, facts: Facts) -> tuple[bool, bool]:
        """Whether an event is wanted, and whether with a picture."""
        if not self._cases:
            return True, self._snapshot
        matching = [case for case in self._cases if case.when(facts)]
        return bool(matching), self._snapshot or any(case.snapshot for case in matching)

    def _event(self, sample: Sample, happening: Happening, phase: Phase, snapshot: bool) -> Draft:
        draft = self._draft("event", sample, happening.data(phase))
        draft.event = happening.event
        if phase == "end":
            self._happenings.close(happening)
        elif phase == "new" and snapshot and isinstance(sample, Frame):
            self._attach(draft, sample)
        return draft

    def _attach(self, draft: Draft, sample: Sample) -> None:
        try:
            evidence = self.picture(sample)
        except InputError:  # the event counts for more than its picture
            evidence = None
        if evidence is not None:
            draft.evidence = (evidence,)
        elif self._pictures == "events":
            draft.data["picture"] = WITHHELD

    # --- results ---------------------------------------------------------------------------

    def _result(self, sample: Sample, predictions: Sequence[Prediction]) -> Draft:
        if len(predictions) == 1 and isinstance(predictions[0], Anomaly):
            return self._draft("anomaly", sample, as_data(predictions[0]))
        # Detectors may look below the threshold, for what must be hidden.
        told = [
            as_data(prediction)
            for prediction in predictions
            if not isinstance(prediction, (Detection, Keypoints))
            or prediction.score >= self._threshold
        ]
        return self._draft("result", sample, {"predictions": told})

    def _draft(self, kind: str, sample: Sample, data: dict[str, Any]) -> Draft:
        return Draft(
            kind, self.name, sample.at_ns, sample.mono_ms, data, self._model, self._config,
            sample.source, sample.number,
        )  # fmt: skip


def _speed(happening: Happening, box: tuple[float, float, float, float], now: float) -> float:
    """Frame sizes a second of the foot, half from now and half from before."""
    passed = (now - happening.last_ms) / 1000
    if happening.box is None or passed <= 0:
        return happening.speed
    (x, y), (was_x, was_y) = foot(box), foot(happening.box)
    present = math.hypot(x - was_x, y - was_y) / passed
    return present if not happening.speed else (happening.speed + present) / 2


def _case(name: str, number: int, rule: Rule, labels: Collection[str], pipeline: Pipeline) -> _Case:
    """A rule, held against the labels and zones that there are. Raises ConfigError."""
    key = f"pipelines.{name}.rules[{number}]"
    try:
        when = parse(rule.when)
        for label, column in when.labels if labels else ():
            if label not in labels:
                raise fault(rule.when, column, _unknown("label", label, labels))
        for zone, column in when.zones:
            if zone not in pipeline.zones:
                raise fault(rule.when, column, _unknown("zone", zone, pipeline.zones))
    except ConfigError as error:
        raise ConfigError(f"{key}.when: {error}", remedy=error.remedy) from error
    for action in rule.do:
        if action not in ACTIONS:
            raise ConfigError(f"{key}.do: {_unknown('action', action, ACTIONS)}")
    return _Case(when, "snapshot" in rule.do)


def _redactor(
    name: str,
    pipeline: Pipeline,
    privacy: Privacy,
    labels: Collection[str],
    redactor_labels: Collection[str],
) -> Redactor | None:
    how = pipeline.redact
    if how is None:
        return None
    key = f"pipelines.{name}.redact"
    if not how.labels:
        raise ConfigError(
            f"{key}.labels is empty: nothing would be hidden",
            remedy="Name the labels to hide, or take redact out.",
        )
    known = {*labels, *redactor_labels}
    for label in how.labels:
        if label not in known:
            raise ConfigError(
                f"{key}.labels: {_unknown('label', label, known)}",
                remedy="Only what a model of this pipeline finds can be hidden: set redact.model "
                "to one that finds it.",
            )
    if privacy.pictures == "never":
        return None  # there is nothing to redact, and OpenCV need not be loaded
    from edgeagent.decide.redact import Redactor

    return Redactor(how)


def _unknown(what: str, name: str, known: Collection[str]) -> str:
    import difflib

    close = difflib.get_close_matches(name, sorted(known), n=1)
    if close:
        return f"there is no {what} {name!r}; did you mean {close[0]!r}?"
    some = ", ".join(sorted(known)[:10]) or "none"
    more = "" if len(known) <= 10 else f" and {len(known) - 10} more"
    return f"there is no {what} {name!r}; known: {some}{more}"
