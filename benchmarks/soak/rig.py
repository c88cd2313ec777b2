"""A device and its surroundings as processes: broker, repository, collector, two cameras, agent."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import paho.mqtt.publish

from benchmarks.soak import films
from edgeagent.errors import Unavailable, in_words
from edgeagent.fleet.repository import ceremony
from edgeagent.fleet.repository import publish as publishing
from edgeagent.manifest import Package, load_package
from edgeagent.testing.agent import AgentProcess
from edgeagent.testing.broker import Mosquitto, free_port

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
SYSTEM_PYTHON = os.environ.get("EDGEAGENT_SYSTEM_PYTHON", "/usr/bin/python3")
PATH = os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin"
DEVICE = "soak"
DISK_MIB = 96
"""The data folder's own file system, where one can be mounted."""
BALLAST = "somebody-elses.bin"
"""In the data folder: what fills it up."""
CONFIG = """
[device]
id = "{device}"
[mqtt]
host = "127.0.0.1"
port = {port}
[trust]
root = "{root}"
[storage]
max = "64 MiB"
# So little that it is full within the warm-up: what fills up once is no growth.
decisions = "1 MiB"
[outbox]
max = "8 MiB"
blobs = "4 MiB"
keep_sent = "1 min"
[sync]
confirm = "collector"
[sources.camera]
kind = "mjpeg"
url = "http://127.0.0.1:{camera}/"
[sources.motor]
kind = "synthetic"
scene = "vibration"
healthy_s = 15
failing_s = 15
[sources.stream]
kind = "rtsp"
url = "rtsp://127.0.0.1:{stream}/live"
# One figure after another: there is no view to be learned.
sight = {{ enabled = false }}
[pipelines.belt]
source = "camera"
model = "parts"
record = {{ every = 10 }}
snapshot = true
expect = {{ p95_ms = 1000 }}
[[pipelines.belt.rules]]
when = "label != 'whole'"
do = ["event", "snapshot"]
[pipelines.bearing]
source = "motor"
model = "bearing"
record = {{ every = 20 }}
[pipelines.digits]
source = "stream"
model = "digits"
record = {{ every = 10 }}
[[pipelines.digits.rules]]
when = "score > 0.9"
do = ["event"]
"""


class Wrong(Exception):
    """The device did not do what it has to."""


