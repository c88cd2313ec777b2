"""Fourteen ways in which a camera fails, each beside two cameras that must not notice.

By default six rows at once. ``EDGEAGENT_TESTS=full``: every row alone for a minute, a third calm, a
third ill, a third well again; the table is printed (``-s``). The control of the two healthy cameras
is another process that reads them at the same time, without a sick one beside.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeagent import clock
from edgeagent.capture.rtsp import MjpegSource, RtspSource
from edgeagent.capture.sight.sight import Sight, SightSettings
from edgeagent.config.model import MjpegConfig, RtspConfig
from edgeagent.errors import SourceEnded
from edgeagent.testing.capture import Alone
from edgeagent.types import Frame

FULL = os.environ.get("EDGEAGENT_TESTS") == "full"
HERE = Path(__file__).parent
SYSTEM_PYTHON = os.environ.get("EDGEAGENT_SYSTEM_PYTHON", "/usr/bin/python3")
HZ = 10.0
DETECTED_S = 5.0
BACK_S = 5.0
SPARE_S = 1.5
"""For a machine that has other things to do: a child takes its time to start."""


class Server:
    """A process that prints its port, obeys lines on stdin and can be started again there."""

    def __init__(self, *command: str) -> None:
        self._command = command
        self.port = 0
        self.process: subprocess.Popen[str] | None = None
        self.start()

    def start(self, *more: str) -> None:
        program, script, *rest = self._command
        command = [program, str(HERE / script), str(self.port), *rest, *more]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            text=True,
        )  # fmt: skip
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line.strip().isdigit(), command
        self.port = int(line)

    def tell(self, order: str) -> None:
        assert self.process is not None
        assert self.process.stdin is not None
        self.process.stdin.write(order + "\n")
        self.process.stdin.flush()

    def send(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.communicate()
            self.process = None


class Patient:
    """A camera under its unit, and a pipeline that takes each picture."""

    def __init__(self, source: Any, config: Any) -> None:
        self.source = source
        sight = Sight("cam", SightSettings(every_s=0.5, looks=6, frozen_after_s=3.0))
        self.unit = Alone("cam", source, config, sight)
        self.taken: list[tuple[float, float, tuple[int, ...]]] = []
        """Monotonic time, age in milliseconds, shape."""
        self._mailbox = self.unit.subscribe(8)
        self._thread = threading.Thread(target=self._take)
        self._thread.start()
        self.unit.start()

    def _take(self) -> None:
        try:
            while True:
                sample = self._mailbox.get(1.0)
                if isinstance(sample, Frame):
                    age = clock.mono_ms() - sample.mono_ms
                    self.taken.append((time.monotonic(), age, sample.pixels.shape))
        except SourceEnded:
            return

    @property
    def reason(self) -> str:
        health = self.unit.health()
        return f"{health.state}: {health.reason}"

    def since(self, when: float) -> list[tuple[float, float, tuple[int, ...]]]:
        return [its for its in self.taken if its[0] >= when]

    def stop(self) -> None:
        self.unit.stop()
        assert self.unit.wait(3.0)
        self._thread.join(3)


class Row:
    """One way to fail: how it comes about, how it is told, how it is over."""

    def __init__(
        self, name: str, patient: Patient, hurt: Callable[[], Any], heal: Callable[[], Any],
        told: str = "",
    ) -> None:  # fmt: skip
        self.name = name
        self.patient = patient
        self.hurt = hurt
        self.heal = heal
        self._told = told
        self._losses = 0
        self._shape: tuple[int, ...] = ()
        self.hurt_at = self.detected_s = self.healed_at = self.back_s = 0.0

    def begin(self) -> None:
        self._losses = self.patient.unit.losses.total
        self._shape = self.patient.taken[-1][2]
        self.hurt_at = time.monotonic()
        self.hurt()

    def noticed(self) -> bool:
        if self._told == "size":
            return self.patient.taken[-1][2] != self._shape
        if self._told in ("slow", "the same picture"):
            return self._told in self.patient.reason
        if self._told:
            return self._told in self.patient.reason
        return self.patient.unit.losses.total > self._losses

    def end(self) -> None:
        self.healed_at = time.monotonic()
        self.heal()

    def well(self) -> bool:
        unit = self.patient.unit
        fresh = self.patient.since(self.healed_at)
        if self.name in ("our child SIGKILLed", "our child SIGSTOPped"):
            fresh = self.patient.since(self.hurt_at + self.detected_s)
        complaint = "slow" in self.patient.reason or "same picture" in self.patient.reason
        return unit.state == "running" and len(fresh) >= 3 and not complaint


@pytest.fixture
def ward(gstreamer: bool, tmp_path: Path) -> Iterator[Ward]:
    ward = Ward(gstreamer, tmp_path)
    yield ward
    ward.close()


class Ward:
    """Makes servers, patients and rows, and ends them."""

    def __init__(self, gstreamer: bool, folder: Path) -> None:
        self.gstreamer = gstreamer
        self._folder = folder
        self._servers: list[Server] = []
        self._patients: list[Patient] = []

    def close(self) -> None:
        for patient in self._patients:
            patient.stop()
        for server in self._servers:
            server.kill()

    def server(self, *command: str) -> Server:
        server = Server(*command)
        self._servers.append(server)
        return server

    def rtsp_server(self) -> Server:
        return self.server(SYSTEM_PYTHON, "rtsp_gst.py", "320", "240", f"{HZ:.0f}")

    def camera(self, *more: str) -> Server:
        return self.server(sys.executable, "sick_camera.py", str(HZ), *more)

    def rtsp(self, port: int, **keys: Any) -> Patient:
        config = RtspConfig(url=f"rtsp://127.0.0.1:{port}/live", timeout="3 s", **keys)
        return self._admit(Patient(RtspSource("cam", config), config))

    def mjpeg(self, port: int, scheme: str = "http", kind: type = MjpegSource, **keys: Any) -> Any:
        config = MjpegConfig(url=f"{scheme}://localhost:{port}/video", timeout="3 s", **keys)
        return self._admit(Patient(kind("cam", config), config))

    def _admit(self, patient: Patient) -> Patient:
        self._patients.append(patient)
        return patient

    # --- rows ----------------------------------------------------------------------------

    def killed(self) -> Row:
        server = self.rtsp_server()
        return Row("killed", self.rtsp(server.port), server.kill, server.start)

    def restarted(self) -> Row:
        server = self.rtsp_server()

        def hurt() -> None:
            server.kill()
            server.start()

        return Row("restarted", self.rtsp(server.port), hurt, lambda: None)

    def stopped(self) -> Row:
        server = self.rtsp_server()
        return Row("SIGSTOPped (TCP open)", self.rtsp(server.port),
                   lambda: server.send(signal.SIGSTOP),
                   lambda: server.send(signal.SIGCONT))  # fmt: skip

    def hole(self) -> Row:
        wire = self.server(sys.executable, "bad_wire.py", str(self.rtsp_server().port))
        return Row("black hole", self.rtsp(wire.port),
                   lambda: wire.tell("hole"), lambda: wire.tell("good"))  # fmt: skip

    def noise(self) -> Row:
        wire = self.server(sys.executable, "bad_wire.py", str(self.rtsp_server().port))
        row = Row("corrupted packets", self.rtsp(wire.port),
                  lambda: wire.tell("noise"), lambda: wire.tell("good"))  # fmt: skip
        before = row.patient.source.tally
        row.noticed = lambda: before.corrupt > 0 or row.patient.unit.losses.total > 0  # type: ignore[method-assign]
        return row

    def slow(self) -> Row:
        camera = self.camera()
        return Row("half rate", self.mjpeg(camera.port), lambda: camera.tell("rate 5"),
                   lambda: camera.tell("rate 10"), "slow")  # fmt: skip

    def resized(self) -> Row:
        camera = self.camera()
        return Row("size change", self.mjpeg(camera.port),
                   lambda: camera.tell("size 320 240"), lambda: None, "size")  # fmt: skip

    def password(self) -> Row:
        server = self.rtsp_server()

        def hurt() -> None:
            server.kill()
            server.start("h264", "me", "secret")

        def heal() -> None:
            server.kill()
            server.start()

        return Row("wrong password", self.rtsp(server.port), hurt, heal, "(401)")

    def missing(self) -> Row:
        camera = self.camera()
        return Row("404", self.mjpeg(camera.port), lambda: camera.tell("answer 404"),
                   lambda: camera.tell("answer 200"), "(404)")  # fmt: skip

    def certificate(self) -> Row:
        good, other = (self._certificate(name) for name in ("good", "other"))
        shown = self._folder / "shown.pem"
        shown.write_bytes(good.read_bytes())
        camera = self.camera(str(shown))

        def show(file: Path) -> None:
            camera.kill()
            shown.write_bytes(file.read_bytes())
            camera.start()

        patient = self.mjpeg(camera.port, "https", ca=str(good))
        return Row("wrong certificate", patient, lambda: show(other), lambda: show(good),
                   "certificate is not trusted")  # fmt: skip

    def nameless(self) -> Row:
        camera = self.camera()
        resolver = {"localhost": "localhost"}

        class Renamed(MjpegSource):
            """The resolver is the edge of the machine: here the name is, or is not, one."""

            def params(self) -> dict[str, Any]:
                params = super().params()
                params["url"] = params["url"].replace("localhost", resolver["localhost"])
                return params

        def hurt() -> None:
            resolver["localhost"] = "camera.invalid"
            camera.tell("answer 503")

        def heal() -> None:
            resolver["localhost"] = "localhost"
            camera.tell("answer 200")

        patient = self.mjpeg(camera.port, kind=Renamed)
        return Row("DNS gone", patient, hurt, heal, "can't be resolved")

    def repeats(self) -> Row:
        camera = self.camera()
        return Row("repeats one frame", self.mjpeg(camera.port), lambda: camera.tell("repeat"),
                   lambda: camera.tell("live"), "the same picture")  # fmt: skip

    def child(self, number: signal.Signals) -> Row:
        camera = self.camera()
        patient = self.mjpeg(camera.port)
        return Row(f"our child {number.name}{'' if number.name[-1] == 'D' else 'ped'}"
                   .replace("KILLped", "KILLed").replace("STOPped", "STOPped"), patient,
                   lambda: os.kill(patient.source.pid, number), lambda: None)  # fmt: skip

    def _certificate(self, name: str) -> Path:
        file = self._folder / f"{name}.pem"
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj",
             f"/CN={name}", "-addext", "subjectAltName=DNS:localhost", "-keyout", str(file),
             "-out", str(file) + ".crt"],
            check=True, capture_output=True,
        )  # fmt: skip
        file.write_bytes(file.read_bytes() + Path(str(file) + ".crt").read_bytes())
        return file


def until(condition: Callable[[], bool], limit_s: float, what: str) -> float:
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < limit_s, what
        time.sleep(0.02)
    return time.monotonic() - began


def suffer(rows: list[Row], ill_s: float) -> None:
    """All rows at once: hurt, noticed, healed, back."""
    began = time.monotonic()
    for row in rows:
        row.begin()
    waiting = list(rows)
    while waiting:
        for row in list(waiting):
            if row.noticed():
                row.detected_s = time.monotonic() - row.hurt_at
                waiting.remove(row)
        late = [f"{row.name}: {row.patient.reason}" for row in waiting]
        assert time.monotonic() - began < 15 + ill_s, late
        time.sleep(0.02)
    time.sleep(max(0.0, began + ill_s - time.monotonic()))
    for row in rows:
        row.end()
    waiting = list(rows)
    while waiting:
        for row in list(waiting):
            if row.well():
                row.back_s = time.monotonic() - row.healed_at
                waiting.remove(row)
        late = [f"{row.name}: {row.patient.reason}" for row in waiting]
        assert time.monotonic() - rows[0].healed_at < 25, late
        time.sleep(0.02)


def ages(taken: list[tuple[float, float]], begin: float, end: float) -> list[float]:
    return [age for when, age in taken if begin <= when < end]


def p95(ages: list[float]) -> float:
    return float(np.quantile(ages, 0.95))


@pytest.mark.usefixtures("in_full")
def test_some_rows_at_once(ward: Ward) -> None:
    rows = [ward.slow(), ward.resized(), ward.missing(), ward.certificate(), ward.nameless(),
            ward.repeats()]  # fmt: skip
    healthy = ward.mjpeg(ward.camera().port)
    everybody = [healthy, *(row.patient for row in rows)]

    def ready() -> bool:
        views = [its.unit.health().detail["sight"]["view"] for its in everybody]
        return all(view == "learned" for view in views)

    until(ready, 60, "they do not begin")
    until(lambda: all(len(its.taken) > 40 for its in everybody), 30, "they do not run")
    calm = time.monotonic()
    suffer(rows, 6.0)
    for row in rows:
        print(f"{row.name:22} noticed {row.detected_s:.1f} s, back {row.back_s:.1f} s")
        assert row.detected_s < DETECTED_S + SPARE_S, row.name
        assert row.back_s < BACK_S + SPARE_S, row.name
    span = time.monotonic() - calm
    assert healthy.unit.losses.total == 0
    # Beside other tests its consumer may be late for one.
    assert healthy.unit.dropped < 0.02 * HZ * span
    assert len(healthy.since(calm)) > 0.9 * HZ * span


class Control:
    """Another process with the two healthy cameras and nothing else."""

    def __init__(self, rtsp_port: int, mjpeg_port: int) -> None:
        run = (
            "import sys; sys.path.insert(0, sys.argv[1]); import test_torture; test_torture.alone()"
        )
        self._process = subprocess.Popen(
            [sys.executable, "-c", run, str(HERE), str(rtsp_port), str(mjpeg_port)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def finish(self) -> list[list[tuple[float, float]]]:
        """Time and age of every picture, of each camera."""
        out, _ = self._process.communicate("\n", timeout=20)
        found: list[list[tuple[float, float]]] = json.loads(out.splitlines()[-1])
        return found

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()


def alone() -> None:
    """What the control's process does, until a line comes."""
    ward = Ward(True, Path())
    beside = [ward.rtsp(int(sys.argv[2])), ward.mjpeg(int(sys.argv[3]))]
    sys.stdin.readline()
    taken = [[(when, age) for when, age, _ in its.taken] for its in beside]
    ward.close()
    print(json.dumps(taken))


