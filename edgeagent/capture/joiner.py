"""Samples of several sources, put together by their times."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping

from edgeagent import clock
from edgeagent.capture.mailbox import Mailbox
from edgeagent.errors import SourceEnded
from edgeagent.types import Joint, Sample

COMPANIONS = 64
"""Places in the mailbox of a source that does not lead: it may be much faster than the one that
does, and is looked at only from time to time."""
_LOOK_S = 0.2
_MOST_KEPT = 256


class _Companion:
    """A source beside the leading one: its newest samples, oldest first."""

    def __init__(self, name: str, mailbox: Mailbox) -> None:
        self.name = name
        self.mailbox = mailbox
        self._kept: deque[Sample] = deque(maxlen=_MOST_KEPT)
        self._ended = False

    def gather(self) -> None:
        """Take what is there of a live one."""
        while self.mailbox.live and self._take(0.0):
            continue

    def partner(self, when_ms: float, within_ms: float) -> Sample | None:
        """The last sample that is not later than ``when_ms``, else the first that is, if it lies
        within the limit. A live one that may still come is waited for."""
        self._reach(when_ms, within_ms)
        while len(self._kept) > 1 and self._kept[1].when_ms <= when_ms:
            self._kept.popleft()
        for sample in self._kept:
            if abs(sample.when_ms - when_ms) <= within_ms:
                return sample
        return None

    def last(self) -> Sample | None:
        return self._kept[-1] if self._kept else None

    def _reach(self, when_ms: float, within_ms: float) -> None:
        """Take samples until it is clear which one is the partner."""
        if not self.mailbox.live:
            # A recording waits for us, so it may be read up to the first one that is too late.
            while not self._kept or self._kept[-1].when_ms <= when_ms:
                if not self._take(_LOOK_S) and self._ended:
                    return
            return
        self.gather()
        until = time.monotonic() + (when_ms + within_ms - clock.mono_ms()) / 1e3
        while not any(abs(its.when_ms - when_ms) <= within_ms for its in self._kept):
            left = until - time.monotonic()
            if left <= 0 or not self._take(left):
                return

    def _take(self, timeout_s: float) -> bool:
        if self._ended:
            return False
        try:
            sample = self.mailbox.get(timeout_s)
        except SourceEnded:
            self._ended = True
            return False
        if sample is None:
            return False
        self._kept.append(sample)
        return True


class Joiner:
    """What a pipeline with several sources takes its samples from (its inbox).

    Args:
        mailboxes: by the name of the model's input; the first one leads.
        within_s: how far apart in time samples may be that belong together.
    """

    def __init__(self, mailboxes: Mapping[str, Mailbox], within_s: float) -> None:
        (self._name, self._lead), *others = mailboxes.items()
        self._others = [_Companion(name, mailbox) for name, mailbox in others]
        self._within_ms = within_s * 1e3

    def get(self, timeout_s: float) -> Joint | None:
        """The next sample of the leading source with its partners; None = none came in time.

        Raises:
            SourceEnded: the leading source has finished.
        """
        until = time.monotonic() + timeout_s
        while True:
            lead = self._lead.get(min(_LOOK_S, max(0.0, until - time.monotonic())))
            if lead is not None:
                return self._joined(lead)
            for other in self._others:
                other.gather()
            if time.monotonic() >= until:
                return None

    def close(self) -> None:
        """Nobody takes samples here any more."""
        self._lead.close()
        for other in self._others:
            other.mailbox.close()

    def _joined(self, lead: Sample) -> Joint:
        parts, missing = {self._name: lead}, []
        for other in self._others:
            sample = other.partner(lead.when_ms, self._within_ms)
            if sample is None:
                missing.append(f"{other.name}: {self._distance(lead, other.last())}")
            else:
                parts[other.name] = sample
        return Joint(lead, parts, "; ".join(missing))

    def _distance(self, lead: Sample, last: Sample | None) -> str:
        nothing = f"nothing within {self._within_ms / 1e3:g} s of {self._name}"
        if last is None:
            return f"{nothing}, nor before"
        apart_s = (lead.when_ms - last.when_ms) / 1e3
        word = "older" if apart_s > 0 else "newer"
        return f"{nothing}; its last one is {abs(apart_s):.1f} s {word}"
