"""Delegates and providers of vendors on this device: tried in a child first, put aside when they
fail, tried again later.

A vendor's library can take its process down, hang, answer wrongly or lose its device, most often
after an update of the system. So none is loaded by the agent before a child has run the model with
it in this very process' time; until then, and while one is put aside, the model runs without it.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from msgspec import Struct

from edgeagent.config.model import Runtime
from edgeagent.errors import Busy, ProofFailed
from edgeagent.infer.delegates import accelerators, on_processor, title_of
from edgeagent.manifest import Package
from edgeagent.update.cooloff import DEADLY, CoolOff, pair_of
from edgeagent.update.proven import mark_of

log = logging.getLogger("edgeagent.models")

WAIT_S = 3.0
"""How long a pipeline waits for a child before it begins without the delegate."""
_PROBE_S = 120.0
"""A delegate may have to compile the model; one that takes longer hangs."""
_RUNS, _RUN_S = 20, 3.0
_LOOK_S = 0.5

Ready = Callable[[Package], None]


class Form(Struct, frozen=True):
    """A model, how it is run, and whose libraries that needs."""

    package: Package
    runtime: Runtime
    names: tuple[str, ...]
    """Delegates and providers besides the runtimes' own."""

    @property
    def title(self) -> str:
        return ", ".join(title_of(name) for name in self.names)


class Delegated:
    """All of an agent.

    Args:
        cooloff: what failed, on disk.
        ready: called, on a thread of its own, when a form that was put aside or took long may be
            used: with its package.
        tell: told of each that is put aside (``new``) or back (``end``): form, phase, reason.
    """

    def __init__(
        self,
        cooloff: CoolOff,
        ready: Ready | None = None,
        tell: Callable[[Form, str, str], None] | None = None,
    ) -> None:
        self._cooloff = cooloff
        self._ready = ready
        self._tell = tell
        self._lock = threading.Lock()
        self._probes: dict[str, _Probe] = {}
        self._stopped = threading.Event()
        self.changes = 0
        """How often something was put aside or came back."""
        self.trying = threading.Lock()

    def aside(self, package: Package, runtime: Runtime) -> Mapping[str, str]:
        """Delegates and providers that must not be loaded now → why; empty = all may be. Waits up
        to `WAIT_S` for a child."""
        form = form_of(package, runtime)
        if form is None:
            return {}
        mark = _mark(form)
        with self._lock:
            probe = self._probes.get(mark)
            if probe is None:
                probe = self._probes[mark] = _Probe(self, form, mark)
                probe.start()
        probe.settled.wait(max(0.0, probe.began + WAIT_S - time.monotonic()))
        reason = probe.without()
        return dict.fromkeys(form.names, reason) if reason else {}

    def gave_up(self, package: Package, runtime: Runtime, reason: str) -> None:
        """A model fails again and again on a delegate that had worked: its device is lost."""
        form = form_of(package, runtime)
        if form is None:
            return
        mark = _mark(form)
        self.put_aside(
            form, mark, f"{form.title} was lost while {_title(package)} ran on it: {reason}"
        )
        with self._lock:
            probe = self._probes[mark] = _Probe(self, form, mark)
            probe.start()

    def put_aside(self, form: Form, mark: str, reason: str) -> None:
        """Remember it, and say so."""
        failure = self._cooloff.add(mark, form.names, reason)
        self.changes += 1
        log.warning("%s", failure.sentence)
        if self._tell is not None:
            self._tell(form, "new", failure.sentence)

    def back(self, form: Form, *, failed: bool, missed: bool) -> None:
        """It has proven itself. ``failed``: it had not before; ``missed``: somebody has begun
        without it."""
        self.changes += failed
        if failed and self._tell is not None:
            self._tell(form, "end", f"{form.title} runs {_title(form.package)} again")
        if missed and self._ready is not None and not self._stopped.is_set():
            self._ready(form.package)

    def told(self) -> list[dict[str, Any]]:
        """What is put aside of all that models here ask for, and when it is tried again."""
        with self._lock:
            probes = list(self._probes.values())
        failures = [(its.form, self._cooloff.failure(its.mark)) for its in probes]
        return [
            {
                "delegate": form.title, "model": _title(form.package), "reason": its.reason,
                "times": its.times, "pause_s": round(its.pause_s), "again_s": round(its.waits_s),
            }
            for form, its in failures if its is not None
        ]  # fmt: skip

    def stop(self) -> None:
        """End what is being tried; what is used ends in good order."""
        self._stopped.set()
        self._cooloff.ended(list(self._probes))

    @property
    def stopped(self) -> threading.Event:
        return self._stopped

    @property
    def cooloff(self) -> CoolOff:
        return self._cooloff


