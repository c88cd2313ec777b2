"""``edgeagent config`` on real files."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

GOOD = """
[device]
name = "Door \\"7\\""
[mqtt]
host = "broker.example"
[sources.belt]
kind = "synthetic"
[pipelines.belt]
source = "belt"
model = "parts"
zones.gate.polygon = [[0.3, 0], [0.8, 0], [0.8, 1]]
"""
BAD = """
[mqtt]
prot = 1883
port = "many"
[pipelines.belt]
source = "bel"
model = "parts"
"""


@pytest.fixture
def good(tmp_path: Path) -> Path:
    file = tmp_path / "agent.toml"
    file.write_text(GOOD)
    return file


@pytest.fixture
def bad(tmp_path: Path) -> Path:
    file = tmp_path / "bad.toml"
    file.write_text(BAD)
    return file


def test_a_good_one(invoke: Any, good: Path) -> None:
    done = invoke("config", "check", good)
    assert done.exit_code == 0, done.output
    assert "no faults" in done.stdout
    assert json.loads(invoke("config", "check", good, "--json").stdout)["ok"] is True


def test_all_faults_at_once_with_file_line_and_hint(invoke: Any, bad: Path) -> None:
    done = invoke("config", "check", bad)
    assert done.exit_code == 78
    for said in (f"{bad}:3", f"{bad}:4", "mqtt.prot", "port", "did you mean"):
        assert said in done.stderr
    assert done.stderr.count(f"{bad}:3") == 1, "each fault is told once"
    report = json.loads(invoke("config", "check", bad, "--json").stdout)
    assert report["ok"] is False
    assert {fault["line"] for fault in report["faults"]} >= {3, 4}


def test_what_is_shown_is_itself_a_configuration(invoke: Any, good: Path, tmp_path: Path) -> None:
    shown = invoke("config", "show", good, "--set", "mqtt.port=1884")
    assert shown.exit_code == 0, shown.output
    again = tmp_path / "again.toml"
    again.write_text(shown.stdout)
    assert invoke("config", "check", again).exit_code == 0, shown.stdout
    difference = invoke("config", "diff", good, again, "--json")
    assert [its["key"] for its in json.loads(difference.stdout)] == ["mqtt.port"]
    assert difference.exit_code == 1


def test_origins(invoke: Any, good: Path) -> None:
    done = invoke("config", "show", good, "--origin", "--json", "--set", "mqtt.keepalive=30 s")
    origins = json.loads(done.stdout)
    assert origins["mqtt.host"] == {"value": "broker.example", "origin": f"{good}:5"}
    assert origins["mqtt.keepalive"]["origin"].startswith("--set")
    assert origins["mqtt.port"] == {"value": 1883, "origin": "default"}
    people = invoke("config", "show", good, "--origin")
    assert people.stdout.splitlines()[0].split() == ["KEY", "VALUE", "FROM"]


def test_secrets_are_not_shown(invoke: Any, good: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("open sesame")
    good.write_text(GOOD.replace("[mqtt]", f'[mqtt]\npassword_file = "{tmp_path}/secret"'))
    assert "open sesame" not in invoke("config", "show", good, "--origin").output


def test_the_same_twice_is_no_difference(invoke: Any, good: Path) -> None:
    assert invoke("config", "diff", good, good).exit_code == 0


def test_the_schema_accepts_what_is_good(invoke: Any, good: Path) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    schema = json.loads(invoke("config", "schema").stdout)
    tables = json.loads(invoke("config", "show", good, "--json").stdout)
    given = {key: tables[key] for key in ("device", "pipelines")}
    jsonschema.validate(given, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"mqtt": {"prot": 1}}, schema)


def test_what_is_no_fault_is_told_and_exits_0(invoke: Any, good: Path) -> None:
    second = '[pipelines.second]\nsource = "belt"\nmodel = "prats"\n'
    good.write_text(GOOD + second)
    done = invoke("config", "check", good)
    assert done.exit_code == 0, done.output
    assert "can not be used on this device" in " ".join(done.stdout.split())
    report = json.loads(invoke("config", "check", good, "--json").stdout)
    assert [its.split(": ")[1] for its in report["warnings"]] == ["pipelines.second.model"]


def test_a_label_that_the_model_lacks(invoke: Any, good: Path) -> None:
    good.write_text(GOOD + "[[pipelines.belt.rules]]\nwhen = \"label == 'crakced'\"\n")
    done = invoke("config", "check", good)
    assert done.exit_code == 78
    assert 'expected a label of parts, found "crakced"; did you mean "cracked"?' in done.stderr


def test_models_are_those_of_the_folders_that_the_file_names(
    invoke: Any, tmp_path: Path, repository: Path
) -> None:
    """Labels are known of a model that lies beside the configuration only."""
    parts = tmp_path / "own" / "mine" / "1.0.0"
    shutil.copytree(repository / "models" / "parts" / "1.0.0", parts)
    manifest = parts / "model.toml"
    manifest.write_text(manifest.read_text().replace('name = "parts"', 'name = "mine"', 1))
    file = tmp_path / "agent.toml"
    rule = "[[pipelines.belt.rules]]\nwhen = \"label == 'cracked'\"\n"
    file.write_text(GOOD.replace('"parts"', '"mine"') + rule + '[models]\npath = ["own"]')
    assert json.loads(invoke("config", "check", file, "--json").stdout)["warnings"] == []
    file.write_text(file.read_text().replace("'cracked'", "'crack'"))
    assert "a label of mine" in invoke("config", "check", file).stderr
    file.write_text(file.read_text().replace('"own"', '"none"'))
    told = json.loads(invoke("config", "check", file, "--json").stdout)["warnings"]
    assert len(told) == 1 and 'the model "mine" can not be used' in told[0]
    # The doctor looks into the same folders.
    file.write_text(file.read_text().replace('"none"', '"own"').replace("'crack'", "'cracked'"))
    report = json.loads(invoke("doctor", "-c", file, "-d", tmp_path / "d", "--json").stdout)
    about = [its["what"] for its in report["findings"] if its["check"] == "models"]
    assert any("mine" in what and "no model" not in what for what in about), about


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read(invoke: Any, good: Path) -> None:
    good.chmod(0)
    done = invoke("config", "check", good)
    assert done.exit_code == 78
    assert str(good) in done.stderr


def test_no_path_is_judged_by_the_parser(
    invoke: Any, good: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would say 2 where the contract says 78."""
    monkeypatch.setattr(os, "access", lambda *_, **__: False)
    for arguments in (
        ("check", good), ("show", good), ("diff", good, good), ("check", "-c", good, "-d", "/"),
    ):  # fmt: skip
        done = invoke("config", *arguments)
        assert done.exit_code == 0, done.stderr


def test_the_doctor_does_not_say_that_no_broker_is_configured(
    invoke: Any, bad: Path, tmp_path: Path
) -> None:
    report = json.loads(invoke("doctor", "-c", bad, "-d", tmp_path / "d", "--json").stdout)
    (about,) = [its["what"] for its in report["findings"] if its["check"] == "broker"]
    assert "could not be read" in about
