"""The command engine on a real journal: at most once, whatever comes and whatever crashes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from edgeagent import clock
from edgeagent.errors import (
    CommandRejected,
    InputError,
    NotFound,
    StoreFull,
    Untrusted,
    UsageError,
)
from edgeagent.store.outbox import Outbox
from edgeagent.sync import command_types as types
from edgeagent.sync import job as job_module
from edgeagent.sync.command_types import CommandType
from edgeagent.sync.commands import Commands, Registry, Update
from edgeagent.sync.judgement import Order, Rules

WORK = CommandType("work", types.OfModel, "Do it")
LOOK = CommandType("look", types.Nothing, "See it", changes=False, again=True)
RULES = Rules(frozenset({"ping", "cancel", "work", "look"}))

Eventually = Callable[..., Any]


class Desk:
    """An engine, what it was told to do, and what it said."""

    def __init__(self, outbox: Outbox, rules: Rules = RULES) -> None:
        self.outbox = outbox
        self.done: list[str] = []
        self.said: list[Update] = []
        self.hold = threading.Event()
        self.hold.set()
        self.begun = threading.Event()
        self.failure: Exception | None = None
        registry = Registry()
        registry.register(WORK, self._work)
        registry.register(LOOK, lambda a, job: {"seen": self.done})
        self.jobs = ThreadPoolExecutor(1)
        self.commands = Commands(registry, outbox.journal, rules, self.jobs.submit)
        self.commands.watch(self.said.append)

    def _work(self, arguments: types.OfModel, job: Any) -> dict[str, Any]:
        self.begun.set()
        self.done.append(job.order.id)
        while not self.hold.wait(0.01):
            job.progress(0.5, "holding")
        if self.failure is not None:
            raise self.failure
        return {"model": arguments.model}

    def order(self, id: str = "a1", type: str = "work", **extra: Any) -> Order:
        retained = extra.pop("retained", False)
        body = {"model": "parts", "by": "me", "at": clock.rfc3339(clock.wall_ns())}
        return Order(type, id, {**body, **extra}, "remote", retained)

    def statuses(self, id: str = "a1") -> list[str]:
        return [u.status["status"] for u in self.said if u.id == id]

    def last(self, id: str = "a1") -> dict[str, Any]:
        return [{"status": None}, *(u.status for u in self.said if u.id == id)][-1]


@pytest.fixture
def desk(outbox: Outbox) -> Iterator[Desk]:
    one = Desk(outbox)
    yield one
    one.hold.set()
    one.jobs.shutdown()


def settled(desk: Desk, id: str = "a1") -> Callable[[], bool]:
    return lambda: bool(desk.said) and desk.said[-1].id == id and desk.last(id)["status"] not in (
        "accepted", "executing")  # fmt: skip


def test_a_command_runs_through_its_states(desk: Desk, eventually: Eventually) -> None:
    order = desk.order()
    desk.commands.receive(order)
    eventually(settled(desk))
    assert desk.statuses() == ["accepted", "executing", "successful"]
    last = desk.last()
    assert last["result"] == {"model": "parts"}
    # The whole object is republished with the answer.
    assert last["by"] == "me" and last["at"] == order.at and last["model"] == "parts"
    assert desk.commands.status("a1") == last


def test_a_known_id_is_answered_and_not_done_again(desk: Desk, eventually: Eventually) -> None:
    order = desk.order()
    desk.commands.receive(order)
    eventually(settled(desk))
    for _ in range(3):
        desk.commands.receive(order)
    assert desk.done == ["a1"]
    assert desk.statuses()[-3:] == ["successful"] * 3


def test_the_same_id_with_other_content_is_refused(desk: Desk, eventually: Eventually) -> None:
    desk.commands.receive(desk.order())
    eventually(settled(desk))
    desk.commands.receive(desk.order(model="other"))
    assert desk.last()["status"] == "rejected"
    assert desk.last()["reason"] == "id in use"
    desk.commands.receive(desk.order(type="look"))
    assert desk.last()["reason"] == "id in use"
    assert desk.done == ["a1"]
    assert desk.commands.status("a1")["status"] == "successful"  # type: ignore[index]


@pytest.mark.parametrize(
    ("extra", "reason"),
    [
        ({"type": "nothing"}, "unknown-type"),
        ({"model": 5}, "bad-arguments"),
        ({"model": "A B"}, "bad-arguments"),
        ({"at": ""}, "bad-arguments"),
        ({"at": "2020-01-01T00:00:00Z"}, "stale"),
        ({"expires": "2020-01-01T00:00:00Z"}, "expired"),
        ({"payload": "e30=", "signatures": []}, "untrusted"),
    ],
)
def test_refusals(desk: Desk, extra: dict[str, Any], reason: str) -> None:
    order = desk.order(**extra)
    desk.commands.receive(order)
    assert desk.last()["reason"] == reason
    assert desk.last()["status"] == ("expired" if reason == "expired" else "rejected")
    assert desk.last()["detail"]
    assert not desk.done
    # A refusal is journaled: the id stays refused, and its time does not make others stale.
    desk.commands.receive(order)
    assert desk.last()["reason"] == reason
    assert desk.outbox.journal.get("a1").at == ""  # type: ignore[union-attr]


def test_what_is_not_allowed_is_refused_from_afar_and_done_from_near(
    outbox: Outbox, eventually: Eventually
) -> None:
    desk = Desk(outbox, Rules(frozenset({"ping"})))
    desk.commands.receive(desk.order())
    assert desk.last()["reason"] == "not-allowed"
    statuses = list(desk.commands.submit("work", arguments={"model": "parts"}, by="root"))
    assert [s["status"] for s in statuses] == ["accepted", "executing", "successful"]
    assert set(desk.commands.capabilities()) == {"ping"}
    desk.jobs.shutdown()


def test_submit_tells_refusals_and_known_ids(desk: Desk) -> None:
    assert [s["reason"] for s in desk.commands.submit("work", "b1", {})] == ["bad-arguments"]
    first = list(desk.commands.submit("look", "c1"))
    assert first[-1]["status"] == "successful"
    again = list(desk.commands.submit("look", "c1", by="somebody else"))
    assert [s["reason"] for s in again] == ["id in use"]
    assert first[-1]["id"] == "c1"


def test_local_commands_are_journaled_but_not_published(desk: Desk) -> None:
    list(desk.commands.submit("look", "c1"))
    assert desk.outbox.journal.get("c1") is not None
    assert desk.commands.published() == []


@pytest.mark.parametrize(
    ("failure", "status", "reason"),
    [
        (NotFound("no such thing", remedy="Look elsewhere"), "failed", "not-found"),
        (InputError("bad"), "failed", "bad-input"),
        (CommandRejected("held", "somebody holds it"), "rejected", "held"),
        (ZeroDivisionError("a bug"), "failed", "internal"),
    ],
)
def test_failures_have_a_code_and_a_sentence(
    desk: Desk, failure: Exception, status: str, reason: str, eventually: Eventually
) -> None:
    desk.failure = failure
    desk.commands.receive(desk.order())
    eventually(settled(desk))
    assert (desk.last()["status"], desk.last()["reason"]) == (status, reason)
    assert desk.last()["detail"]
    desk.failure = None
    desk.commands.receive(desk.order("a2"))
    eventually(settled(desk, "a2"))
    assert desk.last("a2")["status"] == "successful"


def test_a_result_that_is_too_large_or_no_json(
    desk: Desk, outbox: Outbox, eventually: Eventually
) -> None:
    registry = desk.commands._registry
    registry.register(CommandType("big", types.Nothing, ""), lambda a, j: {"x": "y" * 300_000})
    registry.register(CommandType("odd", types.Nothing, ""), lambda a, j: {"x": object()})
    desk.commands.receive(desk.order("r1", "big"))
    eventually(settled(desk, "r1"))
    assert desk.last("r1")["reason"] == "not-allowed"
    # At the device it comes by the socket, whatever its size; the journal does not keep it.
    local = list(desk.commands.submit("big", "l1"))[-1]
    assert (local["status"], len(local["result"]["x"])) == ("successful", 300_000)
    journaled = desk.commands.status("l1")
    assert journaled is not None and journaled["status"] == "successful"
    assert list(desk.commands.submit("odd"))[-1]["reason"] == "internal"


@pytest.mark.parametrize("kept", [True, False])
def test_a_large_result_is_put_away_or_told(
    outbox: Outbox, eventually: Eventually, kept: bool
) -> None:
    registry, said = Registry(), list[Update]()
    registry.register(WORK, lambda a, j: {"x": "y" * 300_000})
    away: list[int] = []

    def put_away(order: Order, data: bytes) -> dict[str, Any]:
        away.append(len(data))
        return {"blob": {"sha256": "00", "bytes": len(data)}}

    jobs = ThreadPoolExecutor(1)
    engine = Commands(
        registry, outbox.journal, RULES, jobs.submit, put_away=put_away if kept else None
    )
    engine.watch(said.append)
    body = {"model": "parts", "at": clock.rfc3339(clock.wall_ns())}
    engine.receive(Order("work", "a1", body, "remote"))
    eventually(lambda: said and said[-1].status["status"] in ("successful", "failed"))
    last = said[-1].status
    if kept:
        assert last["result"]["blob"]["bytes"] == away[0] > 300_000
    else:
        assert last["reason"] == "result-too-large"
    jobs.shutdown()


def test_a_type_is_registered_once(desk: Desk) -> None:
    with pytest.raises(UsageError):
        desk.commands._registry.register(WORK, lambda a, j: {})


def test_brief_commands_are_answered_while_a_long_one_works(
    desk: Desk, eventually: Eventually
) -> None:
    desk.hold.clear()
    desk.commands.receive(desk.order())
    assert desk.begun.wait(5)
    desk.commands.receive(Order("ping", "p1", {}, "remote"))
    assert desk.statuses("p1") == ["successful"]
    assert set(desk.last("p1")["result"]) == {"at", "clock", "boot", "mono_ms"}


def test_progress_is_told_at_most_every_two_seconds(
    desk: Desk, eventually: Eventually, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_module, "PROGRESS_EVERY_S", 0.2)
    desk.hold.clear()
    desk.commands.receive(desk.order())
    began = time.monotonic()
    eventually(lambda: sum("progress" in u.status for u in desk.said) >= 3)
    assert time.monotonic() - began >= 0.4
    assert next(u.status for u in desk.said if "progress" in u.status)["step"] == "holding"
    assert job_module.PROGRESS_EVERY_S == 0.2


def test_a_running_command_is_cancelled(desk: Desk, eventually: Eventually) -> None:
    desk.hold.clear()
    desk.commands.receive(desk.order())
    assert desk.begun.wait(5)
    desk.commands.receive(desk.order("c1", "cancel", target="a1"))
    assert desk.last("c1")["result"] == {"target": "a1", "was": "executing"}
    eventually(lambda: desk.last()["status"] == "cancelled")
    assert desk.commands.status("a1")["status"] == "cancelled"  # type: ignore[index]


def test_a_waiting_command_is_cancelled_and_never_begins(
    desk: Desk, eventually: Eventually
) -> None:
    desk.hold.clear()
    desk.commands.receive(desk.order())
    assert desk.begun.wait(5)
    desk.commands.receive(desk.order("a2"))
    desk.commands.receive(desk.order("c1", "cancel", target="a2"))
    assert desk.last("c1")["result"] == {"target": "a2", "was": "accepted"}
    assert desk.last("a2")["status"] == "cancelled"
    desk.hold.set()
    desk.commands.receive(desk.order("a3"))
    eventually(settled(desk, "a3"))
    assert desk.done == ["a1", "a3"]


def test_cancelling_what_has_ended_fails(desk: Desk, eventually: Eventually) -> None:
    desk.commands.receive(desk.order())
    eventually(settled(desk))
    desk.commands.receive(desk.order("c1", "cancel", target="a1"))
    assert desk.last("c1")["reason"] == "already-ended"


def test_cancelling_what_has_not_come_keeps_it_from_being_done(desk: Desk) -> None:
    desk.commands.receive(desk.order("c1", "cancel", target="a1"))
    assert desk.last("c1")["result"] == {"target": "a1", "was": "unknown"}
    desk.commands.receive(desk.order())
    assert desk.statuses() == ["cancelled"]
    assert not desk.done


def test_an_order_that_expires_while_it_waits_is_not_done(
    desk: Desk, eventually: Eventually
) -> None:
    desk.hold.clear()
    desk.commands.receive(desk.order())
    assert desk.begun.wait(5)
    soon = clock.rfc3339(clock.wall_ns() + 150_000_000)
    desk.commands.receive(desk.order("a2", expires=soon))
    assert desk.statuses("a2") == ["accepted"]
    eventually(lambda: clock.wall_ns() > clock.parse_rfc3339(soon))
    desk.hold.set()
    eventually(settled(desk, "a2"))
    assert desk.last("a2")["status"] == "expired"
    assert desk.done == ["a1"]


# --- time ----------------------------------------------------------------------------------


def test_without_a_clock_what_lay_at_the_broker_waits(
    desk: Desk, eventually: Eventually, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEAGENT_CLOCK", "unsynced")
    desk.commands.receive(desk.order("old", at="2020-01-01T00:00:00Z", retained=True))
    desk.commands.receive(desk.order("new", retained=True))
    desk.commands.receive(desk.order("live"))
    eventually(settled(desk, "live"))
    assert desk.last("old") == desk.last("old") | {
        "status": "accepted",
        "reason": "waiting for time",
    }
    desk.commands.reconsider()
    assert desk.done == ["live"]
    monkeypatch.setenv("EDGEAGENT_CLOCK", "synced")
    desk.commands.reconsider()
    eventually(lambda: desk.last("new")["status"] == "successful")
    assert desk.last("old")["reason"] == "stale"
    assert desk.done == ["live", "new"]


def test_what_waits_for_time_survives_a_restart(
    open_outbox: Callable[..., Outbox], eventually: Eventually, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEAGENT_CLOCK", "unsynced")
    outbox = open_outbox()
    Desk(outbox).commands.receive(Desk(outbox).order(retained=True))
    outbox.close()
    again = Desk(open_outbox())
    again.commands.resume()
    assert not again.done
    monkeypatch.setenv("EDGEAGENT_CLOCK", "synced")
    again.commands.reconsider()
    eventually(lambda: again.statuses() and again.last()["status"] == "successful")
    assert again.done == ["a1"]


# --- crashes -------------------------------------------------------------------------------

CHILD = """
import sys, threading, time
from pathlib import Path
from edgeagent import clock
from edgeagent.store.outbox import Outbox
from edgeagent.store.settings import OutboxSettings
from edgeagent.sync import command_types as types
from edgeagent.sync.command_types import CommandType
from edgeagent.sync.commands import Commands, Registry
from edgeagent.sync.judgement import Order, Rules

