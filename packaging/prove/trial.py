"""What is done to a machine that has booted, and what has to come of it: a sentence each."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

from machine import Failed, until
from observer import DEVICE, UNIT, Observer

HERE = Path(__file__).parent
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
DROP_INS = "/etc/systemd/system/edgeagent.service.d"
FAST = "[Unit]\nStartLimitIntervalSec=300\n[Service]\nRestartSec=200ms\nWatchdogSec=6\n"
_TOO_LITTLE = 40
"""MiB of addresses in which Python starts and the agent does not."""
NOTIFY_RELOAD = "Type=notify-reload\nExecReload=\n"
"""From systemd 253."""

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


class Trial(Observer):
    """What is done to a machine, each with the sentence that says what came of it."""

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

    def unpack(self, archive: str, *, again: bool = False) -> str:
        """install.sh of the archive."""
        box = self.box
        for tool in ("apt-get", "pip", "pip3"):
            if box.run("sh", "-c", f"command -v {tool}", check=False):
                raise Failed(f"{tool} is on this system: it proves nothing")
        box.run("rm", "-rf", "/root/unpacked")
        box.run("mkdir", "-p", "/root/unpacked")
        box.run("tar", "-C", "/root/unpacked", "-xzf", f"/srv/tarball/{archive}")
        began = time.monotonic()
        said = box.run("sh", "-c", f"/root/unpacked/*/install.sh --prefix {self.prefix}")
        took = time.monotonic() - began
        box.run("rm", "-rf", "/root/unpacked")
        if box.unit(UNIT, "ActiveState") != "active":
            raise Failed(said + box.run("journalctl", "-u", UNIT, "-n", "40", check=False))
        event = f", event after {self.next_event():.1f} s" if again else ""
        return f"{took:.0f} s; {said.splitlines()[0]}; service active{event}"

    def uninstall(self) -> str:
        """With everything that was written."""
        box = self.box
        box.run("mkdir", "-p", "/root/unpacked")
        box.run("sh", "-c", "tar -C /root/unpacked -xzf /srv/tarball/*.tar.gz")
        box.run(
            "sh", "-c", f"/root/unpacked/*/install.sh --uninstall --purge --prefix {self.prefix}"
        )
        box.run("rm", "-rf", "/root/unpacked", "/etc/systemd/system/edgeagent.service.d")
        return self._nothing_left()

    def configure(self) -> str:
        """A pipeline, by a file and a reload."""
        box, pid = self.box, self.pid()
        box.write("/etc/edgeagent/conf.d/belt.toml", BELT.format(port=self.broker.port))
        newer = self.release != "bookworm"
        box.write(f"{DROP_INS}/trial.conf", FAST + (NOTIFY_RELOAD if newer else ""))
        box.run("systemctl", "daemon-reload")
        box.run(self.command, "config", "check")
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
        known = until("a device in the database", lambda: self.audited().get("streams"), 30)
        level = self._level("edgeagent-collect.service")
        self._serve()
        return f"edgeagent-collect keeps {len(known)} streams; systemd-analyze security: {level}"

    def _serve(self) -> None:
        """A repository of models, given out by its service."""
        box = self.box
        box.run("runuser", "-u", "edgeagent-fleet", "--", self.command, "fleet", "init",
                "/var/lib/edgeagent-fleet/repository")  # fmt: skip
        file = box.root / "etc/edgeagent-fleet/serve.env"
        file.write_text(file.read_text().replace("--port 1883", f"--port {self.broker.port}"))
        box.run("systemctl", "enable", "--now", "edgeagent-serve")
        log = ("journalctl", "-u", "edgeagent-serve", "-o", "cat")
        until("edgeagent-serve at work", lambda: "serving" in box.run(*log, check=False), 30)

    def imports(self) -> str:
        """Every module of the agent, with the libraries as trimmed."""
        told = self.box.run(self.python, "-I", "-c", _WALK)
        if not told.endswith("[]"):
            raise Failed(told)
        return f"{told.split()[0]} modules import"

    def models(self) -> str:
        """Each variant of each shipped model, on its golden samples."""
        self.box.write("/srv/results.py", (HERE / "results.py").read_text())
        models = f"{self.prefix}/share/edgeagent/models"
        told = json.loads(self.box.run(self.python, "-I", "/srv/results.py", models))
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

    def footprint(self) -> str:
        """On disk, in memory, and how long a start takes with a model and a broker."""
        box = self.box
        disk = box.run("du", "-sm", f"{self.prefix}/lib/edgeagent").split()[0]
        names = ("ExecMainStartTimestampMonotonic", "ActiveEnterTimestampMonotonic")
        begun, ready = (int(box.unit(UNIT, name)) for name in names)
        pss, took = self.status()["memory"]["pss_mb"], (ready - begun) / 1e6
        return f"{disk} MB on disk, {pss:.0f} MB PSS, ready {took:.1f} s after its start"

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
        until("the end", lambda: box.unit(UNIT, "ActiveState") == "failed", 30)
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
            pid = int(until("a process", lambda o=old: self._another(o), 30))
            box.run("kill", "-SEGV", str(pid))
            crashes, old = crashes + 1, pid
            self.restarted(old, "SIGSEGV")
        told = self.heard.on
        topic, state = f"edgeagent/{DEVICE}/cmd/ping/boot-1", f"edgeagent/{DEVICE}/status"
        self.heard.until(lambda: b"safe-mode" in told(state)[-1], 20)
        if not box.run(self.command, "doctor", check=False):
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

    def start_limit(self) -> str:
        """What can't even start is left alone after twenty tries, and tried again by the timer."""
        box = self.box
        box.write(f"{DROP_INS}/broken.conf",
                  "[Service]\nExecStart=\nExecStart=/bin/false\nRestartSec=50ms\n")  # fmt: skip
        box.run("systemctl", "daemon-reload")
        box.run("systemctl", "reset-failed", UNIT)
        box.run("systemctl", "restart", UNIT, check=False)
        until("the limit", lambda: box.unit(UNIT, "ActiveState") == "failed", 60)
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

    def memory(self) -> str:
        """Less and less room for addresses (LimitAS=): groups of version 1 cap nothing here."""
        box, log = self.box, ("journalctl", "-u", UNIT, "-o", "cat", "-n", "100")
        lines = box.run("cat", f"/proc/{self.pid()}/status").splitlines()
        peak = int(next(line.split()[1] for line in lines if line.startswith("VmPeak"))) >> 10
        self._limited(peak + 64)
        event = self.next_event()
        said = [f"of {peak} MiB: {peak + 64}: event after {event:.1f} s"]
        self._limited(peak * 6 // 10)
        until("degraded", lambda: self.status().get("state") == "degraded", 30)
        status = self.status()
        reason = next((its for its in status["reasons"] if "can't be loaded" in its), "")
        if status["link"]["state"] != "up" or not reason:
            raise Failed(f"with {peak * 6 // 10} MiB: {status['reasons']}")
        said.append(f"{peak * 6 // 10}: degraded, link up ({reason.partition(':')[2].strip()})")
        self._limited(_TOO_LITTLE)
        until("ten restarts", lambda: int(box.unit(UNIT, "NRestarts")) >= 10, 60)
        box.run("systemctl", "stop", UNIT)
        if "not enough memory to run" not in box.run(*log):
            raise Failed(f"with {_TOO_LITTLE} MiB it does not say why: {box.run(*log)}")
        self._limited(peak * 6 // 10)
        until("safe mode", lambda: self.status().get("state") == "safe-mode", 30)
        said.append(f"{_TOO_LITTLE}: says so, ten restarts, with more again: safe mode")
        (box.root / f"{DROP_INS}/z-limited.conf".lstrip("/")).unlink()
        box.run("systemctl", "daemon-reload")
        box.run("systemctl", "restart", UNIT)
        return f"{'; '.join(said)}; without a limit: event after {self.next_event():.1f} s"

    def _limited(self, mib: int) -> None:
        """Start it anew with so much."""
        box = self.box
        box.write(f"{DROP_INS}/z-limited.conf",
                  f"[Service]\nLimitAS={mib}M\nRestartSec=50ms\nTimeoutStartSec=10\n")  # fmt: skip
        box.run("systemctl", "daemon-reload")
        box.run("systemctl", "reset-failed", UNIT, check=False)
        box.run("systemctl", "restart", UNIT, check=False)

    def upgrade(self) -> str:
        """While events come, by apt."""
        box, old = self.box, self.pid()
        box.run("apt-get", "-qq", "update")
        before = len([r for r in self.records() if r["kind"] == "event"])
        began, at = time.monotonic(), self.now()
        box.run(*self.apt, "install", "edgeagent")
        took = time.monotonic() - began
        if self.pid() == old:
            raise Failed("the service was not restarted")
        event = self.next_event()
        version = box.run("dpkg-query", "-W", "-f=${Version}", "edgeagent")
        downtime = self.longest_silence(at)
        if before == 0:
            raise Failed("there was no load")
        audit = self.audited()
        if not audit.get("complete"):
            raise Failed(f"the operator's side misses numbers: {audit}")
        return (
            f"to {version} in {took:.0f} s, event {event:.1f} s after; longest time without a "
            f"record {downtime:.1f} s; {self.nothing_lost()}; fleet audit: complete"
        )

    def interrupted(self, version: str) -> str:
        """dpkg is killed while it unpacks the older version; dpkg mends it."""
        box = self.box
        going = box.start(*self.apt, "install", "--allow-downgrades", f"edgeagent={version}")
        query = ("dpkg-query", "-W", "-f=${db:Status-Status}", "edgeagent")
        half = ("half-installed", "unpacked", "half-configured")
        until("dpkg at work", lambda: box.run(*query, check=False) in half, 60)
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
        """With a file on the boot partition, as on a card that somebody has prepared."""
        box = self.box
        card = box.root / "boot" / "edgeagent-setup.toml"
        if self.prefix == "/usr":
            card.write_text('[setup]\nversion = 1\n[device]\nname = "From the card"\n')
        off = box.shut_down()
        on = box.boot()
        event = self.next_event(60)
        if self.prefix == "/usr" and (card.exists() or self.status()["name"] != "From the card"):
            said = box.run("journalctl", "-b", "-u", "edgeagent-setup", check=False)
            raise Failed(f"the file on the boot partition was not used: {said}")
        return f"off {off:.1f} s, up {on:.1f} s, event {event:.1f} s later; {self.nothing_lost()}"

    def exposure(self) -> str:
        level = self._level(UNIT)
        return f"systemd-analyze security: {level}"

    def purge(self) -> str:
        box = self.box
        names = box.run("dpkg-query", "-W", "-f=${Package} ", "edgeagent*").split()
        box.run(*self.apt, "purge", *names)
        (box.root / "etc/systemd/system/edgeagent.service.d/trial.conf").unlink(missing_ok=True)
        (box.root / "etc/systemd/system/edgeagent.service.d").rmdir()
        for ours in ("etc/apt/sources.list.d", "usr/share/keyrings"):
            for file in (box.root / ours).glob("edgeagent*"):
                file.unlink()

        return f"{len(names)} packages; {self._nothing_left()}"
