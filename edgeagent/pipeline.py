"""The sentence of the agent, running: capture → gate → prepare → infer → interpret → track →
decide → store. `Pipeline.step` is the heart; read it first.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from msgspec import Struct

from edgeagent.clock import mono_ms, wall_ns
from edgeagent.decide.present import Numbered, Present
from edgeagent.errors import EdgeAgentError, InferenceError, InputError, SourceEnded
from edgeagent.metrics import Meter
from edgeagent.types import Draft, Evidence, Health, Joint, Prediction, Prepared, Sample
from edgeagent.update.behaviour import Watch

if TYPE_CHECKING:
    from numpy.typing import NDArray

log = logging.getLogger("edgeagent.pipeline")

_FAILURES_BEFORE_REOPEN = 3
_SKIPPED_BEFORE_DEGRADED = 5
_OPEN_S = 120.0
"""How long a model may take to open: a delegate may have to compile it."""
_REMEMBERED = 64
"""What was found in so many samples is remembered: redacted pictures come late."""
_IDLE_S = 1.0
"""A pipeline that waits for a sample shows signs of life this often."""


class Inbox(Protocol):
    """Where samples come from (a `capture.mailbox.Mailbox`)."""

    def get(self, timeout_s: float) -> Sample | Joint | None:
        """The next sample, None after the timeout. Raises SourceEnded at the end."""

    def close(self) -> None:
        """Nobody takes samples here any more: whoever puts them must not wait."""


class Sink(Protocol):
    """Where records go (a `store.outbox.Outbox`)."""

    def append(self, draft: Draft) -> Numbered: ...


class Runs(Protocol):
    """What a pipeline needs of a session."""

    def run(self, tensors: Sequence[NDArray[Any]]) -> list[NDArray[Any]]: ...

    def hand_over(self) -> None:
        """Let go of it: the next thread that runs it owns it."""

    def close(self) -> None: ...


class Second(Protocol):
    """What a pipeline tells about its second models (an `agent.cascade.Cascade`)."""

    def loss(self) -> str: ...

    def tally(self) -> dict[str, Any]: ...


class Gates(Protocol):
    """What decides whether a sample is worth an inference (a `capture.gate.gate.Gate`)."""

    def passes(self, sample: Sample) -> bool: ...

    def tally(self) -> dict[str, Any]: ...


class Acts(Protocol):
    """What does the actions of plugins (an `agent.acting.Acting`)."""

    def __call__(self, draft: Draft) -> None:
        """Have them done; must not block."""

    def loss(self) -> str:
        """What they could not do, in words; empty = nothing."""

    def close(self) -> None:
        """Finish what waits, within a moment."""


class Stages(Struct):
    """All that a model brings, opened together and closed together."""

    model: str
    """``parts@1.2.0/int8``, as it stands in records."""
    receipt: str
    """One true line of what runs where."""
    session: Runs
    prepare: Callable[[Sample | Joint], Prepared]
    interpret: Callable[[list[NDArray[Any]], Prepared], list[Prediction]]
    track: Callable[[list[Prediction], float], list[Prediction]]
    decide: Callable[[Sample, list[Prediction]], Iterable[Draft]]
    finish: Callable[..., Iterable[Draft]]
    """Ends what is still open (wall ns, CLOCK_BOOTTIME ms); ``ended``: the source is at its end."""
    picture: Callable[..., Evidence | None]
    """A present picture, redacted, or None where that must not be."""
    standing: Callable[[], dict[str, Any]] = dict
    """What is true now without a record: states, counts of lines."""
    second: Second | None = None
    """Models that are asked about what the first one found; `decide` asks them."""
    gate: Gates | None = None
    """None = every sample is worth an inference."""
    threshold: float = 0.0
    """From which score on something counts as seen."""
    inherit: Callable[[Stages], bool] = lambda _before: False
    """Take over what the stages before these remember: tracks, open events, counts. False = that
    can't be, so they must end what is open. Called between two samples."""
    memory: Any = None
    """What there is to take over."""


class Parked(Struct, frozen=True):
    """What a pipeline ran until its model was changed: still open, to be run again or closed."""

    stages: Stages
    open_stages: Callable[[], Stages]
    watch: Watch


class Change:
    """Other stages for a running pipeline. `done` is set when they run, or can't."""

    def __init__(self, stages: Stages, open_stages: Callable[[], Stages], watch: Watch) -> None:
        self.stages = stages
        self.open_stages = open_stages
        """How to open them again after errors."""
        self.watch = watch
        self.done = threading.Event()
        self.before: Parked | None = None
        """None where nothing was open before."""


