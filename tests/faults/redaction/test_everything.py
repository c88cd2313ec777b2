"""Everything that an agent keeps, sends and shows to anybody, searched for what must be hidden.

A camera that is decoded in a child process, with every way out switched on: evidence and clips,
the pool, batches, blobs, pictures retained, answers of commands, the live page, replay sheets,
bundles, logs, shared memory, and core dumps of the agent and of the child. With redaction there is
nothing; without it, it is in each of them that holds pictures at all.
"""

from __future__ import annotations

import http.server
import json
import os
import re
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path

import film
import pytest
import scan

from edgeagent import clock
from edgeagent.testing.agent import AgentProcess
from edgeagent.testing.broker import Mosquitto
from edgeagent.testing.device import Listener
from edgeagent.testing.ssd import ssd

pytestmark = [
    pytest.mark.assets, pytest.mark.broker, pytest.mark.usefixtures("in_full"),
    pytest.mark.timeout(600),
]  # fmt: skip

CONFIG = """
[device]
id = "door-7"
[mqtt]
host = "127.0.0.1"
port = {port}
[models]
path = ["{models}"]
[commands]
allow = ["ping", "capture", "support-bundle", "privacy-report"]
[trust]
require_signature = "never"
[privacy]
core_dumps = {dumps}
tell_looks = true
[serve]
listen = "unix:{folder}/http"
[sources.cam]
kind = "mjpeg"
url = "http://127.0.0.1:{camera}/"
[pipelines.door]
source = "cam"
model = "people"
record = {{ every = 2 }}
snapshot = true
image = true
clip = {{ before = "1500 ms", after = "1 s", fps = 10 }}
[pipelines.door.pool]
reasons = ["uncertain", "random"]
pause = "1 s"
random = "2 s"
[[pipelines.door.rules]]
when = "label == 'person' and score > 0.5"
do = ["event", "snapshot", "clip"]
"""
REDACT = '[pipelines.door.redact]\nlabels = ["person"]\nmethod = "pixelate"\n'
WITH_PICTURES = {
    "data folder", "pool", "mqtt blob", "mqtt image", "mqtt answer", "page", "page's evidence",
    "capture at the shell", "replay sheet", "core of the agent", "core of the child",
}  # fmt: skip
WITHOUT = {"bundle", "log", "/dev/shm", "status", "report", "mqtt records"}