class _Probe(threading.Thread):
    """Tries one form until it works; the thread ends then."""

    def __init__(self, delegated: Delegated, form: Form, mark: str) -> None:
        super().__init__(name=f"delegate:{form.title}", daemon=True)
        self.settled = threading.Event()
        """It is known whether the delegate may be loaded now."""
        self.reason = f"{form.title} is tried in a process of its own, and has not answered yet"
        self.began = time.monotonic()
        self._delegated = delegated
        self.form = form
        self.mark = mark
        self._lock = threading.Lock()
        self._missed = False

    def without(self) -> str:
        """Why somebody begins without the delegate now; empty = it may be loaded."""
        with self._lock:
            self._missed = self._missed or bool(self.reason)
            return self.reason

    def run(self) -> None:
        delegated, stopped, form = self._delegated, self._delegated.stopped, self.form
        title = _title(form.package)
        while not stopped.is_set():
            failure = delegated.cooloff.failure(self.mark)
            if failure is not None and failure.waits_s > 0:
                self.reason = failure.sentence
                self.settled.set()
                while failure.waits_s > 0 and not stopped.wait(_LOOK_S):
                    continue
                continue
            ends = delegated.cooloff.deadly(self.mark)
            if ends >= DEADLY:
                said = f"the agent ended without a word {ends} times while {title} ran on it"
                delegated.put_aside(form, self.mark, f"{form.title} is put aside: {said}")
                continue
            try:
                # Of most devices there is one, and one process can use it at a time.
                with delegated.trying:
                    fault = tried(form, stopped)
            except Busy as error:
                # No process can be started now: that is no fault of the delegate.
                self.reason = f"{form.title} can't be tried: {error}"
                self.settled.set()
                stopped.wait(10 * _LOOK_S)
                continue
            if not fault:
                failed = delegated.cooloff.worked(self.mark, form.names)
                delegated.cooloff.begun(self.mark)
                with self._lock:
                    self.reason = ""
                self.settled.set()
                delegated.back(form, failed=failed, missed=self._missed)
                return
            delegated.put_aside(form, self.mark, fault)


def form_of(package: Package, runtime: Runtime) -> Form | None:
    """None = it needs nobody's library but the runtimes' own."""
    names = accelerators(package, runtime)
    return Form(package, runtime, names) if names else None


def tried(form: Form, stopped: threading.Event) -> str:
    """Run it in a child; why it must not be loaded, empty = it may. Raises Busy."""
    from edgeagent.prove.child import Limits, agreement_of, prove_in_child

    limits = Limits(calls=_RUNS, seconds=_RUN_S, timeout_s=_PROBE_S)
    folder, title = form.package.folder, _title(form.package)
    said = f"{form.title} is put aside"
    plain = on_processor(form.runtime)

    def without() -> None:
        prove_in_child(folder, limits=limits, runtime=plain, aside=form.names, stopped=stopped)

    try:
        proof = prove_in_child(folder, limits=limits, runtime=form.runtime, stopped=stopped)
        agreement = None
        if not proof.golden:
            # Nothing tells what is right: then what the processor says is.
            agreement = agreement_of(form.package, form.runtime, plain, form.names, limits, stopped)
    except ProofFailed as error:
        if not error.died:
            try:
                without()
            except ProofFailed:
                return ""  # The model itself is at fault, which opening it tells.
        return f"{said}: running {title} with it in a process of its own, {error}"
    if agreement is not None and agreement.busy and agreement.share < limits.agree:
        return (
            f"{said}: of {agreement.samples} made-up samples it answers only {agreement.agreed} as "
            f"the processor does"
        )
    return ""


def _title(package: Package) -> str:
    return f"{package.name}@{package.version}"


def _mark(form: Form) -> str:
    """Files, how it is run, and the libraries and drivers as they are now."""
    pairs = " ".join(str(pair_of(name)) for name in form.names)
    return f"{mark_of(form.package, form.runtime)} {pairs}"
