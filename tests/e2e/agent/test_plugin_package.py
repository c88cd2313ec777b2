"""The example package, really installed: a source, a decoder, a rule and an action at work."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from edgeagent.config.toml import parse_toml
from edgeagent.testing.agent import AgentProcess

CONFIG = """
[models]
path = ["{models}"]
[sources.slides]
kind = "plugin"
plugin = "slideshow"
options = {{ folder = "{slides}", each = 8 }}
[pipelines.belt]
source = "slides"
model = "mostly"
[[pipelines.belt.rules]]
when = "label in ['whole', 'cracked', 'missing'] and plugin('fresh') > 0"
do = ["event", "note"]
[pipelines.belt.plugins.fresh]
times = 20
[pipelines.belt.plugins.note]
file = "{notes}"
"""


@pytest.fixture(scope="module")
def installed(repository: Path, tmp_path_factory: pytest.TempPathFactory, full: bool) -> Path:
    """A folder with the package in it: by pip, which needs a registry, or by what pip writes."""
    work = tmp_path_factory.mktemp("plugin")
    source, target = work / "source", work / "site"
    shutil.copytree(repository / "examples" / "plugin", source)
    if full:
        subprocess.run(
            [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", target,
             source], check=True, capture_output=True,
        )  # fmt: skip
        return target
    project, _ = parse_toml(source / "pyproject.toml")
    its = project["project"]
    shutil.copytree(source / "edgeagent_example", target / "edgeagent_example")
    about = target / f"{its['name'].replace('-', '_')}-{its['version']}.dist-info"
    about.mkdir()
    about.joinpath("METADATA").write_text(f"Name: {its['name']}\nVersion: {its['version']}\n")
    about.joinpath("entry_points.txt").write_text(
        "".join(
            f"[{group}]\n" + "".join(f"{name} = {place}\n" for name, place in entries.items())
            for group, entries in its["entry-points"].items()
        )
    )
    return target


@pytest.fixture
def models(repository: Path, tmp_path: Path) -> Path:
    """The shipped detector, read by the example's decoder."""
    shipped = sorted((repository / "models" / "parts").iterdir())[-1]
    folder = tmp_path / "models" / "mostly" / "1.0.0"
    shutil.copytree(shipped, folder)
    lines = (folder / "model.toml").read_text().split("[golden]")[0].splitlines()
    text = "\n".join(line for line in lines if not line.startswith(("layout", "boxes", "units")))
    for its, other in (
        ('name = "parts"', 'name = "mostly"'),
        ('task = "detect"', 'task = "classify"'),
        ('decoder = "yolo"', 'decoder = "plugin"\nplugin = "commonest"'),
    ):
        text = text.replace(its, other)
    (folder / "model.toml").write_text(text)
    return tmp_path / "models"


def run(tmp_path: Path, installed: Path, models: Path, notes: Path) -> AgentProcess:
    slides = models / "mostly" / "1.0.0" / "golden"
    config = CONFIG.format(models=models, slides=slides, notes=notes)
    path = os.pathsep.join([str(installed), *sys.path])
    return AgentProcess(config, tmp_path / "agent", environment={"PYTHONPATH": path})


def test_all_four_kinds_work_together(tmp_path: Path, installed: Path, models: Path) -> None:
    notes = tmp_path / "notes.jsonl"
    with run(tmp_path, installed, models, notes) as agent:
        status = agent.until(
            lambda its: its if its["pipelines"]["belt"]["state"] == "ended" else None
        )
    assert status["pipelines"]["belt"]["steps"] == 5 * 8
    told = [json.loads(line) for line in notes.read_text().splitlines()]
    assert {its["pipeline"] for its in told} == {"belt"}
    labels = {its["label"] for its in told}
    assert labels and labels <= {"whole", "cracked", "missing"}
    for label in labels:
        phases = [its["phase"] for its in told if its["label"] == label]
        assert phases == ["new", "end"] * (len(phases) // 2)
    # The rule has had enough of a label after 20 samples: no event of it begins any more.
    assert sum(its["phase"] == "new" for its in told) < 10


def test_an_action_that_fails_is_told_and_the_event_is_recorded(
    tmp_path: Path, installed: Path, models: Path
) -> None:
    with run(tmp_path, installed, models, tmp_path / "no" / "folder") as agent:
        agent.until(lambda its: its["pipelines"]["belt"]["state"] == "ended")
        stats = agent.client.result("outbox", action="stats")
        assert stats["produced"] >= 2
    assert "action note failed: FileNotFoundError" in agent.log


def test_what_is_misspelt_is_said_with_what_there_is(
    tmp_path: Path, installed: Path, models: Path
) -> None:
    path = os.pathsep.join([str(installed), *sys.path])
    text = CONFIG.format(models=models, slides="/", notes="/dev/null")
    file = tmp_path / "agent.toml"
    for right, wrong, said in (
        ('"note"', '"notte"', 'did you mean "note"'),
        ("plugin('fresh')", "plugin('frech')", "did you mean 'fresh'"),
    ):
        file.write_text(text.replace(right, wrong, 1))
        done = subprocess.run(
            [sys.executable, "-m", "edgeagent.cli", "config", "check", str(file)],
            capture_output=True, text=True, env={**os.environ, "PYTHONPATH": path}, check=False,
        )  # fmt: skip
        assert done.returncode == 78 and said in done.stderr + done.stdout, done.stderr