ROWS = ("killed", "restarted", "stopped", "hole", "slow", "noise", "resized", "password",
        "missing", "certificate", "nameless", "repeats", "child-kill", "child-stop")  # fmt: skip


@pytest.mark.skipif(not FULL, reason="a minute each: EDGEAGENT_TESTS=full")
@pytest.mark.timeout(240)
@pytest.mark.parametrize("name", ROWS)
def test_row(ward: Ward, name: str) -> None:
    if not ward.gstreamer:
        pytest.skip("needs GStreamer's RTSP server for the system Python (see conftest.py)")
    if name.startswith("child"):
        row = ward.child(signal.SIGKILL if name == "child-kill" else signal.SIGSTOP)
    else:
        row = getattr(ward, name)()
    third = float(os.environ.get("EDGEAGENT_TORTURE_S", "60")) / 3
    ports = ward.rtsp_server().port, ward.camera().port
    # Their mailboxes hold almost a second: what is lost then, is lost to the others.
    beside = [ward.rtsp(ports[0], queue=8), ward.mjpeg(ports[1], queue=8)]
    control = Control(*ports)
    try:
        figures = observe(row, beside, control, third, needs_view=name == "repeats")
    finally:
        control.kill()
    cells = " | ".join(
        f"{b:.1f} ms ({a:.1f}), {share:.2f}, {max(0, m)} lost" for a, b, share, m in figures
    )
    print(f"\n| {row.name} | {row.detected_s:.1f} s | {row.back_s:.1f} s | {cells} |")
    assert row.detected_s <= DETECTED_S + SPARE_S
    assert row.back_s <= BACK_S + SPARE_S
    for control_ms, during_ms, share, _ in figures:
        # A fifth, or what two processes on one machine differ by anyway.
        assert share <= 1.2 or during_ms <= control_ms + 2.0


