"""The drift of one pipeline: when to look, when enough is learned, what is told.

    learning → watching → (drift begins → drift ends) …

All times are those of the samples, so a clock that is wrong or set changes nothing, and a
recording gives the same however fast it is read.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import msgspec
from msgspec import Struct

from edgeagent import clock
from edgeagent.drift.chapter import LABELS, Chapter, Gliding
from edgeagent.drift.incident import Course, Incident, changed, told
from edgeagent.drift.outputs import MEASURED, Features, measured
from edgeagent.drift.reference import Reference, decoded, encoded
from edgeagent.errors import EdgeAgentError
from edgeagent.types import Draft, Joint, Prediction, Sample

log = logging.getLogger(__name__)

_LEAST = 0.25
"""A feature is judged where this share of the looks had it."""
_ENOUGH = 0.6
"""A distance of this share of the threshold needs no further comparison."""
_LATE = 0.5
"""From this share of the week on, what is usual should be known."""
_KEEPS = 28
"""How often a week's learning is written down."""
_LONGEST_KEEP_MS = 6 * 3.6e6
_PAUSE_MS = 3.6e6
"""Time between two looks counts as learned up to this: nobody looked in between."""
_REMEMBERED = 2
"""References of other versions of the model that are kept."""


class DriftSettings(Struct, frozen=True):
    """As configured (`pipelines.X.drift`)."""

    every_ms: float = 20_000.0
    learn_ms: float = 7 * 86.4e6
    samples: int = 200
    """Looks in a chapter, and in what is compared with it."""
    threshold: float = 0.3
    ignore: frozenset[str] = frozenset()
    from_package: bool = True
    """Use the package's reference where it has one."""


class Keeps(Protocol):
    """Where references lie."""

    def read(self, name: str) -> bytes | None:
        """None = there is none. Raises EdgeAgentError."""

    def write(self, name: str, data: bytes) -> None:
        """Raises EdgeAgentError."""

    def remove(self, name: str) -> None: ...

    def trim(self, name: str, most: int) -> None:
        """Keep the newest of those beside ``name``."""


