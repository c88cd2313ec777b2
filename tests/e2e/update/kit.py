"""A fleet of one: a real broker, a real signed repository and its server, a real agent."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from edgeagent.fleet.repository import ceremony
from edgeagent.fleet.repository import publish as publishing
from edgeagent.prove.lint import lint
from edgeagent.testing.agent import AgentProcess

ROOT = Path(__file__).resolve().parents[3]
DEVICE = "line-1"


def version_of_parts(folder: Path, version: str, **replaced: str) -> Path:
    """A further version of `parts`, with some lines of its model.toml replaced."""
    place = folder / "parts" / version
    shutil.copytree(ROOT / "models" / "parts" / "1.0.0", place)
    file = place / "model.toml"
    text = file.read_text().replace('version = "1.0.0"', f'version = "{version}"')
    for old, new in replaced.items():
        assert old in text
        text = text.replace(old, new)
    # Other tests run beside this one: how long it takes says nothing here.
    file.write_text(f"{text}\n[budget.default]\np95_ms = 1000\npss_mb = 1000\n")
    found = [str(its) for its in lint(place, fix=True) if its.level == "error"]
    assert not found, found
    return place


class Fleet:
    """The operator's side."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder, self.port = folder, port
        self.made = ceremony.begin(
            folder / "fleet", keys=1, threshold=1, passphrase=b"", models=["parts"]
        )
        self.home = self.made.home
        self._server: subprocess.Popen[bytes] | None = None

    def publish(self, package: Path) -> None:
        checked = publishing.check(package, fix=False, golden=True)
        publishing.publish(self.home, publishing.plan(self.home, checked))

    def serve(self) -> None:
        command = [sys.executable, "-m", "edgeagent.cli", "fleet", "serve",
                   "--repository", str(self.home.folder), "--port", str(self.port)]  # fmt: skip
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        log = (self.folder / "serve.log").open("ab")
        self._server = subprocess.Popen(command, stdout=log, stderr=log, env=environment)

    def stop(self) -> None:
        if self._server is not None:
            self._server.send_signal(signal.SIGTERM)
            self._server.wait(10)


def config(port: int, root: Path, more: str = "") -> str:
    """A belt with parts, as the demo has it; pictures of a seeded scene for ever."""
    return f"""
[device]
id = "{DEVICE}"
groups = ["canary"]
[mqtt]
host = "127.0.0.1"
port = {port}
[trust]
root = "{root}"
operators = "{root.parent / "operators"}"
[sources.belt]
kind = "synthetic"
scene = "belt"
seed = 7
fps = 10
[pipelines.parts]
source = "belt"
model = "parts"
record = {{ events = true, every = 10 }}
{more}
"""


def wish(rev: int, version: str = "", config: dict[str, Any] | None = None, **policy: Any) -> bytes:
    """A desired state."""
    document: dict[str, Any] = {"rev": rev, "by": "test"}
    if version:
        document["models"] = {"parts": {"version": version, "policy": {"soak_s": 2, **policy}}}
    if config is not None:
        document |= {"config": config, "confirm_s": 15}
    return json.dumps(document).encode()


def agent(folder: Path, text: str, **environment: str) -> AgentProcess:
    return AgentProcess(text, folder, environment={"EDGEAGENT_CLOCK": "synced", **environment})