def observe(
    row: Row, beside: list[Patient], control: Control, third: float, *, needs_view: bool
) -> list[tuple[float, float, float, int]]:
    """Of each healthy camera: p95 of the age in the control and here; of both in each two seconds
    the quotient, its median; pictures that are missing."""
    everybody = [row.patient, *beside]
    until(lambda: all(len(its.taken) > 40 for its in everybody), 60, "they do not run")
    if needs_view:
        health = row.patient.unit.health
        until(lambda: health().detail["sight"]["view"] == "learned", 30, "no view")
    time.sleep(third)
    ill = time.monotonic()
    before = [(its.unit.dropped, its.unit.losses.total) for its in beside]
    suffer([row], third)
    time.sleep(max(0.0, ill + 2 * third - time.monotonic()))
    end = time.monotonic()
    figures = []
    for its, theirs, (dropped, losses) in zip(beside, control.finish(), before, strict=True):
        here = [(when, age) for when, age, _ in its.taken]
        during, usual = ages(here, ill, end), ages(theirs, ill, end)
        pairs = [
            (p95(ages(here, at, at + 2)), p95(ages(theirs, at, at + 2)))
            for at in np.arange(ill, end - 2, 2.0)
            if ages(here, at, at + 2) and ages(theirs, at, at + 2)
        ]
        # Whatever else the machine does meets both within the same two seconds.
        share = float(np.median([one / other for one, other in pairs]))
        missing = round(HZ * (end - ill)) - len(during)
        figures.append((p95(usual), p95(during), share, missing))
        assert its.unit.dropped == dropped
        assert its.unit.losses.total == losses
        assert abs(missing) <= 2
    return figures
