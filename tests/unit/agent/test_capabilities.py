"""What a device says it can do rests on what is there."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeagent.agent.capabilities import delegates


def test_delegates_are_the_libraries_that_the_linker_would_find(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = {"litert": (("msgspec", ("msgspec",)),), "onnx": ()}
    monkeypatch.setattr("edgeagent.infer.installed.LIBRARIES", known)
    assert delegates(tmp_path) == ["xnnpack"]
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    for file in ("usr/lib/aarch64-linux-gnu/libedgetpu.so.1", "usr/local/lib/libvx_delegate.so"):
        (tmp_path / file).parent.mkdir(parents=True)
        (tmp_path / file).touch()
    assert delegates(tmp_path) == ["xnnpack", "edgetpu", "vx"]


def test_without_a_runtime_there_is_no_delegate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgeagent.infer.installed.LIBRARIES", {"litert": ()})
    assert delegates(tmp_path) == []
