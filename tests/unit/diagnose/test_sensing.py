"""Doctor on sensors: each thing that may be wrong, on a made-up machine."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

import pytest

from edgeagent.diagnose.checks import sensing, sources


def said(make: Any, root: Path, **source: Any) -> list[tuple[str, str]]:
    table = _flag(source)
    findings = sources.configured(make(["mqtt.host=b", f"sources.s={table}"]))
    return [(its.severity, its.what) for its in findings]


def _flag(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {_flag(its)}" for key, its in value.items()) + "}"
    return json.dumps(value)


def device(root: Path, place: str, **files: Any) -> None:
    folder = root / "sys" / place
    folder.mkdir(parents=True)
    for name, text in files.items():
        (folder / name).write_text(f"{text}\n")


def test_a_sensor_of_the_kernel(make: Any, root: Path) -> None:
    device(root, "bus/iio/devices/iio:device4", name="adxl", in_accel_x_raw=1)
    assert said(make, root, kind="iio", device="adxl") == [("ok", "s: iio adxl is there")]
    ((state, what),) = said(make, root, kind="iio", device="adlx")
    assert state == "failed" and 'did you mean "adxl"' in what
    ((state, what),) = said(make, root, kind="iio", channels={"x": {"read": "in_accel_z"}})
    assert (state, what) == ("failed", "s: adxl has no in_accel_z")


def test_a_serial_line(make: Any, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sensing, "find_spec", lambda name: object())
    config = {"kind": "serial", "device": "/dev/ttyUSB0"}
    assert said(make, root, **config) == [("failed", "s: /dev/ttyUSB0 is not connected")]
    (root / "dev").mkdir(exist_ok=True)
    (root / "dev/ttyUSB0").touch()
    assert said(make, root, **config) == [("ok", "s: /dev/ttyUSB0 is there and may be opened")]
    (root / "dev/ttyUSB1").touch()
    ((state, what),) = said(make, root, **config)
    assert state == "problem" and "another device after the next start" in what
    monkeypatch.setattr(sensing.os, "access", lambda *_, **__: False)
    ((state, what),) = said(make, root, **config)
    assert state == "failed" and "may not be opened" in what


def test_a_package_that_is_missing(make: Any, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sensing, "find_spec", lambda name: None)
    found = said(make, root, kind="serial", device="socket://gw:1")
    assert found[0] == ("failed", "s: the Python package serial is not installed")


def test_modbus(make: Any, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sensing, "find_spec", lambda name: object())
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        config = {"kind": "modbus", "host": "127.0.0.1", "port": port,
                  "channels": {"t": {"address": 1}}}  # fmt: skip
        assert said(make, root, **config) == [("ok", f"s: 127.0.0.1:{port} answers")]
    ((state, _),) = said(make, root, **config)
    assert state == "failed"


def test_topics(make: Any, root: Path) -> None:
    config = {"kind": "mqtt", "topic": "a/b", "channels": {"x": {}, "y": {"topic": "c"}}}
    assert said(make, root, **config) == [("ok", "s: listens to a/b, c")]


def test_a_microphone(make: Any, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sensing.shutil, "which", lambda name: "/usr/bin/arecord")
    card = root / "proc/asound/card1"
    card.mkdir(parents=True)
    (card / "id").write_text("Mic\n")
    config = {"kind": "audio", "device": "hw:CARD=Mic"}
    assert said(make, root, **config) == [("ok", "s: records hw:CARD=Mic by arecord")]
    config["device"] = "hw:CARD=Mike,DEV=0"
    assert said(make, root, **config) == [("failed", "s: there is no sound card Mike")]
    monkeypatch.setattr(sensing.shutil, "which", lambda name: None)
    assert said(make, root, **config) == [("failed", "s: the program arecord is not installed")]
