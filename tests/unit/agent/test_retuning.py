"""When models are tuned again, when not, and what becomes of what is found. The search itself is a
child process of its own (tests/e2e/agent/test_retuned.py)."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Event
from types import SimpleNamespace
from typing import Any

import pytest
from bare_pipelines import Running

from edgeagent.agent import pulse, retuning
from edgeagent.agent.retuning import Retuning
from edgeagent.config.model import Runtime
from edgeagent.errors import Busy, ModelError, ProofFailed
from edgeagent.manifest import Package, load_package
from edgeagent.metrics import Histogram
from edgeagent.prove.tune import again, choice
from edgeagent.prove.tune.choice import Choice, Choices, Row, circumstances

pytest.importorskip("ai_edge_litert")

PLAIN = Runtime(variant="parts-int8.tflite", delegate="none", threads=1)
Search = Callable[[Package, Choice, Event], Choice]


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retuning, "AFTER_S", 0.0)


class Tuned(Running):
    """A pipeline on a model that was tuned, and what looks after it."""

    def __init__(self, models: Path, data: Path, **config: Any) -> None:
        self.package = load_package(models / "parts" / "1.0.0")
        self.choices = Choices(data)
        table = {
            "sources": {"belt": {"kind": "synthetic", "fps": 40}},
            "pipelines": {"door": {"source": "belt", "model": "parts"}},
            "models": config,
        }
        super().__init__(models, table, folder=data)
        self.steps(1)
        self.agent: Any = SimpleNamespace(
            folder=data, began=time.monotonic(), governing=None, wishes=None
        )
        self.tuning = Retuning(self.agent, self.around, self.built)

    def choose(self, runtime: Runtime = PLAIN, at: str = "1", **other: str) -> Choice:
        here = {**circumstances(self.package, runtime), **other}
        row = Row("plain", state="chosen", ms=1e3)
        made = Choice(1, "parts@1.0.0", at, here, runtime, rows=[row])
        self.choices.keep(self.package, made)
        return made

    def look(self, times: int = 1) -> dict[str, Any]:
        for _ in range(times):
            self.tuning.look()
        told: dict[str, Any] = self.tuning.status().get("parts@1.0.0", {})
        return told

    @property
    def receipt(self) -> str:
        return self.pipeline().receipt

    def told(self) -> list[dict[str, Any]]:
        return [its.data for its in self.sink.drafts if its.data.get("unit") == "tuning"]


@pytest.fixture
def tuned(models: Path, tmp_path: Path) -> Iterator[Callable[..., Tuned]]:
    made: list[Tuned] = []

    def start(**config: Any) -> Tuned:
        made.append(Tuned(models, tmp_path / "data", **config))
        return made[-1]

    yield start
    for running in made:
        running.stop()


@pytest.fixture
def searched(monkeypatch: pytest.MonkeyPatch) -> Callable[[Search | Exception], list[Choice]]:
    """Has the child find something, or fail; from what each search began."""

    def finds(result: Search | Exception) -> list[Choice]:
        begun: list[Choice] = []

        def tune_again(package: Package, before: Choice, stopped: Event) -> Choice:
            begun.append(before)
            if isinstance(result, Exception):
                raise result
            return result(package, before, stopped)

        monkeypatch.setattr(again, "tune_again", tune_again)
        return begun

    return finds


def found(package: Package, before: Choice, stopped: Event) -> Choice:
    del before, stopped
    rows = [Row("plain kernels", state="chosen", ms=1e3)]
    return Choice(1, "parts@1.0.0", "2", circumstances(package, PLAIN), PLAIN, why="it is so",
                  ratio=0.5, took_s=3.0, rows=rows)  # fmt: skip


def test_nothing_is_done_for_models_that_nobody_ever_had_tuned(tuned: Any, searched: Any) -> None:
    begun, running = searched(found), tuned()
    assert running.look(5) == {} and not begun
    assert running.receipt.endswith("on XNNPACK, 1 thread")


def test_what_is_found_takes_over_and_is_told(tuned: Any, searched: Any) -> None:
    begun, running = searched(found), tuned()
    before = running.choose(cores="0-63")
    assert running.look()["state"] == "stale" and not begun
    assert running.look()["state"] == "tuned"
    assert begun == [before]
    running.until(lambda: running.receipt.endswith("on builtin, 1 thread, tuned"))
    assert running.choices.of(running.package).at == "2"
    new, end = running.told()
    assert (new["phase"], end["phase"]) == ("new", "end")
    assert "the cores that may be used were 0-63" in new["reason"] == end["reason"]
    assert (end["settings"], end["ratio"], end["took_s"]) == ("plain kernels", 0.5, 3.0)
    assert running.pipeline().meter.failed == 0
    assert running.look(3)["state"] == "tuned" and len(begun) == 1


def test_it_can_be_switched_off(tuned: Any, searched: Any) -> None:
    begun, running = searched(found), tuned(retune=False)
    running.choose(cores="0-63")
    assert running.look(5)["state"] == "stale" and not begun and not running.told()


@pytest.mark.parametrize("what", ["governor", "change", "person", "start"])
def test_it_waits_until_nothing_else_is_going_on(
    tuned: Any, searched: Any, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, running = searched(found), tuned()
    running.choose(cores="0-63")
    if what == "governor":
        governor = SimpleNamespace(reason="frame rate at 50 %")
        running.agent.governing = SimpleNamespace(governor=governor)
        assert running.look(4)["waits"] == "the governor: frame rate at 50 %"
        governor.reason = ""
    elif what == "change":
        running.agent.wishes = SimpleNamespace(changing="parts is being changed")
        assert running.look(4)["waits"] == "parts is being changed"
        running.agent.wishes.changing = ""
    elif what == "person":
        with running.tuning.held("a person measures"):
            assert running.look(4)["waits"] == "a person measures"
    else:
        monkeypatch.setattr(retuning, "AFTER_S", 3600.0)
        assert running.look(4)["waits"] == "the agent has just started"
        monkeypatch.setattr(retuning, "AFTER_S", 0.0)
    assert not begun
    running.look()
    assert len(begun) == 1


def test_a_search_ends_when_something_begins(tuned: Any, searched: Any) -> None:
    running = tuned()

    def stopped(_package: Package, _before: Choice, stopped: Event) -> Choice:
        assert not stopped.is_set()
        running.agent.wishes = SimpleNamespace(changing="parts is being changed")
        running.until(stopped.is_set)
        raise Busy("the proof was stopped")

    begun = searched(stopped)
    running.choose(cores="0-63")
    told = running.look(2)
    assert (told["state"], told["failed"]) == ("stale", "parts is being changed")
    assert running.told()[-1]["failed"] == "parts is being changed"
    running.agent.wishes = None
    assert "it was tried lately" in running.look()["waits"] and len(begun) == 1


def test_what_fails_is_tried_again_more_and_more_seldom(
    tuned: Any, searched: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retuning, "PAUSE_S", 1e3)
    begun, running = searched(ProofFailed("golden", "it answers wrongly")), tuned()
    running.choose(cores="0-63")
    running.look(2)
    known = running.tuning._known["parts@1.0.0"]
    assert 990 < known.rests_s <= 1000 and len(begun) == 1
    known._next = 0.0
    running.look()
    assert 1990 < known.rests_s <= 2000 and len(begun) == 2
    # Said once, and what came of it each time.
    assert [its["phase"] for its in running.told()] == ["new", "update", "update"]
    assert running.choices.of(running.package).at == "1"
    assert running.receipt.endswith("on XNNPACK, 1 thread")


def test_what_can_not_be_opened_in_the_agent_is_not_kept(
    tuned: Any, searched: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = tuned()
    before = running.choose(cores="0-63")
    searched(found)
    running.look()

    def refuse(*_of: object, **_how: object) -> None:
        raise ModelError("there is no memory for it")

    monkeypatch.setattr(retuning, "opened_anew", refuse)
    running.look()
    assert running.choices.of(running.package).at == before.at
    assert running.told()[-1]["failed"] == "there is no memory for it"


def test_when_a_choice_stops_to_hold_the_defaults_run(
    tuned: Any, searched: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    searched(ProofFailed("budget", "nothing will do"))
    running = tuned()
    running.look()
    running.choose()
    running.look()
    running.until(lambda: running.receipt.endswith("on builtin, 1 thread, tuned"))
    monkeypatch.setattr(choice, "_spans", lambda _cores: "7")
    running.look()
    assert running.receipt.endswith("tuned")
    running.look()
    running.until(lambda: "on XNNPACK, 1 thread, not as tuned" in running.receipt)


def test_a_model_that_became_slow(
    tuned: Any, searched: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, running = searched(found), tuned()
    monkeypatch.setattr(pulse, "_LEAST_RUNS", 4)
    made = running.choose()
    running.look(2)
    running.until(lambda: running.receipt.endswith("tuned"))
    made.rows[0].ms = 1e-6
    monkeypatch.setattr(pulse, "_SLOW_MS", 0.0)
    running.choices.keep(running.package, made)
    for _ in range(5):
        running.steps(6)
        running.look()
    assert len(begun) == 1
    assert running.told()[0]["reason"].startswith("a run takes more than 1.5 ×")


def test_a_new_version_of_a_tuned_model(tuned: Any, searched: Any) -> None:
    begun, running = searched(found), tuned()
    other = Choice(1, "parts@0.9.0", "0", {}, PLAIN)
    running.choices.folder.mkdir(parents=True)
    running.choices.keep(running.package, other)
    file = running.choices.folder / "parts@1.0.0.json"
    file.rename(file.with_name("parts@0.9.0.json"))
    running.look(2)
    assert [its.model for its in begun] == ["parts@0.9.0"]
    assert running.told()[0]["reason"] == "parts@1.0.0 is new here, and parts@0.9.0 was tuned"


class Step:
    """As much of a pipeline as a pulse is taken of."""

    def __init__(self) -> None:
        self.name = "door"
        self.meter = SimpleNamespace(step=Histogram())

    def take(self, count: int, ms: float) -> None:
        for _ in range(count):
            self.meter.step.add(ms / 1e3)


@pytest.mark.parametrize(("during_ms", "disturbed"), [(10.0, False), (12.0, False), (14.0, True)])
def test_what_holds_up_a_pipeline_is_noticed(
    monkeypatch: pytest.MonkeyPatch, during_ms: float, disturbed: bool
) -> None:
    monkeypatch.setattr(pulse, "_SETTLE_S", 0.0)
    its: Any = Step()
    taken = pulse.Pulse()
    taken.look([its])
    its.take(30, 10.0)
    taken.begin([its])
    assert taken.disturbed([its]) == ""
    its.take(30, during_ms)
    assert bool(taken.disturbed([its])) is disturbed
