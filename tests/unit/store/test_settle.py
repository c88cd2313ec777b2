"""Confirms carried back by hand: from a device's export to the settled account."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from store_play import Opener, result

from edgeagent.errors import Busy, InputError, NotFound, UsageError
from edgeagent.fleet.archive import Archive
from edgeagent.fleet.carried import import_carried, write_confirms
from edgeagent.fleet.database import open_database
from edgeagent.store import settle
from edgeagent.store.export import carry
from edgeagent.store.outbox import Outbox
from edgeagent.store.settings import OutboxSettings
from edgeagent.store.verify import verify

COLLECTED = OutboxSettings(confirm="collector")


def confirm(folder: Path, outbox: Outbox, **keys: Any) -> Path:
    folder.mkdir(exist_ok=True)
    file = folder / f"d1.{outbox.epoch}.confirm"
    file.write_text(json.dumps({"epoch": outbox.epoch, "upto": 10, "by": "main", **keys}))
    return file


@pytest.mark.parametrize("how", ["collector", "broker"])
def test_the_whole_way_round(opened: Opener, tmp_path: Path, how: str) -> None:
    outbox = opened(confirm=how)
    for number in range(300):
        outbox.append(result(number))
    assert outbox.flush(5)
    stick = tmp_path / "stick"
    carry(outbox.folder, stick)
    for number in range(20):
        outbox.append(result(number))
    assert outbox.flush(5)
    database = open_database(str(tmp_path / "fleet.db"))
    write_confirms(import_carried(Archive(database), stick).confirms, stick)
    database.close()
    (stick / f"other.{outbox.epoch}.confirm").write_text("{}")
    device, epoch, _ = settle.whose(outbox.folder)
    found = settle.find(stick, device, epoch)
    assert len(found.confirms) == 1 and found.passed_over == 1
    with pytest.raises(Busy):
        settle.settle(outbox.folder, found.confirms, COLLECTED)
    outbox.close()
    settings = OutboxSettings(confirm=how)  # type: ignore[arg-type]
    for _ in range(2):
        stats = settle.settle(outbox.folder, found.confirms, settings)
        assert (stats.produced, stats.delivered, stats.pending) == (320, 300, 20)
        assert stats.epoch == epoch
    assert verify(outbox.folder, deep=True).ok


def test_what_is_missing_stays_pending(opened: Opener, tmp_path: Path) -> None:
    outbox = opened(confirm="collector")
    for number in range(10):
        outbox.append(result(number))
    assert outbox.flush(5)
    confirm(tmp_path / "s", outbox, missing=[[3, 5]])
    found = settle.find(tmp_path / "s", "d1", outbox.epoch)
    settle.apply(outbox, found.confirms[0])
    assert (outbox.stats().delivered, outbox.stats().pending) == (7, 3)


def test_confirms_that_can_not_be(opened: Opener, tmp_path: Path) -> None:
    outbox = opened(confirm="collector", collectors=("main", "second"))
    outbox.append(result(1))
    assert outbox.flush(5)
    stick = tmp_path / "stick"
    with pytest.raises(NotFound, match="can't be read"):
        settle.find(stick, "d1", outbox.epoch)
    stick.mkdir()
    with pytest.raises(NotFound, match="holds no confirms"):
        settle.find(stick, "d1", outbox.epoch)
    file = confirm(stick, outbox, upto=99)
    (carried,) = settle.find(stick, "d1", outbox.epoch).confirms
    with pytest.raises(UsageError, match=r"up to 99, and this outbox gave 1"):
        settle.apply(outbox, carried)
    confirm(stick, outbox, upto=1, by="stranger")
    (carried,) = settle.find(stick, "d1", outbox.epoch).confirms
    with pytest.raises(UsageError, match=r"'stranger' is none of this device's collectors"):
        settle.apply(outbox, carried)
    confirm(stick, outbox, epoch="01" + "A" * 24)
    with pytest.raises(InputError, match="another epoch"):
        settle.find(stick, "d1", outbox.epoch)
    file.write_text('{"epoch": 7}')
    with pytest.raises(InputError, match="epoch"):
        settle.find(stick, "d1", outbox.epoch)
    # One of two collectors is not enough.
    confirm(stick, outbox, upto=1)
    (carried,) = settle.find(stick, "d1", outbox.epoch).confirms
    settle.apply(outbox, carried)
    assert outbox.stats().pending == 1