class Drift:
    """Looks at what passes through one pipeline. `begin` and `saw` are called by its thread, the
    rest by any.

    Args:
        pipeline: its name.
        settings: when to look and what to tell.
        kept: where what is learned survives; None = nowhere.
        tell: gets a ``health`` record at the beginning and at the end of drift.
    """

    def __init__(
        self, pipeline: str, settings: DriftSettings, kept: Keeps | None = None,
        tell: Callable[[Draft], object] = lambda _draft: None,
    ) -> None:  # fmt: skip
        self.pipeline = pipeline
        self.settings = settings
        self._kept = kept
        self._tell = tell
        self._lock = threading.Lock()
        self._model, self._threshold = "", 0.5
        self._looked_ms, self._due_ms = 0.0, float("-inf")
        self._reference = Reference()
        self._glide = Gliding(settings.samples)
        self._chapter = Chapter()
        """Being learned."""
        self._newest: Chapter | None = None
        """Learned, and not among the usual yet: the looks after it must not be compared with what
        they are a part of."""
        self._course = Course()
        self._first: tuple[int, float] = (0, 0.0)
        self._apart: dict[str, float] = {}
        self._kept_ms = 0.0
        self.incident: Incident | None = None
        self.due = False
        """Something is to be kept (see `keep`)."""
        self.fault = ""
        """Why what is learned does not survive; empty = it does."""

    # --- by the pipeline -------------------------------------------------------------------

    def begin(self, model: str, threshold: float, usual: Path | None) -> None:
        """From now on this model is asked; ``usual`` = its package's reference."""
        version = f"{model.partition('/')[0]}~{threshold:g}"
        with self._lock:
            self._model, self._threshold = model, threshold
            if version == self._reference.model:
                return
            if self.incident is not None:
                self._end("the model was changed", clock.wall_ns(), clock.mono_ms())
            if self._reference.model:
                self._write(*self._encoded())
            self._forget(version)
            try:
                self._load(usual)
            except EdgeAgentError as error:
                log.warning("%s: %s", self.pipeline, error)
                self.fault = str(error)
                self._forget(version)

    def saw(self, given: Sample | Joint, predictions: Sequence[Prediction]) -> None:
        """One sample and what was found in it; cheap unless it is time for a look."""
        if self._looked_ms <= given.when_ms < self._due_ms:
            return
        from edgeagent.drift.look import form, look

        features, label = measured(predictions, self._threshold)
        features.update(look(given))
        sample = given.lead if isinstance(given, Joint) else given
        self.look(sample, features, label, form(given))

    def look(self, sample: Sample, features: Features, label: str, form: str) -> None:
        """A look that has been made: features of the sample and of the answer, the answer's label
        (`outputs.measured`), and the form of the sample (`look.form`)."""
        when = sample.when_ms
        with self._lock:
            passed = when - self._looked_ms if self._due_ms > float("-inf") else 0.0
            self._looked_ms, self._due_ms = when, when + self.settings.every_ms
            reference = self._reference
            reference.form = reference.form or form
            if reference.form != form:
                from edgeagent.drift.look import of_form

                features = {name: its for name, its in features.items() if not of_form(name)}
            full = self._glide.add(features, label)
            if not reference.learned:
                self._chapter.add(features, label)
                self._learn(max(0.0, min(passed, _PAUSE_MS)), full)
            elif full:
                self._judge(sample)

    def disagreed(self, given: Sample | Joint, other: Sequence[dict[str, Any]]) -> None:
        """Nothing to it: what is usual is that of the version that runs."""

    # --- learning --------------------------------------------------------------------------

    def _learn(self, passed_ms: float, full: bool) -> None:
        reference, settings = self._reference, self.settings
        reference.span_ms += passed_ms
        if full and reference.span_ms >= _LATE * settings.learn_ms:
            reference.widen(self._glide.whole(), self._least, self._enough)
        if self._chapter.n >= settings.samples:
            if self._newest is not None:
                reference.take(self._newest, self._least)
            self._newest, self._chapter = self._chapter, Chapter()
            if reference.span_ms >= settings.learn_ms and reference.chapters:
                self._learned(self._newest)
        every = min(_LONGEST_KEEP_MS, settings.learn_ms / _KEEPS)
        if reference.span_ms - self._kept_ms >= every:
            self._kept_ms, self.due = reference.span_ms, True

    def _learned(self, last: Chapter) -> None:
        self._reference.take(last, self._least)
        self._newest = None
        self._reference.learned = self.due = True
        log.info("%s: what is usual is learned from %d looks", self.pipeline, self._reference.looks)

    @property
    def _enough(self) -> float:
        """A distance that needs no closer look."""
        return _ENOUGH * self.settings.threshold

    @property
    def _least(self) -> int:
        return max(1, int(_LEAST * self.settings.samples))

    def learn(self) -> None:
        """Forget what is usual and learn it anew from now on, on this device."""
        with self._lock:
            if self.incident is not None:
                self._end("it is learned anew", clock.wall_ns(), clock.mono_ms())
            self._forget(self._reference.model)
            self.due = True

    def _forget(self, model: str) -> None:
        self._reference, self._chapter = Reference(model, self._threshold), Chapter()
        self._newest, self._glide = None, Gliding(self.settings.samples)
        self._course, self._apart, self._kept_ms = Course(), {}, 0.0
        self._due_ms = float("-inf")

    # --- judging ---------------------------------------------------------------------------

    def _judge(self, sample: Sample) -> None:
        """What was seen lately."""
        now = self._glide.whole()
        apart = self._reference.apart(now, self._least, self._enough)
        self._apart = {name: its for name, its in apart.items() if self._counts(name)}
        limits = {name: self._reference.limit(name, self.settings.threshold)
                  for name in self._apart}  # fmt: skip
        over = self._over({name: self._apart[name] / limits[name] for name in limits})
        if not self._course.times:
            self._first = sample.at_ns, sample.when_ms
        if not self._course.judge(over, self.incident is not None):
            return
        if self.incident is not None:
            self._end("", sample.at_ns, sample.mono_ms, sample)
            return
        self.incident = Incident(*self._first, changed(now, self._reference, limits, self._apart))
        self.due = True
        self._record("new", sample.at_ns, sample.mono_ms, sample)
        log.warning("%s: %s", self.pipeline, self.incident.sentence)

    def _over(self, parts: dict[str, float]) -> float:
        """The largest of the distances, which are parts of their limits. Recovered must be what
        had changed; of the rest it is enough that it has not changed."""
        if self.incident is None:
            return max(parts.values(), default=0.0)
        open_ = {its.feature for its in self.incident.changed}
        return max((its for name, its in parts.items() if name in open_ or its > 1.0), default=0.0)

    def _counts(self, feature: str) -> bool:
        if self._reference.threshold != self._threshold and feature in {*MEASURED, LABELS}:
            return False  # the package's data was counted by another one
        return not self.settings.ignore & {feature, feature.rpartition(" ")[2]}

    def _end(self, why: str, at_ns: int, mono_ms: float, sample: Sample | None = None) -> None:
        self._record("end", at_ns, mono_ms, sample, why)
        log.info("%s: %s", self.pipeline, why or "what it sees is as it was")
        self.incident, self.due = None, True

    def _record(
        self, phase: str, at_ns: int, mono_ms: float, sample: Sample | None, why: str = ""
    ) -> None:
        its = self.incident
        assert its is not None
        data: dict[str, Any] = {
            "unit": self.pipeline, "phase": phase, "fault": "drift", **told(its),
            "reference": self._reference.origin, "since": clock.rfc3339(its.since_ns),
        }  # fmt: skip
        if phase == "end" and sample is not None:
            data["lasted_s"] = round(max(0.0, sample.when_ms - its.since_ms) / 1e3, 1)
        if why:
            data["because"] = why
        draft = Draft("health", self.pipeline, at_ns, mono_ms, data, self._model)
        if sample is not None:
            draft.source, draft.frame = sample.source, sample.number
        self._tell(draft)

    # --- what survives ---------------------------------------------------------------------

    def _load(self, usual: Path | None) -> None:
        """Raises EdgeAgentError."""
        model, incident = self._reference.model, None
        if self._kept is not None:
            data = self._kept.read(self._name)
            if data is not None:
                kept, begun, incident = decoded(data, Path(self._name))
                self._reference, self._chapter = kept, begun if not kept.learned else Chapter()
                self._kept_ms = kept.span_ms
        # What a person had the device learn counts for more than what the package says.
        if usual is not None and self.settings.from_package and not self._reference.looks:
            self._reference, _, _ = decoded(_read(usual), usual, "package")
            self._reference.model, self._reference.learned = model, True
            self._chapter = Chapter()
        if incident is not None and self._reference.learned:
            self.incident = msgspec.convert(incident, Incident)

    @property
    def _name(self) -> str:
        return f"{self.pipeline}/{self._reference.model}"

    def keep(self) -> None:
        """Write down what is to survive. Any thread; may take as long as the medium does."""
        with self._lock:
            self.due = False
            name, data = self._encoded()
        self._write(name, data)

    def _encoded(self) -> tuple[str, bytes]:
        """What is to survive, and its name; empty = nothing is."""
        reference = self._reference
        incident = msgspec.to_builtins(self.incident) if self.incident is not None else None
        own = reference if reference.origin == "device" else Reference(reference.model)
        begun = self._chapter if not reference.learned else None
        newest = [self._newest] if self._newest is not None else []
        if not own.looks and not newest and (begun is None or not begun.n) and incident is None:
            return self._name, b""
        whole = msgspec.structs.replace(own, chapters=[*own.chapters, *newest])
        return self._name, encoded(whole, begun, incident)

    def _write(self, name: str, data: bytes) -> None:
        kept = self._kept
        if kept is None or name.endswith("/"):
            return
        try:
            if data:
                kept.write(name, data)
                kept.trim(name, _REMEMBERED)
            else:
                kept.remove(name)
        except EdgeAgentError as error:
            if not self.fault:
                log.warning("%s: what is usual can't be kept: %s", self.pipeline, error)
            self.fault = str(error)
            return
        self.fault = ""

    def _begun(self) -> int:
        """Looks that are learned and not among the usual yet."""
        if self._reference.learned:
            return 0
        return self._chapter.n + (self._newest.n if self._newest is not None else 0)

    # --- for people ------------------------------------------------------------------------

    @property
    def reason(self) -> str:
        """What has changed, in words; empty = nothing. The same as long as it lasts."""
        its = self.incident
        return f"drift: {its.sentence} (since {clock.rfc3339(its.since_ns)})" if its else ""

    def status(self) -> dict[str, Any]:
        """For status, metrics and the command ``drift``."""
        with self._lock:
            reference, its = self._reference, self.incident
            share = min(1.0, reference.span_ms / self.settings.learn_ms)
            found: dict[str, Any] = {
                "state": "drift" if its else "watching" if reference.learned else "learning",
                "reference": reference.origin, "model": reference.model,
                "looks": reference.looks + self._begun(),
            }  # fmt: skip
            if not reference.learned:
                found["learned"] = round(share, 3)
            if self._apart:
                found["distance"] = {name: round(d, 3) for name, d in self._apart.items()}
                found["limit"] = {
                    name: round(reference.limit(name, self.settings.threshold), 3)
                    for name in self._apart
                }
            if its is not None:
                found |= {"since": clock.rfc3339(its.since_ns), **told(its)}
            if self.fault:
                found["fault"] = self.fault
            return found


def _read(file: Path) -> bytes:
    """Raises InputError."""
    from edgeagent.errors import InputError

    try:
        return file.read_bytes()
    except OSError as error:
        raise InputError(f"{file}: can't be read: {error.strerror}") from error
