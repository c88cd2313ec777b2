"""One rollout on its way, without I/O: from what is known now to what is to be done now.

`Course.step` is called again and again. It moves each device's `Row`, then does what the state
of the rollout says: go on with the wave, open the next, wait for a person, call devices back.
Whatever it returns is written down before anything is published, so a process that is killed at
any instant is followed by one that reads the same rows and goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from msgspec.structs import replace

from edgeagent.fleet.rollout import threshold
from edgeagent.fleet.rollout.ledger import Rollout, Wave
from edgeagent.fleet.rollout.pace import Bucket
from edgeagent.fleet.rollout.quality import Finding
from edgeagent.fleet.rollout.schedule import open_now
from edgeagent.fleet.rollout.standing import ENDED, OPEN, REVISED, Row, Said, move


@dataclass(slots=True)
class Turn:
    """What a step came to: to be saved, then published."""

    rows: dict[str, Row] = field(default_factory=dict)
    waves: list[Wave] = field(default_factory=list)
    notes: list[tuple[str, str]] = field(default_factory=list)
    ask: list[Row] = field(default_factory=list)
    """Devices to be asked now."""
    recall: list[Row] = field(default_factory=list)
    """Devices to be called back now."""
    obeyed: bool = False
    """A wish of a person was seen to."""
    changed: bool = False
    """The rollout's own row."""

    def __bool__(self) -> bool:
        return bool(
            self.rows or self.waves or self.notes or self.ask or self.recall or self.obeyed
            or self.changed
        )  # fmt: skip


