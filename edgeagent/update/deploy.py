"""The engine: takes each change down the table (`states`), one step at a time.

Crash-only. Every state is on the medium before its work begins, so a start after a power cut is
no special case: the loop finds a change in some row and does what that row says. One thread, one
change at work at a time, so there is never more than one version on trial. The thread exists
only while there is something to do.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping

from edgeagent import clock
from edgeagent.config.spans import Calendar, Window
from edgeagent.errors import ConfigError, EdgeAgentError, StoreError, in_words
from edgeagent.update.course import Course, new_id, same
from edgeagent.update.desired import Wanted
from edgeagent.update.line import Line, Step
from edgeagent.update.ports import Refused
from edgeagent.update.states import ENDS, PASSING, ROWS, End, Row, Stop
from edgeagent.update.truth import Deployment, Truth
from edgeagent.update.work import House, Lacks, Stopped, Work

log = logging.getLogger(__name__)

PAUSES_S = (2.0, 5.0, 15.0, 60.0, 300.0, 900.0)
"""Between attempts at what lacks for now."""
_HOURS_EVERY_S = 20.0
"""How often a change that waits for its hours, for a person or for the clock is looked at."""


class Deployments:
    """The changes of all models. Every method may be called from any thread."""

    def __init__(
        self,
        house: House,
        wanted: Callable[[], Mapping[str, Wanted]],
        changed: Callable[[], None] = lambda: None,
        pauses_s: tuple[float, ...] = PAUSES_S,
    ) -> None:
        """``wanted`` gives what is wished for each model; ``changed`` is called when there is
        something new to report."""
        self.house = house
        self.work = Work(house, changed)
        self.course = Course(house, wanted, changed)
        self.waiting: dict[str, tuple[str, str]] = {}
        """Model → code and sentence of what a change waits for."""
        self._wanted = wanted
        self._changed = changed
        self._pauses_s = pauses_s
        self._truths = house.truths
        self._lock = threading.RLock()
        self._news = threading.Event()
        self._line = Line()
        self.threaded = True
        """False: whoever owns it works on a thread of theirs (`run_until_idle`)."""
        self._stopping = False
        self._thread: threading.Thread | None = None
        self._at_work = ""
        self._due: dict[str, float] = {}
        self._attempts: dict[str, int] = {}

    # --- life

    def wake(self, *, news: bool = False) -> None:
        """A wish, a hold or the link is new. The thread is started if there is need.

        Args:
            news: there is something to report, too.
        """
        if news:
            self._changed()
        with self._lock:
            self._due.clear()
            if self._stopping:
                return
            self._news.set()
            if self._at_work and self._unwanted(self._at_work):
                self.work.stopped.set()
            if self.threaded and self._thread is None and (self._line or self._anything()):
                self._thread = threading.Thread(target=self._loop, name="updates", daemon=True)
                self._thread.start()

    def stop(self, timeout_s: float) -> None:
        """End what is under way; the next start goes on with it."""
        with self._lock:
            self._stopping = True
            self.work.stopped.set()
            self._news.set()
            thread = self._thread
            self._line.close()
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout_s)

    def run_until_idle(self) -> None:
        """Work on this thread until nothing is left that could be done now."""
        while not self._stopping and (self._line or self._anything()):
            due = self._turn()
            if due is None or due > time.monotonic():
                return

    def order(self, step: Step) -> None:
        """Have something done between two states; what is under way is ended for it.

        It is done, and on the medium, when this returns (see `Line.wait` for what is raised).
        Without a thread of its own (`threaded`) it is the owner's next turn that does it.
        """
        with self._lock:
            order = self._line.join(step)
            if self._at_work:
                self.work.stopped.set()
        self.wake()
        if self.threaded:
            self._line.wait(order)

    @property
    def busy(self) -> bool:
        """Whether its thread lives."""
        return self._thread is not None

    def _loop(self) -> None:
        while True:
            with self._lock:
                self._news.clear()
                if self._stopping or not (self._line or self._anything()):
                    self._thread = None
                    return
            try:
                due = self._turn()
            except EdgeAgentError as error:
                # What can't be written down can't be done: a full disk may have room later.
                log.warning("a change of a model waits: %s", error)
                due = time.monotonic() + self._pauses_s[-1] / 30
            self._news.wait(_HOURS_EVERY_S if due is None else max(0.0, due - time.monotonic()))

    def _anything(self) -> bool:
        if any(truth.open or truth.untold for truth in self._truths.all().values()):
            return True
        return any(self._to_begin(wanted) for wanted in self._wanted().values())

    def _turn(self) -> float | None:
        """Do one thing. When to come again (monotonic); None = when something happens."""
        self._line.carry_out(answered=self.threaded)
        for wanted in self._wanted().values():
            truth = self._truths.get(wanted.model)
            # Told first: a change that begins takes the place of the one that has ended.
            if not truth.open and not truth.untold and self._to_begin(wanted):
                self._begin_wished(wanted)
        now = time.monotonic()
        for model in self._in_order():
            if self._due.get(model, 0.0) <= now:
                self._advance(model)
                return now
        return min(self._due.values(), default=None)

    def _in_order(self) -> list[str]:
        """Changes that are under way or to be told; what is on trial comes first."""
        found = {m: t for m, t in self._truths.all().items() if t.open or t.untold}
        return sorted(found, key=lambda model: (not found[model].on_trial, model))

    # --- beginnings

    def _to_begin(self, wanted: Wanted) -> bool:
        """Whether a wish has not been acted upon."""
        truth = self._truths.get(wanted.model)
        if truth.settled == wanted.key or (held(truth) and not wanted.wish.policy.force):
            return False
        return not (truth.open and truth.deployment and same(truth.deployment, wanted))

    def _begin_wished(self, wanted: Wanted) -> None:
        if self.course.running(wanted.model) == wanted.wish.version:
            self.course.settle(wanted)  # By hand, or it came with the agent.
            return
        change = Deployment(
            id=new_id(), version=wanted.wish.version, key=wanted.key, source=wanted.source,
            rev=wanted.rev, by=wanted.by, signed=wanted.signed, policy=wanted.wish.policy,
        )  # fmt: skip
        self.course.begin(wanted.model, change)

    # --- one step

    def _advance(self, model: str) -> None:
        truth = self._truths.get(model)
        change = truth.deployment
        assert change is not None
        if truth.state in ENDS:
            self._tell(model)
            return
        if change.stop is not None:
            self.course.finish(model)  # It was being taken back when the process ended.
            return
        row = ROWS[str(truth.state)]
        unwanted = self._unwanted(model)
        if unwanted is not None:
            self.course.end(model, *unwanted)
        elif self._in_time(model, row, change):
            self._begin_work(model, truth, row)

    def _unwanted(self, model: str) -> tuple[Stop, str, str] | None:
        """End, reason and sentence where nobody wants the change any more."""
        truth = self._truths.get(model)
        change = truth.deployment
        if not truth.open or change is None or change.stop is not None or not change.source:
            return None
        if held(truth) and not change.active and not change.policy.force:
            who = truth.hold.by if truth.hold else ""
            return "cancelled", "held", f"{who or 'somebody'} at the device holds it"
        wanted = self._wanted().get(model)
        if wanted is None:
            return "cancelled", "no longer wished", f"nothing is desired of {model} any more"
        if not same(change, wanted):
            said = f"{wanted.wish.version} is desired since rev {wanted.rev}"
            return "superseded", "superseded", said
        return None

    def _in_time(self, model: str, row: Row, change: Deployment) -> bool:
        """Whether the hour is right; else it waits, or is given up."""
        policy = change.policy
        if change.active:
            return True
        if _expired(policy.expires):
            end: End = "rejected" if row.state == "requested" else "failed"
            said = f"it was to be done by {policy.expires}"
            waited = self.waiting.get(model)
            detail = f"{said}, and waited until then: {waited[1]}" if waited else said
            self.course.end(model, end, "expired", detail)
            return False
        busy = self.house.busy() if row.state == "activating" else ""
        if busy:
            self._wait(model, "busy", busy, self._pauses_s[0])
            return False
        if not row.timed or policy.force or not policy.schedule:
            return True
        if not clock.synced():
            self._wait(model, "schedule", "the clock can't be trusted, and it is to be done in "
                       f"certain hours ({', '.join(policy.schedule)})", _HOURS_EVERY_S)  # fmt: skip
            return False
        try:
            inside = _within(policy.schedule, self.house.zone)
        except ConfigError as error:
            self.course.end(model, "rejected", "schedule", str(error))
            return False
        if not inside:
            said = f"it is to be done in {', '.join(policy.schedule)} ({self.house.zone})"
            self._wait(model, "schedule", said, _HOURS_EVERY_S)
        return inside

    def _begin_work(self, model: str, truth: Truth, row: Row) -> None:
        if truth.boots >= row.begins:
            said = f"the agent ended {truth.boots} times while it was {row.state}"
            self.course.end(model, self._end_of(model, row), row.code, said)
            return
        began = self._truths.change(model, boots=truth.boots + 1)
        with self._lock:
            self._at_work = model
            if not self._stopping and not self._line and self._unwanted(model) is None:
                self.work.stopped.clear()
        try:
            said = self.work.do(model, began)
        except Stopped:
            self._not_begun(model)
        except Refused as error:
            self._refused(model, row, error.reason, error)
        except EdgeAgentError as error:
            if self.work.stopped.is_set():
                self._not_begun(model)
            elif isinstance(error, StoreError) or (error.retry == "backoff" and row.patient):
                self._not_begun(model)
                self._lacking(model, error)
            else:
                known = error.code if error.code in PASSING else row.code
                self._refused(model, row, known, error)
        except Exception as error:
            # The edge of what ports may do wrong: a change fails, the agent goes on.
            log.exception("%s: %s", model, row.state)
            self._refused(model, row, row.code, Refused(row.code, repr(error)))
        else:
            self._forget_waiting(model)
            if row.then == "committed":
                change = began.deployment
                assert change is not None
                self.course.end(model, row.then, change.reason, change.detail or said)
            else:
                self.course.go_on(model, row)
        finally:
            with self._lock:
                self._at_work = ""

    def _not_begun(self, model: str) -> None:
        """It was ended from outside: that is no evidence against it."""
        self._truths.change(model, boots=max(0, self._truths.get(model).boots - 1))

    def _lacking(self, model: str, error: EdgeAgentError) -> None:
        attempt = self._attempts.get(model, 0)
        self._attempts[model] = attempt + 1
        pause_s = self._pauses_s[min(attempt, len(self._pauses_s) - 1)]
        self._wait(
            model, error.code if isinstance(error, Lacks) else "waiting", str(error), pause_s
        )

    def _wait(self, model: str, code: str, sentence: str, seconds: float) -> None:
        self._due[model] = time.monotonic() + seconds
        if self.waiting.get(model) != (code, sentence):
            self.waiting[model] = (code, sentence)
            log.info("%s waits: %s", model, sentence)
            self._changed()

    def _refused(self, model: str, row: Row, reason: str, error: EdgeAgentError) -> None:
        self.course.end(model, self._end_of(model, row), reason, in_words(error))

    def _end_of(self, model: str, row: Row) -> End:
        """Only what has run can be rolled back."""
        ran = self._truths.get(model).on_trial
        return row.refused if ran or row.refused != "rolled-back" else "failed"

    def _tell(self, model: str) -> None:
        try:
            self.course.tell(model)
        except EdgeAgentError as error:
            self._lacking(model, error)
        else:
            self._forget_waiting(model)

    def _forget_waiting(self, model: str) -> None:
        self.waiting.pop(model, None)
        self._due.pop(model, None)
        self._attempts.pop(model, None)


def held(truth: Truth) -> bool:
    """Whether a person's veto stands."""
    return truth.hold is not None and not _expired(truth.hold.until)


def _expired(expires: str) -> bool:
    """Nothing expires by a clock that is not trusted."""
    if not expires or not clock.synced():
        return False
    try:
        return clock.wall_ns() >= clock.parse_rfc3339(expires)
    except ValueError:
        return False


def _within(schedule: tuple[str, ...], zone: str) -> bool:
    windows = [Window.parse(text) for text in schedule]  # Every one is read: none may be wrong.
    return Calendar(zone).within(windows, clock.wall_ns())
