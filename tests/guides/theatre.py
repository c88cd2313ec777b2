"""A home in which commands of a guide are typed: the real command line, agents and brokers."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from guide import Typed

from edgeagent.testing.agent import AgentProcess
from edgeagent.testing.broker import Mosquitto

ROOT = Path(__file__).resolve().parents[2]
_SHIMS = {
    "edgeagent": f'exec {sys.executable} -m edgeagent.cli "$@"',
    "edgeagentd": f'exec {sys.executable} -m edgeagent.agent "$@"',
    "sudo": 'exec "$@"',
    "systemctl": ":",
}
PATIENCE_S = 150.0
"""Much of it is used only where the machine does other things as well."""


class Stage:
    """A folder that is home, working folder and the agent's place (``agent.toml``, ``data``).

    ``EDGEAGENT_CONFIG`` and ``EDGEAGENT_DATA_DIR`` stand for the service's files, and
    ``EDGEAGENT_FLEET_PORT`` for the broker's port 1883. `sudo` runs what follows it; `systemctl`
    does nothing, since there is no service in a test.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ends = ExitStack()
        self.port = 0
        """Stands for 1883 in what is typed."""
        tools = folder / ".bin"
        tools.mkdir(parents=True)
        for name, line in _SHIMS.items():
            (tools / name).write_text(f"#!/bin/sh\n{line}\n")
            (tools / name).chmod(0o755)
        for name in ("models", "examples", "docs", "tests"):
            (folder / name).symlink_to(ROOT / name)
        self.environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith("EDGEAGENT_")},
            "PATH": f"{tools}:{os.environ['PATH']}",
            "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
            "HOME": str(folder), "COLUMNS": "100", "NO_COLOR": "1", "EDGEAGENT_CLOCK": "synced",
            "EDGEAGENT_CONFIG": str(folder / "agent.toml"),
            "EDGEAGENT_DATA_DIR": str(folder / "data"),
            "TZ": "UTC", "LC_ALL": "C.UTF-8",
        }  # fmt: skip

    def broker(self, **options: Any) -> Mosquitto:
        """A broker that the command line, mosquitto's tools and agents reach without being told."""
        broker = self.ends.enter_context(Mosquitto(self.folder / ".broker", **options))
        assert isinstance(broker, Mosquitto)
        self.environment["EDGEAGENT_FLEET_PORT"] = str(broker.port)
        settings = self.folder / ".config"
        settings.mkdir(exist_ok=True)
        for tool in ("mosquitto_sub", "mosquitto_pub"):
            (settings / tool).write_text(f"-p {broker.port}\n")
        self.port = broker.port
        return broker

    def agent(self, config: str, **started: Any) -> AgentProcess:
        """A running agent with this configuration; it knows the broker where there is one."""
        port = self.port or 9
        text = re.sub(r"^port = 1883\b", f"port = {port}", config, flags=re.MULTILINE)
        return self.ends.enter_context(
            AgentProcess(
                text, self.folder, environment={"EDGEAGENT_CLOCK": "synced"}, **started
            )
        )  # fmt: skip

    def background(self, command: str) -> subprocess.Popen[bytes]:
        """Something that runs until the end of the session."""
        log = self.ends.enter_context((self.folder / ".background.log").open("ab"))
        process = subprocess.Popen(
            ["bash", "-c", f"exec {command}"], cwd=self.folder, env=self.environment,
            stdin=subprocess.DEVNULL, stdout=log, stderr=log,
        )  # fmt: skip
        self.ends.callback(_end, process)
        return process

    def type(self, typed: Typed) -> tuple[int, str]:
        """Its exit code and what it said, as it would stand on a terminal."""
        if self.port:
            typed = typed._replace(command=re.sub(r"\b1883\b", str(self.port), typed.command))
        if typed.command.endswith(" &"):
            self.background(typed.command[:-2])
            if found := re.search(r"fleet simulate (\d+)", typed.command):
                eventually(lambda: self.online('state == "online"') == int(found[1]))
            return 0, ""
        done = subprocess.run(
            ["bash", "-c", typed.command], cwd=self.folder, env=self.environment, text=True,
            timeout=120, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, check=False,
        )  # fmt: skip
        return done.returncode, done.stdout

    def set_up(self, command: str) -> None:
        """Type something that belongs to the scene."""
        code, said = self.type(Typed(0, command))
        assert code == 0, said

    def online(self, where: str) -> int:
        """How many devices that the broker knows are like this."""
        done = subprocess.run(
            ["edgeagent", "fleet", "ls", "--where", where, "--json"],
            env=self.environment, capture_output=True, text=True, timeout=60, check=True,
        )  # fmt: skip
        return len(json.loads(done.stdout)["devices"])

    def __enter__(self) -> Stage:
        return self

    def __exit__(self, *_: object) -> None:
        self.ends.close()


def eventually(condition: Callable[[], Any], within_s: float = PATIENCE_S) -> Any:
    """Wait for what another process brings about."""
    ends = time.monotonic() + within_s
    while not (found := condition()):
        assert time.monotonic() < ends, "it did not come true"
        time.sleep(0.05)
    return found


def _end(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
