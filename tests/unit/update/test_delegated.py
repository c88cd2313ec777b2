"""When a vendor's delegate may be loaded: tried first, put aside, tried again; the real crashes are
in tests/e2e/agent/test_delegates.py."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from edgeagent import clock
from edgeagent.config.model import Runtime
from edgeagent.errors import Busy
from edgeagent.infer.delegates import accelerators
from edgeagent.manifest import Package, load_package
from edgeagent.update import cooloff, delegated
from edgeagent.update.cooloff import CoolOff, Failure, pair_of
from edgeagent.update.delegated import Delegated, Form

ASKED = Runtime(delegate="/opt/libnpu.so")


@pytest.fixture
def parts(repository: Path) -> Package:
    return load_package(repository / "models" / "parts" / "1.0.0")


class Tried:
    """Stands for the child: says what it is told to, once it may."""

    def __init__(self) -> None:
        self.answers: list[str | Exception] = []
        self.times = 0
        self.may = threading.Event()
        self.may.set()

    def __call__(self, form: Form, stopped: threading.Event) -> str:
        self.times += 1
        while not self.may.wait(0.01):
            if stopped.is_set():
                raise Busy("stopped")
        answer = self.answers.pop(0) if self.answers else ""
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.fixture
def tried(monkeypatch: pytest.MonkeyPatch) -> Tried:
    made = Tried()
    monkeypatch.setattr(delegated, "tried", made)
    monkeypatch.setattr(delegated, "_LOOK_S", 0.01)
    return made


def until(condition: Callable[[], object]) -> None:
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def test_nothing_is_tried_where_nobodys_library_is_asked_for(
    parts: Package, tried: Tried, tmp_path: Path
) -> None:
    its = Delegated(CoolOff(tmp_path / "delegates.json"))
    for runtime in (Runtime(), Runtime(delegate="none"), Runtime(provider="CPUExecutionProvider")):
        assert accelerators(parts, runtime) == ()
        assert its.aside(parts, runtime) == {}
    assert tried.times == 0
    assert not (tmp_path / "delegates.json").exists()


def test_one_that_works_is_tried_once(parts: Package, tried: Tried, tmp_path: Path) -> None:
    its = Delegated(CoolOff(tmp_path / "delegates.json"))
    assert its.aside(parts, ASKED) == {}
    assert its.aside(parts, ASKED) == {}
    assert tried.times == 1
    assert its.aside(parts, Runtime(provider="NpuExecutionProvider")) == {}
    assert tried.times == 2


def test_one_that_takes_long_is_waited_for_and_given_back(
    parts: Package, tried: Tried, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delegated, "WAIT_S", 0.1)
    ready: list[Package] = []
    its = Delegated(CoolOff(tmp_path / "d.json"), ready.append)
    tried.may.clear()
    began = time.monotonic()
    reason = its.aside(parts, ASKED)["/opt/libnpu.so"]
    assert "libnpu.so is tried in a process of its own" in reason
    assert its.aside(parts, ASKED)
    assert time.monotonic() - began < 1.0, "it is waited for once"
    assert ready == []
    tried.may.set()
    until(lambda: ready == [parts])
    assert its.aside(parts, ASKED) == {}


def test_one_that_fails_is_put_aside_and_back_after_a_while(
    parts: Package, tried: Tried, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cooloff, "FIRST_S", 0.2)
    told: list[tuple[str, str]] = []
    file = tmp_path / "delegates.json"
    ready = threading.Event()
    its = Delegated(
        CoolOff(file),
        lambda _: ready.set(),
        lambda form, phase, reason: told.append((phase, reason)),
    )
    tried.answers = ["it crashed", "it crashed again"]
    reason = its.aside(parts, ASKED)["/opt/libnpu.so"]
    assert reason.startswith("it crashed; it is tried again in")
    assert ready.wait(10)
    assert tried.times == 3
    assert [phase for phase, _ in told] == ["new", "new", "end"]
    assert its.aside(parts, ASKED) == {}
    assert json.loads(file.read_text())["failed"] == {}


def test_a_process_that_can_not_be_started_is_no_fault_of_the_delegate(
    parts: Package, tried: Tried, tmp_path: Path
) -> None:
    file = tmp_path / "delegates.json"
    its = Delegated(CoolOff(file))
    tried.answers = [Busy("no process can be started for a proof")]
    assert "can't be tried" in its.aside(parts, ASKED)["/opt/libnpu.so"]
    until(lambda: its.aside(parts, ASKED) == {} and file.exists())
    assert json.loads(file.read_text())["failed"] == {}


def test_a_lost_device_is_put_aside(parts: Package, tried: Tried, tmp_path: Path) -> None:
    its = Delegated(CoolOff(tmp_path / "delegates.json"))
    assert its.aside(parts, ASKED) == {}
    its.gave_up(parts, ASKED, "device lost")
    reason = its.aside(parts, ASKED)["/opt/libnpu.so"]
    assert "was lost while parts@1.0.0 ran on it: device lost" in reason
    assert tried.times == 1
    # Another process does not try it either.
    again = Delegated(CoolOff(tmp_path / "delegates.json"))
    assert "device lost" in again.aside(parts, ASKED)["/opt/libnpu.so"]
    assert tried.times == 1
    again.stop()
    its.stop()


def test_one_under_which_the_agent_dies_is_put_aside(
    parts: Package, tried: Tried, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "delegates.json"
    for _ in range(2):
        assert Delegated(CoolOff(file)).aside(parts, ASKED) == {}
        # … and its process is gone.
    reason = Delegated(CoolOff(file)).aside(parts, ASKED)["/opt/libnpu.so"]
    assert "the agent ended without a word 2 times" in reason
    assert tried.times == 2


def test_an_orderly_end_or_a_lost_supply_is_no_death(
    parts: Package, tried: Tried, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "delegates.json"
    for _ in range(4):
        its = Delegated(CoolOff(file))
        assert its.aside(parts, ASKED) == {}
        its.stop()
    for boot in ("a", "b", "c", "d"):
        monkeypatch.setattr(clock, "boot_id", lambda boot=boot: boot)
        assert Delegated(CoolOff(file)).aside(parts, ASKED) == {}


def test_pauses_double_up_to_a_day(tmp_path: Path) -> None:
    account = CoolOff(tmp_path / "d.json")
    pauses = [account.add("mark", ("npu",), "it crashed").pause_s for _ in range(10)]
    assert pauses[:4] == [600, 1200, 2400, 4800]
    assert pauses[-1] == 86_400
    texts = [Failure((), "", times, "", 0.0).pause for times in (1, 3, 4, 10)]
    assert texts == ["10 min", "40 min", "80 min", "24 h"]


def test_a_start_of_the_machine_ends_the_pause(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    account = CoolOff(tmp_path / "d.json")
    account.add("mark", ("npu",), "it crashed")
    failure = account.failure("mark")
    assert failure is not None and 590 < failure.waits_s <= 600
    monkeypatch.setattr(clock, "boot_id", lambda: "another")
    assert failure.waits_s == 0.0


@pytest.mark.parametrize("content", [b"{", b'{"failed": 3}', b"\xff\xfe", b""])
def test_a_damaged_account_costs_a_try(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "d.json"
    file.write_bytes(content)
    account = CoolOff(file)
    assert account.failure("mark") is None
    account.add("mark", ("npu",), "it crashed")
    assert CoolOff(file).failure("mark") is not None


def test_a_place_that_can_not_be_written_to_costs_tries(tmp_path: Path) -> None:
    (tmp_path / "none").write_text("a file in place of the folder")
    account = CoolOff(tmp_path / "none" / "d.json")
    assert account.add("mark", ("npu",), "it crashed").times == 1
    assert account.failure("mark") is None


def test_what_has_changed_since_it_worked_is_told(tmp_path: Path) -> None:
    library = tmp_path / "libnpu.so"
    library.write_bytes(b"one")
    account = CoolOff(tmp_path / "d.json")
    account.worked("mark", (str(library),))
    failure = account.add("mark", (str(library),), "it crashed")
    assert failure.reason == "it crashed"
    library.write_bytes(b"another one")
    os.utime(library, (1_790_000_000, 1_790_000_000))
    failure = account.add("other", (str(library),), "it crashed")
    assert "it worked last with library" in failure.reason
    assert "libnpu.so of 3 bytes" in failure.reason
    assert "now " in failure.reason and "of 11 bytes, 1790000000" in failure.reason


def test_the_pair_is_read_below_any_root(tmp_path: Path) -> None:
    (tmp_path / "usr/lib").mkdir(parents=True)
    (tmp_path / "usr/lib/libedgetpu.so.1").write_bytes(b"x")
    (tmp_path / "sys/module/apex").mkdir(parents=True)
    (tmp_path / "sys/module/apex/version").write_text("1.2\n")
    (tmp_path / "sys/module/gasket").mkdir(parents=True)
    (tmp_path / "sys/module/gasket/srcversion").write_text("ABC\n")
    pair = pair_of("edgetpu", tmp_path)
    assert pair["driver apex"] == "1.2"
    assert pair["driver gasket"] == "ABC"
    assert "usr/lib/libedgetpu.so.1 of 1 bytes, " in pair["library"]
    assert "library" not in pair_of("vx", tmp_path)
