"""What is done to a machine that has booted, and what has to come of it: a sentence each."""

from __future__ import annotations

import itertools
import json
import os
import re
import signal
import time
import zlib
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from machine import Failed, Machine

from edgeagent.testing.broker import Mosquitto
from edgeagent.testing.device import Listener

HERE = Path(__file__).parent
DEVICE = "boot-1"
UNIT = "edgeagent.service"
BELT = """
[device]
id = "boot-1"
[mqtt]
host = "127.0.0.1"
port = {port}
[sources.belt]
kind = "synthetic"
scene = "belt"
fps = 10
[pipelines.parts]
source = "belt"
model = "parts"
threshold = 0.5
record = {{ events = true, every = 10 }}
[[pipelines.parts.rules]]
when = "label == 'cracked'"
do = ["event"]
[[pipelines.parts.rules]]
when = "label == 'missing'"
do = ["event"]
"""
FAST = "[Unit]\nStartLimitIntervalSec=300\n[Service]\nRestartSec=200ms\nWatchdogSec=6\n"

_WALK = """
import importlib, pkgutil, edgeagent
names = [its.name for its in pkgutil.walk_packages(edgeagent.__path__, "edgeagent.")]
# The demo fetches what it needs by itself; testing is for who writes tests.
names = [name for name in names if not name.endswith("__main__")
         and name.split(".")[1] not in ("demo", "testing")]
bad = []
for name in names:
    try:
        importlib.import_module(name)
    except Exception as error:
        bad.append(f"{name}: {error!r}")
print(len(names), bad)
"""


