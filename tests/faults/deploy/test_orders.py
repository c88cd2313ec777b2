"""What a person orders is on the medium when it is answered, or the answer says why not."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from rig import MODEL, Process, World

from edgeagent.errors import Busy, StoreError, Unavailable
from edgeagent.update import line


@pytest.fixture
def process(tmp_path: Path) -> Process:
    process = Process(World(tmp_path))
    process.engine.threaded = True
    return process


def test_an_order_that_was_answered_outlives_a_power_cut(process: Process) -> None:
    # The engine is kept from going on; what was ordered is there all the same.
    process.at["requested"] = lambda its: its.engine.work.stopped.wait(10)
    folder = str(process.world.published / MODEL / "1.1.0")
    id = process.orders.install(MODEL, "1.1.0", origin=folder)
    again = Process(process.world)
    assert again.truth.open
    assert again.truth.deployment is not None
    assert again.truth.deployment.id == id
    process.engine.stop(5)


def test_what_the_medium_refuses_is_answered(
    process: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise StoreError("no space left")

    monkeypatch.setattr(process.truths, "change", full)
    with pytest.raises(StoreError, match="no space left"):
        process.orders.install(MODEL, "1.1.0", origin=str(process.world.published))
    monkeypatch.undo()
    # It is not done behind the back of who was told so.
    process.orders.install(MODEL, "1.2.0", origin=str(process.world.published / MODEL / "1.2.0"))
    process.engine.stop(5)
    told = [record["version"] for record in process.world.records]
    assert "1.1.0" not in [*told, process.truth.version, *process.truth.failed]


def at_work(process: Process) -> threading.Event:
    """A change is under way that does not end until this is set."""
    begun, end = threading.Event(), threading.Event()

    def clings(_process: Process) -> None:
        begun.set()
        assert end.wait(20)

    process.at["requested"] = clings
    folder = str(process.world.published / MODEL / "1.1.0")
    process.orders.install(MODEL, "1.1.0", origin=folder)
    assert begun.wait(10)
    return end


def wants_another(process: Process) -> None:
    folder = str(process.world.published / MODEL / "1.2.0")
    process.orders.install(MODEL, "1.2.0", origin=folder)


def test_what_clings_to_its_work_is_said_and_nothing_is_done_later(
    process: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    end = at_work(process)
    monkeypatch.setattr(line, "PATIENCE_S", 0.1)
    with pytest.raises(Busy, match="nothing was changed"):
        wants_another(process)
    end.set()
    process.engine.stop(10)
    assert process.truth.deployment is not None
    assert process.truth.deployment.version == "1.1.0"


def test_an_order_that_waits_is_answered_when_the_agent_stops(process: Process) -> None:
    end = at_work(process)
    with ThreadPoolExecutor(1) as somebody:
        wish = somebody.submit(wants_another, process)
        while not process.engine._line:
            assert not wish.done()
        threading.Timer(0.2, end.set).start()
        process.engine.stop(10)
        with pytest.raises(Unavailable, match="stops"):
            wish.result(10)
    assert process.truth.deployment is not None
    assert process.truth.deployment.version == "1.1.0"


def test_an_agent_that_stops_takes_no_orders(process: Process) -> None:
    process.engine.stop(5)
    with pytest.raises(Unavailable, match="stops"):
        process.orders.install(MODEL, "1.1.0", origin=str(process.world.published))
