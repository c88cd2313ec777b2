"""The sentence of the agent, running: capture → gate → prepare → infer → interpret → track →
decide → store. `Pipeline.step` is the heart; read it first.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from edgeagent.clock import mono_ms, wall_ns
from edgeagent.decide.present import Present
from edgeagent.errors import EdgeAgentError, InferenceError, InputError, SourceEnded, in_words
from edgeagent.metrics import Meter
from edgeagent.stages import (
    Acts,
    Change,
    Drifts,
    Gates,
    Inbox,
    Notes,
    Paces,
    Parked,
    Seen,
    Sink,
    Stages,
)
from edgeagent.types import Draft, Evidence, Health, Joint, Prediction, Sample
from edgeagent.update.behaviour import Watch

__all__ = ["Change", "Inbox", "Parked", "Pipeline", "Sink", "Stages"]

log = logging.getLogger("edgeagent.pipeline")

_FAILURES_BEFORE_REOPEN = 3
_SKIPPED_BEFORE_DEGRADED = 5
_OPEN_S = 120.0
"""How long a model may take to open: a delegate may have to compile it."""
_REMEMBERED = 64
"""What was found in so many samples is remembered: redacted pictures come late."""
_IDLE_S = 1.0
"""A pipeline that waits for a sample shows signs of life this often."""


class Pipeline:
    """One pipeline on its own thread. Opens its stages there, so that a slow or broken model
    holds up nobody else.

    ``open_stages`` may raise an EdgeAgentError; the supervisor reads its ``retry``. A model that is
    not asked for ``unload_after_s`` is closed until it is.
    """

    def __init__(
        self,
        name: str,
        inbox: Inbox,
        outbox: Sink,
        open_stages: Callable[[], Stages],
        *,
        deadline_s: float = 20.0,
        notes: Notes | None = None,
        unload_after_s: float | None = None,
    ) -> None:
        self.name = name
        self._notes = notes
        self.meter = Meter()
        self.watch = Watch()
        """How it behaves under the present version of its model."""
        self.tap: Callable[[Sample | Joint, list[Prediction]], None] | None = None
        """Told of each sample and what was found in it; must not block."""
        self.drift: Drifts | None = None
        """Told of each sample likewise, and of the model."""
        self.act: Acts | None = None
        """Told of events on which plugins act."""
        self.lately: deque[Seen] = deque(maxlen=_REMEMBERED)
        """The newest samples, oldest first."""
        self.deadline_s = _OPEN_S
        self._step_deadline_s = deadline_s
        self.present = Present()
        self._inbox = inbox
        self._outbox = outbox
        self._open_stages = open_stages
        self._stages: Stages | None = None
        self._change: Change | None = None
        self._changing = threading.Lock()
        self._gate: Gates | None = None
        self._stop = threading.Event()
        self._paused = threading.Event()
        self.pace: Paces | None = None
        """Which of the samples that happen now it has the time for; None = all."""
        self._rest = ""
        self._unload_after_s, self._unload, self._asleep = unload_after_s, threading.Event(), False
        self.stepped_at = time.monotonic()
        """When it last had something to do (time.monotonic())."""
        self.stepping = False  # It works on a sample now.
        self._failures = 0
        self._skipped_in_a_row = 0
        self._beat = time.monotonic()
        self._state = "opening"
        self._reason = ""
        self.model = ""
        self.receipt = ""
        self.settled = threading.Event()
        """Its model is open, or can't be."""

    # --- the heart -------------------------------------------------------------------------

    def step(self, stages: Stages, given: Sample | Joint) -> None:
        """One sample through all stages. Of joint ones the model takes all; where and when
        something is, the leading one says."""
        started = time.perf_counter()
        ready = stages.prepare(given)
        joint = given if isinstance(given, Joint) else None
        sample: Sample = given.lead if isinstance(given, Joint) else given
        prepared = time.perf_counter()
        outputs = stages.session.run(ready.tensors)
        inferred = time.perf_counter()
        predictions = stages.track(stages.interpret(outputs, ready), sample.when_ms)
        for draft in stages.decide(sample, predictions):
            if joint:
                draft.data["with"] = joint.partners()
            self._append(draft)
        self.lately.append(Seen(sample.number, sample.at_ns, predictions))
        if self._notes is not None:
            self._notes.saw(sample, stages.found())
        ended = time.perf_counter()
        queued = 0.0 if stages.seat is None else stages.seat.waited_s
        self.meter.took(started, prepared, inferred, ended, queued)
        self.watch.saw(predictions, sample.when_ms, ended - started, stages.threshold)
        if self.tap is not None:
            self.tap(given, predictions)
        if self.drift is not None:
            self.drift.saw(given, predictions)
        if sample.stream_ms is None and sample.mono_ms:
            self.meter.age.add(max(0.0, mono_ms() - sample.mono_ms) / 1e3)

    def _append(self, draft: Draft) -> None:
        if draft.kind == "event" and draft.data.get("phase") == "new":
            self.watch.began(str(draft.data.get("label", "")))
        receipt = self._outbox.append(draft)
        self.present.note(draft, receipt)
        if self._notes is not None and draft.event and draft.data.get("phase") == "new":
            self._notes.told(draft.event, receipt)
        self.meter.records += 1
        if draft.actions and self.act is not None:
            self.act(draft)

    # --- run loop --------------------------------------------------------------------------

    def run(self) -> None:
        """Until stopped or the source has ended. Raises what the supervisor must judge."""
        self._beat, self.deadline_s = time.monotonic(), _OPEN_S
        self._state, self._reason = "opening", ""
        if not self._take_over():
            self._run(self._open_stages())
        self._state, self._failures = "ok", 0
        self._beat, self.deadline_s = time.monotonic(), self._step_deadline_s
        self.settled.set()
        recorded = False
        try:
            while not self._stop.is_set():
                self._beat = time.monotonic()
                try:
                    sample = self._inbox.get(_IDLE_S)
                except SourceEnded:
                    self._state, self._reason = "ended", "its source has ended"
                    break
                if self._change is not None:
                    self._take_over()
                if not self._asleep and self._may_sleep():
                    self._sleep()
                if sample is None:
                    continue
                if self._paused.is_set() or self._rest:
                    paused = self._paused.is_set()
                    self._note_held(sample, "paused" if paused else f"rest: {self._rest}")
                    continue
                recorded = sample.stream_ms is not None
                self.meter.taken += 1
                pace = self.pace
                if pace is not None and not recorded and not pace.takes(sample.when_ms / 1e3):
                    self.meter.paced += 1
                    continue
                gate = self._running.gate
                if gate is None or self._passes(gate, sample):
                    if self._asleep:
                        self._wake()
                    self._guarded_step(self._running, sample)
            # Only a recording that was read to its end holds nothing more. A source that is
            # stopped, or a camera that is given up, ends its mailboxes as well.
            over = self._state == "ended" and recorded and not self._stop.is_set()
            for draft in self._running.finish(wall_ns(), mono_ms(), ended=over):
                self._append(draft)
        finally:
            stages, self._stages = self._running, None
            stages.session.close()
            if self.act is not None:
                self.act.close()

    @property
    def _running(self) -> Stages:
        assert self._stages is not None
        return self._stages

    def _run(self, stages: Stages) -> None:
        """Have samples go through these stages from now on."""
        self._stages, self._asleep = stages, False
        self.model, self.receipt = stages.model, stages.receipt
        self.watch.model = stages.model
        self.present.standing = stages.standing
        self._gate = stages.gate
        if self._notes is not None:
            self._notes.begin(stages.setup())
        if self.drift is not None:
            self.drift.begin(stages.model, stages.threshold, stages.usual)

    def _note_held(self, sample: Sample | Joint, why: str) -> None:
        if self._notes is not None:
            self._notes.held(sample, why)

    def _take_over(self) -> bool:
        """Run the stages that wait, if any do. Between two samples, or before the first."""
        with self._changing:
            change, self._change = self._change, None
        if change is None:
            return False
        before = self._stages
        if before is not None and not change.stages.inherit(before):
            for draft in before.finish(wall_ns(), mono_ms(), ended=False):
                self._append(draft)
        if before is not None:
            before.session.hand_over()
            change.stages.gate = before.gate  # it is about the source, not about the model
            if not self._asleep:
                change.before = Parked(before, self._open_stages, self.watch)
        self._open_stages, self.watch = change.open_stages, change.watch
        self._failures = 0
        self._run(change.stages)
        change.done.set()
        return True

    def _may_sleep(self) -> bool:
        """Whether nobody needs the model now."""
        idle_s, after_s = time.monotonic() - self.stepped_at, self._unload_after_s
        return self._unload.is_set() or (after_s is not None and idle_s > after_s)

    def _sleep(self) -> None:
        """Close the model; what it remembers (tracks, open events) stays."""
        from edgeagent.device.memory import give_back

        self._unload.clear()
        self._asleep = True
        self._running.session.close()
        give_back()
        log.info("%s: its model is unloaded until it is needed", self.name)

    def _wake(self) -> None:
        """Open the model again. Raises EdgeAgentError."""
        began = time.perf_counter()
        self._beat, self.deadline_s = time.monotonic(), _OPEN_S
        before, fresh = self._running, self._open_stages()
        if not fresh.inherit(before):
            for draft in before.finish(wall_ns(), mono_ms(), ended=False):
                self._append(draft)
        fresh.gate = before.gate
        self._run(fresh)
        self.meter.cold.add(time.perf_counter() - began)
        self._beat, self.deadline_s = time.monotonic(), self._step_deadline_s

    def _passes(self, gate: Gates, given: Sample | Joint) -> bool:
        began = time.perf_counter()
        passes = gate.passes(given.lead if isinstance(given, Joint) else given)
        self.meter.gate.add(time.perf_counter() - began)
        if not passes:
            self._note_held(given, f"gate: {gate.reason}")
        return passes

    def _guarded_step(self, stages: Stages, sample: Sample | Joint) -> None:
        self.stepped_at = time.monotonic()
        self.stepping = True
        try:
            self.step(stages, sample)
        except InputError as error:
            self.meter.skipped += 1
            self._note_held(sample, f"skipped: {error}")
            self._skipped_in_a_row += 1
            if self._skipped_in_a_row == 1:
                log.warning("%s: a sample can't be used: %s", self.name, error)
            if self._skipped_in_a_row >= _SKIPPED_BEFORE_DEGRADED:
                self._state, self._reason = "degraded", f"no sample can be used: {error}"
        except InferenceError as error:
            self.meter.failed += 1
            self._note_held(sample, f"failed: {error}")
            self.watch.missed(sample.when_ms)
            self._failures += 1
            self._state, self._reason = "degraded", in_words(error)
            if self._failures >= _FAILURES_BEFORE_REOPEN and error.retry == "reopen":
                if stages.gave_up is not None:
                    stages.gave_up(str(error))
                raise
        else:
            if self._failures or self._skipped_in_a_row:
                self._failures = self._skipped_in_a_row = 0
                self._state, self._reason = "ok", ""
        finally:
            self.stepping = False

    # --- what others may ask ---------------------------------------------------------------

    def change(self, change: Change) -> None:
        """Have other stages take over between two samples; their session must belong to no
        thread. What waits already is dropped for it, and never runs."""
        with self._changing:
            waiting, self._change = self._change, change
        if waiting is not None:
            waiting.stages.session.close()
            waiting.done.set()

    def withdraw(self, change: Change) -> bool:
        """Take a change back that has not been made yet; False = it has."""
        with self._changing:
            if self._change is not change:
                return False
            self._change = None
        return True

    @property
    def stages(self) -> Stages | None:
        """What runs now; None = nothing is open."""
        return self._stages

    def picture(self, sample: Sample, *, asked: bool = False) -> Evidence | None:
        """A redacted picture of it, or of the newest sample of which it is known what to hide;
        None where there may be none. Any thread may call it. Raises InputError.

        ``asked``: by a person, who wants the present one.
        """
        stages = self._stages
        return None if stages is None else stages.picture(sample, asked=asked)

    def stop(self) -> None:
        """Ask it to end after the present step."""
        self._stop.set()

    def retire(self) -> None:
        """Stop for good: its source must not wait for it."""
        self._stop.set()
        self._inbox.close()

    def pause(self, paused: bool) -> None:
        """Samples are taken and thrown away while paused."""
        (self._paused.set if paused else self._paused.clear)()

    def rest(self, reason: str) -> None:
        """Samples are thrown away for that reason, until it is empty. Beside a person's pause."""
        self._rest = reason

    def unload(self) -> None:
        """Close the model as soon as no step is under way; the next sample opens it again."""
        self._unload.set()

    @property
    def loaded(self) -> bool:
        """Its model is open."""
        return self._stages is not None and not self._asleep

    @property
    def beat(self) -> float:
        """time.monotonic() of its last sign of life."""
        return self._beat

    def failed(self, error: BaseException) -> None:
        """Told by the supervisor that `run` ended with an error."""
        self._state = "down"
        self.watch.restarts += 1
        self.settled.set()
        self._reason = in_words(error)
        if isinstance(error, EdgeAgentError) and error.retry == "never":
            # It will not take samples again, and a file must not wait for it for ever.
            self._inbox.close()

    def figures(self) -> dict[str, Any]:
        """What it measures about itself, for status and metrics."""
        gate = {"gate": self._gate.tally()} if self._gate is not None else {}
        return self.meter.snapshot() | gate

    def health(self) -> Health:
        resting = self._state == "ok" and (self._paused.is_set() or bool(self._rest))
        state = "paused" if resting else self._state
        detail = {"model": self.model, "receipt": self.receipt, **self.figures()}
        stages, reason = self._stages, self._reason
        if resting and self._rest:
            reason = f"it rests: {self._rest}"
        if self._asleep:
            detail["unloaded"] = True
        if stages is not None and stages.seat is not None:
            detail["sharing"] = stages.seat.seats
        loss = stages.loss if stages is not None else ""
        if stages is not None and stages.second is not None:
            detail["refine"] = stages.second.tally()
            loss = loss or stages.second.loss()
        if stages is not None and stages.code is not None:
            detail["handler"] = stages.code.figures()
            loss = loss or stages.code.loss()
        if self.act is not None:
            loss = loss or self.act.loss()
        loss = loss or self.meter.slow
        if loss and state == "ok":
            state, reason = "degraded", loss
        return Health(self.name, state, reason, detail)