class Child:
    """A process of the surroundings; it keeps its port when it is started again."""

    def __init__(self, log: Path, command: Callable[[int], list[str]], *, tells: bool = True):
        self._log, self._command, self._tells = log, command, tells
        self.port = free_port()
        self._process: subprocess.Popen[str] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> Child:
        with self._log.open("a") as log:
            self._process = subprocess.Popen(
                self._command(self.port), stdin=subprocess.PIPE, stdout=subprocess.PIPE if
                self._tells else log, stderr=log, text=True,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
            )  # fmt: skip
        if self._tells:
            assert self._process.stdout is not None
            if not self._process.stdout.readline():
                raise RuntimeError(f"{self._command(self.port)} did not start; see {self._log}")
        return self

    def order(self, word: str) -> None:
        """A line on its standard input."""
        assert self._process is not None and self._process.stdin is not None
        self._process.stdin.write(f"{word}\n")
        self._process.stdin.flush()

    def send(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Its exit code."""
        process, self._process = self._process, None
        if process is None:
            return 0
        process.send_signal(signal.SIGCONT)
        process.send_signal(number)
        try:
            return process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            return process.wait()


def missing() -> str:
    """What has to be installed before, as a command; empty = nothing."""
    packages = [] if shutil.which("mosquitto", path=PATH) else ["mosquitto"]
    probe = "import gi; gi.require_version('GstRtspServer', '1.0')"
    if subprocess.run([SYSTEM_PYTHON, "-c", probe], capture_output=True, check=False).returncode:
        packages += ["python3-gi", "gir1.2-gst-rtsp-server-1.0", "gstreamer1.0-plugins-good",
                     "gstreamer1.0-plugins-ugly"]  # fmt: skip
    return f"sudo apt install {' '.join(packages)}" if packages else ""


class Rig:
    """Everything that runs. A context: what was started is ended, in turn."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.database = folder / "fleet.db"
        self._open = ExitStack()
        self._rev = 0

    def __enter__(self) -> Rig:
        try:
            self._build()
        except BaseException:
            self._open.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def _build(self) -> None:
        folder = self.folder
        pictures = sorted((ROOT / "models" / "digits" / "1.0.0" / "golden").glob("*.png"))
        shown = films.belt(folder / "belt"), films.digits(folder / "digits", pictures)
        self.good = load_package(self._patient(folder / "good" / "parts" / "1.0.0"))
        self.home = ceremony.begin(
            folder / "repository", keys=1, threshold=1, models=["parts"]
        ).home
        self.broker = Mosquitto(folder / "broker", persistent=True)
        self._open.enter_context(self.broker)
        self._surround(shown)
        self.small_disk = self._small_disk(folder / "agent" / "data")
        config = CONFIG.format(
            device=DEVICE, port=self.broker.port, root=self.home.first_root,
            camera=self.camera.port, stream=self.stream.port,
        )  # fmt: skip
        self.agent = AgentProcess(
            config, folder / "agent", environment={"EDGEAGENT_CLOCK": "synced"}
        )
        self._open.enter_context(self.agent)

    def _surround(self, shown: tuple[Path, Path]) -> None:
        """What is not the device."""
        cli = [sys.executable, "-m", "edgeagent.cli", "fleet"]
        broker = ["--port", str(self.broker.port)]
        collect = [*cli, "collect", "--db", str(self.database), *broker]
        self.collector = self._child("collector", lambda _: collect, tells=False)
        serve = [*cli, "serve", "--repository", str(self.home.folder), *broker]
        self.repository = self._child("serve", lambda _: serve, tells=False)
        camera = [sys.executable, str(HERE / "camera.py")]
        belt = [str(films.BELT_FPS), str(shown[0])]
        self.camera = self._child("camera", lambda port: [*camera, str(port), *belt])
        stream = [SYSTEM_PYTHON, str(HERE / "stream.py")]
        digits = [str(films.DIGIT_FPS), str(shown[1])]
        self.stream = self._child("stream", lambda port: [*stream, str(port), *digits])

    def _child(
        self, name: str, command: Callable[[int], list[str]], *, tells: bool = True
    ) -> Child:
        child = Child(self.folder / f"{name}.log", command, tells=tells).start()
        self._open.callback(child.stop)
        return child

    def _patient(self, place: Path) -> Path:
        """The shipped model with a budget that a busy machine does not exceed: here it is looked
        at whether things are got over, not how fast they are."""
        shutil.copytree(ROOT / "models" / "parts" / "1.0.0", place)
        with (place / "model.toml").open("a") as manifest:
            manifest.write("\n[budget.default]\np95_ms = 1000\npss_mb = 1000\n")
        return place

    def _small_disk(self, folder: Path) -> bool:
        """Whether the data folder could be given a file system of its own, to fill it up."""
        folder.mkdir(parents=True)
        if os.geteuid() != 0 or shutil.which("mount") is None:
            return False
        mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_MIB}m", "tmpfs", str(folder)]
        if subprocess.run(mount, capture_output=True, check=False).returncode:
            return False
        self._open.callback(subprocess.run, ["umount", str(folder)], check=False)
        return True

    # --- the device ------------------------------------------------------------------------

    def well(self, timeout_s: float) -> float:
        """Wait until it is online without reasons and each pipeline goes on; seconds it took."""
        began = time.monotonic()
        before: dict[str, int] = {}

        def goes(status: dict[str, Any]) -> bool:
            steps = {name: its["steps"] for name, its in status["pipelines"].items()}
            if not before:
                before.update(steps)
                return False
            moved = all(steps[name] > count for name, count in before.items())
            return moved and status["link"]["state"] == "up" and not status["reasons"]

        self.until("it was not well again", goes, timeout_s)
        return time.monotonic() - began

    def until(self, what: str, condition: Callable[[dict[str, Any]], Any], timeout_s: float) -> Any:
        """Ask for its status until the condition holds; its value. Raises Wrong."""
        try:
            return self.agent.until(condition, timeout_s)
        except Unavailable:
            process = self.agent.process
            if process is None or process.poll() is not None:
                said = " ".join(self.agent.log.splitlines()[-3:])
                raise Wrong(f"{what}: the agent has ended: {said}") from None
            raise Wrong(f"{what} after {timeout_s:.0f} s: {self.reasons()}") from None

    def reasons(self) -> str:
        """What it says of itself."""
        try:
            return "; ".join(self.agent.client.status()["reasons"]) or "nothing is wrong"
        except Unavailable as error:
            return in_words(error)

    # --- its operator ----------------------------------------------------------------------

    def publish(self, package: Package) -> list[Path]:
        """Sign it into the repository, as who looks at nothing; the files that are new there."""
        before = set(self.home.targets.rglob("*"))
        publishing.publish(self.home, publishing.plan(self.home, package))
        return sorted(set(self.home.targets.rglob("*")) - before)

    def wish(self, version: str, **policy: Any) -> int:
        """Ask for a version of `parts`; the number of the wish."""
        self._rev += 1
        document = {"rev": self._rev, "models": {"parts": {"version": version, "policy": policy}}}
        paho.mqtt.publish.single(
            f"edgeagent/{DEVICE}/desired", json.dumps(document), qos=1, retain=True,
            hostname="127.0.0.1", port=self.broker.port,
        )  # fmt: skip
        return self._rev

    def forget(self) -> None:
        """The broker is killed, and starts again without any memory."""
        self.broker.kill()
        with suppress(FileNotFoundError):
            (self.broker.folder / "mosquitto.db").unlink()
        self.broker.start()
