"""``edgeagent config`` on real files."""

from __future__ import annotations

import json
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