class Course:
    """See above. ``rollout`` is changed in place."""

    def __init__(
        self, rollout: Rollout, rows: Sequence[Row], waves: Sequence[Wave], now: float
    ) -> None:
        self.rollout = rollout
        self.plan = rollout.plan
        self.rows = {row.device: row for row in sorted(rows, key=lambda row: row.place)}
        self.waves = list(waves)
        self._bucket = Bucket(now)
        self._since = now
        """Of the state, as far as this process knows."""
        self._findings: list[Finding] | None = None
        self._turn = Turn()
        self._halted = ""
        self._broken = False
        """Paused by `halt`: what devices do not do now is not their fault."""

    # --- what it is asked ----------------------------------------------------------------

    def wave(self) -> list[Row]:
        """Devices of the present wave."""
        return [row for row in self.rows.values() if row.wave == self.rollout.wave]

    @property
    def last_wave(self) -> int:
        return max((row.wave for row in self.rows.values()), default=0)

    def wants_findings(self, now: float) -> bool:
        """Whether the wave's outputs are to be compared now (`judge`)."""
        rows = self.wave()
        if not self.plan.quality.judged or self._findings is not None:
            return False
        if self.rollout.state != "running" or not _all_ended(rows) or not self._is_open():
            return False
        return now >= self._observed_until(rows)

    def judge(self, findings: list[Finding]) -> None:
        """What the comparison came to."""
        self._findings = findings

    def halt(self, why: str) -> None:
        """Something is wrong on our side: pause until a person has seen to it."""
        if self.rollout.state == "running":
            self._halted = why

    def step(self, said: Callable[[Row], Said], zone: Callable[[str], str], now: float) -> Turn:
        """Move on; ``zone`` gives the time zone of a device."""
        turn = self._turn = Turn()
        self._obey(now)
        if self._halted:
            self._become("paused", self._halted, now)
            self._halted, self._broken = "", True
        if self.rollout.state != "paused" or not self._broken:
            self._move(said, now)
        if self.rollout.state in ("running", "paused"):
            trip = threshold.tripped(self.wave(), self.plan)
            if trip is not None:
                self._abort(trip.sentence, now)
        if self.rollout.state == "running":
            self._run(zone, now)
        if self.rollout.state == "aborting":
            self._withdraw(said, now)
        return turn

    # --- what people wish ----------------------------------------------------------------

    def _obey(self, now: float) -> None:
        wish, state = self.rollout.wish, self.rollout.state
        if not wish:
            return
        self._turn.obeyed = True
        if wish == "pause" and state == "running":
            self._become("paused", "paused by a person", now)
        elif wish == "resume" and state == "paused":
            self._become("running", "", now)
            self._broken = False
        elif wish == "abort" and state in ("running", "paused"):
            self._abort("aborted by a person", now)

    # --- devices -------------------------------------------------------------------------

    def _move(self, said: Callable[[Row], Said], now: float) -> None:
        for row in list(self.rows.values()):
            if row.standing in REVISED:
                self._put(move(row, said(row), self.plan, now))

    def _put(self, row: Row) -> None:
        if row != self.rows[row.device]:
            self.rows[row.device] = self._turn.rows[row.device] = row

    # --- the wave ------------------------------------------------------------------------

    def _run(self, zone: Callable[[str], str], now: float) -> None:
        if not self._is_open():
            self._open(now)
        rows = self.wave()
        if not _all_ended(rows):
            self._ask(rows, zone, now)
        elif self.plan.quality.judged and self._findings is None:
            self._reason(f"watching the outputs of wave {self.rollout.wave + 1}")
        else:
            self._close(rows, now)

    def _is_open(self) -> bool:
        return bool(self.waves) and (
            self.waves[-1].number == self.rollout.wave and not self.waves[-1].closed
        )

    def _open(self, now: float) -> None:
        if self.waves and self.waves[-1].closed:
            self.rollout.wave += 1
        wave = Wave(self.rollout.wave, now)
        self.waves.append(wave)
        self._findings = None
        self._turn.waves.append(wave)
        rows = self.wave()
        self._note("wave", f"wave {wave.number + 1}: {len(rows)} devices, {_profiles(rows)}")
        self._reason("")

    def _ask(self, rows: Sequence[Row], zone: Callable[[str], str], now: float) -> None:
        waiting = [row for row in rows if row.standing == "waiting"]
        if not waiting:
            return
        well = sum(row.standing == "well" for row in self.rows.values())
        most = self._bucket.allowed(self.plan.pace, well, now)
        if self.plan.pace.at_once:
            # One that has committed is only waited for: it takes nothing of the repository.
            under_way = sum(r.standing in ("asked", "under-way") for r in self.rows.values())
            most = min(most, self.plan.pace.at_once - under_way)
        if most <= 0:
            return
        open_ones = [row for row in waiting if open_now(self.plan, zone(row.device), now)]
        self._reason("" if open_ones else "outside the times in which devices may be asked")
        self._turn.ask = open_ones[:most]
        self._bucket.took(len(self._turn.ask))

    def _observed_until(self, rows: Sequence[Row]) -> float:
        committed = [row.committed for row in rows if row.standing == "well"]
        return max(committed, default=0.0) + self.plan.quality.after_s

    def _close(self, rows: Sequence[Row], now: float) -> None:
        wave, findings = self.waves[-1], self._findings or []
        wave.findings = findings
        bad = [finding.sentence for finding in findings if finding.bad]
        if bad:
            self._turn.waves.append(wave)
            self._abort(f"quality: {bad[0]}", now)
            return
        wave.closed = now
        self._turn.waves.append(wave)
        total, _ = threshold.count(rows)
        through = f"wave {wave.number + 1} is through: {_ends(total)}"
        self._note("wave", through)
        if wave.number >= self.last_wave:
            self._finish("done", "", now)
        elif self.plan.ask:
            self._become("paused", f"{through}; it goes on with: resume", now)
        else:
            self._open(now)

    # --- the end -------------------------------------------------------------------------

    def _abort(self, why: str, now: float) -> None:
        if self._is_open():
            self.waves[-1].closed = now
            self._turn.waves.append(self.waves[-1])
        self._become("aborting", why, now)

    def _withdraw(self, said: Callable[[Row], Said], now: float) -> None:
        back = {"asked", "under-way"} | ({"committed", "well"} if self.plan.give_back else set())
        for row in list(self.rows.values()):
            if row.standing in back and not row.recalled:
                self._turn.recall.append(row)
            elif self._gone(row, said(row), now):
                text = "it is away; its desired state names the version no longer"
                self._put(
                    replace(row, standing="cancelled", reason="recalled", detail=text, ended=now)
                )
        if not self._turn.recall and not any(r.standing in OPEN for r in self.rows.values()):
            self._finish("aborted", self.rollout.reason, now)

    def _gone(self, row: Row, said: Said, now: float) -> bool:
        """Called back, and away for too long to be waited for."""
        away = row.recalled and row.standing in OPEN and not said.online
        return bool(away) and now - self._since > self.plan.reach_s

    def _finish(self, state: str, reason: str, now: float) -> None:
        self.rollout.ended = now
        self._become(state, reason, now)

    def _become(self, state: str, reason: str, now: float) -> None:
        self.rollout.state = state  # type: ignore[assignment]
        self.rollout.reason = reason
        self._since = now
        self._turn.changed = True
        self._note(state, reason)

    def _reason(self, text: str) -> None:
        if self.rollout.reason != text:
            self.rollout.reason = text
            self._turn.changed = True

    def _note(self, what: str, text: str) -> None:
        self._turn.notes.append((what, text))


def _all_ended(rows: Sequence[Row]) -> bool:
    return all(row.standing in ENDED for row in rows)


def _profiles(rows: Sequence[Row]) -> str:
    _, profiles = threshold.count(rows)
    return ", ".join(f"{its.size} × {name}" for name, its in sorted(profiles.items()))


def _ends(total: threshold.Count) -> str:
    parts = [
        (total.well, "well"), (total.bad, "went wrong"), (total.held, "held"),
        (total.unreached, "not reached"), (total.cancelled, "cancelled"),
    ]  # fmt: skip
    return ", ".join(f"{number} {what}" for number, what in parts if number) or "nobody in it"
