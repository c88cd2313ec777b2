"""Where one device of a rollout stands, and what moves it on: a table of states, and no I/O.

| standing | means | counts as |
|---|---|---|
| waiting | not asked yet | |
| asked | its desired state names the version; nothing came back | |
| under-way | it reports a state of its deployment (`step` says which) | |
| committed | it runs the version; still to be heard of for a while | |
| well | committed, and heard of after that | well |
| held | a person at the device has a hold on the model | held |
| unreached | away since before it was asked | unreached |
| failed, rolled-back, rejected | as the device reported | bad |
| timed-out | it was reached, and its deployment did not end in time | bad |
| silent | it committed, and was never heard of again | bad |
| cancelled | called back, or another desired state took its place | left |

A device that is told held, unreached, timed out or silent and then shows that it runs the
version becomes committed again: what a device says now beats what we made of its silence.
"""

from __future__ import annotations

from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

from edgeagent.fleet.rollout.plan import Plan

Standing = Literal[
    "waiting", "asked", "under-way", "committed", "well", "held", "unreached", "failed",
    "rolled-back", "rejected", "timed-out", "silent", "cancelled",
]  # fmt: skip
BAD: frozenset[str] = frozenset({"failed", "rolled-back", "rejected", "timed-out", "silent"})
ENDED: frozenset[str] = BAD | {"well", "held", "unreached", "cancelled"}
OPEN: frozenset[str] = frozenset({"asked", "under-way", "committed"})
RETURNING = "returning"
"""Step of a device that had the version and is told to go back."""
REVISED: frozenset[str] = OPEN | {"held", "unreached", "timed-out", "silent"}
"""Standings that what a device reports may still change."""
_ENDS: dict[str, Standing] = {
    "failed": "failed", "rolled-back": "rolled-back", "rejected": "rejected",
    "cancelled": "cancelled", "superseded": "cancelled",
}  # fmt: skip


class Row(Struct, frozen=True):
    """One device of one rollout. Times: seconds since 1970, 0 = never."""

    device: str
    place: int
    """In the order in which devices are asked."""
    wave: int
    """Counts from 0."""
    profile: str
    standing: Standing = "waiting"
    step: str = ""
    """The state that it reported last, e.g. ``probation``."""
    reason: str = ""
    """A stable code."""
    detail: str = ""
    """A sentence: the device's evidence, or ours."""
    was: str = ""
    """The version that it ran when it was asked."""
    wished: str = ""
    """What its desired state said of the model before, as JSON; empty = nothing."""
    rev: int = 0
    """Of the desired state that asks for it."""
    recalled: int = 0
    """Rev of the desired state that takes it back; 0 = none."""
    asked: float = 0.0
    reached: float = 0.0
    """It is known to have been connected since it was asked."""
    committed: float = 0.0
    ended: float = 0.0


class Said(Struct, frozen=True):
    """What is known of a device now, of the one model that a rollout is about."""

    online: bool = False
    heard: float = 0.0
    """Last message that it published while we listened; 0 = none."""
    watched: float = 0.0
    """We have listened since then; silence before that means nothing."""
    chatty: bool = False
    """It sends metrics, so that being connected is not enough of a sign of life."""
    own_rev: int = 0
    """The highest rev of its own topic that it took."""
    refused: str = ""
    """Why it did not take a document that came after we listened."""
    version: str = ""
    """The version that runs."""
    wanted: str = ""
    """The version that its last deployment was about."""
    rev: int = 0
    """Of the wish that the last deployment was about."""
    state: str = ""
    """Of the last deployment; empty = there is no report of this model."""
    reason: str = ""
    detail: str = ""
    held: str = ""
    """By whom, and until when; empty = no hold."""


def ask(row: Row, rev: int, was: str, wished: str, now: float) -> Row:
    """It is asked now."""
    return replace(row, standing="asked", rev=rev, was=was, wished=wished, asked=now)


def recall(row: Row, rev: int) -> Row:
    """Its desired state names the version no longer."""
    if row.standing in ("committed", "well"):
        return replace(row, standing="under-way", step=RETURNING, recalled=rev, ended=0.0)
    return replace(row, recalled=rev)


