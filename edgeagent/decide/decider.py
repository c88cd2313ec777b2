"""What of a sample is worth telling: events by rules, every n-th result, redacted pictures."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from edgeagent.decide.cases import cases
from edgeagent.decide.course import Courses
from edgeagent.decide.darkroom import check_redact, open_darkroom
from edgeagent.decide.data import ANOMALY, as_data, called
from edgeagent.decide.events import Happening, Happenings, Phase
from edgeagent.decide.limit import Bucket
from edgeagent.decide.lines import Lines
from edgeagent.decide.plugged import open_rules
from edgeagent.decide.readings import Readings
from edgeagent.decide.rules import Facts, Scene
from edgeagent.decide.scene import Surveyor, note_values
from edgeagent.decide.standing import Standing
from edgeagent.decide.thought import Setup, Thought
from edgeagent.decide.zones import Zones
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
    from edgeagent.config.model import Pipeline, Privacy
    from edgeagent.decide.cases import Case
    from edgeagent.decide.plugged import Ask
    from edgeagent.types import Prediction, Sample

WITHHELD = "withheld"
FOLLOWS = "follows"


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
        readings: where rules find other pipelines' values, and leave their own.
        timezone: of the device, for rules that ask for the time.
        rules: what makes the rules that come with its model, by name.

    Raises:
        ConfigError: a rule can't be read or names an unknown label, zone, line or action; a
            label to redact is known to no model of the pipeline.
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
        readings: Readings | None = None,
        timezone: str = "UTC",
        rules: Mapping[str, Callable[[], Ask]] | None = None,
    ) -> None:
        self.name = name
        self._threshold = threshold
        self._model = model
        self._config = config
        self._zones = Zones(pipeline.zones)
        self._lines = Lines(pipeline.lines)
        self._courses = Courses(self._zones, self._lines, pipeline.on)
        self._rules = cases(name, pipeline, labels)
        self._cases = [case for case in self._rules if case.event]
        self._states = [
            Standing(case.name, case.when, on=pipeline.on, off=pipeline.off)
            for case in self._rules
            if case.state
        ]
        self._readings = readings or Readings()
        self._readings.want(its for case in self._rules for its, _ in case.when.readings)
        asked = frozenset[str]().union(*(case.when.names for case in self._rules))
        self._ask_speed = "speed" in asked
        self._surveyor = Surveyor(
            asked, threshold, self._courses, self._lines, self._readings, timezone,
            plugins=open_rules(name, pipeline, self._rules, rules),
        )  # fmt: skip
        self._snapshot = pipeline.snapshot
        self._events = pipeline.record.events
        self._every = pipeline.record.every
        self._happenings = Happenings(
            name, on=pipeline.on, off=pipeline.off, threshold=threshold,
            limit=Bucket(pipeline.limit),
        )  # fmt: skip
        self._pictures = privacy.pictures
        self._second = bool(pipeline.redact and pipeline.redact.model)
        check_redact(name, pipeline, {*labels, *redactor_labels})
        self._darkroom = open_darkroom(pipeline, privacy, any(c.clip for c in self._cases))
        self._hides = self._darkroom is not None and self._darkroom.hides
        self._ending: dict[str, Draft] = {}
        """Ends that wait for the pictures of their events."""
        self._open: dict[str, Happening] = {}
        """By key, those whose pictures are still to come."""
        self._acting: dict[str, tuple[str, ...]] = {}
        """Actions of plugins that the events in progress have begun, by key."""
        self._number = 0
        self._limit = f"{pipeline.limit.events} in {pipeline.limit.per}"
        self._on, self._off = pipeline.on, pipeline.off
        self.last: tuple[Sequence[Prediction], list[Thought]] = ((), [])
        """The predictions of the last sample, and what was thought of candidates among them."""

    def setup(self) -> Setup:
        """By what is decided now."""
        rules = [(case.name, case.when.text, case.event) for case in self._rules]
        return Setup(
            self._model, self._config, self._threshold, self._on, self._off, self._limit,
            self._events, self._every, rules,
        )  # fmt: skip

    def adopt(self, model: str, threshold: float) -> None:
        """Go on with another version of the model, which has the labels that rules name."""
        self._model = model
        self._threshold = threshold
        self._surveyor.threshold = threshold
        self._happenings.threshold = threshold

    @property
    def needs_hidden(self) -> bool:
        """Whether each call must bring the predictions of ``redact.model``."""
        return self._second and self._hides

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
        self.last = predictions, []
        if self._darkroom is not None:
            self._darkroom.look(sample, predictions, hidden if self._second else ())
        if self._readings.wanted:
            note_values(self._readings, self.name, sample, predictions)
        drafts: list[Draft] = []
        if self._events or self._states or len(self._lines):
            drafts = self._happened(sample, predictions)
        if self._darkroom is not None:
            drafts += self._developed(self._draft("event", sample, {}), self._darkroom.ready())
        if self._every and self._number % self._every == 0:
            drafts.append(self._result(sample, predictions))
        return drafts

    def finish(self, at_ns: int, mono_ms: float, *, ended: bool = False) -> list[Draft]:
        """End all open events, because no more samples will come.

        ``ended``: the stream itself is over, so that what is known now is all there is to know;
        else pictures that wait for what comes after them are withheld.
        """
        drafts: list[Draft] = []
        for happening in self._happenings.finish():
            draft = Draft(
                "event", self.name, at_ns, mono_ms, happening.data("end"), self._model,
                self._config, event=happening.event,
            )  # fmt: skip
            drafts += self._ended(happening.event, draft)
        if self._darkroom is not None:
            darkroom = self._darkroom
            done = darkroom.ready(ended=True) if ended or not self._hides else darkroom.give_up()
            drafts += self._developed(Draft("event", self.name, at_ns, mono_ms), done)
        return drafts

    def picture(self, sample: Sample, *, asked: bool = False) -> Evidence | None:
        """A present picture as a redacted JPEG; None where that must not be.

        It shows the sample, or where something must be hidden the newest one of which it is
        known what. ``asked`` = by a person's command, which ``privacy.pictures = "asked"``
        allows too.

        Raises:
            InputError: it can't be written as JPEG.
        """
        allowed = ("events", "asked") if asked else ("events",)
        if self._pictures not in allowed or self._darkroom is None:
            return None
        return self._darkroom.picture(sample)

    def standing(self) -> dict[str, Any]:
        """``{"states": {name: bool}, "lines": {name: {"in": n, "out": n}}}``, as far as there
        are any: what is true without a record. May be called by any thread."""
        found: dict[str, Any] = {}
        if self._states:
            found["states"] = {state.name: state.true for state in self._states}
        if len(self._lines):
            found["lines"] = self._lines.table()
        return found

    # --- events ----------------------------------------------------------------------------

    def _happened(self, sample: Sample, predictions: Sequence[Prediction]) -> list[Draft]:
        drafts: list[Draft] = []
        seen: set[int | str] = set()
        now = sample.when_ms
        thoughts = self.last[1]
        candidates = [
            (prediction, facts)
            for prediction in predictions
            if (facts := self._facts(prediction, now)) is not None
        ]
        self._courses.sweep(now)
        scene = self._surveyor.scene(sample, predictions) if self._rules else Scene()
        for prediction, facts in candidates:
            key: int | str = facts.track or facts.label
            if key in seen:
                continue
            seen.add(key)
            happening = self._happenings.find(key, facts, now)
            if type(prediction) is not Label:
                self._describe(happening, prediction, now)
            facts.scene, facts.count = scene, scene.counts.get(facts.label, 1)
            if not self._events:
                happening.last_ms = now
                continue
            matching = [case for case in self._cases if case.when(facts)]
            wanted = bool(matching) or not self._rules
            phase = self._happenings.sighted(happening, now, wanted=wanted)
            thoughts.append(self._happenings.thought(prediction, happening, wanted, phase))
            if phase is not None:
                drafts += self._event(sample, happening, phase, matching)
        for happening in self._happenings.missed(seen):
            thoughts.append(self._happenings.thought(None, happening, False, "end"))
            drafts += self._event(sample, happening, "end", ())
        if self._states:
            things = [facts for _, facts in candidates] or [Facts("", 0.0, self.name, scene=scene)]
            for state in self._states:
                state.see(things)
        return drafts

    def _facts(self, prediction: Prediction, now: float) -> Facts | None:
        """What is known of a prediction; None where it is no candidate for an event."""
        if isinstance(prediction, (Detection, Keypoints)):
            return self._facts_of_thing(prediction, now)
        if isinstance(prediction, (Label, Mask)):
            if prediction.score < self._threshold:
                return None
            return Facts(prediction.label, prediction.score, self.name)
        if isinstance(prediction, Anomaly):
            if not prediction.alarming:
                return None
            return Facts(ANOMALY, prediction.score, self.name, value=prediction.score)
        if isinstance(prediction, Regression) and self._rules:
            # Without a rule nobody said which value is worth an event.
            return Facts(prediction.name, 1.0, self.name, value=prediction.value)
        return None

    def _facts_of_thing(self, thing: Detection | Keypoints, now: float) -> Facts | None:
        # What is doubtful is a sighting of something known, never of something new.
        if thing.score < self._threshold and self._courses.get(thing.track) is None:
            return None
        facts = Facts(thing.label, thing.score, self.name, track=thing.track)
        if thing.refined:
            answers = (called(answer) for _, answer in thing.refined)
            facts.refined = next(filter(None, answers), "")
        if thing.track:
            course = self._courses.follow(thing.track, thing.box, now)
            facts.zones, facts.lines, facts.still = course.zones, course.lines, course.still_s
            facts.dwell = course.dwell()
        else:
            facts.zones = self._zones.of(thing.box)
        return facts

    def _describe(self, happening: Happening, prediction: Prediction, now: float) -> None:
        """What only some kinds of predictions have: a box and a speed, a threshold."""
        if isinstance(prediction, (Detection, Keypoints)):
            if self._ask_speed:
                happening.facts.speed = happening.hurry(prediction.box, now)
            happening.box = prediction.box
            happening.course = self._courses.get(prediction.track)
            happening.refined = prediction.refined or happening.refined
        elif isinstance(prediction, Anomaly):
            happening.threshold = prediction.threshold
            happening.doubtful = False
        elif isinstance(prediction, Regression):
            happening.doubtful = False

    def _event(
        self, sample: Sample, happening: Happening, phase: Phase, matching: Sequence[Case]
    ) -> list[Draft]:
        draft = self._draft("event", sample, happening.data(phase))
        key = draft.event = happening.event
        happening.told_all()
        if phase == "end":
            self._happenings.close(happening)
            return self._ended(key, draft)
        if phase == "new":
            actions = dict.fromkeys(its for case in matching for its in case.actions)
            draft.actions = tuple(actions)
            if actions:
                self._acting[key] = draft.actions
        if phase == "new" and isinstance(sample, Frame):
            if self._snapshot or any(case.snapshot for case in matching):
                self._attach(draft, sample)
            if any(case.clip for case in matching) and self._darkroom is not None:
                self._darkroom.clip(key)
                draft.data["clip"] = FOLLOWS
            if self._darkroom is not None and self._darkroom.awaits(key):
                self._open[key] = happening
        return [draft]

    # --- pictures --------------------------------------------------------------------------

    def _attach(self, draft: Draft, sample: Frame) -> None:
        if self._darkroom is None or self._pictures != "events":
            return
        evidence = self._darkroom.snapshot(draft.event, sample)
        if evidence is not None:
            draft.evidence = (evidence,)
        else:
            draft.data["picture"] = FOLLOWS if self._darkroom.awaits(draft.event) else WITHHELD

    def _ended(self, key: str, draft: Draft) -> list[Draft]:
        draft.actions = self._acting.pop(key, ())
        if self._darkroom is not None and self._darkroom.awaits(key):
            self._ending[key] = draft
            return []
        self._open.pop(key, None)
        return [draft]

    def _developed(self, now: Draft, done: Sequence[tuple[str, Evidence | None]]) -> list[Draft]:
        """Records for pictures that are ready: the event's waiting end, or an update like
        ``now``."""
        drafts: list[Draft] = []
        for key, evidence in done:
            end, happening = self._ending.get(key), self._open.get(key)
            draft = end
            if draft is None:
                if happening is None:
                    continue
                draft = Draft(
                    "event", self.name, now.at_ns, now.mono_ms, happening.data("update"),
                    self._model, self._config, now.source, now.frame, key,
                )  # fmt: skip
                happening.told_all()
                drafts.append(draft)
            if evidence is not None:
                draft.evidence = (*draft.evidence, evidence)
            else:
                draft.data["picture"] = WITHHELD
            if self._darkroom is not None and not self._darkroom.awaits(key):
                self._open.pop(key, None)
                if end is not None:
                    drafts.append(self._ending.pop(key))
        return drafts

    # --- results ---------------------------------------------------------------------------

    def _result(self, sample: Sample, predictions: Sequence[Prediction]) -> Draft:
        if len(predictions) == 1 and isinstance(predictions[0], Anomaly):
            return self._draft("anomaly", sample, as_data(predictions[0]))
        # Detectors look below the threshold, for tracks and for what must be hidden.
        told = [
            as_data(prediction)
            for prediction in predictions
            if not isinstance(prediction, (Detection, Keypoints))
            or prediction.score >= self._threshold
        ]
        data: dict[str, Any] = {"predictions": told}
        if len(self._lines):
            data["lines"] = self._lines.table()
        return self._draft("result", sample, data)

    def _draft(self, kind: str, sample: Sample, data: dict[str, Any]) -> Draft:
        return Draft(
            kind, self.name, sample.at_ns, sample.mono_ms, data, self._model, self._config,
            sample.source, sample.number,
        )  # fmt: skip
