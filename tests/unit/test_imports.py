"""What is loaded by whom: a device pays for every module in memory and in seconds."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

HEAVY = ("cv2", "numpy", "ai_edge_litert", "tflite_runtime", "onnxruntime", "paho", "rich", "typer",
         "tuf", "msgspec", "sqlite3")  # fmt: skip


def loaded_by(statement: str, parts: int = 1) -> set[str]:
    """Modules after a statement in a fresh interpreter, by the first ``parts`` of their names."""
    names = f"sorted('.'.join(m.split('.')[:{parts}]) for m in sys.modules)"
    tell = f"import json, sys\nprint(json.dumps({names}))"
    code = f"{statement}\n{tell}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_the_package_itself_loads_nothing() -> None:
    assert not loaded_by("import edgeagent") & set(HEAVY)


def test_the_daemon_loads_neither_the_command_line_nor_what_pipelines_need() -> None:
    loaded = loaded_by(
        "from edgeagent.agent import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit: pass\n"
        "import edgeagent.agent.running, edgeagent.agent.commands, edgeagent.agent.sync"
    )
    assert "paho" in loaded
    assert not loaded & {"typer", "rich", "numpy", "cv2", "ai_edge_litert", "onnxruntime", "tuf"}


@pytest.mark.parametrize("module", ["agent.build", "agent.stages"])
def test_what_builds_pipelines_loads_no_runtime(module: str) -> None:
    loaded = loaded_by(f"import edgeagent.{module}")
    assert not loaded & {"typer", "rich", "cv2", "ai_edge_litert", "onnxruntime", "paho"}


def test_what_only_some_agents_use_is_loaded_by_those() -> None:
    """Who has neither a hot board, nor a model twice, nor a delegate pays for none of them."""
    loaded = loaded_by(
        "import edgeagent.agent.running, edgeagent.agent.build, edgeagent.agent.stages", parts=3
    )
    assert "edgeagent.agent.stages" in loaded
    seldom = {"agent.governing", "agent.lighter", "agent.delegates", "device.governor",
              "device.strain", "update.delegated", "update.cooloff", "infer.sharing"}  # fmt: skip
    assert not loaded & {f"edgeagent.{name}" for name in seldom}