class Trial:
    """One machine, one broker, and what is done to them."""

    def __init__(self, box: Machine, broker: Mosquitto, heard: Listener, release: str) -> None:
        self.box, self.broker, self.heard, self.release = box, broker, heard, release
        self.apt = ("apt-get", "-qq", "-o", "Dpkg::Use-Pty=0", "--yes")

    # --- what is looked at ------------------------------------------------------------------

    def records(self, last: int = 0) -> list[dict[str, Any]]:
        """Records that have come, in the order of arrival; of the ``last`` batches, or all."""
        found: list[dict[str, Any]] = []
        for body in self.heard.on(f"edgeagent/{DEVICE}/records")[-last:]:
            batch = json.loads(zlib.decompress(body) if body[:1] == b"\x78" else body)
            found += [{**record, "epoch": batch["epoch"]} for record in batch["records"]]
        return found

    def next_event(self, timeout_s: float = 60) -> float:
        """Seconds until an event comes that was decided after now: both have the same clock."""
        began = time.monotonic()
        now = datetime.now(timezone.utc).isoformat()[:23]

        def fresh() -> bool:
            return any(r["kind"] == "event" and r["at"][:23] > now for r in self.records(24))

        self.box.until("an event that was decided after now", fresh, timeout_s)
        return time.monotonic() - began

    def pid(self) -> int:
        return int(self.box.unit(UNIT, "MainPID"))

    def status(self) -> dict[str, Any]:
        """What the agent itself says."""
        told: dict[str, Any] = json.loads(
            self.box.run("edgeagent", "status", "--json", check=False) or "{}"
        )
        return told

    def restarted(self, old: int, what: str, timeout_s: float = 40) -> tuple[int, float]:
        """Wait for another process that is ready; its pid, and the seconds it took."""
        began = time.monotonic()

        def up() -> int:
            pid = self.pid()
            ready = self.box.unit(UNIT, "ActiveState") == "active"
            return pid if pid not in (0, old) and ready else 0

        pid = int(self.box.until(f"a new process after {what}", up, timeout_s))
        return pid, time.monotonic() - began

    def nothing_lost(self) -> str:
        """Every number up to the highest that came is here, or covered by a gap that is here.

        Raises:
            Failed: a number is neither.
        """
        epochs: dict[str, set[int]] = {}
        highest: dict[str, int] = {}
        for record in self.records():
            have = epochs.setdefault(record["epoch"], set())
            have.add(record["seq"])
            highest[record["epoch"]] = max(highest.get(record["epoch"], 0), record["seq"])
            if record["kind"] == "gap" and record.get("to"):
                have.update(range(record["from"], record["to"] + 1))
        missing = {
            epoch: sorted(set(range(1, highest[epoch] + 1)) - have)
            for epoch, have in epochs.items()
        }
        # The listener's session is a clean one: what is told while nobody waits comes later.
        if any(missing.values()):
            raise Failed(f"neither here nor told as lost: {missing}")
        return f"{sum(highest.values())} numbers, all here or told as lost"

    # --- what is done ------------------------------------------------------------------------

    def install(self) -> str:
        """The three lines of the README, with the repository's folder in place of its address."""
        box = self.box
        box.run("cp", "/srv/apt/edgeagent.gpg", "/usr/share/keyrings/edgeagent.gpg")
        box.run("cp", f"/srv/apt/edgeagent-{self.release}.sources", "/etc/apt/sources.list.d/")
        box.run("apt-get", "-qq", "update")
        began = time.monotonic()
        box.run(*self.apt, "install", "edgeagent-full", timeout_s=230)
        took = time.monotonic() - began
        if box.unit(UNIT, "ActiveState") != "active":
            raise Failed(box.run("journalctl", "-u", UNIT, "-n", "40", check=False))
        enabled = box.run("systemctl", "is-enabled", UNIT)
        return f"{took:.0f} s; service active and {enabled}, type {box.unit(UNIT, 'Type')}"

    def configure(self) -> str:
        """A pipeline, by a file and a reload."""
        box, pid = self.box, self.pid()
        box.write("/etc/edgeagent/conf.d/belt.toml", BELT.format(port=self.broker.port))
        box.write("/etc/systemd/system/edgeagent.service.d/trial.conf", FAST)
        box.run("systemctl", "daemon-reload")
        box.run("edgeagent", "config", "check")
        began = time.monotonic()
        box.run("systemctl", "reload", UNIT)
        self.next_event()
        took = time.monotonic() - began
        same = "same" if self.pid() == pid else "another"
        return f"first event on the broker {took:.1f} s after the reload, {same} process id"

    def fleet(self) -> str:
        """The operator's side on the same machine: its service keeps and confirms what comes."""
        box = self.box
        box.run(*self.apt, "install", "edgeagent-fleet")
        if box.unit("edgeagent-collect", "UnitFileState") != "disabled":
            raise Failed("edgeagent-collect is not left to the operator")
        file = box.root / "etc/edgeagent-fleet/collect.env"
        file.write_text(file.read_text().replace("--port 1883", f"--port {self.broker.port}"))
        box.run("systemctl", "enable", "--now", "edgeagent-collect")
        self.next_event()
        known = box.until("a device in the database", lambda: self.audited().get("streams"), 30)
        level = self._level("edgeagent-collect.service")
        return f"edgeagent-collect keeps {len(known)} streams; systemd-analyze security: {level}"

    def audited(self) -> dict[str, Any]:
        """What the operator's side says about numbers."""
        told: dict[str, Any] = json.loads(self.box.run(
            "edgeagent", "fleet", "audit", "--json", "--db", "/var/lib/edgeagent-fleet/fleet.db",
            check=False) or "{}")  # fmt: skip
        return told

    def imports(self) -> str:
        """Every module of the agent, with the libraries as trimmed."""
        told = self.box.run("/usr/lib/edgeagent/bin/python3", "-I", "-c", _WALK)
        if not told.endswith("[]"):
            raise Failed(told)
        return f"{told.split()[0]} modules import"

    def models(self) -> str:
        """Each variant of each shipped model, on its golden samples."""
        self.box.write("/srv/results.py", (HERE / "results.py").read_text())
        told = json.loads(self.box.run(
            "/usr/lib/edgeagent/bin/python3", "-I", "/srv/results.py",
            "/usr/share/edgeagent/models"))  # fmt: skip
        ran = [f"{its['file']}: {its['ran'].split(',')[0]}" for its in told["packages"]]
        return f"golden samples pass; {'; '.join(ran)}"

    def killed(self) -> str:
        old = self.pid()
        before = int(self.box.unit(UNIT, "NRestarts"))
        self.box.run("kill", "-9", str(old))
        _, took = self.restarted(old, "kill -9")
        event = self.next_event()
        restarts = int(self.box.unit(UNIT, "NRestarts")) - before
        return (
            f"ready again after {took:.1f} s, restarts +{restarts}, next event {event:.1f} s later"
        )

    def stopped(self) -> str:
        old = self.pid()
        self.box.run("kill", "-STOP", str(old))
        _, took = self.restarted(old, "kill -STOP", 60)
        said = self.box.run("journalctl", "-u", UNIT, "-n", "200", "-o", "cat")
        if "Watchdog timeout" not in said:
            raise Failed(f"no watchdog in the journal:\n{said[-1500:]}")
        event = self.next_event()
        return f"watchdog (here 6 s, shipped 30), ready after {took:.1f} s, event {event:.1f} s on"

    def wrong_configuration(self) -> str:
        """With a good one kept it runs on; without one it ends with 78 and is left alone."""
        box = self.box
        good = (box.root / "etc/edgeagent/conf.d/belt.toml").read_text()
        box.write(
            "/etc/edgeagent/conf.d/belt.toml", good + "\n[pipelines.parts]\nthis is not TOML\n"
        )
        box.run("systemctl", "restart", UNIT)
        event = self.next_event()
        state = self.status()["state"]
        box.run("systemctl", "stop", UNIT)
        kept = box.root / "var/lib/edgeagent/config.good.json"
        for file in box.root.glob("var/lib/edgeagent/*good*"):
            kept = file
            file.unlink()
        box.run("systemctl", "start", UNIT, check=False)
        box.until("the end", lambda: box.unit(UNIT, "ActiveState") == "failed", 30)
        code, again = box.unit(UNIT, "ExecMainStatus"), box.unit(UNIT, "NRestarts")
        if (code, again) != ("78", "0"):
            raise Failed(f"exit {code}, {again} restarts; {kept.name} was removed")
        box.write("/etc/edgeagent/conf.d/belt.toml", good)
        box.run("systemctl", "reset-failed", UNIT)
        box.run("systemctl", "stop", "edgeagent-retry.timer")
        box.run("systemctl", "start", UNIT)
        self.next_event()
        return (f"with a good one kept: {state}, event after {event:.1f} s; without: exit 78, "
                "0 restarts; mended: runs")  # fmt: skip

    def crash_loop(self) -> str:
        """Killed by SIGSEGV, as a driver would, at each start: safe mode at the tenth."""
        box = self.box
        box.run("systemctl", "stop", UNIT)
        # What was done to it before does not count here.
        (box.root / "var/lib/edgeagent/boots.json").unlink(missing_ok=True)
        box.run("systemctl", "reset-failed", UNIT, check=False)
        box.run("systemctl", "start", UNIT)
        crashes, old = 0, 0
        while self.status().get("state") != "safe-mode":
            if crashes == 12:
                raise Failed(f"no safe mode after {crashes} crashes: {self.status()}")
            pid = int(box.until("a process", lambda o=old: self._another(o), 30))
            box.run("kill", "-SEGV", str(pid))
            crashes, old = crashes + 1, pid
            self.restarted(old, "SIGSEGV")
        told = self.heard.on
        topic, state = f"edgeagent/{DEVICE}/cmd/ping/boot-1", f"edgeagent/{DEVICE}/status"
        self.heard.until(lambda: b"safe-mode" in told(state)[-1], 20)
        if not box.run("edgeagent", "doctor", check=False):
            raise Failed("doctor says nothing in safe mode")
        self.heard.publish(topic, b'{"status":"init","by":"boot"}', retain=True)
        self.heard.until(lambda: b"successful" in (told(topic) or [b""])[-1], 20)
        if self.status().get("pipelines"):
            raise Failed(f"pipelines in safe mode: {self.status()['pipelines']}")
        box.run("systemctl", "restart", UNIT)
        event = self.next_event()
        return (
            f"safe mode after {crashes} crashes, told to the broker; doctor and a ping by MQTT "
            f"answer, no pipeline runs; systemctl restart: event after {event:.1f} s"
        )

    def _another(self, old: int) -> int:
        pid = self.pid()
        return pid if pid not in (0, old) else 0

    def start_limit(self) -> str:
        """What can't even start is left alone after twenty tries, and tried again by the timer."""
        box = self.box
        box.write("/etc/systemd/system/edgeagent.service.d/broken.conf",
                  "[Service]\nExecStart=\nExecStart=/bin/false\nRestartSec=50ms\n")  # fmt: skip
        box.run("systemctl", "daemon-reload")
        box.run("systemctl", "reset-failed", UNIT)
        box.run("systemctl", "restart", UNIT, check=False)
        box.until("the limit", lambda: box.unit(UNIT, "ActiveState") == "failed", 60)
        restarts = box.unit(UNIT, "NRestarts")
        timer = box.unit("edgeagent-retry.timer", "ActiveState")
        if timer != "active":
            raise Failed(f"edgeagent-retry.timer is {timer}")
        (box.root / "etc/systemd/system/edgeagent.service.d/broken.conf").unlink()
        box.run("systemctl", "daemon-reload")
        # What the timer does in a quarter of an hour.
        box.run("systemctl", "start", "edgeagent-retry.service")
        event = self.next_event()
        return (
            f"at rest after {restarts} restarts, timer {timer}; "
            f"its service: event after {event:.1f} s"
        )

    def upgrade(self) -> str:
        """While events come, by apt."""
        box, old = self.box, self.pid()
        box.run("apt-get", "-qq", "update")
        before = len([r for r in self.records() if r["kind"] == "event"])
        began = time.monotonic()
        box.run(*self.apt, "install", "edgeagent")
        took = time.monotonic() - began
        if self.pid() == old:
            raise Failed("the service was not restarted")
        event = self.next_event()
        version = box.run("dpkg-query", "-W", "-f=${Version}", "edgeagent")
        downtime = self._longest_silence()
        if before == 0:
            raise Failed("there was no load")
        audit = self.audited()
        if not audit.get("complete"):
            raise Failed(f"the operator's side misses numbers: {audit}")
        return (
            f"to {version} in {took:.0f} s, event {event:.1f} s after; longest time without a "
            f"record {downtime:.1f} s; {self.nothing_lost()}; fleet audit: complete"
        )

    def _longest_silence(self) -> float:
        stamps = sorted(datetime.fromisoformat(r["at"][:23]).timestamp() for r in self.records(200))
        return max((b - a for a, b in itertools.pairwise(stamps)), default=0.0)

    def interrupted(self, version: str) -> str:
        """dpkg is killed while it unpacks the older version; dpkg mends it."""
        box = self.box
        going = box.start(*self.apt, "install", "--allow-downgrades", f"edgeagent={version}")
        query = ("dpkg-query", "-W", "-f=${db:Status-Status}", "edgeagent")
        half = ("half-installed", "unpacked", "half-configured")
        box.until("dpkg at work", lambda: box.run(*query, check=False) in half, 60)
        box.run("pkill", "-9", "-x", "dpkg", check=False)
        os.killpg(going.pid, signal.SIGKILL)
        going.wait()
        state = box.run(*query)
        box.run("dpkg", "--configure", "-a", check=False)
        box.run(*self.apt, "--allow-downgrades", "install", f"edgeagent={version}")
        if box.unit(UNIT, "ActiveState") != "active":
            box.run("systemctl", "start", UNIT)
        event = self.next_event()
        now = box.run("dpkg-query", "-W", "-f=${db:Status-Status} ${Version}", "edgeagent")
        if now != f"installed {version}":
            raise Failed(now)
        return f"left {state}; after dpkg --configure -a and apt: {now}, event after {event:.1f} s"

    def reboot(self) -> str:
        box = self.box
        off = box.shut_down()
        on = box.boot()
        event = self.next_event(60)
        return f"off {off:.1f} s, up {on:.1f} s, event {event:.1f} s later; {self.nothing_lost()}"

    def exposure(self) -> str:
        level = self._level(UNIT)
        return f"systemd-analyze security: {level}"

    def _level(self, unit: str) -> float:
        """How exposed systemd finds a unit. Raises Failed above 2.0."""
        told = self.box.run("systemd-analyze", "security", "--no-pager", unit)
        found = re.search(r"exposure level for \S+: ([\d.]+)", told)
        if found is None or float(found.group(1)) > 2.0:
            raise Failed(told)
        return float(found.group(1))

    def purge(self) -> str:
        box = self.box
        names = box.run("dpkg-query", "-W", "-f=${Package} ", "edgeagent*").split()
        box.run(*self.apt, "purge", *names)
        (box.root / "etc/systemd/system/edgeagent.service.d/trial.conf").unlink(missing_ok=True)
        (box.root / "etc/systemd/system/edgeagent.service.d").rmdir()
        for ours in ("etc/apt/sources.list.d", "usr/share/keyrings"):
            for file in (box.root / ours).glob("edgeagent*"):
                file.unlink()

        def left() -> str:
            return box.run(
                "find", "/", "-xdev", "-iname", "*edgeagent*",
                *(word for path in ("/proc/*", "/srv/*", "/var/lib/apt/lists/*",
                                    "/var/cache/apt/*", "/var/lib/edgeagent-fleet")
                  for word in ("-not", "-path", path)),
            )  # fmt: skip

        # systemd removes private folders of units that have ended in its own time.
        try:
            box.until("nothing left", lambda: not left(), 15)
        except Failed as error:
            raise Failed(f"left: {left()}") from error
        running = box.run("pgrep", "-u", "edgeagent", check=False)
        if running:
            raise Failed(f"still running: {running}")
        return f"{len(names)} packages; no process and no file is left but the operator's database"
