"""The command engine: each id is done at most once, whoever brings it and whatever crashes.

Orders come from MQTT and from the control socket and take the same way: judged, journaled,
done on the one thread for jobs (or at once, if brief), answered. The journal is written before
the work starts, so a crash leaves behind what is known of it. Statuses go to whoever watches.
"""

from __future__ import annotations

import logging
import secrets
import threading
from collections.abc import Callable, Iterator, Mapping
from queue import SimpleQueue
from typing import Any, NoReturn, Protocol

from msgspec import Struct

from edgeagent import clock
from edgeagent.errors import CommandRejected, EdgeAgentError, StoreError, Untrusted, UsageError
from edgeagent.store.journal import Claim, Entry
from edgeagent.sync import command_types, judgement
from edgeagent.sync.command_types import CommandType
from edgeagent.sync.job import CANCELLED, Job, PutAway, Status, bounded
from edgeagent.sync.judgement import Order, Origin, Rules, Verdict
from edgeagent.sync.schema import FINAL

log = logging.getLogger(__name__)

Function = Callable[[Any, Job], Mapping[str, Any] | None]
"""Does a command: (arguments, job) → result. Raises EdgeAgentError for `failed`,
CommandRejected for `rejected`."""
Run = Callable[[Callable[[], None]], object]
"""Has something done on the thread for jobs."""


IN_USE = "id in use"
"""Reason of a refusal: the id is known, with another content."""


class Journal(Protocol):
    """What the engine needs of `store.journal.Journal`."""

    def claim(
        self, id: str, type: str, digest: str, at: str = "", by: str = "",
        status: Mapping[str, Any] | None = None,
    ) -> Claim: ...  # fmt: skip
    def update(self, id: str, status: Mapping[str, Any]) -> None: ...
    def get(self, id: str) -> Entry | None: ...
    def open_commands(self) -> list[Entry]: ...
    def clear(self, id: str) -> None: ...
    def published(self) -> list[Entry]: ...
    @property
    def newest_pruned_at(self) -> str: ...
    @property
    def born_at(self) -> str: ...


class Update(Struct, frozen=True):
    """A command has a new status."""

    type: str
    id: str
    origin: Origin
    status: Status


