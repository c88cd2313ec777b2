"""The way down: a lower version needs a signature, and an aborted rollout can give back."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kit import DEVICE, ROOT, Fleet, agent, config, version_of_parts, wish

from edgeagent.fleet.keys import PrivateKey
from edgeagent.testing.broker import Mosquitto


class Operator:
    """`edgeagent fleet …` with the key of a person whom the devices know."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        operators = fleet.made.home.first_root.parent / "operators"
        operators.mkdir()
        key = PrivateKey.new()
        key.save(fleet.folder / "ann.key")
        (operators / "ann.pub").write_text(key.public_pem)
        self.sign = ("--sign", str(fleet.folder / "ann.key"))

    def start(self, *words: str, broker: bool = True) -> subprocess.Popen[str]:
        where = ("--port", str(self._fleet.port)) if broker else ()
        return subprocess.Popen(
            [sys.executable, "-m", "edgeagent.cli", "fleet", *words, *where],
            cwd=self._fleet.folder, env={**os.environ, "PYTHONPATH": str(ROOT)}, text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip

    def run(self, *words: str, code: int = 0, broker: bool = True) -> str:
        process = self.start(*words, broker=broker)
        said, _ = process.communicate(timeout=60)
        assert process.returncode == code, said
        return said


@pytest.fixture
def fleet(tmp_path: Path, broker: Mosquitto) -> Iterator[Fleet]:
    made = Fleet(tmp_path / "operator", broker.port)
    for version in ("1.1.0", "1.2.0"):
        made.publish(version_of_parts(tmp_path / "new", version))
    made.serve()
    yield made
    made.stop()


def _runs(device: Any, version: str) -> None:
    device.until(
        lambda s: (s["pipelines"].get("parts", {}).get("model") or "").startswith(
            f"parts@{version}"
        ) and s["desired"]["models"]["parts"]["state"] == "committed", 60,
    )  # fmt: skip


@pytest.mark.usefixtures("in_full")
def test_what_a_group_is_to_be_reaches_who_comes_late_and_goes_down_only_signed(
    tmp_path: Path, broker: Mosquitto, fleet: Fleet, subscriber: Any
) -> None:
    ann = Operator(fleet)
    wished = ("desired", "publish", "group:canary", "--soak", "1 s", "--model")
    ann.run(*wished, "parts@1.2.0")
    text = config(broker.port, fleet.made.home.first_root)
    with agent(tmp_path / "device", text) as device:
        _runs(device, "1.2.0")
        ann.run(*wished, "parts@1.1.0")
        its = subscriber.until(
            lambda said: (m := (said.last("/reported") or {}).get("models", {}).get("parts", {}))
            and m.get("state") == "rejected" and m, 40,
        )  # fmt: skip
        assert its["reason"] == "downgrade"
        assert "1.1.0 is older than 1.2.0" in its["detail"]
        ann.run(*wished, "parts@1.1.0", "--downgrade", code=2)
        ann.run(*wished, "parts@1.1.0", "--downgrade", *ann.sign)
        _runs(device, "1.1.0")
        # What nobody signed goes down as little when it says that it means it.
        plain = wish(9, "1.0.0", downgrade=True)
        subscriber.client.publish(f"edgeagent/{DEVICE}/desired", plain, 1, retain=True)
        its = subscriber.until(
            lambda said: (m := (said.last("/reported") or {}).get("models", {}).get("parts", {}))
            and m.get("rev") == 9 and m.get("state") == "rejected" and m, 40,
        )  # fmt: skip
        assert its["reason"] == "protected"
        assert device.client.status()["pipelines"]["parts"]["model"].startswith("parts@1.1.0")


def test_an_aborted_rollout_gives_back(
    tmp_path: Path, broker: Mosquitto, full: bool, fleet: Fleet, subscriber: Any
) -> None:
    """One has committed, the operator changes his mind: it goes back, the other never hears."""
    if not full:
        pytest.skip("two real agents and a rollout: EDGEAGENT_TESTS=full")
    ann = Operator(fleet)
    text = config(broker.port, fleet.made.home.first_root)
    other = text.replace(f'id = "{DEVICE}"', 'id = "line-2"')
    with agent(tmp_path / "one", text) as one, agent(tmp_path / "two", other) as two:
        both = {DEVICE: one, "line-2": two}
        for device in both.values():
            device.until(
                lambda s: s["link"]["state"] == "up" and s["pipelines"]["parts"]["state"] == "ok"
            )
        driver = ann.start(
            "rollout", "create", "parts@1.1.0", "--group", "canary", "--waves", "50%,100%",
            "--least", "1", "--soak", "1 s", "--settle", "1 s", "--ask", "--give-back", *ann.sign,
        )  # fmt: skip
        first = subscriber.until(lambda said: _committed(said, both), 90)
        subscriber.until(lambda _: "paused" in ann.run("rollout", "list", broker=False), 40)
        ann.run("rollout", "abort", "--why", "the customer called", broker=False)
        said, _ = driver.communicate(timeout=90)
        assert driver.returncode == 1, said
        assert "aborted by a person" in said
        assert "the customer called" in ann.run("rollout", "report", broker=False)
        _runs(both[first], "1.0.0")
        (untouched,) = set(both) - {first}
        status = both[untouched].client.status()
        assert "desired" not in status, "nothing was ever wished of it"
        assert status["pipelines"]["parts"]["model"].startswith("parts@1.0.0")


def _committed(said: Any, devices: Any) -> str:
    for name in devices:
        models = (said.last(f"/{name}/reported") or {}).get("models", {})
        parts = models.get("parts", {})
        if (parts.get("version"), parts.get("state")) == ("1.1.0", "committed"):
            return str(name)
    return ""
