"""A data folder that this user may not use: 77, its name and what to do, from every command.

Run as root, the commands are started without the power to overlook file permissions, and the
folders belong to somebody else: the same as an ordinary user before a stranger's folder.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
PICTURE = ROOT / "models" / "parts" / "1.0.0" / "golden" / "1.png"
NOBODY = 65534
CONFIG = """
[sources.belt]
kind = "synthetic"
fps = 10
[pipelines.belt]
source = "belt"
model = "parts"
"""
Ordinary = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def ordinary(tmp_path: Path) -> Ordinary:
    """A command without root's powers over files."""
    (tmp_path / "agent.toml").write_text(CONFIG)
    powerless: list[str] = []
    if os.geteuid() == 0:
        if shutil.which("setpriv") is None:
            pytest.skip("root's powers can't be put down: setpriv is not installed")
        powers = "-dac_override,-dac_read_search,-fowner,-chown"
        powerless = ["setpriv", f"--bounding-set={powers}", "--inh-caps=-all"]

    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*powerless, sys.executable, "-m", "edgeagent.cli", *map(str, arguments)],
            cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False,
            env={**os.environ, "PYTHONPATH": str(ROOT), "NO_COLOR": "1", "COLUMNS": "200",
                 "HOME": str(tmp_path)},
        )  # fmt: skip

    return run


def strangers(path: Path, mode: int) -> None:
    """Give a file or folder to somebody else, with these permissions for all others."""
    path.chmod(mode)
    if os.geteuid() == 0:
        os.chown(path, NOBODY, NOBODY)


@pytest.fixture
def mine_again(tmp_path: Path) -> Iterator[None]:
    """What a test has shut can be removed afterwards."""
    yield
    for folder in tmp_path.rglob("*"):
        if folder.is_dir():
            folder.chmod(0o700)


def refused(done: subprocess.CompletedProcess[str], code: int, *said: str) -> None:
    text = done.stdout + done.stderr
    assert done.returncode == code, text
    assert "Traceback" not in text and "should not have happened" not in text, text
    for word in said:
        assert word in text, text


pytestmark = pytest.mark.usefixtures("mine_again")


def test_a_folder_that_may_only_be_read(ordinary: Ordinary, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    strangers(data, 0o555)
    done = ordinary("run", "-c", "agent.toml", "-d", data)
    refused(done, 77, str(data), "Permission denied", f"sudo chown -R edgeagent: {data}")


# What a person at a shell may ask about the service's folder without being in its group.
ASKED: dict[str, tuple[list[object], int, str]] = {
    "run": (["run", "-c", "agent.toml"], 77, "sudo -u edgeagent"),
    "config check": (["config", "check", "agent.toml"], 77, "sudo -u edgeagent"),
    "outbox verify": (["outbox", "verify"], 77, "sudo -u edgeagent"),
    "outbox peek": (["outbox", "peek"], 77, "sudo -u edgeagent"),
    "status": (["status"], 77, "usermod -aG edgeagent"),
    "doctor": (["doctor", "-c", "agent.toml"], 1, "can't be looked at by this user"),
    "models list": (["models", "list"], 0, "parts"),
    "infer": (["infer", "parts", PICTURE], 0, "cracked"),
}


@pytest.mark.parametrize("what", ASKED)
def test_a_folder_that_may_not_be_entered(ordinary: Ordinary, tmp_path: Path, what: str) -> None:
    data = tmp_path / "service" / "data"
    data.mkdir(parents=True)
    strangers(data.parent, 0o000 if os.geteuid() else 0o700)
    arguments, code, said = ASKED[what]
    refused(ordinary(*arguments, "-d", data), code, said)


def test_a_database_of_another_user(ordinary: Ordinary, tmp_path: Path) -> None:
    data = tmp_path / "data"
    made = ordinary(
        "run", "-c", "agent.toml", "-d", data, "--until-done", "-q",
        "--set", "sources.belt.count=3", "--set", "sources.belt.pace=max",
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    strangers(data / "db" / "outbox.db", 0o444)
    done = ordinary("run", "-c", "agent.toml", "-d", data)
    refused(done, 77, f"{data}/db/outbox.db", f"sudo chown -R edgeagent: {data}")
    refused(ordinary("outbox", "verify", "-d", data), 0, "every number is accounted for")


def test_a_file_in_place_of_a_folder(ordinary: Ordinary, tmp_path: Path) -> None:
    (tmp_path / "data").write_text("")
    for folder in (tmp_path / "data", tmp_path / "data" / "deeper"):
        refused(ordinary("run", "-c", "agent.toml", "-d", folder), 2, str(folder), "--data-dir")


def test_a_configuration_that_may_not_be_read(ordinary: Ordinary, tmp_path: Path) -> None:
    strangers(tmp_path / "agent.toml", 0o000)
    for command in (["run", "-c"], ["config", "check"], ["config", "show"]):
        done = ordinary(*command, "agent.toml", *(["-d", "data"] if "run" in command else []))
        refused(done, 78, "agent.toml", "Permission denied", "chgrp edgeagent agent.toml")