def move(row: Row, said: Said, plan: Plan, now: float) -> Row:
    """Where the device stands, given what it said and what time it is."""
    if row.standing not in REVISED:
        return row
    if said.online and not row.reached:
        row = replace(row, reached=now)
    moved = _by_report(row, said, plan, now)
    return _by_time(moved, said, plan, now) if moved.standing in OPEN else moved


def _by_report(row: Row, said: Said, plan: Plan, now: float) -> Row:
    if row.step == RETURNING:
        return _returned(row, said, plan, now)
    if said.version == plan.version and said.state in ("committed", "down"):
        return _runs(row, said, now)
    if said.wanted == plan.version and said.state in _ENDS:
        if said.rev < row.rev and row.standing == "asked":
            return _untaken(row, said, now)  # The end of an earlier question.
        return _end(row, _ENDS[said.state], said.reason, said.detail, now)
    if row.standing == "committed" and said.state and said.version != plan.version:
        text = f"it runs {said.version or 'none'} again"
        return _end(row, "rolled-back", "not kept", text, now)
    if said.held:
        return row if row.standing == "held" else _end(row, "held", "held", said.held, now)
    if row.recalled and said.own_rev >= row.recalled and row.standing != "committed":
        return _end(row, "cancelled", "recalled", "it was called back in time", now)
    if said.wanted == plan.version and row.standing not in ("timed-out", "silent"):
        return replace(
            row, standing="under-way", step=said.state, reason=said.reason, detail=said.detail,
            ended=0.0, reached=row.reached or now,
        )  # fmt: skip
    return _untaken(row, said, now)


def _runs(row: Row, said: Said, now: float) -> Row:
    """The version is the one that it has."""
    if said.state == "down":
        return _end(row, "failed", "down", said.detail or "it can't run any more", now)
    if row.standing == "committed" or (
        # The report may be the one of before it fell silent.
        row.standing == "silent" and not (said.online and said.heard > row.ended)
    ):
        return row
    return replace(
        row, standing="committed", step="committed", reason="", detail=said.detail, committed=now,
        ended=0.0, reached=row.reached or now,
    )  # fmt: skip


def _returned(row: Row, said: Said, plan: Plan, now: float) -> Row:
    if said.own_rev < row.recalled:
        return row
    if said.version != plan.version:
        return _end(row, "cancelled", "returned", f"it is back on {said.version or 'none'}", now)
    if said.wanted == row.was and said.state in _ENDS:
        text = f"it stays on {plan.version}: {said.detail or said.reason}"
        return _end(row, "cancelled", "not returned", text, now)
    return row


def _untaken(row: Row, said: Said, now: float) -> Row:
    if row.standing == "asked" and said.refused and said.own_rev < row.rev:
        return _end(row, "rejected", "not taken", said.refused, now)
    return row


def _by_time(row: Row, said: Said, plan: Plan, now: float) -> Row:
    if row.standing == "committed":
        return _settle(row, said, plan, now)
    if row.standing == "asked" and not row.reached:
        if now - max(row.asked, said.watched) > plan.reach_s:
            return _end(row, "unreached", "unreached", "away since before it was asked", now)
        return row
    if row.standing == "under-way" and row.step == "requested" and said.online:
        return row  # It waits for its own schedule, and says so.
    if now - max(row.reached, row.asked, said.watched) > plan.timeout_s:
        where = f"in {row.step}" if row.step else "without an answer"
        gone = "" if said.online else ", and it is away"
        text = f"{where} after {plan.timeout_s:.0f} s{gone}"
        return _end(row, "timed-out", "timeout", text, now)
    return row


def _settle(row: Row, said: Said, plan: Plan, now: float) -> Row:
    due = row.committed + plan.settle_s
    alive = said.heard > due or (said.online and not said.chatty and now > due)
    if alive and said.version == plan.version:
        return _end(row, "well", "", row.detail, now)
    last = max(row.committed, said.heard, said.watched)
    if now - last > plan.silent_s:
        text = f"not heard of for {now - last:.0f} s after it committed"
        return _end(row, "silent", "silent", text, now)
    return row


def _end(row: Row, standing: Standing, reason: str, detail: str, now: float) -> Row:
    return replace(row, standing=standing, reason=reason, detail=detail, ended=now)