class Pipeline:
    """One pipeline on its own thread. Opens its stages there, so that a slow or broken model
    holds up nobody else.

    ``open_stages`` may raise an EdgeAgentError; the supervisor reads its ``retry``.
    """

    def __init__(
        self,
        name: str,
        inbox: Inbox,
        outbox: Sink,
        open_stages: Callable[[], Stages],
        *,
        deadline_s: float = 20.0,
    ) -> None:
        self.name = name
        self.meter = Meter()
        self.watch = Watch()
        """How it behaves under the present version of its model."""
        self.tap: Callable[[Sample | Joint, list[Prediction]], None] | None = None
        """Told of each sample and what was found in it; must not block."""
        self.act: Acts | None = None
        """Told of events on which plugins act."""
        self.lately: deque[tuple[int, list[Prediction]]] = deque(maxlen=_REMEMBERED)
        """Numbers of the newest samples, and what was found in them."""
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
        self.lately.append((sample.number, predictions))
        ended = time.perf_counter()
        self.meter.took(started, prepared, inferred, ended)
        self.watch.saw(predictions, sample.when_ms, ended - started, stages.threshold)
        if self.tap is not None:
            self.tap(given, predictions)
        if sample.stream_ms is None and sample.mono_ms:
            self.meter.age.add(max(0.0, mono_ms() - sample.mono_ms) / 1e3)

    def _append(self, draft: Draft) -> None:
        if draft.kind == "event" and draft.data.get("phase") == "new":
            self.watch.began(str(draft.data.get("label", "")))
        self.present.note(draft, self._outbox.append(draft))
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
                if sample is None or self._paused.is_set():
                    continue
                recorded = sample.stream_ms is not None
                stages = self._running
                if stages.gate is None or self._passes(stages.gate, sample):
                    self._guarded_step(stages, sample)
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
        self._stages = stages
        self.model, self.receipt = stages.model, stages.receipt
        self.watch.model = stages.model
        self.present.standing = stages.standing
        self._gate = stages.gate

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
            change.before = Parked(before, self._open_stages, self.watch)
        self._open_stages, self.watch = change.open_stages, change.watch
        self._failures = 0
        self._run(change.stages)
        change.done.set()
        return True

    def _passes(self, gate: Gates, given: Sample | Joint) -> bool:
        began = time.perf_counter()
        passes = gate.passes(given.lead if isinstance(given, Joint) else given)
        self.meter.gate.add(time.perf_counter() - began)
        return passes

    def _guarded_step(self, stages: Stages, sample: Sample | Joint) -> None:
        try:
            self.step(stages, sample)
        except InputError as error:
            self.meter.skipped += 1
            self._skipped_in_a_row += 1
            if self._skipped_in_a_row == 1:
                log.warning("%s: a sample can't be used: %s", self.name, error)
            if self._skipped_in_a_row >= _SKIPPED_BEFORE_DEGRADED:
                self._state, self._reason = "degraded", f"no sample can be used: {error}"
        except InferenceError as error:
            self.meter.failed += 1
            self.watch.missed(sample.when_ms)
            self._failures += 1
            self._state, self._reason = "degraded", str(error)
            if self._failures >= _FAILURES_BEFORE_REOPEN:
                raise
        else:
            if self._failures or self._skipped_in_a_row:
                self._failures = self._skipped_in_a_row = 0
                self._state, self._reason = "ok", ""

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

    def evidence(self, sample: Sample) -> Evidence | None:
        """A redacted picture of it, or of the newest sample of which it is known what to hide;
        None where there may be none. May be called by any thread. Raises InputError."""
        stages = self._stages
        return stages.picture(sample) if stages is not None else None

    def stop(self) -> None:
        """Ask it to end after the present step."""
        self._stop.set()

    def picture(self, sample: Sample) -> Evidence | None:
        """A present picture as a person may see it who asks for one; None where there is none."""
        stages = self._stages
        return None if stages is None else stages.picture(sample, asked=True)

    def retire(self) -> None:
        """Stop for good: its source must not wait for it."""
        self._stop.set()
        self._inbox.close()

    def pause(self, paused: bool) -> None:
        """Samples are taken and thrown away while paused."""
        (self._paused.set if paused else self._paused.clear)()

    @property
    def beat(self) -> float:
        """time.monotonic() of its last sign of life."""
        return self._beat

    def failed(self, error: BaseException) -> None:
        """Told by the supervisor that `run` ended with an error."""
        self._state = "down"
        self.watch.restarts += 1
        self.settled.set()
        self._reason = told(error)
        if isinstance(error, EdgeAgentError) and error.retry == "never":
            # It will not take samples again, and a file must not wait for it for ever.
            self._inbox.close()

    def figures(self) -> dict[str, Any]:
        """What it measures about itself, for status and metrics."""
        gate = {"gate": self._gate.tally()} if self._gate is not None else {}
        return self.meter.snapshot() | gate

    def health(self) -> Health:
        state = "paused" if self._paused.is_set() and self._state == "ok" else self._state
        detail = {"model": self.model, "receipt": self.receipt, **self.figures()}
        stages, reason = self._stages, self._reason
        if stages is not None and stages.second is not None:
            detail["refine"] = stages.second.tally()
            loss = stages.second.loss()
            if loss and state == "ok":
                state, reason = "degraded", loss
        if self.act is not None and state == "ok" and self.act.loss():
            state, reason = "degraded", self.act.loss()
        return Health(self.name, state, reason, detail)


def told(error: BaseException) -> str:
    """An error and its remedy as one line for status and logs."""
    if not isinstance(error, EdgeAgentError):
        return repr(error)
    sentence = " ".join(str(error).split())
    if not error.remedy:
        return sentence
    return f"{sentence}{'' if sentence.endswith(('.', '?', '!')) else '.'} {error.remedy}"
