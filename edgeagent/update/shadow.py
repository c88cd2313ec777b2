"""A second version beside the one that runs, on the same samples: what a shadow run and a
probation look at.

It has a thread of its own, at low priority, and a place for one sample: the pipeline leaves a
sample there if the place is free and never waits. So the one that runs loses nothing, whatever
the other one does, and what the other one says goes nowhere but into this account.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Union

from msgspec import Struct, field

from edgeagent.errors import EdgeAgentError
from edgeagent.metrics import Histogram
from edgeagent.prove.agreement import Agreement
from edgeagent.prove.compare import Told, tell
from edgeagent.types import Joint, Prediction, Sample

log = logging.getLogger(__name__)

Given = Union[Sample, Joint]
Ask = Callable[[Given], Sequence[Prediction]]
"""The version in the shadow. Raises EdgeAgentError."""
Disagreed = Callable[[Given, list[Told], list[Told]], None]
"""Told of a sample about which they disagree: what the old and what the new one says."""

_NICE = 10
_BLOCK, _BLOCKS = 15, 4
"""Recent are so many blocks of so many samples in which there was anything."""
_LOOK_S = 0.2


class ShadowReport(Struct):
    """What came of it; plain values."""

    agreement: Agreement = field(default_factory=Agreement)
    recent: Agreement = field(default_factory=Agreement)
    """Of the last samples in which there was anything: what was right for an hour does not
    excuse what is wrong now."""
    failed: int = 0
    error: str = ""
    """The last failure."""
    p50_ms: float = 0.0
    p95_ms: float = 0.0


class Shadow:
    """Runs one version beside a pipeline's.

    Args:
        name: of the pipeline, for the thread's name.
        ask: the version in the shadow; called by this thread alone.
        close: releases it, called by this thread at its end.
        threshold: from which score on something counts as seen.
        newer: whether the version in the shadow is the newer one of the two.
        share: of one core that it may take at most.
        disagreed: told of disagreements; may be slow.
    """

    def __init__(
        self,
        name: str,
        ask: Ask,
        close: Callable[[], None],
        *,
        threshold: float,
        newer: bool,
        share: float = 0.5,
        disagreed: Disagreed | None = None,
    ) -> None:
        self._ask = ask
        self._close = close
        self._threshold = threshold
        self._newer = newer
        self._rest = (1.0 - share) / share
        self._disagreed = disagreed
        self._place: tuple[Given, list[Prediction]] | None = None
        self._filled = threading.Event()
        self._stopping = threading.Event()
        self._resting = False
        self._lock = threading.Lock()
        self._report = ShadowReport()
        self._recent: deque[Agreement] = deque([Agreement()], maxlen=_BLOCKS)
        self._took = Histogram()
        self._thread = threading.Thread(target=self._run, name=f"beside:{name}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether its thread runs: after `stop`, that it hangs."""
        return self._thread.is_alive()

    def tap(self, sample: Given, predictions: list[Prediction]) -> None:
        """Leave a sample, with what the running version said of it, if there is room for it."""
        if self._place is None and not self._resting:
            self._place = (sample, predictions)
            self._filled.set()

    def report(self) -> ShadowReport:
        """Until now."""
        with self._lock:
            its = self._report
            return ShadowReport(
                _copied([its.agreement]), _copied(self._recent), its.failed, its.error,
                round(self._took.quantile(0.5) * 1e3, 3), round(self._took.quantile(0.95) * 1e3, 3),
            )  # fmt: skip

    def stop(self, timeout_s: float = 5.0) -> ShadowReport:
        """End it, and what it found. A version that hangs is left behind."""
        self._stopping.set()
        self._filled.set()
        if self._thread.ident is not None:
            self._thread.join(timeout_s)
        return self.report()

    def _run(self) -> None:
        with contextlib.suppress(OSError):
            # Of this thread alone: Linux has priorities by thread.
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)
        try:
            while not self._stopping.is_set():
                if not self._filled.wait(_LOOK_S):
                    continue
                self._filled.clear()
                given, self._place = self._place, None
                if given is not None and not self._stopping.is_set():
                    self._one(*given)
        finally:
            self._close()

    def _one(self, sample: Given, predictions: list[Prediction]) -> None:
        started = time.perf_counter()
        try:
            answer = self._ask(sample)
        except EdgeAgentError as error:
            with self._lock:
                self._report.failed += 1
                self._report.error = str(error)
            return
        took = time.perf_counter() - started
        self._took.add(took)
        running, beside = [tell(its) for its in predictions], [tell(its) for its in answer]
        old, new = (running, beside) if self._newer else (beside, running)
        with self._lock:
            one = Agreement()
            agree = one.add(old, new, self._threshold)
            self._report.agreement.merge(one)
            if self._recent[-1].busy >= _BLOCK:
                self._recent.append(Agreement())
            self._recent[-1].merge(one)
        if not agree and self._disagreed is not None:
            self._disagreed(sample, old, new)
        self._resting = True
        self._stopping.wait(self._rest * (time.perf_counter() - started))
        self._resting = False


def _copied(blocks: Iterable[Agreement]) -> Agreement:
    whole = Agreement()
    for block in blocks:
        whole.merge(block)
    return whole
