"""Outboxes that are closed again, and the helpers of `store_play` on the path."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edgeagent.store.outbox import Outbox
from edgeagent.store.settings import OutboxSettings

# Test modules are imported by path (importmode=importlib), so helpers need a place to be found.
sys.path.insert(0, str(Path(__file__).parent))

from store_play import Opener, TurnedClock


@pytest.fixture
def clock() -> TurnedClock:
    return TurnedClock()


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Opener]:
    """Opens outboxes in ``tmp_path/"outbox"`` and closes them at the end."""
    every: list[Outbox] = []

    def make(folder: Path | None = None, **keys: Any) -> Outbox:
        named = {name: keys.pop(name) for name in ("device", "boot", "machine") if name in keys}
        extra = {name: keys.pop(name) for name in ("clock", "make") if name in keys}
        identity = {"device": "d1", "boot": "b1", "machine": "m1", **named}
        settings = OutboxSettings(**{"events_s": 0.01, "results_s": 0.02, **keys})
        outbox = Outbox.open(folder or tmp_path / "outbox", settings=settings, **identity, **extra)
        every.append(outbox)
        return outbox

    yield make
    for outbox in every:
        outbox.close()
