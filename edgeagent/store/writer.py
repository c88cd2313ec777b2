"""The one writing thread: groups what comes, commits by deadline, does not give up.

A draft waits at most as long as its class allows (`OutboxSettings.events_s`, ``results_s``);
what is in the queue when the first deadline comes goes into the same transaction. When the
database refuses, the group is kept and tried again while the queue fills up behind it; what
does not fit the queue is counted, and a gap tells of it as soon as anything can be written.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any, TypeVar

from edgeagent.errors import EdgeAgentError, StoreError
from edgeagent.store.books import Account
from edgeagent.store.commit import Committer
from edgeagent.store.encode import URGENT
from edgeagent.store.group import STALLED, Group, Op
from edgeagent.store.ledger import Ledger
from edgeagent.store.wear import Wear
from edgeagent.types import Draft

log = logging.getLogger(__name__)
T = TypeVar("T")
CLOSED = "closed"
_GROUP = 1000
"""Drafts that one transaction takes at most."""
_IDLE_S = 5.0
_LONGEST_WAIT_S = 5.0
_JOB_TRIES = 3


class Ticket:
    """Receipt of one `Outbox.append`."""

    __slots__ = ("_done", "lost", "seq")

    def __init__(self, done: threading.Condition) -> None:
        self._done = done
        self.seq: int | None = None
        """The record's number once it is committed, i.e. safe from a power cut."""
        self.lost = ""
        """Why the record itself is gone (a gap tells of it); empty = it is not."""

    def wait(self, timeout_s: float) -> int | None:
        """Block until committed. Returns the seq, or None when time is up or it is lost."""
        with self._done:
            self._done.wait_for(lambda: self.seq is not None or self.lost, timeout_s)
        return None if self.lost else self.seq


class _Job:
    """A piece of work whose caller waits for the answer. ``single``: one transaction."""

    def __init__(self, work: Callable[[Committer], Any], *, single: bool) -> None:
        self.work = work
        self.single = single
        self.done = threading.Event()
        self.answer: Any = None
        self.error: EdgeAgentError | None = None


