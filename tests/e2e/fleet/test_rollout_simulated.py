"""A fleet that is simulated, processes that are killed, and an observer that counts for itself.

With EDGEAGENT_TESTS=full it is 1,000 devices; else 60.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edgeagent.fleet.simulate.packages import make_package
from edgeagent.manifest import load_package
from edgeagent.testing.broker import Mosquitto
from observer import Observer

ROOT = Path(__file__).resolve().parents[3]
TABLE = """
[[outcome]]
version = "parts@2.0.0"
profile = "jetson-nano"
share = 0.6
says = "top-1 0.61 of 0.95 on the golden pictures"
"""


class Cli:
    """``edgeagent fleet …`` in processes of their own."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder, self.port = folder, port
        self.started: list[subprocess.Popen[bytes]] = []
        self._count = 0

    def start(self, *words: str, broker: bool = True) -> subprocess.Popen[bytes]:
        where = ["--port", str(self.port)] if broker else []
        code = "from edgeagent.cli import main; main()"
        return self._start(words[0], [code, "fleet", *words, *where])

    def serve(self, repository: Path) -> subprocess.Popen[bytes]:
        return self.start("serve", "--repository", str(repository))

    def _start(self, name: str, code: list[str]) -> subprocess.Popen[bytes]:
        self._count += 1
        path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
        with (self.folder / f"{self._count}-{name}.log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-c", *code],
                stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, cwd=self.folder,
                env={**os.environ, "PYTHONPATH": path},
            )  # fmt: skip
        self.started.append(process)
        return process

    def run(self, *words: str, timeout: float = 60) -> tuple[int, str]:
        process = self.start(*words, broker=False)
        code = process.wait(timeout)
        return code, (self.folder / f"{self._count}-{words[0]}.log").read_text()

    def logs(self) -> str:
        return "\n".join(f"{its.name}: {its.read_text()[-1500:]}"
                         for its in sorted(self.folder.glob("*.log")))  # fmt: skip

    def end(self) -> None:
        for process in self.started:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        for process in self.started:
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A real one, with two versions."""
    pytest.importorskip("tuf", reason="python-tuf is an extra")
    pytest.importorskip("cryptography", reason="cryptography is an extra")
    from edgeagent.fleet.repository import ceremony, publish

    home = ceremony.begin(
        tmp_path / "repository", keys=1, threshold=1, passphrase=b"", models=["parts"]
    ).home
    for version in ("2.0.0", "2.0.1"):
        package = load_package(make_package(tmp_path / "packages", "parts", version))
        publish.publish(home, publish.plan(home, package))
    return home.folder


@pytest.fixture
def cli(tmp_path: Path, broker: Mosquitto) -> Iterator[Cli]:
    made = Cli(tmp_path, broker.port)
    yield made
    made.end()


@pytest.fixture
def observer(broker: Mosquitto) -> Iterator[Observer]:
    made = Observer(broker.port)
    yield made
    made.close()


def report(cli: Cli, name: str) -> dict[str, Any]:
    code, text = cli.run("rollout", "report", name, "--json")
    assert code == 0, text
    return dict(json.loads(text.splitlines()[-1]))


@pytest.mark.timeout(900)
def test_a_bad_profile_aborts_the_canaries_and_the_fix_reaches_all(
    cli: Cli, observer: Observer, repository: Path, tmp_path: Path, full: bool
) -> None:
    count, share, patience = (1000, 0.1, 600.0) if full else (60, 0.34, 120.0)
    (tmp_path / "table.toml").write_text(TABLE)
    began = time.monotonic()
    cli.start("simulate", str(count), "--dir", "sim", "--table", "table.toml",
              "--root", str(repository / "public" / "metadata" / "1.root.json"), "--speed", "100",
              "--metrics", "2 s")  # fmt: skip
    collector, server = cli.start("collect"), cli.serve(repository)
    observer.until(
        lambda: len(observer.online()) == count and len(observer.profiles()) == count, patience
    )
    settings = [
        "--waves",
        f"{100 * share:g}%,100%",
        "--soak",
        "300 s",
        "--settle",
        "2 s",
        "--silent",
        "60 s",
        "--abort",
        "50% after 20",
        "--abort-profile",
        "40% after 3",
    ]

    # The bad one.
    driver = cli.start("rollout", "create", "parts@2.0.0", *settings)
    assert driver.wait(patience) == 1, cli.logs()
    found = report(cli, "parts-2.0.0")
    assert found["state"] == "aborted" and "profile jetson-nano" in found["reason"]
    asked = observer.asked("2.0.0")
    assert observer.by_profile(asked) == observer.first_wave(share)
    point = observer.abort_point("2.0.0", 0.4, 3)
    assert point is not None and point[0] == "jetson-nano"
    recalled = observer.recalled("2.0.0")
    assert recalled and min(recalled.values()) > point[1]
    bad = Counter(how for _, how in observer.ended("2.0.0").values())["failed"]
    assert found["total"]["bad"] == bad == found["profiles"]["jetson-nano"]["bad"]

    # The fix, with everything killed in the middle of it.
    driver = cli.start("rollout", "create", "parts@2.0.1", *settings)
    first = observer.first_wave(share).total()
    observer.until(lambda: len(observer.asked("2.0.1")) >= first // 2, patience)
    driver.kill()
    collector.kill()
    server.kill()
    part = subprocess.run(["pgrep", "-f", f"simulate.crowd {tmp_path}/sim 0"],
                          capture_output=True, text=True, check=True)  # fmt: skip
    os.kill(int(part.stdout.split()[0]), signal.SIGKILL)
    cli.start("collect")
    cli.serve(repository)
    driver = cli.start("rollout", "run", "parts-2.0.1")
    observer.until(lambda: len(observer.asked("2.0.1")) > first, patience)
    driver.kill()
    driver = cli.start("rollout", "run", "parts-2.0.1")
    assert driver.wait(patience) == 0, cli.logs()
    took = time.monotonic() - began
    found = report(cli, "parts-2.0.1")
    assert found["total"]["well"] == count and not found["reasons"]
    order = observer.order("2.0.1")
    assert len(order) == count and observer.revs_rise()
    assert observer.by_profile(order[:first]) == observer.first_wave(share)
    ends = observer.ended("2.0.1")
    assert {how for _, how in ends.values()} == {"committed"} and len(ends) == count
    # Nobody of the second wave was asked before the whole first one was known to be well.
    settled = max(ends[device][0] for device in order[:first])
    assert observer.asked("2.0.1")[order[first]] > settled + 2
    assert took < 600
    print(f"{count} devices: {took:.0f} s")


def collected(database: Path) -> int:
    """Records that are in the collector's database."""
    with contextlib.closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as db:
        return int(db.execute("SELECT count(*) FROM record").fetchone()[0])


