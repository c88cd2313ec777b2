"""A gated pipeline beside one that looks at everything, on a real clip with a real model."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from edgeagent.store.export import jsonl
from edgeagent.testing.agent import AgentProcess
from edgeagent.testing.ssd import ssd

CONFIG = """
[models]
path = ["models"]
[sources.hall]
kind = "video"
path = "clip.mp4"
fps = 5
[pipelines.all]
source = "hall"
model = "ssd"
off = 8
[[pipelines.all.rules]]
when = "label == 'person'"
do = ["event"]
[pipelines.gated]
source = "hall"
model = "ssd"
off = 8
[pipelines.gated.gate]
motion = { hold = "3 s" }
[[pipelines.gated.rules]]
when = "label == 'person'"
do = ["event"]
"""


def events(folder: Path, pipeline: str) -> list[dict[str, Any]]:
    found = (json.loads(line) for line in jsonl(folder / "data"))
    return [its for its in found if its["kind"] == "event" and its["pipeline"] == pipeline]


@pytest.mark.usefixtures("in_full")
@pytest.mark.assets
def test_no_person_is_missed_and_inferences_are_saved(
    assets: Path, tmp_path: Path, full: bool
) -> None:
    ssd(tmp_path / "models", assets, "ssd", output="threshold = 0.5")
    clip = assets / "video" / "one-by-one-person-detection.mp4"
    length = [] if full else ["-t", "48"]
    subprocess.run(
        ["ffmpeg", "-v", "error", "-i", str(clip), *length, "-c", "copy",
         str(tmp_path / "clip.mp4")], check=True, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    config = CONFIG.replace('"models"', f'"{tmp_path / "models"}"')
    config = config.replace('"clip.mp4"', f'"{tmp_path / "clip.mp4"}"')
    with AgentProcess(config, tmp_path) as agent:
        report: dict[str, Any] = {}

        def done(status: dict[str, Any]) -> bool:
            report.update(status["pipelines"])
            return all(its["state"] == "ended" for its in report.values())

        agent.until(done, 90.0)
    gate = report["gated"]["gate"]
    print(f"steps {report['all']['steps']} and {report['gated']['steps']}, saved {gate['saved']}")
    assert gate["passed"] == report["gated"]["steps"]
    assert gate["passed"] + gate["held"] == report["all"]["steps"]
    assert gate["saved"] > 0.15, "somebody is there most of the time"
    assert "gate" not in report["all"]

    def began(name: str) -> list[int]:
        return [its["frame"] for its in events(tmp_path, name) if its["data"]["phase"] == "new"]

    whole, gated = began("all"), began("gated")
    assert len(whole) >= (6 if full else 2)
    for frame in whole:
        # Of the same person: at most a second later.
        assert any(frame - 5 <= its <= frame + 10 for its in gated), (whole, gated)
