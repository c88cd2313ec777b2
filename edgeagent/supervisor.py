"""Keeps units alive: starts them, restarts them by the errors' own ``retry``, watches beats.

A unit is a run loop on one thread. One that is silent past its deadline can't be helped from
inside the process (a native call does not return), so the watchdog pings stop and systemd
restarts the agent: the store is the memory.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Protocol

from edgeagent import crashes
from edgeagent.errors import EdgeAgentError
from edgeagent.types import Health

log = logging.getLogger("edgeagent.supervisor")

BACKOFF_S = (0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
HEALTHY_AFTER_S = 60.0
"""A unit that ran this long starts its backoff from the beginning."""


class Unit(Protocol):
    """A supervised run loop."""

    name: str
    deadline_s: float

    def run(self) -> None: ...

    def stop(self) -> None: ...

    @property
    def beat(self) -> float: ...

    def failed(self, error: BaseException) -> None: ...

    def health(self) -> Health: ...


class _Watched:
    """One unit with its thread and its history of failures."""

    def __init__(self, unit: Unit, stopping: threading.Event) -> None:
        self.unit = unit
        self.restarts = 0
        self._stopping = stopping
        self.thread = threading.Thread(target=self._loop, name=unit.name, daemon=True)
        self.alive = False
        self.waiting = False

    def _loop(self) -> None:
        attempt = 0
        self.alive = True
        told = {"unit": self.unit.name}
        try:
            while not self._stopping.is_set():
                began = time.monotonic()
                error = self._once()
                if error is None:
                    return
                if time.monotonic() - began > HEALTHY_AFTER_S:
                    attempt = 0
                if isinstance(error, EdgeAgentError) and error.retry == "never":
                    log.error("%s can't run: %s", self.unit.name, error, extra=told)
                    return
                pause_s = BACKOFF_S[min(attempt, len(BACKOFF_S) - 1)]
                if attempt == 0:
                    log.warning(
                        "%s failed: %s; again in %s s", self.unit.name, error, pause_s, extra=told
                    )
                attempt += 1
                self.restarts += 1
                self.waiting = True
                self._stopping.wait(pause_s)
                self.waiting = False
        finally:
            self.alive = False

    def _once(self) -> BaseException | None:
        try:
            self.unit.run()
        except EdgeAgentError as error:
            self.unit.failed(error)
            return error
        except Exception as error:
            log.exception("%s crashed", self.unit.name)
            crashes.exception(self.unit.name, error)
            self.unit.failed(error)
            return error
        return None


class Supervisor:
    """All units of the agent."""

    def __init__(self) -> None:
        self._stopping = threading.Event()
        self._watched: list[_Watched] = []

    def start(self, unit: Unit) -> None:
        """Run a unit from now on."""
        watched = _Watched(unit, self._stopping)
        self._watched.append(watched)
        watched.thread.start()

    def runs(self, unit: Unit) -> bool:
        """Whether it runs, or will again by itself."""
        return any(its.unit is unit and its.thread.is_alive() for its in self._watched)

    def wait(self, unit: Unit, timeout_s: float) -> bool:
        """Wait for the end of a unit that was told to stop; False = it does not end."""
        threads = [its.thread for its in self._watched if its.unit is unit]
        for thread in threads:
            thread.join(timeout_s)
        return not any(thread.is_alive() for thread in threads)

    def forget(self, unit: Unit) -> None:
        """Something else does its work from now on; it must not run any more."""
        self._watched = [watched for watched in self._watched if watched.unit is not unit]

    def silent(self, now: float | None = None) -> list[str]:
        """Names of running units whose beat is older than their deadline."""
        now = time.monotonic() if now is None else now
        return [
            watched.unit.name
            for watched in self._watched
            if watched.alive
            and not watched.waiting
            and now - watched.unit.beat > watched.unit.deadline_s
        ]

    def health(self) -> list[Health]:
        """Health of every unit, in the order of their start."""
        silent = set(self.silent())
        return [
            Health(health.name, "down", "it does not react any more", health.detail)
            if health.name in silent
            else health
            for health in (watched.unit.health() for watched in self._watched)
        ]

    def all_ended(self) -> bool:
        """Whether no unit runs any more."""
        return all(not watched.alive and not watched.thread.is_alive() for watched in self._watched)

    def stop(self, timeout_s: float, report: Callable[[str], None] = log.warning) -> bool:
        """Stop all units within the time; False when one would not end."""
        self._stopping.set()
        for watched in self._watched:
            watched.unit.stop()
        deadline = time.monotonic() + timeout_s
        for watched in self._watched:
            # Where threads can't be had the first of them was never started.
            if watched.thread.ident is not None:
                watched.thread.join(max(0.0, deadline - time.monotonic()))
        stuck = [watched.unit.name for watched in self._watched if watched.thread.is_alive()]
        for name in stuck:
            report(f"{name} did not stop in time")
        return not stuck
