"""One simulated device: the engine of model changes, its files, and what it says on MQTT.

Real are the topics and documents, the layers and revs of desired state, the repository with its
trust, the state table with every write to the medium, and records with their numbers. From the
table come the proof, what the pipelines do, and how a device falls silent.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec.structs import replace

from edgeagent import __version__, clock
from edgeagent.config.check import Fault
from edgeagent.errors import CommandRejected
from edgeagent.fleet.simulate.answers import Answers
from edgeagent.fleet.simulate.switchboard import Line, Switchboard
from edgeagent.fleet.simulate.table import Outcome, Table, refusal
from edgeagent.manifest import Package
from edgeagent.sync.schema import Status
from edgeagent.sync.topics import Topics
from edgeagent.update import desired
from edgeagent.update.deploy import Deployments
from edgeagent.update.desired import Wanted
from edgeagent.update.intent import Intent
from edgeagent.update.library import Library
from edgeagent.update.ports import Passed, Repository, Verdict
from edgeagent.update.reported import Held, ModelReport, Reported
from edgeagent.update.stock import Stock
from edgeagent.update.truth import Truths
from edgeagent.update.work import House

if TYPE_CHECKING:
    from edgeagent.fleet.simulate.trust import LineExchange

GROUP = "simulated"


class Records:
    """What the device tells durably: one line a record, numbered, kept until the broker has it."""

    def __init__(self, file: Path, device: str) -> None:
        self._file, self._device = file, device
        self._lock = threading.Lock()
        lines = file.read_bytes().splitlines() if file.exists() else []
        self.epoch = lines[0].decode() if lines else f"sim-{secrets.token_hex(6)}"
        if not lines:
            file.write_text(f"{self.epoch}\n")
        self.seq = max(0, len(lines) - 1)
        self.pending = dict(enumerate(lines[1:], 1))
        """What no PUBACK was seen for by this process: a repetition does no harm."""

    def add(self, kind: str, data: Mapping[str, Any], **more: Any) -> bytes:
        """The batch that tells it."""
        with self._lock:
            self.seq += 1
            at = clock.rfc3339(clock.wall_ns())
            record = {"seq": self.seq, "kind": kind, "at": at, "clock": "synced", **more}
            body = msgspec.json.encode({**record, "data": data})
            with self._file.open("ab") as file:
                file.write(body + b"\n")
            self.pending[self.seq] = body
            return self.batch({self.seq: body})

    def batch(self, records: Mapping[int, bytes]) -> bytes:
        numbers = sorted(records)
        return msgspec.json.encode(
            {
                "v": 1, "device": self._device, "epoch": self.epoch, "first": numbers[0],
                "last": numbers[-1], "records": [msgspec.Raw(records[n]) for n in numbers],
            }
        )  # fmt: skip


class SimulatedDevice:
    """See above. ``repository`` opens where versions come from."""

    def __init__(
        self, board: Switchboard, folder: Path, id: str, number: int, count: int, table: Table,
        shipped: Path, repository: Callable[[SimulatedDevice], Repository], *,
        prefix: str = "edgeagent", speed: float = 1.0, metrics_s: float = 60.0,
    ) -> None:  # fmt: skip
        folder.mkdir(parents=True, exist_ok=True)
        self.id, self.folder, self.table = id, folder, table
        self.profile = table.profile(number, count)
        self.groups = (GROUP, "canary") if number % table.canary == 0 else (GROUP,)
        self.topics_of = Topics(prefix, id)
        self.client_id = self.topics_of.client_id
        self._speed = speed
        self._metrics_s = metrics_s
        self._shipped = shipped
        self.records = Records(folder / "records.jsonl", id)
        self.truths = Truths(folder / "models")
        self.intent = Intent(folder, self.groups)
        self.line: Line = board.add(self)
        self._restart = False
        self.answers = Answers(
            self.line, folder, self.topics_of, self.groups,
            lambda: setattr(self, "_restart", True),
        )  # fmt: skip
        self.exchange: LineExchange | None = None
        """Carries files over its connection, once it has asked for one."""
        self._rejected = ""
        self._told: bytes = b""
        house = House(
            truths=self.truths, stock=Stock(folder / "models"), library=self.library,
            repository=lambda _origin: repository(self), prover=_Prover(self), stage=_Stage(self),
            books=_Books(self), profile=self.profile,
        )  # fmt: skip
        self.engine = Deployments(house, self.wanted, self.changed)
        self._metrics_at = 0.0
        self._events_at = time.monotonic()
        if self._gone():
            self.line.muted = True

    # --- what it wants and has

    def library(self) -> Library:
        return Library([self.folder / "models", self._shipped])

    def wanted(self) -> dict[str, Wanted]:
        """What is wished, with its times made shorter."""
        found = self.intent.wanted()
        return {model: self._quick(its) for model, its in found.items()}

    def _quick(self, wanted: Wanted) -> Wanted:
        policy = wanted.wish.policy
        quick = replace(
            policy, soak_s=policy.soak_s / self._speed, shadow_s=policy.shadow_s / self._speed
        )
        return replace(wanted, wish=replace(wanted.wish, policy=quick))

    def fate(self, model: str, version: str, at: str) -> Outcome | None:
        """What the table has for this state, if anything."""
        fate = self.table.fate(self.id, self.profile, f"{model}@{version}")
        return fate if fate is not None and fate.at == at else None

    def running(self, model: str) -> str:
        truth = self.truths.get(model)
        return truth.version or (self.table.version if model == self.table.model else "")

    # --- its connection

    def will(self) -> tuple[str, bytes]:
        return self.topics_of.status, self._status("offline", ["connection lost"])

    def topics(self) -> list[str]:
        topics = self.topics_of
        return [
            topics.desired, *(topics.group_desired(group) for group in self.groups), topics.fetched,
            *self.answers.topics,
        ]  # fmt: skip

    def up(self) -> None:
        topics = self.topics_of
        self.line.publish(topics.capabilities, self._capabilities(), retain=True)
        self._told = b""
        self.changed()
        self.line.publish(topics.status, self._status("online", []), retain=True)
        self.answers.up()
        waiting = dict(list(self.records.pending.items())[:500])
        if waiting:
            self._send(self.records.batch(waiting), list(waiting))
        self.engine.wake()

    def down(self) -> None:
        """What was under way waits for the next connection."""

    def came(self, topic: str, payload: bytes, *, retained: bool) -> None:
        if self.answers.came(topic, payload, retained=retained):
            return
        if topic.startswith(self.topics_of.fetch + "/"):
            if self.exchange is not None:
                self.exchange.came(topic, payload)
            return
        parts = topic.split("/")
        source = f"group:{parts[-2]}" if parts[-3] == "group" else desired.OWN
        try:
            self.intent.take(source, desired.read(payload))
            self._rejected = ""
        except (ValueError, CommandRejected) as error:
            self._rejected = str(error)
        self.engine.wake(news=True)

    def turn(self, now: float) -> None:
        """What is due, on the switchboard's thread."""
        if not self.line.is_up:
            return
        self.answers.turn(now)
        if self._restart:
            self._restart = False
            self.line.drop("it restarts", now)
            return
        if now >= self._metrics_at:
            self._metrics_at = now + self._metrics_s
            self.line.publish(self.topics_of.metrics, b'{"simulated":true}', qos=0)
        self._tell_events(now)
        if self._gone():
            self.line.muted = True
            self.line.drop("it falls silent", now)

    def _gone(self) -> bool:
        """It has committed to a version of which it dies, and was heard to say so."""
        truth = self.truths.get(self.table.model)
        if truth.state != "committed" or truth.untold or truth.deployment is None:
            return False
        fate = self.fate(self.table.model, truth.version, "committed")
        return fate is not None and fate.then == "silent"

    def _tell_events(self, now: float) -> None:
        version = f"{self.table.model}@{self.running(self.table.model)}"
        behaves = self.table.behaves(self.profile, version)
        if behaves is None or not behaves.events_per_min:
            self._events_at = now
            return
        import random

        every = 60.0 / behaves.events_per_min
        while self._events_at < now:
            self._events_at += random.expovariate(1 / every)
            score = min(1.0, max(0.0, random.gauss(behaves.score, behaves.spread)))
            data = {"id": f"e-{self.records.seq + 1}", "phase": "new", "score": round(score, 3)}
            batch = self.records.add("event", data, pipeline="belt", model=f"{version}/sim")
            self._send(batch, [self.records.seq])

    # --- what it says

    def changed(self) -> None:
        """Any thread: there is something new to report."""
        document = msgspec.json.encode(self._reported())
        if document != self._told and self.line.is_up:
            self._told = document
            self.line.publish(self.topics_of.reported, document, retain=True)

    def tell(self, data: Mapping[str, Any]) -> None:
        """A ``deployment`` record: on the medium when it returns."""
        batch = self.records.add("deployment", data)
        self._send(batch, [self.records.seq])

    def _send(self, batch: bytes, numbers: list[int]) -> None:
        def acked() -> None:
            for number in numbers:
                self.records.pending.pop(number, None)

        self.line.publish(self.topics_of.records, batch, acked=acked)

    def _status(self, state: Any, reasons: list[str]) -> bytes:
        return msgspec.json.encode(
            Status(
                state=state, reasons=reasons, version=__version__, epoch=self.records.epoch,
                since=clock.rfc3339(clock.wall_ns()), seq=self.records.seq, site="simulation",
            )
        )  # fmt: skip

    def _capabilities(self) -> bytes:
        model, version = self.table.model, self.running(self.table.model)
        return msgspec.json.encode(
            {
                "profile": self.profile, "arch": "simulated", "groups": self.groups,
                "timezone": "UTC", "commands": self.answers.offered,
                "models": {model: [{"version": version, "runs": ["sim"]}]},
            }
        )  # fmt: skip

    def _reported(self) -> Reported:
        models = {self.table.model: ModelReport(version=self.running(self.table.model))}
        held = []
        for model, truth in self.truths.all().items():
            change, waiting = truth.deployment, self.engine.waiting.get(model, ("", ""))
            if truth.hold is not None:
                hold = truth.hold
                held.append(Held(model, hold.by, hold.since, hold.until, hold.reason))
            if change is None or truth.state is None:
                continue
            code, sentence = waiting if truth.open else (change.reason, change.detail)
            models[model] = ModelReport(
                version=self.running(model), state=truth.state, wanted=change.version,
                rev=change.rev, source=change.source, reason=code, detail=sentence,
                since=change.since, failed=tuple(truth.failed), previous=truth.previous,
                times_s=change.times_s,
            )  # fmt: skip
        return Reported(
            rev=self.intent.rev(desired.OWN), revs=self.intent.revs, models=models,
            held=tuple(held), rejected=self._rejected,
        )  # fmt: skip

    def stop(self) -> None:
        self.engine.stop(2.0)


