"""A real agent is killed in the middle of a change, again and again: old or new, and working."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from kit import agent, config, version_of_parts

from edgeagent.testing.agent import AgentProcess

STATES = ("accepted", "fetching", "verifying", "proving", "activating", "probation")
"""``accepted``: as soon as the order is answered, whatever the engine has done by then."""
DONE = ("committed", "1.1.0")


def change(status: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = status.get("desired", {}).get("models", {}).get("parts", {})
    return found


def begin(device: AgentProcess, package: Path, soak_s: float) -> None:
    device.until(lambda s: s["pipelines"]["parts"]["state"] == "ok", 60)
    device.client.result("model-install", model="parts", version="1.1.0", origin=str(package),
                         activate=True, soak_s=soak_s)  # fmt: skip


def reached(status: dict[str, Any], state: str) -> bool:
    now = change(status)
    return now.get("state") == state or (now.get("state"), now.get("version")) == DONE


def test_killed_in_the_middle(tmp_path: Path, full: bool) -> None:
    package = version_of_parts(tmp_path / "stick", "1.1.0")
    for state in STATES if full else ("accepted", "activating"):
        text = config(1, tmp_path / "none").replace('host = "127.0.0.1"', "")
        device = agent(tmp_path / state, text)
        with device:
            begin(device, package, 2.0)
            if state != "accepted":
                device.until(lambda s, state=state: reached(s, state), 60)
            device.kill()
            device.start()
            device.until(lambda s: reached(s, "committed"), 60)
            device.until(lambda s: s["pipelines"]["parts"]["model"].startswith("parts@1.1.0"), 30)
            assert change(device.client.status())["version"] == "1.1.0"


@pytest.mark.timeout(180)
def test_three_starts_that_do_not_last_undo_it(tmp_path: Path) -> None:
    package = version_of_parts(tmp_path / "stick", "1.1.0")
    text = config(1, tmp_path / "none").replace('host = "127.0.0.1"', "")
    device = agent(tmp_path / "device", text)
    with device:
        begin(device, package, 600.0)
        device.until(lambda s: change(s).get("state") == "probation", 60)
        for _ in range(3):
            device.kill()
            device.start()
            device.until(lambda s: s["pipelines"]["parts"]["model"], 30)
        ended = device.until(lambda s: change(s).get("state") == "rolled-back" and change(s), 30)
        assert (ended["reason"], ended["version"]) == ("boots", "1.0.0")
        assert "did not stay up in 3 starts" in ended["detail"]
        assert device.client.status()["pipelines"]["parts"]["model"].startswith("parts@1.0.0")
