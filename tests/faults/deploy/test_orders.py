"""What a person orders is on the medium when it is answered, or the answer says why not."""

from __future__ import annotations

from pathlib import Path

import pytest
from rig import MODEL, Process, World

from edgeagent.errors import StoreError, Unavailable


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
    process.engine.wake()
    process.engine.stop(5)
    assert not process.truth.open


def test_an_agent_that_stops_takes_no_orders(process: Process) -> None:
    process.engine.stop(5)
    with pytest.raises(Unavailable, match="stops"):
        process.orders.install(MODEL, "1.1.0", origin=str(process.world.published))