# --- where the table stands in ------------------------------------------------------------


class _Prover:
    def __init__(self, device: SimulatedDevice) -> None:
        self._device = device

    def prove(self, folder: Path, *, stopped: threading.Event, **_: Any) -> Passed:
        fate = self._device.fate(folder.parent.name, folder.name, "proving")
        _meet(fate, stopped)
        return Passed("as the table says")


class _Stage:
    def __init__(self, device: SimulatedDevice) -> None:
        self._device = device

    def _fate(self, package: Package, at: str) -> Outcome | None:
        return self._device.fate(package.name, package.version, at)

    def incompatible(self, package: Package) -> Sequence[Fault]:
        _meet(self._fate(package, "verifying"), threading.Event())
        return ()

    def shadow(self, package: Package, seconds: float, stopped: threading.Event) -> Passed:
        stopped.wait(seconds)
        _meet(self._fate(package, "shadowing"), stopped)
        return Passed()

    def activate(self, package: Package) -> None:
        _meet(self._fate(package, "activating"), threading.Event())

    def withdraw(self, model: str) -> None:
        """No pipeline is there to be told."""

    def behaviour(self, _model: str, /) -> Mapping[str, Any]:
        return {}

    def judge(
        self, model: str, before: Mapping[str, Any], soaked_s: float, soak_s: float
    ) -> Verdict:
        del before
        fate = self._device.fate(model, self._device.running(model), "probation")
        if soaked_s < soak_s * (0.5 if fate is not None else 1.0):
            return Verdict("open")
        if fate is None:
            return Verdict("good", "as before")
        if fate.then == "hang":
            return Verdict("open")
        return Verdict("bad", str(refusal(fate)))


class _Books:
    def __init__(self, device: SimulatedDevice) -> None:
        self._device = device

    def tell(self, data: Mapping[str, Any]) -> None:
        self._device.tell(data)

    @contextmanager
    def claim(self, size: int, what: str) -> Iterator[None]:
        del size, what
        yield


def _meet(fate: Outcome | None, stopped: threading.Event) -> None:
    if fate is None:
        return
    if fate.then == "hang":
        stopped.wait()
        return
    raise refusal(fate)
