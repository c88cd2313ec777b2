"""Processes of the demo end, whatever happens."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest

from edgeagent.demo.stage import Process, await_true


def process(tmp_path: Path, code: str) -> Process:
    return Process("it", [sys.executable, "-c", code], tmp_path / "it.log", site=tmp_path / "site")


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def test_a_polite_end(tmp_path: Path) -> None:
    its = process(tmp_path, "import sys; sys.stdin.read()")
    its.stop()
    assert not its.running and gone(its.child.pid)
    its.stop()


def test_one_that_ignores_everything_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgeagent.demo.stage._STOP_TIMEOUT_S", 0.3)
    code = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
        "print('ready', flush=True); time.sleep(60)"
    )
    its = process(tmp_path, code)
    assert await_true(lambda: "ready" in its.log.read_text(), 5)
    started = time.monotonic()
    its.stop()
    assert gone(its.child.pid) and time.monotonic() - started < 3


def test_killed_is_killed_by_sigkill(tmp_path: Path) -> None:
    its = process(tmp_path, "import time; time.sleep(60)")
    its.kill()
    assert its.child.returncode == -9
    its.stop()


def test_last_words_are_the_end_of_the_log(tmp_path: Path) -> None:
    its = process(tmp_path, "print(1); print(2); print(3); raise SystemExit('it is broken')")
    its.child.wait(5)
    assert its.last_words().endswith("it is broken")
    its.stop()


def test_children_find_the_package_and_what_was_fetched(tmp_path: Path) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "fetched.py").write_text("")
    its = process(tmp_path, "import fetched, edgeagent; print('found')")
    assert its.child.wait(10) == 0, its.last_words()
    its.stop()
