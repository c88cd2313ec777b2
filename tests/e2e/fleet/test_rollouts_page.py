"""docs/rollouts.md is true: its sessions are typed, and what they show is what comes."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from edgeagent.testing.broker import Mosquitto

ROOT = Path(__file__).resolve().parents[3]
PAGE = ROOT / "docs" / "rollouts.md"
_BROKER = ("simulate", "collect", "rollout create", "rollout run", "desired")


class Typed(NamedTuple):
    line: int
    command: str
    shown: list[str]


def sessions() -> Iterator[Typed]:
    found: Typed | None = None
    inside = False
    for number, line in enumerate(PAGE.read_text().splitlines(), 1):
        if line.startswith("```"):
            inside = line == "```console"
            if found is not None:
                yield found
                found = None
        elif not inside:
            continue
        elif line.startswith("$ "):
            if found is not None:
                yield found
            found = Typed(number, line[2:], [])
        elif line.startswith("> ") and found is not None and not found.shown:
            found = found._replace(command=f"{found.command}\n{line[2:]}")
        elif found is not None:
            found.shown.append(line)


def expected(shown: list[str]) -> re.Pattern[str]:
    """``…`` stands for anything, alone on a line for any number of lines."""
    text = "\n".join(shown).strip()
    lines = [
        r"(?:.*\n)*?" if line.strip() == "…" else
        r"\s*".join(re.escape(part) for part in re.split(r"\s+", line.strip()))
        .replace("…", ".*?") + r"\s*\n"
        for line in text.splitlines()
    ]  # fmt: skip
    return re.compile(r"\s*" + r"\s*".join(lines) + r"\s*")


@pytest.mark.usefixtures("in_full")
@pytest.mark.timeout(240)
def test_what_the_page_shows_is_what_comes(tmp_path: Path, broker: Mosquitto) -> None:
    (tmp_path / "models").symlink_to(ROOT / "models")
    tool = tmp_path / "bin" / "edgeagent"
    tool.parent.mkdir()
    tool.write_text(f'#!/bin/sh\nexec {sys.executable} -m edgeagent.cli "$@"\n')
    tool.chmod(0o755)
    paths = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    environment = {
        **os.environ, "PATH": f"{tool.parent}:{os.environ['PATH']}", "COLUMNS": "80",
        "PYTHONPATH": paths, "NO_COLOR": "1",
    }  # fmt: skip
    background: list[subprocess.Popen[str]] = []

    def run(typed: Typed) -> None:
        command = typed.command
        if any(f"fleet {word}" in command for word in _BROKER):
            command = re.sub(r"( &)?$", rf" --port {broker.port}\1", command, count=1)
        if command.endswith(" &"):
            background.append(
                subprocess.Popen(["bash", "-c", f"exec {command[:-2]}"], cwd=tmp_path,
                                 env=environment, stdout=subprocess.DEVNULL,
                                 stderr=subprocess.DEVNULL, text=True)
            )  # fmt: skip
            if "simulate" in command:
                _there(broker.port, 50)
            return
        done = subprocess.run(
            ["bash", "-c", command], cwd=tmp_path, env=environment, text=True, timeout=120,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
        )  # fmt: skip
        said = f"{PAGE.name}:{typed.line}: {command}\n{done.stdout}"
        assert done.returncode in (0, 1), said
        assert expected(typed.shown).fullmatch(done.stdout + "\n"), said

    try:
        typed = list(sessions())
        assert len(typed) > 12
        for one in typed:
            run(one)
    finally:
        for process in background:
            process.send_signal(signal.SIGTERM)
        for process in background:
            process.wait(20)


def _there(port: int, count: int) -> None:
    """Wait until so many devices are online."""
    seen: set[str] = set()
    ends = time.monotonic() + 60

    def take(_client: Any, _data: Any, message: Any) -> None:
        if b'"online"' in message.payload:
            seen.add(message.topic)

    import paho.mqtt.client as mqtt
    from paho.mqtt.enums import CallbackAPIVersion

    client = mqtt.Client(CallbackAPIVersion.VERSION2)
    client.on_message = take
    client.connect("127.0.0.1", port)
    client.subscribe("edgeagent/+/status", 1)
    client.loop_start()
    while len(seen) < count:
        assert time.monotonic() < ends, len(seen)
        time.sleep(0.05)
    client.disconnect()
    client.loop_stop()


def test_patterns_hold_what_they_show() -> None:
    assert expected(["a … b", "…", "c"]).fullmatch("a  12 b\nx\ny\nc\n")
    assert not expected(["a", "c"]).fullmatch("a\nb\nc\n")
