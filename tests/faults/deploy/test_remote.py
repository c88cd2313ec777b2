"""The fleet's layer of the configuration: the power is cut at each call, and what the next start
reads is the old or the new, as the state says."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from unsure import PowerCut, UnsureDisk

from edgeagent.update.desired import Patch
from edgeagent.update.remote import RemoteLayer, prepare

OLD, NEW = Patch({"a": 1}, {"device": 1}), Patch({"a": 2}, {"device": 2})


def begun(layer: RemoteLayer) -> None:
    layer.try_(OLD, (), (), linked=False)
    layer.confirm()


def tried(layer: RemoteLayer) -> None:
    layer.try_(NEW, (), (), linked=False)


def confirmed(layer: RemoteLayer) -> None:
    tried(layer)
    layer.confirm()


def undone(layer: RemoteLayer) -> None:
    tried(layer)
    layer.undo("unconfirmed", "no link")


def rejected(layer: RemoteLayer) -> None:
    layer.candidate(NEW)
    layer.drop_candidate()
    layer.reject(NEW, "protected", "mqtt.host")


@pytest.mark.parametrize("how", ["kept", "lost", "torn"])
@pytest.mark.parametrize("act", [tried, confirmed, undone, rejected])
def test_power_cut(tmp_path: Path, act: Callable[[RemoteLayer], None], how: str) -> None:
    cut_at, finished = 0, False
    while not finished:
        folder, scratch = tmp_path / str(cut_at) / "data", tmp_path / str(cut_at) / "scratch"
        folder.mkdir(parents=True)
        scratch.mkdir()
        disk = UnsureDisk(scratch)
        begun(RemoteLayer(folder, disk))
        disk.cut_at = len(disk.calls) + cut_at
        try:
            act(RemoteLayer(folder, disk))
            finished = True
        except PowerCut:
            disk.lose(how)
        prepare(folder, undo=False)
        state = RemoteLayer(folder).state
        read = json.loads((folder / "remote.json").read_bytes())
        expected = state.trial if state.trial is not None else state.good
        assert read["config"] == expected
        assert expected in (OLD.patch, NEW.patch)
        prepare(folder, undo=True)
        assert RemoteLayer(folder).state.trial is None
        kept = json.loads((folder / "remote.json").read_bytes())["config"]
        assert kept == RemoteLayer(folder).state.good
        cut_at += 1
    assert cut_at > 3


def test_the_first_layer_ever_is_taken_away_again(tmp_path: Path) -> None:
    layer = RemoteLayer(tmp_path)
    tried(layer)
    assert (tmp_path / "remote.json").exists()
    layer.undo("unconfirmed", "no link")
    assert not (tmp_path / "remote.json").exists()
