"""The container image, built and run: unprivileged, on a read-only root, as its first process.

    sudo make container

The image is built by buildah. Where no registry can be reached, its base is made of Debian's
packages (``--base local``), which is what the public image is made of. It is run as its own
description says (user, command, health check, stop signal), by nspawn, because rootless engines
need control groups of version 2; prints what came of it, and ends with 1 at the first thing that is
not as it has to be.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import zlib
from pathlib import Path
from typing import Any

import machine
from edgeagent.testing.broker import Mosquitto
from edgeagent.testing.device import Listener
from machine import Failed, until
from reporting import tell

ROOT = Path(__file__).resolve().parents[2]
DEVICE = "container-1"
STATE, CONFIG = "/var/lib/edgeagent", "/etc/edgeagent/conf.d"
BELT = """
[device]
id = "{device}"
[mqtt]
host = "127.0.0.1"
port = {port}
[sources.belt]
kind = "synthetic"
fps = 10
[pipelines.parts]
source = "belt"
model = "parts"
[[pipelines.parts.rules]]
when = "label == 'cracked' or label == 'missing'"
"""


class Image:
    """An image in a store of its own."""

    def __init__(self, work: Path, release: str) -> None:
        self.work, self.release = work, release
        self.name = "localhost/edgeagent"
        self.root = Path()
        self.told: dict[str, Any] = {}

    def buildah(self, *words: str) -> str:
        """What it prints. Raises Failed."""
        store = ["--root", str(self.work / "store"), "--runroot", str(self.work / "run"),
                 "--storage-driver", "vfs"]  # fmt: skip
        done = subprocess.run(
            ["buildah", *store, *words], capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise Failed(f"buildah {' '.join(words)}: {(done.stdout + done.stderr)[-3000:]}")
        return done.stdout.strip()

    def base(self, archive: Path) -> str:
        """An image of a root folder's archive; its name."""
        name = f"localhost/debian:{self.release}-slim"
        made = self.buildah("from", "scratch")
        self.buildah("add", "-q", made, str(archive), "/")
        self.buildah("config", "--env", f"PATH={machine.INSIDE['PATH']}", made)
        self.buildah("commit", "-q", "--rm", made, name)
        return name

    def build(self, debs: Path, base: str) -> str:
        file = ROOT / "packaging" / "container" / "Containerfile"
        arguments = ["--build-arg", f"BASE={base}"] if base else []
        self.buildah("bud", "--isolation", "chroot", "--format", "docker", *arguments,
                     "-t", self.name, "-f", str(file), str(debs))  # fmt: skip
        self.told = json.loads(self.buildah("inspect", "--type", "image", self.name))["Docker"]
        size = json.loads(self.buildah("images", "--json", self.name))[0]["size"]
        its = self.told["config"]
        return (f"{size} with its base; user {its['User']}, volumes {', '.join(its['Volumes'])}, "
                f"stops by {its['StopSignal']}")  # fmt: skip

    def unpack(self) -> None:
        """Its root as a folder, ``root``."""
        made = self.buildah("from", "--pull-never", self.name)
        self.root = Path(self.buildah("mount", made))