class Registry:
    """Which commands this agent can do, and what does them."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[CommandType, Function]] = {}

    def register(self, kind: CommandType, function: Function) -> None:
        """Offer a type. Raises UsageError if it is offered already."""
        if kind.name in self._known:
            raise UsageError(f"the command {kind.name!r} is registered already")
        self._known[kind.name] = (kind, function)

    def find(self, name: str) -> tuple[CommandType, Function] | None:
        return self._known.get(name)

    def capabilities(self, rules: Rules) -> dict[str, Any]:
        """Type → schema and properties, of what others than this device may ask."""
        return {
            kind.name: {"schema": kind.schema(), "changes": kind.changes, "summary": kind.summary}
            for kind, _ in self._known.values()
            if kind.name in rules.allow
        }


class Commands:
    """The engine. Every method may be called from any thread."""

    def __init__(
        self, registry: Registry, journal: Journal, rules: Rules, run: Run,
        verify: judgement.Verify | None = None, put_away: PutAway | None = None,
    ) -> None:  # fmt: skip
        """``verify`` opens signed commands; without it they are refused. ``put_away`` keeps
        results that are too large for a message; without it such a command fails."""
        self._registry = registry
        self._verify = verify or _nobody
        self._put_away = put_away
        self._journal = journal
        self._rules = rules
        self._run = run
        self._watchers: list[Callable[[Update], None]] = []
        self._lock = threading.Lock()
        self._active: dict[str, Job] = {}
        self._waiting: dict[str, Job] = {}
        """Accepted, until the clock can be trusted."""
        registry.register(command_types.PING, _ping)
        registry.register(command_types.CANCEL, self._cancel)

    def watch(self, watcher: Callable[[Update], None]) -> Callable[[], None]:
        """Be told of every status; returns what ends it. Called on the thread that works."""
        self._watchers = [*self._watchers, watcher]

        def end() -> None:
            self._watchers = [other for other in self._watchers if other is not watcher]

        return end

    def capabilities(self) -> dict[str, Any]:
        return self._registry.capabilities(self._rules)

    # --- orders

    def submit(
        self, type: str, id: str = "", arguments: Mapping[str, Any] | None = None, by: str = "local"
    ) -> Iterator[Status]:
        """An order given on the device itself: its statuses, the last one final."""
        id = id or f"local-{secrets.token_hex(6)}"
        body = {**(arguments or {}), "by": by, "at": clock.rfc3339(clock.wall_ns())}
        statuses: SimpleQueue[Status] = SimpleQueue()
        end = self.watch(lambda update: statuses.put(update.status) if update.id == id else None)
        try:
            self.receive(Order(type, id, body, "local"))
            while True:
                status = statuses.get()
                yield {"id": id, "type": type, **status}
                if status["status"] in FINAL:
                    return
        finally:
            end()

    def receive(self, order: Order) -> None:
        """Take an order: journal it and see it done. Returns once it is journaled (and done,
        if its type is brief); what becomes of it is told to the watchers."""
        if judgement.signed(order):
            inside = judgement.opened(order, self._verify)
            if isinstance(inside, Verdict):
                self.answer(order, inside)
                return
            order = inside
        found = self._registry.find(order.type)
        verdict = self._admit(order)
        arguments = None
        if found is not None and verdict is None:
            arguments = judgement.arguments_of(found[0], order.body)
            if isinstance(arguments, Verdict):
                verdict = arguments
        verdict = verdict or self._age(order)
        if found is None or (verdict is not None and verdict is not judgement.WAITING):
            self.answer(order, verdict or _unknown(order.type))
            return
        kind, function = found
        job = Job(order, kind, function, arguments, self._tell, self._put_away)
        if self._claim(job, verdict):
            self._begin(job, waiting=verdict is not None)

    def answer(self, order: Order, verdict: Verdict) -> None:
        """Refuse an order, unless its id is known: then what is known of it is the answer."""
        status = _status(order.body, verdict)
        try:
            # Without its time: what was never done must not make others look stale one day.
            claim = self._journal.claim(order.id, order.type, order.digest(), "", order.by, status)
        except StoreError as error:
            log.warning("a refusal can't be journaled: %s", error)
            self._tell(order, status)
            return
        self._tell(order, _known(order, claim) or status)

    def status(self, id: str) -> Status | None:
        """What is journaled of an id. Raises StoreError."""
        entry = self._journal.get(id)
        return entry.status if entry is not None else None

    def published(self) -> list[Entry]:
        """Commands whose answers are to be seen: not cleared. Raises StoreError."""
        return self._journal.published()

    def cleared(self, id: str) -> None:
        """The requester has seen the answer; it is not to be published again."""
        try:
            self._journal.clear(id)
        except EdgeAgentError as error:
            log.warning("that command %s was cleared can't be journaled: %s", id, error)

    # --- life

    def resume(self) -> None:
        """After a start: finish what a former process left open. Before orders come."""
        told = {entry.id for entry in self._journal.published()}
        for entry in self._journal.open_commands():
            origin: Origin = "remote" if entry.id in told else "local"
            order = Order(entry.type, entry.id, judgement.body_of(entry.status), origin, True)
            found = self._registry.find(entry.type)
            arguments = judgement.arguments_of(found[0], order.body) if found else None
            begun = entry.status.get("status") == "executing"
            lost = "omitted" in entry.status
            unsound = found is None or isinstance(arguments, Verdict) or lost
            if found is None or unsound or (begun and not found[0].again):
                self._conclude(
                    order,
                    {
                        "status": "failed",
                        "reason": "interrupted",
                        "detail": "the agent was restarted in the middle of it",
                    },
                )
                continue
            job = Job(order, *found, arguments, self._tell, self._put_away)
            waiting = not begun and entry.status.get("reason") == judgement.WAITING.reason
            self._begin(job, waiting=waiting)

    def reconsider(self) -> None:
        """Judge what waits for a trusted clock, if it is trusted now."""
        if not self._waiting or not clock.synced():
            return
        with self._lock:
            jobs, self._waiting = list(self._waiting.values()), {}
        for job in jobs:
            verdict = self._age(job.order)
            if verdict is None:
                self._begin(job, waiting=False)
            else:
                self._finish(
                    job,
                    {"status": verdict.status, "reason": verdict.reason, "detail": verdict.detail},
                )

    # --- within

    def _admit(self, order: Order) -> Verdict | None:
        found = self._registry.find(order.type)
        return self._rules.permission(found[0], order) if found else _unknown(order.type)

    def _age(self, order: Order) -> Verdict | None:
        found = self._registry.find(order.type)
        if found is None:
            return None
        try:
            pruned, born = self._journal.newest_pruned_at, self._journal.born_at
        except StoreError:
            pruned = born = ""  # What changes something is refused when it can't be journaled.
        return self._rules.age(
            found[0], order, newest_pruned_at=pruned,
            now_ns=clock.wall_ns(), synced=clock.synced(), born_at=born,
        )  # fmt: skip

    def _claim(self, job: Job, waiting: Verdict | None) -> bool:
        """Journal it. False if that settles the matter."""
        order = job.order
        first = waiting or Verdict("executing" if job.kind.brief else "accepted", "")
        status = _status(order.body, first)
        try:
            claim = self._journal.claim(
                order.id, order.type, order.digest(), order.at, order.by, status
            )
            if order.origin == "local" and claim.outcome == "new":
                self._journal.clear(order.id)
        except StoreError as error:
            if not job.kind.changing(order.body):
                # Asking how a device is must work above all when its disk is full.
                job.journaled = False
                return True
            self._tell(order, _status(order.body, Verdict("rejected", "journal", str(error))))
            return False
        known = _known(order, claim)
        if known is not None:
            self._tell(order, known)
            return False
        if waiting is not None or not job.kind.brief:
            self._tell(order, status)
        return True

    def _begin(self, job: Job, *, waiting: bool) -> None:
        with self._lock:
            self._active[job.order.id] = job
            if waiting:
                self._waiting[job.order.id] = job
                return
        if job.kind.brief:
            self._execute(job)
        else:
            self._run(lambda: self._execute(job))

    def _execute(self, job: Job) -> None:
        if not job.start():
            return  # Cancelled while it waited for its turn.
        late = self._age(job.order)
        if late is not None and late.status == "expired":
            self._finish(job, {"status": "expired", "reason": late.reason, "detail": late.detail})
            return
        executing = _status(job.order.body, Verdict("executing", ""))
        if not job.kind.brief and not self._record(job, executing):
            self._finish(
                job,
                {"status": "failed", "reason": "journal", "detail": "the journal can't be written"},
            )
            return
        if not job.kind.brief:
            self._tell(job.order, executing)
        self._finish(job, job.do())

    def _record(self, job: Job, status: Status) -> bool:
        if not job.journaled:
            return True
        try:
            self._journal.update(job.order.id, status)
        except EdgeAgentError as error:
            log.warning("command %s can't be journaled: %s", job.order.id, error)
            return not job.kind.changing(job.order.body)
        return True

    def _finish(self, job: Job, end: Status) -> None:
        with self._lock:
            self._active.pop(job.order.id, None)
            self._waiting.pop(job.order.id, None)
        if job.journaled:
            self._conclude(job.order, end)
        else:
            self._tell(job.order, {**judgement.repeated(job.order.body), **end})

    def _conclude(self, order: Order, end: Status) -> None:
        status = {**judgement.repeated(order.body), **end}
        try:
            self._journal.update(order.id, bounded(status))
        except EdgeAgentError as error:
            log.error("the end of command %s can't be journaled: %s", order.id, error)
        self._tell(order, status)

    def _tell(self, order: Order, status: Status) -> None:
        update = Update(order.type, order.id, order.origin, status)
        for watcher in self._watchers:
            watcher(update)

    def _cancel(self, arguments: command_types.Cancel, _job: Job) -> Status:
        target = arguments.target
        with self._lock:
            job = self._active.get(target)
        if job is not None:
            if job.cancel():
                self._finish(job, dict(CANCELLED))
                return {"target": target, "was": "accepted"}
            return {"target": target, "was": "executing"}
        claim = self._journal.claim(target, "", "", status=dict(CANCELLED))
        if claim.outcome == "new":
            return {"target": target, "was": "unknown"}
        raise CommandRejected("already-ended", f"{target} is {claim.entry.status.get('status')}")


def _known(order: Order, claim: Claim) -> Status | None:
    """What to answer if the id was taken before; None if it is new."""
    if claim.outcome == "new":
        return None
    entry = claim.entry
    if not entry.digest:
        return {**judgement.repeated(order.body), **entry.status}  # Cancelled before it came.
    if claim.outcome == "known":
        return entry.status
    return _status(order.body, Verdict("rejected", IN_USE, "this id names another command"))


def _status(body: Mapping[str, Any], verdict: Verdict) -> Status:
    status: Status = {**judgement.repeated(body), "status": verdict.status}
    if verdict.reason:
        status["reason"] = verdict.reason
    if verdict.detail:
        status["detail"] = verdict.detail
    return status


def _nobody(*_order: object) -> NoReturn:
    raise Untrusted("this agent knows no operators: it can't verify signed commands")


def _unknown(type: str) -> Verdict:
    return Verdict("rejected", "unknown-type", f"this agent has no command {type!r}")


def _ping(_arguments: Any, _job: Job) -> Status:
    return {
        "at": clock.rfc3339(clock.wall_ns()),
        "clock": "synced" if clock.synced() else "unsynced",
        "boot": clock.boot_id(),
        "mono_ms": int(clock.mono_ms()),
    }
