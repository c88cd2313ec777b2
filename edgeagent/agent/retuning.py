"""Models that were tuned on this device are tuned again when what was chosen holds no more.

A unit looks a few times a minute. A search runs in a child process (`prove.tune.again`), only while
nothing else is going on, and ends at once when something is. What it finds takes over from one
sample to the next, once it has proven itself. Until then the defaults run where cores, kernel or
library are others; where a model only became slow, it goes on.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from edgeagent import clock
from edgeagent.agent.aside import opened_anew
from edgeagent.agent.deploying import Board
from edgeagent.agent.pulse import Pulse, Slowness
from edgeagent.config.model import Runtime
from edgeagent.errors import Busy, EdgeAgentError, ProofFailed
from edgeagent.infer.delegates import accelerators
from edgeagent.pipeline import Pipeline
from edgeagent.prove.process import free_memory
from edgeagent.prove.tune.choice import Choice, Choices, outdated
from edgeagent.types import Draft, Health
from edgeagent.update.compatible import used_by
from edgeagent.update.proven import mark_of

if TYPE_CHECKING:
    from edgeagent.agent.build import Built, Surroundings
    from edgeagent.agent.running import Agent
    from edgeagent.manifest import Package

log = logging.getLogger("edgeagent.tune")

EVERY_S = 20.0
AFTER_S = 60.0
"""The agent runs for so long before anything is searched."""
_GIVE_WAY_S = 0.5
_LOOKS = 2
"""In a row at which a choice does not hold, before that is believed."""
_ROOM = 256 << 20
"""Bytes of memory that must be free for a search."""
_DEADLINE_S = 600.0
PAUSE_S, LONGEST_S = 600.0, 86_400.0
"""After a search, the first time; each one after that doubles it, to a day at most."""
_BRIEF_S = 60.0
"""After a search that has given way."""


class _Known:
    """What is known of one model."""

    def __init__(self) -> None:
        self.pipelines: set[str] = set()
        """That use it."""
        self.runs: str | None = None
        """Which choice does, by its time; empty = none, None = nobody has looked yet."""
        self.stale = ""
        """What its choice depends on and is another one now."""
        self.reason = ""
        """Why what was chosen does not hold."""
        self.seen = 0
        """Looks in a row at which that was so."""
        self.announced = ""
        self.slow = Slowness()
        self.told: dict[str, Any] = {}
        """For `status`."""
        self._next = 0.0
        self._pauses = {True: 0, False: 0}

    def rest(self, *, gave_way: bool = False) -> None:
        """Nothing is searched for a while."""
        usual = _BRIEF_S if gave_way else PAUSE_S
        self._next = time.monotonic() + min(usual * 2 ** self._pauses[gave_way], LONGEST_S)
        self._pauses[gave_way] += 1

    @property
    def rests_s(self) -> float:
        """For how long still."""
        return max(0.0, self._next - time.monotonic())


class _GivesWay(threading.Event):
    """Set as soon as a search has to end."""

    def __init__(self, look: Callable[[], str]) -> None:
        super().__init__()
        self.why = ""
        self._look = look
        self._next = 0.0

    def is_set(self) -> bool:
        if time.monotonic() >= self._next and not self.why:
            self._next = time.monotonic() + _GIVE_WAY_S
            self.why = self._look()
        return bool(self.why)


class Retuning:
    """A supervised unit."""

    deadline_s = _DEADLINE_S

    def __init__(self, agent: Agent, around: Surroundings, built: Built) -> None:
        self.name = "tuning"
        self._agent = agent
        self._around = around
        self._built = built
        self._choices = Choices(agent.folder)
        self._known: dict[str, _Known] = {}
        self._held = ""
        self._pulse = Pulse()
        self._stop = threading.Event()
        self._beat = time.monotonic()

    # --- a unit ----------------------------------------------------------------------------

    def run(self) -> None:
        """Until stopped."""
        while not self._stop.wait(EVERY_S):
            self.look()

    def look(self) -> None:
        """At all models, once; where one is searched for, that is waited for."""
        self._beat = time.monotonic()
        self._pulse.look(self._pipelines())
        packages = list(self._packages())
        # Of a version that runs no more there is nothing to tell.
        self._known = {title: self._known[title] for title in map(_title, packages)}
        for package in packages:
            if not self._stop.is_set():
                self._look(package, self._known[_title(package)])

    def stop(self) -> None:
        self._stop.set()

    @property
    def beat(self) -> float:
        return self._beat

    def failed(self, error: BaseException) -> None:
        """Told by the supervisor, which starts it anew."""

    def health(self) -> Health:
        return Health(self.name, "ok", detail=self.status())

    def status(self) -> dict[str, Any]:
        """Model → how far it is tuned; without those that nobody has ever had tuned."""
        return {title: its.told for title, its in self._known.items() if its.told}

    @contextmanager
    def held(self, why: str) -> Iterator[None]:
        """Nothing is searched while the block runs."""
        self._held = why
        try:
            yield
        finally:
            self._held = ""

    # --- looking ---------------------------------------------------------------------------

    def _packages(self) -> Iterator[Package]:
        """Of models that pipelines run, ask or hide things by, where nobody configured how."""
        found = {}
        for name, config in self._around.config.pipelines.items():
            its = config.runtime
            free = its == Runtime(require=its.require)
            for model, version in used_by(config) if config.enabled else ():
                if model == config.model and not free:
                    continue
                try:
                    package = self._around.library.find(model, version)
                except EdgeAgentError:
                    continue  # told by the pipeline
                found[package.folder] = package
                self._known.setdefault(_title(package), _Known()).pipelines.add(name)
        yield from found.values()

    def _look(self, package: Package, known: _Known) -> None:
        choice = self._choices.of(package)
        before = choice or self._choices.of_another_version(package)
        reason = self._why(package, choice, before, known)
        known.seen = known.seen + 1 if reason and reason == known.reason else int(bool(reason))
        known.reason = reason
        self._have_run(package, choice, known)
        if before is None:
            known.told = {}
            return
        known.told = _told(before, "stale" if reason else "tuned", reason)
        if known.seen < _LOOKS or not self._around.config.models.retune:
            return
        waits = f"it was tried lately, and is again in {known.rests_s:.0f} s"
        waits = waits if known.rests_s else self.unwelcome()
        if waits:
            known.told["waits"] = waits
        else:
            self._search(package, before, known)

    def _why(
        self, package: Package, choice: Choice | None, before: Choice | None, known: _Known
    ) -> str:
        """Why it is to be tuned; empty = what was chosen holds, or nobody ever wanted it tuned."""
        known.stale = outdated(choice, package) if choice is not None else ""
        if known.stale or before is None:
            return known.stale
        if choice is None:
            return f"{_title(package)} is new here, and {before.model} was tuned"
        if choice.ms is None:
            return ""
        slow = [
            known.slow.look(pipeline, choice.ms)
            for pipeline in self._running(known)
            if _as_tuned(pipeline)
        ]
        return next(filter(None, slow), "")

    def _have_run(self, package: Package, choice: Choice | None, known: _Known) -> None:
        """Have pipelines run what would run after a start: what a person has chosen meanwhile, and
        the defaults where a choice does not hold. What was proven on other cores can be a hundred
        times slower on these."""
        at = choice.at if choice is not None and not known.stale else ""
        if known.runs is None:
            tuned = any(map(_as_tuned, self._running(known)))
            known.runs = choice.at if choice is not None and tuned else ""
        if at == known.runs or (known.stale and known.seen < _LOOKS):
            return
        try:
            self._take_over(choice, known)
        except EdgeAgentError as error:
            log.warning("%s goes on as before: %s", _title(package), error)
        known.runs = at

    def _pipelines(self) -> list[Pipeline]:
        """Those that are open."""
        units = self._built.pipelines.values()
        return [its for its in units if isinstance(its, Pipeline) and its.loaded]

    def _running(self, known: _Known) -> Iterator[Pipeline]:
        return (its for its in self._pipelines() if its.name in known.pipelines)

    def unwelcome(self) -> str:
        """Why nothing is searched now; empty = it may be."""
        agent = self._agent
        if self._held:
            return self._held
        if time.monotonic() - agent.began < AFTER_S:
            return "the agent has just started"
        governor = agent.governing.governor.reason if agent.governing is not None else ""
        if governor:
            return f"the governor: {governor}"
        changing = agent.wishes.changing if agent.wishes is not None else ""
        if changing:
            return changing
        if free_memory() < _ROOM:
            return "there is too little memory"
        return Board(agent.folder).lacks()

    # --- searching -------------------------------------------------------------------------

    def _search(self, package: Package, before: Choice, known: _Known) -> None:
        from edgeagent.prove.tune.again import tune_again

        title, reason = _title(package), known.reason
        known.told = _told(before, "searching", reason)
        if known.announced != reason:
            known.announced = reason
            log.info("%s is tuned again: %s", title, reason)
            self._record(title, "new", reason=reason)
        self._pulse.begin(self._pipelines())
        gives_way = _GivesWay(self._has_to_end)
        try:
            choice = tune_again(package, before, gives_way)
        except (Busy, ProofFailed) as error:
            said = gives_way.why or str(error)
            known.rest(gave_way=bool(gives_way.why))
            known.told = _told(before, "stale", reason) | {"failed": said}
            if not self._stop.is_set():
                log.info("%s is not tuned, for the time being: %s", title, said)
                self._record(title, "update", reason=reason, failed=said)
            return
        known.rest()
        self._keep(package, choice, known)

    def _has_to_end(self) -> str:
        """Why a search that is under way has to end; empty = it goes on."""
        self._beat = time.monotonic()
        if self._stop.is_set():
            return "the agent ends"
        return self.unwelcome() or self._pulse.disturbed(self._pipelines())

    def _keep(self, package: Package, choice: Choice, known: _Known) -> None:
        title, reason, before = _title(package), known.reason, self._choices.of(package)
        try:
            self._choices.keep(package, choice)
            if self._around.proven is not None and not accelerators(package, choice.runtime):
                # It has been run in children for a minute.
                self._around.proven.add(mark_of(package, choice.runtime))
            self._take_over(choice, known)
        except EdgeAgentError as error:
            log.warning("%s goes on as before: %s", title, error)
            self._record(title, "update", reason=reason, failed=str(error))
            if before is not None:
                self._choices.keep(package, before)
            return
        known.runs, known.announced, known.seen = choice.at, "", 0
        known.told = _told(choice, "tuned", "")
        settings = choice.rows[0].settings
        log.info("%s runs as tuned: %s (%s)", title, settings, choice.why)
        self._record(
            title, "end", reason=reason, settings=settings, why=choice.why, ratio=choice.ratio,
            took_s=choice.took_s,
        )  # fmt: skip

    def _take_over(self, choice: Choice | None, known: _Known) -> None:
        """Have the pipelines run it as chosen. Raises EdgeAgentError: one can't."""
        known.slow.forget()
        self._pulse.forget()
        # The threads of a runtime keep the priority of the thread that made them.
        kindly = choice is None or choice.runtime.threads in (None, 1)
        for pipeline in self._running(known):
            fresh = opened_anew(self._around, pipeline, kindly=kindly)
            if fresh is not None:
                log.info("%s: %s", pipeline.name, fresh.receipt)

    def _record(self, title: str, phase: str, **data: Any) -> None:
        self._around.outbox.append(
            Draft(
                "health",
                at_ns=clock.wall_ns(),
                mono_ms=clock.mono_ms(),
                model=title,
                data={"unit": self.name, "phase": phase, "fault": "stale choice", **data},
                config=self._around.config_hash,
            )
        )


def _title(package: Package) -> str:
    return f"{package.name}@{package.version}"


def _as_tuned(pipeline: Pipeline) -> bool:
    return pipeline.receipt.endswith(", tuned")


def _told(choice: Choice, state: str, reason: str) -> dict[str, Any]:
    """A model for `status`; ``state`` is tuned | stale | searching."""
    settings = choice.rows[0].settings if choice.rows else ""
    told = {"state": state, "choice": settings, "at": choice.at, "reason": reason}
    return {key: value for key, value in told.items() if value}