folder, marks, again = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3] == "again"

def work(arguments, job):
    with marks.open("a") as file:
        file.write(f"{job.order.id}\\n")
    print("begun", flush=True)
    time.sleep(float(sys.argv[4]))
    return {}

outbox = Outbox.open(folder, device="d1", settings=OutboxSettings(), boot="b" * 32, machine="m")
registry = Registry()
kind = CommandType("work", types.OfModel, "", again=again)
registry.register(kind, work)
threads = []
def run(job):
    threads.append(threading.Thread(target=job))
    threads[-1].start()
engine = Commands(registry, outbox.journal, Rules(frozenset({"work"})), run)
engine.watch(lambda u: print(u.status["status"], u.status.get("reason", ""), flush=True))
engine.resume()
engine.receive(Order("work", "a1", {"model": "m", "at": "2026-11-24T00:00:00Z"}, "remote"))
for thread in threads:
    thread.join()
outbox.close()
"""


@pytest.mark.parametrize(
    ("again", "times", "end"), [("once", 1, "failed interrupted"), ("again", 2, "successful ")]
)
def test_at_most_once_over_a_crash(tmp_path: Path, again: str, times: int, end: str) -> None:
    """Killed with SIGKILL in the middle of a command, whose order then comes again."""
    marks = tmp_path / "marks"
    environment = {**os.environ, "EDGEAGENT_CLOCK": "unsynced"}

    def child(seconds: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-c", CHILD, str(tmp_path / "o"), str(marks), again, seconds],
            stdout=subprocess.PIPE, text=True, env=environment,
        )  # fmt: skip

    first = child("60")
    assert first.stdout is not None
    assert [first.stdout.readline().strip() for _ in range(3)] == ["accepted", "executing", "begun"]
    first.send_signal(signal.SIGKILL)
    first.wait()
    second = child("0")
    told = [line.strip() for line in second.communicate(timeout=30)[0].splitlines()]
    assert second.returncode == 0
    assert end.strip() in told
    assert marks.read_text().splitlines() == ["a1"] * times


def test_a_command_that_had_not_begun_is_done_after_a_restart(
    open_outbox: Callable[..., Outbox], eventually: Eventually
) -> None:
    outbox = open_outbox()
    order = Desk(outbox).order()
    registry = Registry()
    registry.register(WORK, lambda a, j: {})
    never = Commands(registry, outbox.journal, RULES, lambda job: None)
    never.receive(order)
    outbox.close()
    again = Desk(open_outbox())
    again.commands.resume()
    again.commands.receive(order)
    eventually(lambda: again.done == ["a1"])
    eventually(lambda: again.last()["status"] == "successful")


def test_a_type_that_is_gone_after_a_restart_fails(open_outbox: Callable[..., Outbox]) -> None:
    outbox = open_outbox()
    outbox.journal.claim("a1", "former", "x", status={"status": "executing", "colour": "red"})
    desk = Desk(outbox)
    desk.commands.resume()
    assert desk.last() == {"colour": "red", "status": "failed", "reason": "interrupted",
                           "detail": desk.last()["detail"]}  # fmt: skip


# --- a journal that can't be written -------------------------------------------------------


def test_a_full_disk_refuses_what_changes_and_answers_what_asks(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, eventually: Eventually
) -> None:
    def full(*args: Any, **more: Any) -> None:
        raise StoreFull("no space left")

    for name in ("claim", "update", "clear"):
        monkeypatch.setattr(desk.outbox.journal, name, full)
    monkeypatch.setattr(type(desk.outbox.journal), "newest_pruned_at", property(full))
    desk.commands.receive(desk.order())
    assert desk.last()["status"] == "rejected" and desk.last()["reason"] == "journal"
    assert not desk.done
    desk.commands.receive(desk.order("l1", "look"))
    eventually(lambda: desk.last("l1")["status"] == "successful")
    assert [s["status"] for s in desk.commands.submit("ping")] == ["successful"]


# --- signed by an operator


PROTECTED = CommandType("work", types.OfModel, "Do it", protected=True)


class Office(Desk):
    """A desk whose work is protected, and that knows the operator ann: her seal is her name."""

    def __init__(self, outbox: Outbox, require: Any = "protected") -> None:
        super().__init__(outbox, Rules(RULES.allow, require_signature=require))
        registry = Registry()
        registry.register(PROTECTED, self._work)
        self.commands = Commands(registry, outbox.journal, self.commands._rules,
                                 self.jobs.submit, self._verify)  # fmt: skip
        self.commands.watch(self.said.append)
        self.asked: list[tuple[str, str, str]] = []

    def _verify(self, envelope: Any, type: str, id: str, group: str) -> Any:
        self.asked.append((type, id, group))
        if envelope["signatures"] != ["ann"]:
            raise Untrusted("nobody has signed it")
        return envelope["payload"], "ann"

    def signed(self, *signatures: str, **extra: Any) -> Order:
        inner = {**self.order().body, "device": "d1", "type": "work", "id": "a1", **extra}
        return Order("work", "a1", {"payload": inner, "signatures": list(signatures)}, "remote")


@pytest.fixture
def office(outbox: Outbox) -> Iterator[Office]:
    one = Office(outbox)
    yield one
    one.jobs.shutdown()


def test_a_protected_order_needs_a_signature(office: Office, eventually: Eventually) -> None:
    office.commands.receive(office.order())
    assert office.last()["reason"] == "signature-required"
    assert "fleet sign" in office.last()["detail"]
    assert office.done == []


def test_a_signed_order_is_done_in_the_name_of_who_signed(
    office: Office, eventually: Eventually
) -> None:
    office.commands.receive(office.signed("ann", by="somebody else"))
    eventually(lambda: office.last()["status"] == "successful")
    assert office.asked == [("work", "a1", "")]
    assert office.last()["by"] == "ann"
    assert not {"payload", "signatures", "device"} & office.last().keys()
    office.commands.receive(office.signed("ann", by="somebody else"))
    assert office.done == ["a1"]


def test_a_wrong_signature_is_worse_than_none(office: Office) -> None:
    office.commands.receive(office.signed("bob"))
    assert (office.last()["status"], office.last()["reason"]) == ("rejected", "untrusted")
    assert office.done == []


def test_where_all_must_be_signed_a_button_does_nothing(outbox: Outbox) -> None:
    office = Office(outbox, "always")
    office.commands.receive(Order("work", "a1", {"model": "parts"}, "button"))
    assert office.last()["reason"] == "signature-required"
    office.jobs.shutdown()


def test_without_operators_no_signature_counts(desk: Desk) -> None:
    body = {"payload": "x", "signatures": []}
    desk.commands.receive(Order("work", "a1", body, "remote"))
    assert desk.last()["reason"] == "untrusted"
