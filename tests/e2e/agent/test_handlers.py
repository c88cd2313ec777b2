"""Packages with code of their own in a real agent: signed, proven, run, and kept from harm."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from edgeagent.fleet.keys import PrivateKey
from edgeagent.fleet.repository import ceremony
from edgeagent.fleet.repository import publish as publishing
from edgeagent.packaged import permit
from edgeagent.testing.agent import AgentProcess

CONFIG = """
[models]
path = ["{models}"]
[plugins]
packaged = {packaged}
timeout = "300 ms"
[trust]
operators = "{keys}"
root = "{keys}/none"
[sources.belt]
kind = "synthetic"
scene = "belt"
seed = 7
fps = 20
[pipelines.plain]
source = "belt"
model = "parts"
record = {{ events = true }}
[pipelines.own]
source = "belt"
model = "own"
record = {{ events = true }}
[[pipelines.own.rules]]
when = "label in ['whole', 'cracked', 'missing'] and plugin('handler') > 0.2"
"""


def edgeagent(*arguments: object) -> Any:
    from edgeagent.cli.app import app

    try:
        return CliRunner().invoke(app, [str(its) for its in arguments])
    finally:
        permit.use(permit.nobody)


@pytest.fixture
def kit(repository: Path, tmp_path: Path) -> Path:
    """A package made as examples/handler says, an operator's key, a configuration."""
    package = tmp_path / "made" / "own" / "1.0.0"
    shutil.copytree(repository / "models" / "parts" / "1.0.0", package)
    text = (package / "model.toml").read_text().split("[provenance]")[0]
    lines = [its for its in text.splitlines() if not its.startswith(("layout", "boxes", "units"))]
    text = "\n".join(lines).replace('"parts"', '"own"').replace('"yolo"', '"handler"')
    (package / "model.toml").write_text(f"{text}\n")
    shutil.copy(repository / "examples" / "handler" / "handler.py", package)
    (tmp_path / "keys").mkdir()
    PrivateKey.new().save(tmp_path / "keys" / "alice.pem")
    PrivateKey.new().save(tmp_path / "others" / "mallory.pem")
    configure(tmp_path, "true")
    return package


def configure(tmp_path: Path, packaged: str) -> Path:
    config = tmp_path / "agent.toml"
    config.write_text(
        CONFIG.format(models=tmp_path / "models", keys=tmp_path / "keys", packaged=packaged)
    )
    return config


def test_from_its_author_to_a_running_pipeline(kit: Path, tmp_path: Path) -> None:
    config, data = tmp_path / "agent.toml", tmp_path / "agent" / "data"

    def done(*arguments: object, code: int = 0, says: str = "") -> str:
        found = edgeagent(*arguments)
        assert found.exit_code == code, found.stderr + found.stdout
        assert says in " ".join((found.stdout + found.stderr).split()), found.stderr
        return found.stdout

    here = ("--config", config, "--data-dir", data)
    done("models", "golden", kit, *here, code=77, says="signed by nobody")
    done("models", "golden", kit, "--unsigned", "--samples", kit / "golden", *here)
    done("models", "lint", kit, "--fix")
    done("models", "install", kit, *here, code=1, says="signed by nobody")
    done("models", "sign", kit, "--key", tmp_path / "others" / "mallory.pem")
    done("models", "verify", kit, *here, code=77, says="no operator whom this device knows")
    done("models", "sign", kit, "--key", tmp_path / "keys" / "alice.pem")
    done("models", "verify", kit, *here, says="operator alice")
    done("models", "pack", kit, "--out", tmp_path / "own.tar.gz")
    configure(tmp_path, "false")
    done("models", "install", tmp_path / "own.tar.gz", *here, code=1, says="packaged = true")
    configure(tmp_path, "true")
    told = done("models", "install", tmp_path / "own.tar.gz", "--activate", "--json", *here)
    assert json.loads(told)["state"] == "committed"

    with AgentProcess(config, tmp_path / "agent") as agent:
        status = agent.until(lambda its: _stepped(its, "own", 20) and its)
        own = status["pipelines"]["own"]
        assert own["state"] == "ok"
        assert "handler.py in a process of its own" in own["receipt"]
        assert "operator alice" in own["receipt"]
        assert own["handler"]["calls"] >= 20 and own["handler"]["deaths"] == 0
        assert own["records"] > 0

    installed = data / "models" / "own" / "1.0.0" / "handler.py"
    installed.chmod(0o644)
    text = installed.read_text()
    installed.unlink()  # the stock has a second name of it
    installed.write_text(text + "\n# changed\n")
    with AgentProcess(config, tmp_path / "agent") as agent:
        status = agent.until(lambda its: its["pipelines"]["own"]["state"] == "down" and its)
        assert "was changed" in status["pipelines"]["own"]["reason"]
        agent.until(lambda its: _stepped(its, "plain", 5))


