"""How a change moves on: its beginning, each next state, and its ends, as the truth has them.

Each method is a few replacements of one file (`truth`). Between any two of them the power may go:
what is left to do can always be seen from what the file says.
"""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Callable, Mapping
from typing import Any, cast

from msgspec.structs import replace

from edgeagent import clock
from edgeagent.errors import EdgeAgentError
from edgeagent.update.desired import Wanted
from edgeagent.update.states import NOT_AGAIN, PASSING, End, Row, Step
from edgeagent.update.truth import MOST_FAILED, Deployment, Truth
from edgeagent.update.work import House

log = logging.getLogger(__name__)


class Course:
    """The changes of all models, without deciding anything. One thread."""

    def __init__(
        self,
        house: House,
        wanted: Callable[[], Mapping[str, Wanted]],
        changed: Callable[[], None],
    ) -> None:
        """``changed`` is called when there is something new to report."""
        self._house = house
        self._wanted = wanted
        self._truths = house.truths
        self._changed = changed
        self._entered: dict[str, float] = {}
        """Model → when it came into the present state (monotonic)."""

    def running(self, model: str) -> str:
        """The version that runs, or would; empty = none."""
        try:
            return self._house.library().find(model).version
        except EdgeAgentError:
            return ""

    def begin(self, model: str, change: Deployment, state: Step = "requested") -> None:
        """A change is wished for."""
        base, now = self.running(model), _now()
        change = replace(
            change,
            base=base,
            base_previous=self._truths.get(model).previous,
            began=now,
            since=now,
            signed=change.signed or not change.source,
        )
        # From here on the version that runs is named: one that is brought must not win by being
        # the newest.
        self._truths.change(model, version=base, state=state, boots=0, deployment=change)
        self._entered[model] = time.monotonic()
        log.info("%s: %s is wanted in place of %s", model, change.version, base or "nothing")
        self._changed()

    def settle(self, wanted: Wanted) -> None:
        """It is as wished already."""
        self._truths.change(wanted.model, settled=wanted.key)
        self._changed()

    def go_on(self, model: str, row: Row) -> None:
        """The work of a state is done, and there is a next one."""
        change = replace(self._timed(model), since=_now())
        self._truths.change(model, state=row.then, boots=0, deployment=change)
        log.info("%s %s: %s", model, change.version, row.then)
        self._changed()

    # --- ends

    def end(self, model: str, end: End, reason: str, detail: str) -> None:
        """A change ends; if the new version runs, the old one is taken back first."""
        truth = self._truths.get(model)
        if not _change_of(truth).active or end == "committed":
            self._ended(model, end, reason, detail)
            return
        log.warning("%s %s is taken back: %s", model, _change_of(truth).version, detail)
        back = truth.taken_back(end, reason, detail)
        self._truths.change(
            model, version=back.version, previous=back.previous, deployment=back.deployment
        )
        self.finish(model)

    def finish(self, model: str) -> None:
        """The truth is the old one again: run it, then tell."""
        truth = self._truths.get(model)
        change = _change_of(truth)
        detail = change.detail
        try:
            if truth.version:
                self._house.stage.activate(self._house.library().find(model, truth.version))
            else:
                self._house.stage.withdraw(model)
        except EdgeAgentError as error:
            detail = f"{detail}; and {truth.version} can't be opened again: {error}"
            log.error("%s: %s", model, detail)
        self._ended(model, change.stop or "rolled-back", change.reason, detail)

    def _ended(self, model: str, end: End, reason: str, detail: str) -> None:
        truth, change = self._truths.get(model), self._timed(model)
        failed = truth.failed
        if end in NOT_AGAIN and reason not in PASSING:
            failed = with_failed(failed, change.version, f"{reason}: {detail}")
        elif end == "committed":
            failed = {version: why for version, why in failed.items() if version != change.version}
        wanted = self._wanted().get(model)
        if wanted is not None and same(change, wanted):
            change = replace(change, key=wanted.key, rev=wanted.rev)  # A later rev, the same wish.
        # What a hold has ended is still wished for once it is taken back.
        settled = truth.settled if reason == "held" or not change.key else change.key
        ended = replace(
            change, active=False, stop=None, reason=reason, detail=detail, since=_now(),
            before={}, soaked_s=0.0, told=False,
        )  # fmt: skip
        self._truths.change(
            model, state=end, boots=0, failed=failed, settled=settled, deployment=ended
        )
        log.info("%s %s: %s%s", model, change.version, end, f" ({detail})" if detail else "")
        self._entered.pop(model, None)
        self._changed()

    def tell(self, model: str) -> None:
        """Have the end in the outbox, then remove what was needed for the change only.

        Raises: EdgeAgentError: the outbox can't take it now.
        """
        truth = self._truths.get(model)
        self._house.books.tell(record_of(model, truth))
        self._tidy(model)
        self._truths.change(model, deployment=replace(_change_of(truth), told=True))

    def _tidy(self, model: str) -> None:
        """Remove what was brought in vain, and versions beyond those that are kept."""
        truth = self._truths.get(model)
        change = _change_of(truth)
        self._house.stock.discard(model, change.version)
        needed = {truth.version, truth.previous} - {""}
        asked = {change.version} if change.keep and truth.state == "committed" else set()
        vain = set(truth.failed) | (set() if truth.state == "committed" else {change.version})
        good = [one for one in truth.installed if one not in needed | vain]
        spare = max(0, self._house.keep - len(needed))
        needed |= asked | set(good[len(good) - spare :] if spare else ())
        gone = [version for version in truth.installed if version not in needed]
        if gone:
            self._house.stock.remove(model, gone)
            kept = tuple(version for version in truth.installed if version in needed)
            self._truths.change(model, installed=kept)

    def _timed(self, model: str) -> Deployment:
        """The change, with the time that the present state took so far."""
        truth = self._truths.get(model)
        change, now = _change_of(truth), time.monotonic()
        took = now - self._entered.get(model, now)
        self._entered[model] = now
        state = str(truth.state)
        times = {**change.times_s, state: round(change.times_s.get(state, 0.0) + took, 3)}
        return replace(change, times_s=times)


def record_of(model: str, truth: Truth) -> dict[str, Any]:
    """What the ``deployment`` record of an end says."""
    change = _change_of(truth)
    told = {
        "id": change.id, "model": model, "version": change.version, "from": change.base,
        "state": truth.state, "reason": change.reason, "detail": change.detail,
        "running": truth.version, "rev": change.rev, "source": change.source, "by": change.by,
        "began": change.began, "ended": change.since, "times_s": change.times_s,
    }  # fmt: skip
    return {key: value for key, value in told.items() if value not in ("", 0, {}, None)}


def same(change: Deployment, wanted: Wanted) -> bool:
    """Whether a wish, perhaps of a later rev, is the one that is being fulfilled."""
    wish = wanted.wish
    return bool(change.source) and (change.version, change.policy) == (wish.version, wish.policy)


def with_failed(failed: Mapping[str, str], version: str, why: str) -> dict[str, str]:
    """With one more version that is not tried again; the oldest are forgotten."""
    known = {**{one: its for one, its in failed.items() if one != version}, version: why}
    return dict(list(known.items())[-MOST_FAILED:])


def new_id() -> str:
    """Id of a change."""
    return f"dep-{secrets.token_hex(6)}"


def _change_of(truth: Truth) -> Deployment:
    return cast(Deployment, truth.deployment)


def _now() -> str:
    return clock.rfc3339(clock.wall_ns())