BEHAVIOUR = """
profiles = { rpi4 = 1, imx8mp = 1 }
[[behaviour]]
version = "parts@1.0.0"
events_per_min = 600
[[behaviour]]
version = "parts@2.0.0"
profile = "imx8mp"
events_per_min = 600
score = 0.4
[[behaviour]]
version = "parts@2.0.0"
events_per_min = 600
"""


@pytest.mark.usefixtures("in_full")
@pytest.mark.timeout(200)
def test_a_version_that_sees_the_world_otherwise_is_stopped_by_the_records(
    cli: Cli, observer: Observer, tmp_path: Path
) -> None:
    """It passes every proof and runs well, and on one board its scores have halved."""
    make_package(tmp_path / "packages", "parts", "2.0.0")
    (tmp_path / "table.toml").write_text(BEHAVIOUR)
    cli.start("collect")
    cli.start("simulate", "12", "--dir", "sim", "--table", "table.toml", "--packages", "packages",
              "--speed", "1000", "--metrics", "1 s", "--processes", "1")  # fmt: skip
    observer.until(lambda: len(observer.online()) == 12, 60)
    # Enough of how it was before, of every device: without it there is nothing to compare with.
    observer.until(lambda: collected(tmp_path / "fleet.db") > 12 * 60, 60)
    began = time.monotonic()
    driver = cli.start(
        "rollout", "create", "parts@2.0.0", "--waves", "50%,100%", "--settle", "1 s",
        "--quality-score", "0.2", "--quality-before", "30 s", "--quality-after", "4 s",
    )  # fmt: skip
    assert driver.wait(90) == 1, cli.logs()
    found = report(cli, "parts-2.0.0")
    assert found["reason"].startswith("quality: "), found["reason"]
    assert {its["profile"] for its in found["waves"][0]["quality"] if its["bad"]} >= {"imx8mp"}
    assert "rpi4" not in {its["profile"] for its in found["waves"][0]["quality"] if its["bad"]}
    assert found["total"]["well"] == 6 and len(observer.asked("2.0.0")) == 6
    assert time.monotonic() - began > 4
