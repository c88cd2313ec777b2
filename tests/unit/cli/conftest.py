"""Running the command line, in this process and in one of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

Invoke = Callable[..., Any]
Shell = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home, so nothing of the machine's own agent is seen."""
    for name in ("XDG_DATA_HOME", "XDG_CACHE_HOME"):
        monkeypatch.setenv(name, str(tmp_path / name.lower()))
    for name in ("RUNTIME_DIRECTORY", "STATE_DIRECTORY", "EDGEAGENT_DEBUG", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


@pytest.fixture
def invoke() -> Invoke:
    """A command in this process."""

    def run(*arguments: object, **options: object) -> Any:
        from edgeagent.cli.app import app

        return CliRunner().invoke(app, [str(argument) for argument in arguments], **options)

    return run


@pytest.fixture
def shell(repository: Path) -> Shell:
    """A command in a process of its own."""

    def run(
        *arguments: object, stdin: bytes | None = None, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-m", "edgeagent.cli", *(str(argument) for argument in arguments)],
            input=stdin or b"",
            capture_output=True,
            timeout=60,
            env={**os.environ, "PYTHONPATH": str(repository), **environment},
            check=False,
        )
        return subprocess.CompletedProcess(
            done.args, done.returncode, done.stdout.decode(), done.stderr.decode()
        )

    return run
