"""The processes of the demo: broker, uplink, agent, reader. Leaving the stage ends them all."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any

from edgeagent.demo.folders import Folders
from edgeagent.demo.needs import Kit
from edgeagent.errors import EdgeAgentError, NotFound, Unavailable
from edgeagent.testing.broker import Mosquitto, find_mosquitto, free_port
from edgeagent.testing.proxy import Proxy

PREFIX = "edgeagent"
_BROKER_TIMEOUT_S = 15.0
_STOP_TIMEOUT_S = 8.0
_ASK_AGAIN_S = 0.05


def await_true(condition: Callable[[], bool], timeout_s: float) -> bool:
    """Whether the condition came true within the time."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(_ASK_AGAIN_S)
    return True


_TIED = (
    "import ctypes, os, sys;"
    "ctypes.CDLL(None).prctl(1, 15);"  # PR_SET_PDEATHSIG, SIGTERM
    "os.execv(sys.argv[1], sys.argv[1:])"
)
"""Becomes the command, and is told to end when the demo dies without a chance to clean up."""


class Process:
    """A child with its log; `stop` is polite first and then not."""

    def __init__(
        self,
        name: str,
        command: list[str],
        log: Path,
        *,
        site: Path,
        talks: bool = False,
    ) -> None:
        self.name = name
        self.log = log
        self._log_file: IO[bytes] = log.open("ab")
        # A session of its own: Ctrl-C at the terminal is ours to handle, in order.
        self.child = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _TIED, *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE if talks else self._log_file,
            stderr=self._log_file,
            env=_environment(site),
            start_new_session=True,
        )

    @property
    def running(self) -> bool:
        return self.child.poll() is None

    def kill(self) -> None:
        """SIGKILL, as a power cut or the kernel's memory killer would end it."""
        self.child.kill()
        self.child.wait()

    def stop(self) -> None:
        """Close its standard input, SIGTERM, and SIGKILL if that does not help."""
        if self.running:
            if self.child.stdin is not None:
                self.child.stdin.close()
            self.child.send_signal(signal.SIGTERM)
            try:
                self.child.wait(_STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self.kill()
        for stream in (self.child.stdin, self.child.stdout, self._log_file):
            if stream is not None:
                stream.close()

    def last_words(self) -> str:
        """The end of its log, for an error message."""
        lines = self.log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return " / ".join(lines[-3:]) if lines else "it said nothing"


def _environment(site: Path) -> dict[str, str]:
    """Ours, with the fetched packages on the path of Python."""
    package_root = str(Path(__file__).resolve().parent.parent.parent)
    paths = [os.environ.get("PYTHONPATH", ""), package_root, str(site)]
    environment = dict(os.environ)
    environment["PYTHONPATH"] = os.pathsep.join(path for path in paths if path)
    environment.pop("RUNTIME_DIRECTORY", None)
    environment.pop("STATE_DIRECTORY", None)
    environment.pop("NOTIFY_SOCKET", None)
    return environment


class ReaderProcess(Process):
    """The independent reader; its latest account is at hand."""

    def __init__(self, port: int, folders: Folders, site: Path) -> None:
        script = str(Path(__file__).with_name("reader.py"))
        command = [sys.executable, script, "127.0.0.1", str(port), PREFIX, str(folders.received)]
        super().__init__("reader", command, folders.logs / "reader.log", site=site, talks=True)
        self.account: dict[str, Any] = {}
        self._thread = threading.Thread(target=self._listen, name="demo:reader", daemon=True)
        self._thread.start()

    def _listen(self) -> None:
        assert self.child.stdout is not None
        for line in self.child.stdout:
            self.account = json.loads(line)

    def nap(self) -> None:
        """Away from the broker, until `wake`."""
        self._tell("nap")

    def wake(self) -> None:
        self._tell("wake")

    def _tell(self, word: str) -> None:
        assert self.child.stdin is not None
        self.child.stdin.write(f"{word}\n".encode())
        self.child.stdin.flush()

    @property
    def holes(self) -> int:
        """Numbers of which it knows nothing, as of its last account."""
        return sum(len(epoch["holes"]) for epoch in self.account.get("epochs", []))

    def finish(self) -> dict[str, Any]:
        """End it and return its final account. Raises EdgeAgentError where it has none."""
        assert self.child.stdin is not None
        self.child.stdin.close()
        try:
            self.child.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.kill()
        self._thread.join(_STOP_TIMEOUT_S)
        self.stop()
        if self.child.returncode != 0 or not self.account:
            raise EdgeAgentError(f"the independent reader failed: {self.last_words()}")
        return self.account


class Stage:
    """Broker, uplink and reader of one demo; agents come and go on it."""

    def __init__(self, folders: Folders, kit: Kit) -> None:
        self._folders = folders
        self._kit = kit
        self._exits = ExitStack()
        self.broker = ""
        """Which broker it is, for people."""
        self.installed = True
        """It is mosquitto, not the embedded one."""
        self.protocol = "auto"
        """``mqtt.version`` for it."""
        try:
            port = self._start_broker()
            self._uplink = Proxy(port)
            self._exits.callback(self._uplink.stop)
            self.reader = ReaderProcess(port, folders, kit.site)
            self._exits.callback(self.reader.stop)
        except BaseException:
            self._exits.close()
            raise

    @property
    def models(self) -> Path:
        """Folder of model packages that are not shipped."""
        return self._kit.models

    @property
    def uplink_port(self) -> int:
        """Where the agent finds the way to the broker."""
        return self._uplink.port

    @property
    def cut(self) -> bool:
        """Whether that way is closed."""
        return self._uplink.mode != "pass"

    def cut_uplink(self) -> None:
        """Break the connections and let no new ones through."""
        self._uplink.mode = "refuse"
        self._uplink.cut(reset=True)

    def restore_uplink(self) -> None:
        self._uplink.mode = "pass"

    def kill_broker(self) -> None:
        """SIGKILL: what it kept for others is gone. A new one takes its place."""
        self._broker.kill()
        self._run_broker(self._broker_command, self._broker_port)

    def _start_broker(self) -> int:
        try:
            program = find_mosquitto()
        except NotFound:
            return self._start_embedded()
        broker = Mosquitto(self._folders.logs / "mosquitto")
        self.broker = f"{_version_of(program)} (installed) on port {broker.port}"
        return self._run_broker(broker.command(), broker.port)

    def _start_embedded(self) -> int:
        port = free_port()
        # It knows nothing newer and does not even refuse MQTT 5, it falls silent.
        self.protocol, self.installed = "3.1.1", False
        self.broker = f"embedded broker (amqtt; mosquitto is not installed) on port {port}"
        command = [sys.executable, "-m", "edgeagent.demo.broker", str(port)]
        return self._run_broker(command, port)

    def _run_broker(self, command: list[str], port: int) -> int:
        self._broker_command, self._broker_port = command, port
        broker = self._broker = Process(
            "broker", command, self._folders.logs / "broker.log", site=self._kit.site
        )
        self._exits.callback(broker.stop)
        if not await_true(lambda: _accepts(port) or not broker.running, _BROKER_TIMEOUT_S):
            raise Unavailable(f"the broker did not start: {broker.last_words()}")
        if not broker.running:
            raise Unavailable(f"the broker ended: {broker.last_words()}")
        return port

    def start_agent(self, *settings: str) -> Process:
        """A new agent on the demo's data folder; ``settings`` are ``key=value``."""
        command = [sys.executable, "-m", "edgeagent.agent"]
        command += ["--config", str(self._folders.config), "--data-dir", str(self._folders.data)]
        for setting in settings:
            command += ["--set", setting]
        log = self._folders.logs / "agent.log"
        agent = Process("agent", command, log, site=self._kit.site)
        self._exits.callback(agent.stop)
        return agent

    def close(self) -> None:
        """End everything, the newest first."""
        self._exits.close()

    def __enter__(self) -> Stage:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _accepts(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _version_of(program: str) -> str:
    """``mosquitto 2.0.11``"""
    said = subprocess.run([program, "-h"], capture_output=True, text=True, check=False).stdout
    words = said.split("\n", 1)[0].split()
    return " ".join(["mosquitto", *(word for word in words if word[:1].isdigit())])
