"""The faults, in the order in which they take turns; each is undone and has to be got over."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.soak.rig import BALLAST, Rig, Wrong
from edgeagent.clock import rfc3339, wall_ns
from edgeagent.testing import spoil
from edgeagent.update.states import ENDS

Fault = Callable[[Rig, int, threading.Event], str]
"""(rig, number of the round, ended) → what is said of it. Raises `Wrong`."""

_DOWN_S = 15.0
_AFTER = 650
"""Runs after which a bad version shows itself: more than a proof has."""
_NEVER = 1 << 40
_DECIDED_S = 200.0
_GIVEN_UP_S = 60.0
"""From when on a device no longer tries to fetch what it can't."""
_PATIENT_S, _BRIEF_S = 150.0, 5.0
"""How long a version is on probation: until it is seen through, or for form's sake."""


def broker_killed(rig: Rig, _round: int, ended: threading.Event) -> str:
    rig.broker.kill()
    ended.wait(_DOWN_S)
    rig.broker.start()
    return f"away for {_DOWN_S:.0f} s"


def broker_stopped(rig: Rig, _round: int, ended: threading.Event) -> str:
    rig.broker.stop()
    ended.wait(2 * _DOWN_S)
    rig.broker.start()
    return f"away for {2 * _DOWN_S:.0f} s"


def broker_forgets(rig: Rig, _round: int, _ended: threading.Event) -> str:
    rig.forget()
    return "killed, its files deleted, started"


def camera_gone(rig: Rig, _round: int, ended: threading.Event) -> str:
    rig.camera.stop(signal.SIGKILL)
    ended.wait(_DOWN_S)
    rig.camera.start()
    return f"away for {_DOWN_S:.0f} s"


def camera_frozen(rig: Rig, _round: int, ended: threading.Event) -> str:
    rig.camera.order("freeze")
    ended.wait(2 * _DOWN_S)
    said = rig.reasons()
    rig.camera.order("live")
    return f"the same picture for {2 * _DOWN_S:.0f} s; it said: {said}"


def stream_hangs(rig: Rig, _round: int, ended: threading.Event) -> str:
    rig.stream.send(signal.SIGSTOP)
    ended.wait(2 * _DOWN_S)
    said = rig.reasons()
    rig.stream.send(signal.SIGCONT)
    return f"connected and silent for {2 * _DOWN_S:.0f} s; it said: {said}"


def model_good(rig: Rig, number: int, _ended: threading.Event) -> str:
    return _update(rig, f"1.{number}.1", spoil.version, "committed")


def model_corrupt(rig: Rig, number: int, _ended: threading.Event) -> str:
    """What was signed and what lies there differ in a byte of each file."""

    def unlike(good: Any, folder: Path) -> Any:
        # What the device has already would not be fetched.
        return spoil.blind(good, folder, after=_NEVER)

    expires = rfc3339(wall_ns() + int(_GIVEN_UP_S * 1e9))
    return _update(rig, f"1.{number}.2", unlike, "failed", harm=_flip, expires=expires)


def model_rolled_back(rig: Rig, number: int, _ended: threading.Event) -> str:
    """Right for as long as a proof takes, and then each label is called by another's name."""

    def bad(good: Any, folder: Path) -> Any:
        return spoil.labels_permuted(good, folder, after=_AFTER)

    return _update(rig, f"1.{number}.3", bad, "rolled-back", soak_s=_PATIENT_S)


def disk_full(rig: Rig, _round: int, ended: threading.Event) -> str:
    if not rig.small_disk:
        return "left out: no file system could be mounted to be filled"
    ballast = rig.agent.data / BALLAST
    try:
        with ballast.open("wb", buffering=0) as file:
            while not ended.is_set():
                file.write(bytes(1 << 20))
    except OSError:
        pass  # It is full.
    ended.wait(_DOWN_S)
    free = os.statvfs(rig.agent.data).f_bavail
    ballast.unlink()
    return f"{free} free blocks for {_DOWN_S:.0f} s"


TURNS: dict[str, Fault] = {
    "broker killed": broker_killed,
    "camera gone": camera_gone,
    "model: a good version": model_good,
    "model: corrupt files": model_corrupt,
    "broker forgets": broker_forgets,
    "camera frozen": camera_frozen,
    "model: bad in the field": model_rolled_back,
    "disk full": disk_full,
    "broker stopped": broker_stopped,
    "stream hangs": stream_hangs,
}


def _flip(files: list[Path]) -> None:
    """One byte of each; done twice, it is undone."""
    for file in files:
        if file.is_file() and not file.name.endswith(".model.toml"):
            data = bytearray(file.read_bytes())
            data[len(data) // 2] ^= 1
            file.write_bytes(data)


def _update(
    rig: Rig, version: str, make: Callable[[Any, Path], Any], expected: str, *,
    soak_s: float = _BRIEF_S, harm: Callable[[list[Path]], None] = lambda _: None, **policy: Any,
) -> str:  # fmt: skip
    """Publish a version and wish for it; what came of it."""
    before = _running(rig)
    files = rig.publish(make(rig.good, rig.folder / "new" / "parts" / version))
    harm(files)
    rev = rig.wish(version, soak_s=soak_s, **policy)

    def over(status: dict[str, Any]) -> dict[str, Any] | None:
        its = status["desired"]["models"].get("parts", {})
        decided = its.get("rev") == rev and its.get("state") in ENDS
        return its if decided else None

    try:
        told = rig.until(f"nothing came of {version}", over, _DECIDED_S)
    finally:
        harm(files)
    said = f"{version} {told['state']}: {told.get('reason', '')} {told.get('detail', '')}".rstrip()
    if told["state"] != expected:
        raise Wrong(said)
    runs = _running(rig)
    kept = runs == before if expected != "committed" else runs.startswith(f"parts@{version}")
    if not kept:
        raise Wrong(f"{said}; but {runs} runs, and {before} before")
    return said


def _running(rig: Rig) -> str:
    return str(rig.agent.client.status()["pipelines"]["belt"]["model"])