@pytest.mark.usefixtures("in_full")
@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("import ctypes\n        ctypes.string_at(0)", "SIGSEGV"),
        pytest.param("while True: pass", "no answer within 0.3 s"),
        pytest.param("return [Detection('whole', float('nan'), (0, 0, 1, 1))]", "score is nan"),
    ],
)
def test_what_it_does_wrong_is_told_and_others_run_on(
    kit: Path, tmp_path: Path, body: str, says: str
) -> None:
    (kit / "handler.py").write_text(
        "from edgeagent.handler import *\ncount = 0\ndef decode(outputs, about):\n"
        f"    global count\n    count += 1\n    if count > 5:\n        {body}\n    return []\n"
        "def rule(seen, about):\n    return 1.0\n"
    )
    found = edgeagent("models", "sign", kit, "--key", tmp_path / "keys" / "alice.pem")
    assert found.exit_code == 0, found.stderr
    shutil.move(kit.parents[1], tmp_path / "models")
    with AgentProcess(tmp_path / "agent.toml", tmp_path / "agent") as agent:
        status = agent.until(lambda its: _says(its, says) and its, 90)
        assert status["pipelines"]["own"]["state"] == "degraded"
        assert "rollback own" in status["pipelines"]["own"]["reason"]
        before = status["pipelines"]["plain"]["steps"]
        status = agent.until(
            lambda its: its["pipelines"]["plain"]["steps"] > before + 40 and its, 90
        )
        plain = status["pipelines"]["plain"]
        assert plain["state"] == "ok" and plain["failed"] == 0


def _stepped(status: dict[str, Any], pipeline: str, steps: int) -> bool:
    return bool(status["pipelines"][pipeline].get("steps", 0) >= steps)


def _says(status: dict[str, Any], says: str) -> bool:
    return says in status["pipelines"]["own"].get("reason", "")


@pytest.mark.usefixtures("in_full")
def test_what_the_fleet_publishes_is_signed_already(kit: Path, tmp_path: Path) -> None:
    made = ceremony.begin(tmp_path / "fleet", keys=1, threshold=1, passphrase=b"", models=["own"])
    found = edgeagent("models", "golden", kit, "--unsigned", "--samples", kit / "golden")
    assert found.exit_code == 0, found.stderr
    try:
        checked = publishing.check(kit, fix=True)
    finally:
        permit.use(permit.nobody)
    publishing.publish(made.home, publishing.plan(made.home, checked))
    config = tmp_path / "agent.toml"
    root = tmp_path / "fleet" / "root.json"
    config.write_text(config.read_text().replace(f"{tmp_path / 'keys'}/none", str(root)))
    here = ("--config", config, "--data-dir", tmp_path / "agent" / "data")
    public = tmp_path / "fleet" / "public"
    found = edgeagent("models", "install", public, "own@1.0.0", "--activate", *here)
    assert found.exit_code == 0, found.stderr
    found = edgeagent("models", "verify", "own", *here)
    assert "by the fleet's repository" in " ".join(found.stdout.split()), found.stderr
