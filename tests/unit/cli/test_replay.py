"""``edgeagent replay``: the agent's own decisions on a recording, again and otherwise."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

BELT = """
[sources.belt]
kind = "synthetic"
scene = "belt"
seed = 7
fps = 10
count = 130
[pipelines.parts]
source = "belt"
model = "parts"
record = { events = true, every = 10 }
[pipelines.parts.zones.belt]
polygon = [[0, 0.1], [1, 0.1], [1, 0.9], [0, 0.9]]
[[pipelines.parts.rules]]
when = "label == 'missing' and zone == 'belt'"
do = ["event"]
"""


@pytest.fixture
def belt(tmp_path: Path) -> Path:
    file = tmp_path / "belt.toml"
    file.write_text(BELT)
    return file


def lines(done: Any) -> list[dict[str, Any]]:
    assert done.exit_code == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_two_runs_give_the_same_bytes_here_and_in_another_process(
    invoke: Any, shell: Any, belt: Path
) -> None:
    arguments = ("replay", "--config", belt, "--json")
    first, again, elsewhere = invoke(*arguments), invoke(*arguments), shell(*arguments)
    assert first.stdout == again.stdout == elsewhere.stdout
    records = lines(first)
    assert [its["n"] for its in records] == list(range(1, len(records) + 1))
    events = [its for its in records if its["kind"] == "event"]
    assert {its["data"]["phase"] for its in events} == {"new", "end"}
    assert sum(its["kind"] == "result" for its in records) == 13
    assert [its["t"] for its in records] == sorted(its["t"] for its in records)


def test_it_tells_what_the_agent_tells(invoke: Any, belt: Path, tmp_path: Path) -> None:
    from edgeagent.store.export import jsonl
    from edgeagent.testing.agent import AgentProcess

    text = BELT.replace("count = 130", 'count = 130\npace = "max"')
    agent = AgentProcess(text, tmp_path / "agent", "--until-done").start()
    assert agent.wait() == 0, agent.log
    stored = [json.loads(line) for line in jsonl(agent.data)]
    replayed = lines(invoke("replay", "--config", belt, "--json"))

    def told(record: dict[str, Any]) -> tuple[Any, ...]:
        data = {key: value for key, value in record["data"].items() if key != "id"}
        return record["kind"], record.get("frame"), data

    # The replay takes a picture of each event in addition, which may follow with an update.
    assert [told(its) for its in replayed] == [told(its) for its in stored]


def test_another_model_or_configuration_is_told_apart(invoke: Any, belt: Path) -> None:
    half = "pipelines.parts.zones.belt.polygon=[[0,0.1],[0.4,0.1],[0.4,0.9],[0,0.9]]"
    done = invoke("replay", "--config", belt, "--set", half, "--json")
    found = lines(done)[0]
    assert found["counts"]["changed"] > 0 and found["counts"]["same"] == 0
    assert any("ended" in pair["why"] for pair in found["episodes"])
    same = lines(invoke("replay", "--config", belt, "--model", "parts@1.0.0", "--json"))[0]
    assert same["counts"]["same"] > 0
    assert same["counts"]["changed"] == same["counts"]["gone"] == same["counts"]["new"] == 0


def test_models_of_the_agent_s_own_folder_are_found(invoke: Any, belt: Path) -> None:
    from edgeagent.cli.options import data_folder
    from edgeagent.config.paths import shipped

    parts = next(folder / "parts" / "1.0.0" for folder in shipped("models"))
    own = data_folder(belt, None) / "models" / "mine" / "1.0.0"
    shutil.copytree(parts, own)
    manifest = own / "model.toml"
    manifest.write_text(manifest.read_text().replace('name = "parts"', 'name = "mine"', 1))
    belt.write_text(BELT.replace('model = "parts"', 'model = "mine"'))
    assert lines(invoke("replay", "--config", belt, "--samples", 20, "--json"))


def test_an_expectation_holds_or_fails(invoke: Any, belt: Path, tmp_path: Path) -> None:
    expected = tmp_path / "expected.jsonl"
    expected.write_text(invoke("replay", "--config", belt, "--json").stdout)
    right = invoke("replay", "--config", belt, "--expect", expected)
    assert (right.exit_code, right.stdout) == (0, "As expected.\n")
    wrong = invoke(
        "replay", "--config", belt, "--expect", expected,
        "--set", "pipelines.parts.threshold=0.999",
    )  # fmt: skip
    assert wrong.exit_code == 1
    assert "gone" in wrong.stdout and "missing" in wrong.stdout


def test_a_sheet_shows_the_events(invoke: Any, belt: Path, tmp_path: Path) -> None:
    import cv2

    sheet = tmp_path / "sheet.jpg"
    done = invoke("replay", "--config", belt, "--sheet", sheet)
    assert done.exit_code == 0, done.stderr
    picture = cv2.imread(str(sheet))
    assert picture is not None
    assert picture.shape[1] > 2 * 320  # three events, side by side


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("nothing.mp4",), 3, "nothing.mp4: there is no such file"),
        (("--pipeline", "x"), 3, "there is no pipeline 'x'; the configuration has: parts"),
        (("--model", "partz"), 3, "did you mean 'parts'"),
        (("--expect", "none.jsonl"), 3, "replay … --json > none.jsonl"),
    ],
)
def test_what_can_t_be_replayed(
    invoke: Any, belt: Path, arguments: tuple[str, ...], code: int, said: str
) -> None:
    done = invoke("replay", "--config", belt, *arguments)
    assert done.exit_code == code
    assert said in " ".join(done.stderr.split())


def test_a_camera_is_not_recorded(invoke: Any, tmp_path: Path) -> None:
    file = tmp_path / "camera.toml"
    file.write_text(
        '[sources.cam0]\nkind = "camera"\ndevice = "/dev/v4l/by-id/x"\n'
        '[pipelines.parts]\nsource = "cam0"\nmodel = "parts"\n'
    )
    done = invoke("replay", "--config", file)
    assert done.exit_code == 2
    assert "Name a recording" in done.stderr


def test_files_that_are_no_expectation(invoke: Any, belt: Path, tmp_path: Path) -> None:
    file = tmp_path / "expected.jsonl"
    for content in ("{", "[1]\n", '{"kind": "event"}\n'):
        file.write_text(content)
        done = invoke("replay", "--config", belt, "--expect", file)
        assert done.exit_code == 1
        assert "expected.jsonl" in done.stderr


def test_what_happens_now_is_no_recording(invoke: Any, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "rows")
    for keys in (f'kind = "jsonl"\npath = "{tmp_path}/rows"', 'kind = "audio"\ndevice = "hw:1"'):
        file = tmp_path / "live.toml"
        file.write_text(f'[sources.s]\n{keys}\n[pipelines.p]\nsource = "s"\nmodel = "bearing"\n')
        done = invoke("replay", "--config", file)
        assert done.exit_code == 2 and "is live" in done.stderr, done.output
