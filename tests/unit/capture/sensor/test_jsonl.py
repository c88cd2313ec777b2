"""JSON lines as they happen: a FIFO outlives its writers, standard input does not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from edgeagent.capture.replay import ReplaySource
from edgeagent.capture.sensor.jsonl import open_jsonl
from edgeagent.capture.source import Wanted
from edgeagent.config.channels import Channel
from edgeagent.config.model import CsvConfig, ReplayConfig
from edgeagent.errors import ConfigError


@pytest.fixture
def fifo(tmp_path: Path) -> Path:
    os.mkfifo(tmp_path / "fifo")
    return tmp_path / "fifo"


def write(fifo: Path, *rows: dict[str, Any]) -> None:
    with fifo.open("w") as out:
        out.writelines(json.dumps(row) + "\n" for row in rows)


def test_writers_come_and_go(fifo: Path, running: Any) -> None:
    config = ReplayConfig(path=str(fifo), rate_hz=100)
    its = running("f", open_jsonl("f", config, Wanted(length=4, rate_hz=100)), config)
    its.health(lambda health: health.state == "ok")
    write(fifo, *({"a": number} for number in range(4)))
    assert its.window().values[:, 0].tolist() == [0, 1, 2, 3]
    write(fifo, *({"a": number} for number in range(4, 8)))
    assert its.window().values[:, 0].tolist() == [4, 5, 6, 7]
    assert its.unit.losses.total == 0


def test_times_of_the_sender_make_the_rows(fifo: Path, running: Any) -> None:
    """Rows of an uneven rhythm, sent at once: lines are drawn at their own times. A sender that
    restarts begins a new stretch."""
    config = ReplayConfig(path=str(fifo), time="t", align="linear")
    its = running("f", open_jsonl("f", config, Wanted(length=5, rate_hz=10)), config)
    its.health(lambda health: health.state == "ok")
    times = [0.0, 0.13, 0.31, 0.42, 0.67, 0.9]
    write(fifo, *({"t": 1000 + when, "v": 10 * when} for when in times))
    values = its.window().values[:, 0]
    steps = [later - earlier for earlier, later in pairwise(values)]
    assert steps == pytest.approx([1.0] * 4, abs=0.02)


def test_live_csv_needs_names(fifo: Path, running: Any) -> None:
    with pytest.raises(ConfigError, match="live CSV has no header"):
        open_jsonl("f", CsvConfig(path=str(fifo)))
    config = CsvConfig(path=str(fifo), channels=["x", "y"], rate_hz=10)
    its = running("f", open_jsonl("f", config, Wanted(length=1)), config)
    its.health(lambda health: health.state == "ok")
    fifo.write_text("1,2\n")
    assert its.window().values.tolist() == [[1, 2]]


def test_a_fifo_that_is_not_there_is_waited_for(tmp_path: Path, running: Any) -> None:
    config = ReplayConfig(path=str(tmp_path / "later"), live=True, rate_hz=10)
    its = running("f", open_jsonl("f", config, Wanted(length=1)), config)
    told = its.health(lambda health: health.state == "down")
    assert "no such file" in told.reason
    os.mkfifo(tmp_path / "later")
    its.health(lambda health: health.detail["lost"] and its.source._probes[0]._port._handle >= 0)
    began = time.monotonic()
    write(tmp_path / "later", {"a": 1})
    its.window()
    assert time.monotonic() - began < 3


def test_a_file_is_a_recording(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"a": 1}\n')
    source = open_jsonl("f", ReplayConfig(path=str(tmp_path / "a.jsonl")))
    assert isinstance(source, ReplaySource)


def test_recordings_are_calibrated_as_live_values_are(tmp_path: Path, running: Any) -> None:
    rows = [{"raw": number} for number in (0, 512, 1023, 5000, 512)]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    channels = {"bar": Channel(read="raw", points=[(0, 0), (1023, 10)], max=10)}
    config = ReplayConfig(path=str(tmp_path / "a.jsonl"), channels=channels)
    its = running("f", open_jsonl("f", config, Wanted(channels=("bar",), length=1)), config)
    its.join()
    found = []
    while len(its.mailbox):
        found.append(its.window())
    assert [window.channels for window in found] == [("bar",)] * 4
    values = [float(window.values[0, 0]) for window in found]
    assert values == pytest.approx([0, 5.0049, 10, 5.0049], abs=1e-3)
    assert "5000, which is not believed (range)" in its.unit.health().detail["last_error"]


def test_standard_input_ends(repository: Path) -> None:
    program = """
import sys
from edgeagent.capture.sensor.jsonl import open_jsonl
from edgeagent.capture.source import Wanted
from edgeagent.config.model import ReplayConfig
from edgeagent.errors import SourceEnded
source = open_jsonl("in", ReplayConfig(path="-", live=True, rate_hz=10), Wanted(length=2))
source.open()
try:
    while True:
        print(source.read().values[:, 0].tolist())
except SourceEnded:
    print("ended")
source.close()
"""
    done = subprocess.run(
        [sys.executable, "-c", program], input='{"a": 1}\n{"a": 2}\n{"a": 3}\n{"a": 4}\n',
        capture_output=True, text=True, timeout=30, cwd=repository, check=True,
    )  # fmt: skip
    assert done.stdout.split("\n")[:3] == ["[1.0, 2.0]", "[3.0, 4.0]", "ended"]
