"""Planted faults: the whole doctor looks at a device with one thing wrong, and that is what it
says; healthy devices of many kinds have nothing that is wrong."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from edgeagent.config.load import load
from edgeagent.diagnose import doctor
from edgeagent.diagnose.checks import models
from edgeagent.diagnose.context import Context
from edgeagent.diagnose.finding import Finding, Report
from edgeagent.diagnose.repair import repair
from edgeagent.errors import Unavailable
from edgeagent.manifest import Package
from edgeagent.store.outbox import Outbox
from edgeagent.store.settings import OutboxSettings
from edgeagent.types import Draft

ONLINE: dict[str, Any] = {"state": "online", "reasons": []}
PROVEN: dict[str, Any] = {"state": "up", "proven": True, "took_ms": 2.0, "complaints": []}


@pytest.fixture(autouse=True)
def _light_runtimes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loading the real ones takes seconds and is tested with its check."""
    monkeypatch.setattr("edgeagent.infer.installed.LIBRARIES", {})
    monkeypatch.setattr(models, "_IMPORTS", {"msgspec": "msgspec"})


class Device:
    """A machine in a folder, with a configuration, a data folder and programs of its own."""

    def __init__(self, folder: Path, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.root, self.data = folder, root, folder / "data"
        self.programs = folder / "programs"
        self.config: list[str] = ["device.id=door-7"]
        self.status = dict(ONLINE)
        self.test = dict(PROVEN)
        self.package: Package | None = None
        self._monkeypatch = monkeypatch
        self.data.mkdir()
        self.programs.mkdir()
        monkeypatch.setenv("PATH", f"{self.programs}:{os.environ['PATH']}")
        self.put("proc/cpuinfo", "flags : fpu sse2 ssse3 sse4_1 sse4_2 popcnt avx2\n")
        self.put("etc/resolv.conf", "nameserver 192.168.1.1\n")
        self.put("dev/kmsg", "Linux version 6.6\nusb 1-1: reset high-speed USB device number 2\n")

    def put(self, name: str, text: str) -> Path:
        """A file of the machine."""
        file = self.root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return file

    def own(self, name: str, content: bytes | str, age_s: float = 0.0) -> Path:
        """A file of the agent."""
        file = self.data / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
        os.utime(file, (time.time() - age_s,) * 2)
        return file

    def program(self, name: str, script: str) -> None:
        file = self.programs / name
        file.write_text(f"#!/bin/sh\n{script}\n")
        file.chmod(0o755)

    def systemd(self, **shown: str) -> None:
        """A service under systemd."""
        (self.root / "run/systemd/system").mkdir(parents=True, exist_ok=True)
        (self.root / "var/log/journal").mkdir(parents=True, exist_ok=True)
        fine = {"LoadState": "loaded", "ActiveState": "active", "UnitFileState": "enabled",
                "Result": "success", "ExecMainStatus": "0", "ExecMainCode": "0",
                "NRestarts": "0", "NeedDaemonReload": "no"}  # fmt: skip
        lines = "\n".join(f"{key}={value}" for key, value in {**fine, **shown}.items())
        self.program("systemctl", f"cat <<'.'\n{lines}\n.")

    def patch(self, name: str, value: Any) -> None:
        self._monkeypatch.setattr(name, value)

    def records(self, count: int = 1, **settings: Any) -> None:
        """An outbox with records in it."""
        with closing(
            Outbox.open(self.data, device="door-7", settings=OutboxSettings(), boot="b",
                        machine=settings.get("machine", ""))
        ) as outbox:  # fmt: skip
            at = int((time.time() - settings.get("age_s", 0.0)) * 1e9)
            for number in range(count):
                outbox.append(Draft("event", "p", at, 1.0 * number, {"phase": "new"}))
            assert outbox.flush(5)

    def look(self) -> Report:
        (self.folder / "agent.toml").touch()
        loaded = load(self.folder / "agent.toml", flags=self.config)

        def find(name: str, version: str) -> Package:
            if self.package is None:
                raise Unavailable("no package")
            return self.package

        return doctor.run(Context(
            self.data, loaded, root=self.root, find_model=find, ask_agent=lambda: self.status,
            test_link=lambda: self.test, written=lambda: loaded.hash,
        ))  # fmt: skip


@pytest.fixture
def device(tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch) -> Device:
    return Device(tmp_path, root, monkeypatch)


@pytest.fixture
def port() -> Iterator[int]:
    """Something that listens, as a broker does."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def linked(device: Device, port: int) -> None:
    device.config += ["mqtt.host=127.0.0.1", f"mqtt.port={port}"]


def kernel(line: str) -> Callable[[Device], None]:
    return lambda its: its.put("dev/kmsg", f"Linux version\n{line}\n") and None


def secret(device: Device) -> None:
    file = device.folder / "password"
    file.write_text("hunter2")
    file.chmod(0o644)
    device.config += ["mqtt.host=127.0.0.1", f"mqtt.password_file={file}"]
    device.patch("edgeagent.diagnose.checks.link.connect", lambda *_: "TCP")


def camera(device: Device) -> None:
    device.put("etc/passwd", "edgeagent:x:999:999::/:/bin/false\n")
    device.put("etc/group", "video:x:44:pi\n")
    device.put("dev/video0", "")
    device.config += ["sources.cam.kind=camera"]
    device.patch("edgeagent.diagnose.checks.sources._node", lambda *_: Finding("sources", "ok", ""))


def pictures(device: Device) -> None:
    device.config += [
        "sources.cam.kind=synthetic", "pipelines.a.model=m", "pipelines.a.source=cam",
        'pipelines.a.redact.labels=["person"]', "pipelines.b.model=m", "pipelines.b.source=cam",
        "pipelines.b.snapshot=true", "pipelines.a.enabled=false", "pipelines.b.enabled=true",
    ]  # fmt: skip


def swapped(device: Device) -> None:
    device.put("proc/swaps", "Filename Type Size Used Priority\n/var/swap file 512000 204800 -2\n")


def slow(device: Device) -> None:
    policy = "sys/devices/system/cpu/cpufreq/policy0"
    device.put(f"{policy}/cpuinfo_max_freq", "1800000\n")
    device.put(f"{policy}/scaling_max_freq", "600000\n")


def truth(**fields: Any) -> Callable[[Device], None]:
    return lambda its: its.own("models/parts.json", json.dumps(fields)) and None


def starts(count: int) -> Callable[[Device], None]:
    return lambda its: its.own("boots.json", json.dumps({"unhealthy": count})) and None


def no_route(device: Device) -> None:
    device.put("proc/net/route", "Iface Destination Gateway Flags\nlo 0000007F 00000000 0001 0\n")
    device.config += ["mqtt.host=broker.example"]
    device.patch("edgeagent.diagnose.checks.link.connect", lambda *_: "TCP")


def no_nameserver(device: Device) -> None:
    device.put("etc/resolv.conf", "# nothing\n")
    device.config += ["mqtt.host=broker.example"]
    device.patch("edgeagent.diagnose.checks.link.connect", lambda *_: "TCP")


def unproven(device: Device) -> None:
    device.config += ["mqtt.host=127.0.0.1"]
    device.patch("edgeagent.diagnose.checks.link.connect", lambda *_: "TCP")
    said = {"kind": "denied", "sentence": "topics not proven: refused", "advice": "See the ACL."}
    device.test = {**PROVEN, "proven": False, "complaints": [said]}


def rival(device: Device) -> None:
    device.config += ["mqtt.host=127.0.0.1"]
    device.patch("edgeagent.diagnose.checks.link.connect", lambda *_: "TCP")
    device.status["reasons"] = ["another client connected with this device's id. Two devices"]


def waiting(device: Device) -> None:
    device.config += ["mqtt.host=127.0.0.1"]
    device.patch("edgeagent.diagnose.checks.link.connect", lambda *_: "TCP")
    device.records(3, age_s=7200)


def coral(device: Device) -> None:
    device.put("sys/bus/usb/devices/1-1/idVendor", "18d1\n")
    device.put("sys/bus/usb/devices/1-1/idProduct", "9302\n")


def old_coral(device: Device) -> None:
    coral(device)
    device.put("usr/lib/libedgetpu.so.1", "")
    device.put("var/lib/dpkg/status", "Package: libedgetpu1-std\nStatus: ok\nVersion: 16.0\n\n")
    libraries = {"litert": (("msgspec", "msgspec"),), "onnx": (("msgspec", "msgspec"),)}
    device.patch("edgeagent.infer.installed.LIBRARIES", libraries)


def delegate(device: Device) -> None:
    device.config += [
        "sources.cam.kind=synthetic", "pipelines.a.model=m", "pipelines.a.source=cam",
        "pipelines.a.runtime.delegate=vx",
    ]  # fmt: skip


def read_only(device: Device) -> None:
    device.put("proc/self/mountinfo", "22 1 8:1 / / ro,noatime - ext4 /dev/mmcblk0p2 ro\n")


def future(device: Device) -> None:
    device.own("views/cam.json", "{}", age_s=-90_000)


def leftover(device: Device) -> None:
    device.own("models/parts/1.3.0/a.tflite.part", b"x" * 100, age_s=9 * 86400)


def volatile(device: Device) -> None:
    device.systemd()
    (device.root / "var/log/journal").rmdir()


def signed_never(device: Device) -> None:
    device.config += [
        "mqtt.host=127.0.0.1", "trust.require_signature=never", 'commands.allow=["restart"]',
    ]  # fmt: skip
    device.patch("edgeagent.diagnose.checks.link.connect", lambda *_: "TCP")


def systemd(**shown: str) -> Callable[[Device], None]:
    return lambda its: its.systemd(**shown)


def wish(device: Device) -> None:
    state = {"rev": 5, "state": "rolled-back", "reason": "link", "detail": "no broker within 120 s"}
    device.own("remote-state.json", json.dumps(state))


PLANTED: dict[str, tuple[Callable[[Device], Any], str, str, str]] = {
    "a password that everybody may read": (
        secret, "secrets", "everybody on this device may read", "chmod o-rwx"),
    "orders of strangers": (
        signed_never, "exposure", "whoever may publish at the broker may restart", "protected"),
    "one pipeline hides, the other shows": (
        pictures, "redaction", "b keeps pictures of cam as they are, and a hides", "redact"),
    "a medium that was made read-only": (
        read_only, "read-only", "/ is mounted read-only", "remount,rw /"),
    "a failing card": (
        kernel("mmc0: error -110 whilst initialising SD card"), "disk errors",
        "failed reads or writes of mmc0", "outbox export --carry"),
    "a failing disk": (
        kernel("critical medium error, dev sda, sector 81"), "disk errors", "writes of sda",
        "smartctl -a /dev/sda"),
    "a damaged file system": (
        kernel("EXT4-fs error (device mmcblk0p2): ext4_lookup: deleted inode"), "file system",
        "a file system is damaged", "forcefsck"),
    "ended for want of memory": (
        kernel("Out of memory: Killed process 612 (edgeagentd) total-vm:1"), "killed",
        "the kernel has ended edgeagentd", "ps -eo"),
    "a weak supply": (
        kernel("hwmon hwmon1: Undervoltage detected!"), "power", "too weak", "5 V"),
    "a camera on a bad cable": (
        kernel("\n".join(["usb 1-1.2: device descriptor read/64, error -71"] * 3)), "usb",
        "keeps losing its connection: 1-1.2 (3 times)", "dmesg | grep 'usb 1-1.2'"),
    "swapping to a card": (swapped, "swap", "200 MiB are swapped to /var/swap", "zram"),
    "a processor held back": (slow, "frequency", "held at 600 of 1800 MHz", "tee"),
    "a processor that is too old": (
        lambda its: its.put("proc/cpuinfo", "flags : fpu sse2 ssse3\n"), "cpu",
        "lacks sse4_1, sse4_2, popcnt", "processor model host"),
    "a 32-bit Python": (
        lambda its: its.patch("sysconfig.get_platform", lambda: "linux-armv7l"), "python",
        "this Python is 32-bit", "getconf LONG_BIT"),
    "a model that was taken back": (
        truth(state="rolled-back", deployment={"version": "1.3.0", "detail": "p95 90 ms > 40 ms"}),
        "changes", "parts 1.3.0 was rolled back: p95 90 ms > 40 ms", "edgeagent models show parts"),
    "a model's truth that is damaged": (
        lambda its: its.own("models/parts.json", b"\0\1"), "changes", "can't be read", "sudo rm"),
    "a configuration of the fleet that was taken back": (
        wish, "wishes", "revision 5 of the fleet's configuration was rolled back: no broker",
        "fleet desired"),
    "starts that do not last": (
        starts(4), "starts", "4 starts in a row did not last a minute", "journalctl"),
    "safe mode": (starts(11), "starts", "safe mode", "systemctl restart"),
    "a copied card": (
        lambda its: its.records(machine="feedfeed"), "clone", "begun on another machine",
        "systemd-machine-id-setup"),
    "records that wait for hours": (
        waiting, "backlog", "3 records wait to be sent, the oldest for 2.0 h", "edgeagent status"),
    "a clock that was set back": (future, "order of time", "from 25 h ahead", "set-ntp true"),
    "transfers that were never finished": (
        leftover, "leftovers", "1 files of unfinished transfers", "rm "),
    "no name server": (no_nameserver, "nameserver", "no name server to ask for broker.example",
                       "nmcli"),
    "no network": (no_route, "route", "no route to other machines", "ip address"),
    "an ACL that lets nothing through": (
        unproven, "topics", "topics not proven: refused", "See the ACL."),
    "another device with this id": (
        rival, "id clash", "another client connects with this device's id", "set-hostname"),
    "a user who is not in the camera's group": (
        camera, "groups", "edgeagent is not in video, and cam needs it",
        "usermod -aG video edgeagent"),
    "a delegate without its library": (
        delegate, "delegates", "libvx_delegate.so is not installed", "ldconfig -p"),
    "a Coral stick without its library": (
        coral, "accelerators", "a Coral accelerator is there without its library",
        "apt install libedgetpu1-std"),
    "a library that crashes with this runtime": (
        old_coral, "accelerators", "libedgetpu 16.0 crashes", "rebuilt"),
    "a service that does not start at boot": (
        systemd(UnitFileState="disabled"), "unit", "does not start at boot", "systemctl enable"),
    "a masked service": (systemd(LoadState="masked"), "unit", "masked", "unmask"),
    "a service that has failed": (
        systemd(ActiveState="failed", Result="exit-code", ExecMainCode="1", ExecMainStatus="78"),
        "last exit", "exit code 78: the configuration is wrong", "journalctl"),
    "a service that the watchdog ended": (
        systemd(ActiveState="failed", Result="watchdog", ExecMainCode="3", ExecMainStatus="6"),
        "last exit", "no sign of life", "edgeagent why"),
    "a service that is started again and again": (
        systemd(NRestarts="17"), "last exit", "start it anew 17 times", "journalctl"),
    "a log in memory": (volatile, "journal", "the log is in memory", "mkdir -p /var/log/journal"),
    "an agent of yesterday": (
        lambda its: its.status.update(version="0.0.1"), "version", "the agent that runs is 0.0.1",
        "systemctl restart edgeagent"),
    "a configuration that is not in force": (
        lambda its: its.status.update(config="c0ffee"), "in force", "changed since the agent",
        "systemctl restart edgeagent"),
    "an agent that is not well": (
        lambda its: its.status.update(state="degraded", reasons=["cam: is covered"]), "agent",
        "cam: is covered", "edgeagent status"),
}  # fmt: skip


@pytest.mark.parametrize("planted", PLANTED)
def test_what_is_wrong_is_found_and_nothing_else(device: Device, planted: str) -> None:
    plant, check, said, remedy = PLANTED[planted]
    plant(device)
    report = device.look()
    problems = [its for its in report.problems() if its.check == check]
    assert problems and said in problems[0].what, report.problems()
    assert remedy in problems[0].remedy
    others = {its.check for its in report.problems()} - {check}
    # Where the fault needs a pipeline, that its model is not here is a fault of the device as well.
    assert others <= ({"models"} if plant in (pictures, delegate) else set()), report.problems()
    assert report.exit_code == 1 and report.took_s < 10


def pi(device: Device) -> None:
    device.put("proc/cpuinfo", "Features : fp asimd evtstrm crc32 asimddp\n")
    device.put("sys/firmware/devicetree/base/model", "Raspberry Pi 5 Model B Rev 1.0\0")
    device.put("sys/firmware/devicetree/base/compatible", "raspberrypi,5-model-b\0brcm,bcm2712\0")
    device.put("proc/swaps", "Filename Type Size Used Priority\n/var/swap file 512000 1024 -2\n")
    device.put("var/log/kern.log", "quiet\n")


def at_work(device: Device) -> None:
    device.systemd()
    device.records(20)
    device.own("boots.json", '{"unhealthy":1}')
    device.own("models/parts.json", '{"state":"committed","version":"1.2.0"}')
    device.own("remote-state.json", '{"rev":3,"state":"applied"}')


def held(device: Device) -> None:
    device.own("models/parts.json", '{"version":"1.2.0","hold":{"by":"ann"}}')


HEALTHY: dict[str, Callable[[Device], Any]] = {
    "nothing but an agent": lambda _: None,
    "a Pi 5": pi,
    "under systemd, at work": at_work,
    "a model that a person holds": held,
    "no kernel log, no service, no agent": lambda its: (
        (its.root / "dev/kmsg").unlink(), its.status.update(state="online")),
    "a container": lambda its: its.put(
        "proc/self/mountinfo", "22 1 8:1 / / rw - overlay o rw\n23 22 8:1 / /tmp rw - ext4 d rw\n"),
    "swap in memory": lambda its: its.put(
        "proc/swaps", "Filename Type Size Used Priority\n/dev/zram0 partition 9 999999 100\n"),
    "a camera whose user is in the group": lambda its: (
        camera(its), its.put("etc/group", "video:x:44:pi,edgeagent\n")),
    "a camera whose unit gives the group": lambda its: (
        camera(its),
        its.put("etc/systemd/system/edgeagent.service", "SupplementaryGroups=video audio\n")),
    "served to this device only": lambda its: its.config.append("serve.listen=[::1]:8000"),
    "a young transfer and an old quarantine": lambda its: (
        its.own("models/x.part", "x", age_s=60), its.own("quarantine/a/outbox.db", "x", age_s=9e6)),
    "a Coral stick with a rebuilt library": lambda its: (
        old_coral(its), its.put("var/lib/dpkg/status",
                                "Package: libedgetpu1-std\nVersion: 16.0tf2.17.1-1\n\n")),
}  # fmt: skip


@pytest.mark.parametrize("variant", HEALTHY)
def test_a_healthy_device_has_nothing_that_is_wrong(device: Device, variant: str) -> None:
    HEALTHY[variant](device)
    report = device.look()
    assert report.problems() == [] and report.exit_code == 0


def test_a_broker_that_answers_and_an_agent_that_is_linked(device: Device, port: int) -> None:
    linked(device, port)
    assert device.look().problems() == []


def test_what_is_fixed_is_gone(device: Device) -> None:
    """Real programs, on real files; what can't be done is said."""
    secret(device)
    leftover(device)
    device.systemd(UnitFileState="disabled")
    before = {its.check for its in device.look().problems()}
    assert before == {"secrets", "leftovers", "unit"}
    device.program("systemctl", 'case $1 in enable) echo "Access denied" >&2; exit 4;; esac\n'
                                "echo LoadState=loaded; echo UnitFileState=disabled; "
                                "echo ActiveState=active")  # fmt: skip
    repairs = list(repair(device.look().problems()))
    assert {(its.finding.check, its.done, its.said) for its in repairs} == {
        ("secrets", True, ""), ("leftovers", True, ""), ("unit", False, "Access denied"),
    }  # fmt: skip
    assert {its.check for its in device.look().problems()} == {"unit"}
    assert (device.folder / "password").stat().st_mode & 0o777 == 0o640


def test_what_came_from_elsewhere_is_never_run(device: Device) -> None:
    secret(device)
    told = json.loads(json.dumps(device.look().to_dict()))
    assert any(its["fixable"] for its in told["findings"])
    for its in told["findings"]:
        its["fix"] = [["touch", str(device.folder / "pwned")]]
    report = Report.from_dict(told)
    assert report.worst == "problem" and list(repair(report.findings)) == []
    assert not (device.folder / "pwned").exists()
