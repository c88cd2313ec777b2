"""What `why` says of an event and what `replay` makes of the same samples are one story."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgeagent.agent.diagnosis import why_from_files
from edgeagent.agent.ports import config_ports
from edgeagent.agent.replay import replay
from edgeagent.config.load import load
from edgeagent.diagnose.why import Asked
from edgeagent.store.export import jsonl
from edgeagent.testing.agent import AgentProcess
from edgeagent.update.library import Library, default_folders

CONFIG = """
[sources.belt]
kind = "synthetic"
pace = "max"
count = 700
[pipelines.belt]
source = "belt"
model = "parts"
threshold = 0.7
[pipelines.belt.zones.middle]
polygon = [[0.2, 0], [0.8, 0], [0.8, 1], [0.2, 1]]
[[pipelines.belt.rules]]
name = "in the middle"
when = "zone == 'middle' and score > 0.75"
"""


def test_each_event_is_the_same_story(tmp_path: Path, full: bool) -> None:
    if not full:
        pytest.skip("an agent and a replay of 700 samples: EDGEAGENT_TESTS=full")
    agent = AgentProcess(CONFIG, tmp_path, "--until-done").start()
    assert agent.wait(60) == 0, agent.log
    loaded = load(agent.config, data_dir=agent.data, ports=config_ports(agent.data))
    told = [json.loads(line) for line in jsonl(agent.data)]
    begun = [its for its in told if its["kind"] == "event" and its["data"]["phase"] == "new"]
    again = replay(
        loaded.config, loaded.hash, Library(default_folders(agent.data)), "belt"
    )  # fmt: skip
    replayed = [
        its for its in again.records if its["kind"] == "event" and its["data"]["phase"] == "new"
    ]
    assert len(begun) == len(replayed) >= 20
    for record, other in zip(begun, replayed, strict=True):
        id_ = record["data"]["id"]
        answer = why_from_files(Asked(id_), loaded, agent.data, running=False)
        facts, seen = answer["facts"], answer["facts"]["seen"]
        assert answer["cause"] == "event" and answer["sentence"].startswith(f"{id_}: ")
        assert facts["frame"] == record["frame"] == other["frame"]
        assert seen["label"] == record["data"]["label"] == other["data"]["label"]
        assert tuple(seen["zones"]) == tuple(other["data"]["zones"]) == ("middle",)
        assert facts["rules"] == ["in the middle"] and facts["config"] == again.config
        assert facts["model"] == record["model"] == again.model
        # The record tells a median of scores, `why` the score of the frame: it is among them.
        place = facts["frames"].index(facts["frame"])
        scores = sorted(facts["scores"][max(0, place - 4) : place + 1])
        assert scores[0] - 1e-4 <= other["data"]["score"] <= scores[-1] + 1e-4
        assert record["data"]["score"] == other["data"]["score"]
    # And of what was no event both say the same: nothing.
    silent = why_from_files(Asked("belt", label="dented"), loaded, agent.data, running=False)
    assert not any(its["data"]["label"] == "dented" for its in replayed)
    assert silent["facts"]["events"] == [] and silent["facts"]["looked_at"] == again.samples
