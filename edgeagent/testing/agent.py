"""The daemon as a child process: for tests, benchmarks and people who write plugins."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from edgeagent.errors import Unavailable
from edgeagent.serve.client import ControlClient, socket_path

_STOP_S = 10.0
_LOOK_AGAIN_S = 0.02


class AgentProcess:
    """`edgeagentd` on a configuration and a data folder; its log goes to a file.

    Args:
        config: path of agent.toml, or its text (written into ``folder``).
        folder: of the test; the data folder is ``folder/data``.
        flags: further arguments, e.g. ``--until-done`` or ``--set mqtt.port=1884``.
        environment: added to ours; systemd's variables are taken out.
        python: how Python is started; a test can put a hook in front.
    """

    def __init__(
        self,
        config: Path | str,
        folder: Path,
        *flags: str,
        environment: Mapping[str, str] | None = None,
        python: Sequence[str] = (sys.executable, "-m", "edgeagent.agent"),
    ) -> None:
        self.folder = folder
        self.data = folder / "data"
        folder.mkdir(parents=True, exist_ok=True)
        if isinstance(config, str):
            file = folder / "agent.toml"
            file.write_text(config, encoding="utf-8")
            config = file
        self.config = config
        self.client = ControlClient(socket_path(self.data))
        self._command = [
            *python, "--config", str(config), "--data-dir", str(self.data), *flags,
        ]  # fmt: skip
        self._environment = {**_clean_environment(), **(environment or {})}
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> str:
        """What it has said so far."""
        path = self.folder / "agent.log"
        return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""

    @property
    def pid(self) -> int:
        if self.process is None:
            raise Unavailable("the agent was not started")
        return self.process.pid

    def start(self) -> AgentProcess:
        """Start it; it may be started again after it has ended."""
        with (self.folder / "agent.log").open("ab") as log:
            self.process = subprocess.Popen(
                self._command, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env=self._environment,
            )  # fmt: skip
        return self

    def wait(self, timeout_s: float = 60.0) -> int:
        """Its exit code, once it ends by itself."""
        assert self.process is not None
        try:
            return self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise Unavailable(f"the agent did not end; it said: {self.log[-2000:]}") from None

    def until(self, condition: Callable[[dict[str, Any]], Any], timeout_s: float = 30.0) -> Any:
        """Ask for its status until ``condition`` holds; the condition's value.

        Raises Unavailable with the last status and the log when time is up.
        """
        deadline = time.monotonic() + timeout_s
        status: dict[str, Any] = {}
        while time.monotonic() < deadline:
            try:
                status = self.client.status()
                value = condition(status)
            except (Unavailable, KeyError):
                value = None
            if value:
                return value
            if self.process is not None and self.process.poll() is not None:
                break
            time.sleep(_LOOK_AGAIN_S)
        raise Unavailable(f"it did not come true; status: {status}; log: {self.log[-3000:]}")

    def kill(self) -> None:
        """SIGKILL."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop(self) -> float:
        """SIGTERM; how many seconds it took to end."""
        assert self.process is not None
        began = time.monotonic()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                self.kill()
        return time.monotonic() - began

    def __enter__(self) -> AgentProcess:
        return self.start()

    def __exit__(self, *_: object) -> None:
        if self.process is not None:
            self.stop()


def _clean_environment() -> dict[str, str]:
    """Ours without what a service manager sets, and with this package in reach."""
    kept = {
        key: value
        for key, value in os.environ.items()
        if key not in ("NOTIFY_SOCKET", "WATCHDOG_USEC", "RUNTIME_DIRECTORY", "STATE_DIRECTORY")
    }
    root = str(Path(__file__).resolve().parents[2])
    kept["PYTHONPATH"] = os.pathsep.join(p for p in (root, kept.get("PYTHONPATH", "")) if p)
    return kept