class Container:
    """The image's command as a first process, as its user, on a root that nobody may write to."""

    def __init__(self, image: Image, port: int) -> None:
        self._image = image
        self._its = image.told["config"]
        self._process: subprocess.Popen[bytes] | None = None
        self.state, self.config = image.work / "state", image.work / "conf.d"
        owner = int(self._its["User"])
        for folder in (self.state, self.config):
            folder.mkdir()
            os.chown(folder, owner, owner)
        (self.config / "site.toml").write_text(BELT.format(device=DEVICE, port=port))
        self.log = image.work / "container.log"

    def start(self) -> None:
        command = [
            "systemd-nspawn", "-q", "-D", str(self._image.root), "--read-only", "--register=no",
            "--keep-unit", f"--user={self._name()}", "--console=pipe", "--capability=",
            "--drop-capability=all", "--no-new-privileges=yes",
            f"--kill-signal={self._its['StopSignal']}",
            f"--machine=edgeagent-image-{os.getpid()}", f"--bind={self.state}:{STATE}",
            f"--bind-ro={self.config}:{CONFIG}", "--tmpfs=/tmp", *self._its["Cmd"],
        ]  # fmt: skip
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    def _name(self) -> str:
        """The user's name: nspawn takes no numbers."""
        for line in (self._image.root / "etc" / "passwd").read_text().splitlines():
            name, _, number, *_ = line.split(":")
            if number == self._its["User"]:
                return name
        raise Failed(f"the image has no user {self._its['User']}")

    def pid(self) -> int:
        """Of its first process, on the host."""
        assert self._process is not None
        if self._process.poll() is not None:
            raise Failed(f"it has ended with {self._process.returncode}: {self.said()}")
        pid = self._process.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        for child in map(int, children):
            if b"edgeagent" in Path(f"/proc/{child}/cmdline").read_bytes():
                return child
        return 0

    def inside(self, *command: str) -> subprocess.CompletedProcess[bytes]:
        """A command in it, as its user: what engines call exec."""
        owner = self._its["User"]
        enter = ["nsenter", "-t", str(self.pid()), "-m", "-p", "-n", "-i", "-u", "-r",
                 "-S", owner, "-G", owner]  # fmt: skip
        return subprocess.run(
            [*enter, *command], env=machine.INSIDE, capture_output=True, check=False
        )

    def healthy(self) -> bool:
        """What its own health check says."""
        kind, *check = self._its["Healthcheck"]["Test"]
        assert kind == "CMD"
        return self.inside(*check).returncode == 0

    def stop(self) -> tuple[int, float]:
        """By its stop signal, as an engine does; exit code and seconds."""
        assert self._process is not None
        began = time.monotonic()
        os.kill(self.pid(), signal.Signals[self._its["StopSignal"]])
        return self._process.wait(15), time.monotonic() - began

    def end(self) -> None:
        """Whatever state it is in."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    def said(self) -> str:
        return self.log.read_text(errors="replace")[-2000:]


class Proof:
    """What is done to it, each with the sentence that says what came of it."""

    def __init__(self, image: Image, box: Container, broker: Mosquitto, heard: Listener) -> None:
        self.image, self.box, self.broker, self.heard = image, box, broker, heard

    def _batches(self) -> list[dict[str, Any]]:
        bodies = self.heard.on(f"edgeagent/{DEVICE}/records")
        return [json.loads(zlib.decompress(its) if its[:1] == b"\x78" else its) for its in bodies]

    def _events(self) -> list[dict[str, Any]]:
        return [its for batch in self._batches() for its in batch["records"]
                if its["kind"] == "event"]  # fmt: skip

    def first_event(self) -> str:
        began = time.monotonic()
        self.box.start()
        until("a first event on the broker", self._events, 60)
        return f"on the broker {time.monotonic() - began:.1f} s after the start"

    def confined(self) -> str:
        """What the kernel says of its first process."""
        pid = self.box.pid()
        status = dict(
            line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines()
        )
        mounts = [line.split() for line in Path(f"/proc/{pid}/mounts").read_text().splitlines()]
        root = next(options for _, place, _, options, *_ in mounts if place == "/")
        wrong = {
            "it is not the first process": status["NSpid"].split()[-1] != "1",
            "it runs as root": status["Uid"].split()[0] == "0",
            "it has capabilities": int(status["CapEff"], 16) != 0,
            "its root can be written to": not root.startswith("ro"),
        }
        if any(wrong.values()):
            raise Failed("; ".join(what for what, so in wrong.items() if so))
        return (
            f"process 1, user {status['Uid'].split()[0]}, no capability, root {root.split(',')[0]}"
        )

    def health(self) -> str:
        until("its health check", self.box.healthy, 20)
        self.broker.stop()
        until("degraded", lambda: self._state() == "degraded", 30)
        if not self.box.healthy():
            raise Failed("the health check fails because the broker is away")
        self.broker.start()
        os.kill(self.box.pid(), signal.SIGSTOP)
        hung = self.box.healthy()
        os.kill(self.box.pid(), signal.SIGCONT)
        if hung:
            raise Failed("the health check does not see that it hangs")
        return "0 when online and while the broker is away, not 0 while it is stopped (SIGSTOP)"

    def _state(self) -> str:
        told = self.box.inside("edgeagent", "status", "--json").stdout
        return str(json.loads(told or b"{}").get("state", ""))

    def reloaded(self) -> str:
        """The configuration that is mounted changes; SIGHUP, the same process."""
        pid, file = self.box.pid(), self.box.config / "site.toml"
        file.write_text(file.read_text().replace("[mqtt]", 'name = "New name"\n[mqtt]'))
        os.kill(pid, signal.SIGHUP)
        topic = f"edgeagent/{DEVICE}/status"
        self.heard.until(lambda: b"New name" in (self.heard.on(topic) or [b""])[-1], 20)
        if self.box.pid() != pid:
            raise Failed("another process")
        return "SIGHUP reads the mounted files anew, same process"

    def stopped(self) -> str:
        code, took = self.box.stop()
        if code:
            raise Failed(f"exit {code}: {self.box.said()}")
        return f"SIGTERM: exit 0 after {took:.1f} s"

    def again(self) -> str:
        """Another container on the same volume: the same device, its numbers go on."""
        before = {its["seq"] for its in self._events()}
        self.box.start()
        until("an event with a higher number",
              lambda: max(its["seq"] for its in self._events()) > max(before), 60)  # fmt: skip
        epochs = {batch["epoch"] for batch in self._batches()}
        if len(epochs) != 1:
            raise Failed(f"it took itself for another device: epochs {epochs}")
        self.box.stop()
        return "a new container on the old volume goes on with its numbers, in the same epoch"


def run(told: argparse.Namespace) -> None:
    """Everything, in this order."""
    shutil.rmtree(told.work, ignore_errors=True)
    told.work.mkdir(parents=True)
    image = Image(told.work, told.release)
    base = told.base
    if base == "local":
        base = image.base(machine.base(told.roots, told.release, told.mirror, "slim"))
    tell("image", lambda: image.build(told.debs / told.release, base))
    image.unpack()
    with Mosquitto(told.work / "broker", persistent=True) as broker:
        heard = Listener(broker.port, f"edgeagent/{DEVICE}/#")
        box = Container(image, broker.port)
        its = Proof(image, box, broker, heard)
        try:
            tell("first event", its.first_event)
            tell("confined", its.confined)
            tell("health check", its.health)
            tell("configuration", its.reloaded)
            tell("stop", its.stopped)
            tell("again", its.again)
        finally:
            box.end()
            heard.close()
    if not told.keep:
        shutil.rmtree(told.work)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--debs", type=Path, default=Path("build/deb"))
    parser.add_argument("--release", default="trixie")
    parser.add_argument(
        "--base", default="local", help="local, or an image's name; empty = the file's own"
    )
    parser.add_argument("--roots", type=Path, default=Path("build/roots"))
    parser.add_argument("--work", type=Path, default=Path("build/container"))
    parser.add_argument("--mirror", default="http://deb.debian.org/debian")
    parser.add_argument("--keep", action="store_true", help="leave the image in build/container")
    told = parser.parse_args()
    for name in ("debs", "roots", "work"):
        setattr(told, name, getattr(told, name).absolute())
    absent = machine.missing({"buildah": "buildah"})
    if absent:
        raise SystemExit(f"Needed: sudo apt install {' '.join(absent)}")
    if os.geteuid() != 0:
        raise SystemExit("Running it by nspawn needs root: sudo make container")
    run(told)


if __name__ == "__main__":
    sys.exit(main())