@contextmanager
def camera(frames: list[bytes]) -> Iterator[int]:
    """A network camera that shows the film again and again; its port."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=f")
            self.end_headers()
            due, number = time.monotonic(), 0
            while not ended.wait(max(0.0, due - time.monotonic())):
                its = frames[number % len(frames)]
                head = f"--f\r\nContent-Type: image/jpeg\r\nContent-Length: {len(its)}\r\n\r\n"
                try:
                    self.wfile.write(head.encode() + its + b"\r\n")
                except OSError:
                    return
                number, due = number + 1, due + 1 / film.FPS

        def log_message(self, *_: object) -> None:
            pass

    ended = threading.Event()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.server_address[1]
    finally:
        ended.set()
        server.shutdown()
        server.server_close()


class Device:
    """One agent with every way out, and what came out by each."""

    def __init__(self, folder: Path, assets: Path, *, hides: bool) -> None:
        self.folder = folder
        self.hides = hides
        self.out: dict[str, list[bytes]] = {}
        self._models = folder / "models"
        ssd(self._models, assets, "people")
        self.film = film.make(folder, assets)
        data = self.film.read_bytes()
        starts = [match.start() for match in re.finditer(b"\xff\xd8\xff", data)]
        ends = [*starts[1:], len(data)]
        self.frames = [
            data[start : data.rfind(b"\xff\xd9", start, end) + 2]
            for start, end in zip(starts, ends, strict=True)
        ]

    def keep(self, where: str, *pieces: bytes) -> None:
        self.out.setdefault(where, []).extend(pieces)

    def watch(self) -> None:
        with Mosquitto(self.folder / "broker") as broker, camera(self.frames) as port:
            desk = Listener(broker.port, "#")
            text = CONFIG.format(
                port=broker.port, models=self._models, camera=port, folder=self.folder,
                dumps="false" if self.hides else "true",
            ) + (REDACT if self.hides else "")  # fmt: skip
            python = ("/usr/bin/env", "-C", str(self.folder), sys.executable, "-m",
                      "edgeagent.agent")  # fmt: skip
            with AgentProcess(text, self.folder, python=python) as agent:
                self._ask(agent, desk)
                self._shared(agent)
                self._crash(agent)
            desk.close()
        self._sort(desk)
        self._files(agent)

    # --- ways out ----------------------------------------------------------------------------

    def _ask(self, agent: AgentProcess, desk: Listener) -> None:
        agent.until(lambda its: its["pipelines"]["door"]["steps"] > 50, 240)
        desk.until(lambda: any(b"RIFF" in payload for topic, payload, _ in desk.got
                               if "/blob/" in topic), 120)  # fmt: skip
        at = clock.rfc3339(clock.wall_ns())
        for kind, more in (("capture", {"source": "cam", "seconds": 2.5}), ("support-bundle", {})):
            topic = f"edgeagent/door-7/cmd/{kind}/{kind}1"
            order = {"status": "init", "by": "desk", "at": at, **more}
            desk.publish(topic, json.dumps(order).encode(), retain=True)
            desk.until(lambda topic=topic: any(b'"result"' in its for its in desk.on(topic)))
        answer = agent.client
        answer.timeout_s = 30
        self.keep("capture at the shell", json.dumps(
            answer.result("capture", source="cam", seconds=2.5)).encode())  # fmt: skip
        self.keep("status", json.dumps(answer.status()).encode())
        self.keep("report", json.dumps(answer.result("privacy-report")).encode())
        until = time.monotonic() + 20
        while len(self.out.get("page", ())) < 4 and time.monotonic() < until:
            view = json.loads(self._fetched("/api/views/door"))
            if view["picture"]:
                self.keep("page", view["picture"].encode())
        heads = {file.name: file.read_bytes()[:4] for file in (agent.data / "blobs").iterdir()}
        shown = [name for name, head in heads.items() if head in (b"RIFF", b"\xff\xd8\xff\xe0")]
        for name in shown[:6]:
            self.keep("page's evidence", self._fetched(f"/api/evidence/{name}"))
        bundle, sheet = self.folder / "bundle.tar.gz", self.folder / "sheet.jpg"
        place = ["--config", str(agent.config), "--data-dir", str(agent.data)]
        self._shell("support-bundle", str(bundle), *place)
        self._shell("replay", str(self.film), "--sheet", str(sheet), *place)
        self.keep("bundle", bundle.read_bytes())
        self.keep("replay sheet", sheet.read_bytes())

    def _shell(self, *arguments: str) -> None:
        command = [sys.executable, "-m", "edgeagent.cli", *arguments]
        done = subprocess.run(command, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr

    def _fetched(self, path: str) -> bytes:
        connection = HTTPConnection("localhost")
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.connect(str(self.folder / "http"))
        connection.request("GET", path)
        answer = connection.getresponse()
        data = answer.read()
        assert answer.status == 200, data
        return data

    def _shared(self, agent: AgentProcess) -> None:
        """What others may open: names in /dev/shm. (The rings have none.)"""
        for file in Path("/dev/shm").rglob("*"):
            if file.is_file() and "edgeagent" in file.name:
                self.keep("/dev/shm", file.read_bytes())
        self.out.setdefault("/dev/shm", [])

    def _crash(self, agent: AgentProcess) -> None:
        """The child, then the agent, with the limit as high as it can be raised from outside."""
        for who, pid in (("child", _children(agent.pid)[0]), ("agent", agent.pid)):
            _, hard = resource.prlimit(pid, resource.RLIMIT_CORE)
            resource.prlimit(pid, resource.RLIMIT_CORE, (hard, hard))
            os.kill(pid, signal.SIGSEGV)
            if who == "agent":
                agent.wait()
            else:
                agent.until(lambda its: its["crashes"]["kept"])
            cores = list(self.folder.glob("core*"))
            self.keep(f"core of the {who}", *(file.read_bytes() for file in cores))
            for file in cores:
                file.unlink()

    def _sort(self, desk: Listener) -> None:
        for topic, payload, _ in desk.got:
            parts = topic.split("/")
            kind = {"cmd": "answer"}.get(parts[2], parts[2]) if len(parts) > 2 else "other"
            if kind != "blob":
                self.keep(f"mqtt {kind}", payload)
        self.keep("mqtt blob", *scan.blobs(desk.got).values())

    def _files(self, agent: AgentProcess) -> None:
        for file in sorted(agent.data.rglob("*")):
            if file.is_file():
                where = "pool" if "pool" in file.parts else "data folder"
                self.keep(where, file.read_bytes())
        self.keep("log", agent.log.encode())


def _children(pid: int) -> list[int]:
    """Decoders of an agent."""
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        found += [int(its) for its in (task / "children").read_text().split()]
    return [its for its in found
            if b"capture.child" in Path(f"/proc/{its}/cmdline").read_bytes()]  # fmt: skip


def searched(device: Device) -> dict[str, scan.Found]:
    """What was found in each way out."""
    found: dict[str, scan.Found] = {}
    for where, pieces in device.out.items():
        its = found[where] = scan.Found()
        for number, data in enumerate(pieces):
            look = its.memory if where.startswith("core") else its.look
            look(data, f"{where} {number}")
    return found


def test_without_redaction_it_is_in_all_that_holds_pictures(tmp_path: Path, assets: Path) -> None:
    if Path("/proc/sys/kernel/core_pattern").read_text().startswith(("|", "/")):
        pytest.skip("core dumps of this machine go elsewhere")
    device = Device(tmp_path, assets, hides=False)
    device.watch()
    found = searched(device)
    print({where: (its.looked, its.pictures, len(its.at)) for where, its in found.items()})
    assert {where for where, its in found.items() if its.at} >= WITH_PICTURES
    cores = found["core of the child"].at + found["core of the agent"].at
    assert any("plane of" in its or "raw" in its for its in cores), "frames, not only JPEGs"
    assert {where for where, its in found.items() if its.pictures} & WITHOUT == set()


def test_with_it_there_is_nothing_in_anything(tmp_path: Path, assets: Path) -> None:
    device = Device(tmp_path, assets, hides=True)
    device.watch()
    found = searched(device)
    print({where: (its.looked, its.pictures, len(its.at)) for where, its in found.items()})
    assert {where: its.at for where, its in found.items() if its.at} == {}
    # Pictures were there to be searched; of core dumps there is none at all.
    for where in WITH_PICTURES - {"core of the agent", "core of the child"}:
        assert found[where].pictures, where
    assert device.out["core of the agent"] == device.out["core of the child"] == []
    assert set(found) >= WITH_PICTURES | WITHOUT