class Writer:
    """Queue, thread and retries around a `Committer`."""

    def __init__(self, committer: Committer, swapped: Callable[[], None]) -> None:
        self._committer = committer
        self._swapped = swapped
        self._settings = committer.settings
        self.group = _GROUP
        self._results_limit = self._settings.queue * 3 // 4
        self._work = threading.Condition()
        self._done = threading.Condition()
        self._queue: deque[tuple[Draft, Ticket]] = deque()
        self._ops: deque[Op] = deque()
        self._jobs: deque[_Job] = deque()
        self._due = float("inf")
        self._next_care = 0.0
        self._evidence = 0
        self._appended = self._resolved = 0
        self._posted = self._applied = 0
        self._stop_by: float | None = None
        self._suspicion: tuple[StoreError, str] | None = None
        self.stalled = 0
        self.fault = ""
        self.account: Account = committer.ledger.account()
        self.used_bytes = committer.space.used_bytes()
        self.listeners: list[Callable[[], None]] = []
        self.wear = Wear(committer, self._settings.written_per_day)
        self._thread = threading.Thread(target=self._run, name="store", daemon=True)

    def start(self) -> None:
        self._thread.start()

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    @property
    def queued(self) -> int:
        return self._appended - self._resolved

    # --- from any thread -----------------------------------------------------------------

    def append(self, draft: Draft) -> Ticket:
        ticket = Ticket(self._done)
        urgent = draft.kind in URGENT
        due = time.monotonic() + (self._settings.events_s if urgent else self._settings.results_s)
        weight = sum(len(piece.data) for piece in draft.evidence) if draft.evidence else 0
        with self._work:
            if self._stop_by is not None:
                ticket.lost = CLOSED
                return ticket
            waiting = self._appended - self._resolved
            if (
                waiting >= (self._settings.queue if urgent else self._results_limit)
                or self._evidence + weight > self._settings.queue_bytes
            ):
                self.stalled += 1
                ticket.lost = STALLED
                self._wake(due)
                return ticket
            self._appended += 1
            self._evidence += weight
            self._queue.append((draft, ticket))
            self._wake(0.0 if waiting >= self.group else due)
        return ticket

    def post(self, op: Op, within_s: float = 1.0) -> None:
        """Do ``op`` inside a transaction within ``within_s``; nobody waits."""
        with self._work:
            self._ops.append(op)
            self._posted += 1
            self._wake(time.monotonic() + within_s)

    def call(self, work: Callable[[Committer], T], timeout_s: float = 30.0) -> T:
        """Run ``work`` in the writing thread (whole transactions) and give its answer.

        Raises: what it raises; StoreError when time is up.
        """
        answer: T = self._await_job(_Job(work, single=False), timeout_s)
        return answer

    def transact(self, work: Callable[[Ledger], T], timeout_s: float = 30.0) -> T:
        """Like `call`, for work that is one transaction: done exactly once or not at all."""
        answer: T = self._await_job(
            _Job(lambda committer: committer.job(work), single=True), timeout_s
        )
        return answer

    def _await_job(self, job: _Job, timeout_s: float) -> Any:
        with self._work:
            if self._stop_by is not None or not self.alive:
                raise StoreError("the outbox is closed")
            self._jobs.append(job)
            self._wake(0.0)
        if not job.done.wait(timeout_s):
            raise StoreError(f"the outbox takes nothing: {self.fault or 'busy'}")
        if job.error is not None:
            raise job.error
        return job.answer

    def suspect(self, error: StoreError, epoch: str) -> None:
        """A reader found the database of ``epoch`` damaged."""
        with self._work:
            self._suspicion = (error, epoch)
            self._wake(0.0)

    def flush(self, timeout_s: float) -> bool:
        with self._work:
            drafts, ops = self._appended, self._posted
            self._wake(0.0)
        with self._done:
            return self._done.wait_for(
                lambda: self._resolved >= drafts and self._applied >= ops, timeout_s
            )

    def close(self, timeout_s: float) -> None:
        with self._work:
            self._stop_by = time.monotonic() + timeout_s
            self._work.notify()
        self._thread.join(timeout_s + _LONGEST_WAIT_S)

    def _wake(self, due: float) -> None:
        if due < self._due:
            self._due = due
            self._work.notify()

    # --- the thread ----------------------------------------------------------------------

    def _run(self) -> None:
        try:
            while self._await():
                self._commit_queue()
                self._do_jobs()
                if time.monotonic() >= self._next_care:
                    busy = self._guarded(self._care)
                    self._next_care = time.monotonic() + (0.0 if busy else _IDLE_S)
            while self._queue or self._ops or self.stalled:
                self._commit_queue()
            self._guarded(self._part)
        except Exception as error:
            # Not a fault of the medium but of this program: say so, and let the watchdog see.
            self.fault = f"internal: {error}"
            log.exception("the writing thread ends")
            raise
        finally:
            self._give_up([])
            self._committer.close()

    def _await(self) -> bool:
        """Sleep until there is something to do. False = stop."""
        with self._work:
            while self._stop_by is None:
                wake_at = min(self._due, self._next_care)
                now = time.monotonic()
                if wake_at <= now or self._jobs:
                    return True
                self._work.wait(wake_at - now)
            return False

    def _commit_queue(self) -> None:
        """Commit what is in the queue now."""
        with self._work:
            entries = [self._queue.popleft() for _ in range(min(self.group, len(self._queue)))]
            ops, self._ops = list(self._ops), deque()
            stalled, self.stalled = self.stalled, 0
            suspicion, self._suspicion = self._suspicion, None
            self._due = 0.0 if self._queue else float("inf")
        if suspicion is not None and suspicion[1] == self._committer.ledger.epoch:
            self._recover(suspicion[0])
        while entries or ops or stalled:
            group = Group([draft for draft, _ in entries], ops, stalled)
            if not self._until_done(group):
                self._give_up(entries)
                return
            self._resolve(entries[: len(group.results)], group)
            entries = entries[len(group.results) :]
            ops, stalled = [], 0

    def _until_done(self, group: Group) -> bool:
        """Commit ``group``, however long it takes. False = stopped before it could be."""
        wait_s = 0.02
        while True:
            try:
                self._committer.commit(group)
            except StoreError as error:
                if self._recover(error):
                    break
                if not self._pause(wait_s):
                    return False
                wait_s = min(wait_s * 2, _LONGEST_WAIT_S)
            else:
                break
        self._note("")
        return True

    def _recover(self, error: StoreError) -> bool:
        """True = the failed transaction landed all the same."""
        self._note(str(error))
        before = self._committer.stood_aside
        landed = False
        try:
            landed = self._committer.recover(error)
        except StoreError as worse:
            self._note(str(worse))
        if self._committer.stood_aside != before:
            self._swapped()
        self._next_care = 0.0
        return landed

    def _pause(self, wait_s: float) -> bool:
        """Wait before the next try. False = the time to stop has come."""
        with self._work:
            stopping = self._stop_by is not None
            if self._stop_by is not None:
                wait_s = min(wait_s, self._stop_by - time.monotonic())
                if wait_s <= 0:
                    return False
            # Appends notify too: keep the pause, or a full disk would be a busy loop.
            self._work.wait_for(lambda: not stopping and self._stop_by is not None, wait_s)
        return True

    def _note(self, fault: str) -> None:
        if fault and not self.fault:
            log.warning("the outbox can't write: %s", fault)
        elif self.fault and not fault:
            log.info("the outbox writes again")
        self.fault = fault

    def _resolve(self, entries: list[tuple[Draft, Ticket]], group: Group) -> None:
        weight = 0
        for (draft, ticket), (seq, lost) in zip(entries, group.results, strict=True):
            ticket.seq = seq
            if lost:
                ticket.lost = lost
            if draft.evidence:
                weight += sum(len(piece.data) for piece in draft.evidence)
        self._publish()
        with self._work:
            self._resolved += len(entries)
            self._applied += len(group.ops)
            self._evidence -= weight
        with self._done:
            self._done.notify_all()

    def _publish(self) -> None:
        """Show the figures of the last commit, and wake who waits for news."""
        if not self._committer.standing:
            # What is in memory is not what is on the medium.
            return
        self.account = self._committer.ledger.account()
        for wake in self.listeners:
            wake()

    def _give_up(self, entries: list[tuple[Draft, Ticket]]) -> None:
        """The end: nothing is taken any more, and nobody waits in vain."""
        with self._work:
            self._stop_by = self._stop_by or 0.0
            entries = [*entries, *self._queue]
            self._queue.clear()
            self._ops.clear()
            self.stalled = 0
            self._resolved, self._applied = self._appended, self._posted
            jobs, self._jobs = list(self._jobs), deque()
        if entries:
            log.error("%d records were not written before the end: %s", len(entries), self.fault)
        with self._done:
            for _, ticket in entries:
                ticket.lost = CLOSED
            self._done.notify_all()
        for job in jobs:
            job.error = StoreError(f"the outbox is closed {self.fault}")
            job.done.set()

    def _do_jobs(self) -> None:
        while True:
            with self._work:
                if not self._jobs:
                    return
                job = self._jobs.popleft()
            before = self._committer.stood_aside
            for attempt in range(_JOB_TRIES):
                if self._try_job(job) or not self._pause(0.02 * 2**attempt):
                    break
            if self._committer.stood_aside != before:
                self._swapped()
            # It may have given upkeep something to do (carrying, back-filling).
            self._next_care = 0.0
            self._publish()
            job.done.set()

    def _try_job(self, job: _Job) -> bool:
        """False = worth another try."""
        job.error = None
        try:
            job.answer = job.work(self._committer)
        except StoreError as error:
            job.error = error
            landed = self._recover(error)
            if landed and job.single:
                job.answer, job.error = self._committer.answer, None
            return landed
        except EdgeAgentError as error:
            job.error = error
            self._guarded(self._committer.cancel)
        else:
            self._note("")
        return True

    def _care(self) -> bool:
        """One step of upkeep. True = go on soon."""
        more = self._committer.maintain()
        self.used_bytes = self._committer.space.used_bytes()
        self.wear.look()
        self._publish()
        return more

    def _part(self) -> bool:
        """The last thing before the end."""
        self.wear.look()
        self.wear.save()
        return True

    def _guarded(self, step: Callable[[], bool]) -> bool:
        try:
            return step()
        except StoreError as error:
            self._recover(error)
            return False
