"""Batches with real processes: killed anywhere, the result is that of an undisturbed run."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import pytest

from edgeagent.batch.block import Block
from edgeagent.batch.crew import LocalCrew
from edgeagent.batch.formats import open_format
from edgeagent.batch.order import Job, Order, order_for
from edgeagent.batch.run import Summary, log_path, run
from edgeagent.capture.synthetic import BeltScene
from edgeagent.errors import ModelError, UsageError
from edgeagent.manifest import Package, load_package
from edgeagent.prove.predict import Predictor
from edgeagent.prove.samples import first_sample


def lines(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def do(
    order: Order, jobs: list[Job], out: Path, package: Package, size: int = 2, **keys: Any
) -> Summary:
    with LocalCrew(order, size) as crew:
        return run(order, jobs, crew, out, open_format("jsonl", package), **keys)


@pytest.fixture(scope="module")
def undisturbed(
    order: Order, jobs: list[Job], parts: Package, tmp_path_factory: pytest.TempPathFactory
) -> bytes:
    """The result by one process in one go."""
    out = tmp_path_factory.mktemp("undisturbed") / "a.jsonl"
    do(order, jobs, out, parts, size=1)
    return out.read_bytes()


def test_rows_are_ordered_and_say_what_the_model_says(
    undisturbed: bytes, parts: Package, pictures: Path
) -> None:
    rows = [json.loads(line) for line in undisturbed.splitlines()]
    good = [n for n in range(40) if n not in (7, 23)]
    assert [row["input"] for row in rows] == [f"{n}.jpg" for n in good]
    with Predictor(parts) as predictor:
        for row in rows[:5]:
            said = predictor(first_sample(pictures / row["input"], parts)).predictions
            assert [its["label"] for its in row["predictions"]] == [its.label for its in said]
            assert row["size"] == [320, 240] and row["model"] == predictor.model
    assert sum(len(row["predictions"]) for row in rows) > 20


class Watched(LocalCrew):
    """Tells after each block, so that what a test does falls between two."""

    def __init__(self, order: Order, size: int, after: Callable[[LocalCrew, int], None]) -> None:
        super().__init__(order, size)
        self._after = after

    def run(self, jobs: Any) -> Iterator[Block | None]:
        count = 0
        for block in super().run(jobs):
            yield block
            if block is not None:
                count += 1
                self._after(self, count)


def test_workers_killed_in_the_middle_change_nothing(
    order: Order, jobs: list[Job], parts: Package, tmp_path: Path, undisturbed: bytes
) -> None:
    killed: set[int] = set()

    def kill(crew: LocalCrew, count: int) -> None:
        if count in (5, 15):
            pid = crew.pids[0]
            os.kill(pid, signal.SIGKILL)
            killed.add(pid)

    out = tmp_path / "a.jsonl"
    with Watched(order, 2, kill) as crew:
        done = run(order, jobs, crew, out, open_format("jsonl", parts))
    assert len(killed) == 2
    assert out.read_bytes() == undisturbed
    assert [its.input for its in done.skipped] == ["7.jpg", "23.jpg"]
    assert "cut off" in done.skipped[1].reason
    assert not log_path(out).exists()


def test_interrupted_it_goes_on_and_only_does_the_rest(
    order: Order, jobs: list[Job], parts: Package, tmp_path: Path, undisturbed: bytes
) -> None:
    def stop(_crew: LocalCrew, count: int) -> None:
        if count == 12:
            raise KeyboardInterrupt

    out = tmp_path / "a.jsonl"
    with Watched(order, 2, stop) as crew, pytest.raises(KeyboardInterrupt):
        run(order, jobs, crew, out, open_format("jsonl", parts))
    assert not out.exists()
    done = do(order, jobs, out, parts)
    assert done.resumed == 12 and done.samples == 38
    assert out.read_bytes() == undisturbed
    with pytest.raises(UsageError, match="is there already"):
        do(order, jobs, out, parts)


def test_an_input_that_holds_its_worker_is_tried_twice_and_skipped(
    order: Order, jobs: list[Job], parts: Package, tmp_path: Path, undisturbed: bytes
) -> None:
    os.mkfifo(tmp_path / "held.png")  # opening it waits until somebody writes
    held = Job(40, str(tmp_path / "held.png"), "held.png")
    out = tmp_path / "a.jsonl"
    with LocalCrew(order, 2, patience_s=1.0) as crew:
        done = run(order, [*jobs, held], crew, out, open_format("jsonl", parts))
    assert out.read_bytes() == undisturbed
    assert done.skipped[-1].input == "held.png"
    assert "took its worker down: no answer within 1 s" in done.skipped[-1].reason


def test_a_model_that_can_not_be_opened_is_said_in_its_words(
    parts: Package, jobs: list[Job], tmp_path: Path
) -> None:
    folder = tmp_path / "parts" / "1.0.0"
    shutil.copytree(parts.folder, folder)
    package = load_package(folder)
    broken = order_for(package)
    (folder / broken.variant).write_bytes(b"no model")
    with pytest.raises(ModelError, match="not the file that"):
        do(broken, jobs, tmp_path / "a.jsonl", parts)
    assert not log_path(tmp_path / "a.jsonl").exists()  # nothing was done: nothing is kept


def test_the_command_killed_with_9_and_its_log_torn_goes_on_where_it_was(
    pictures: Path, parts: Package, tmp_path: Path, repository: Path, undisturbed: bytes
) -> None:
    names = [str(file) for file in sorted(pictures.iterdir())]
    held = tmp_path / "held.png"
    os.mkfifo(held)  # holds one worker, so that the kill surely finds work undone
    names.insert(20, str(held))
    listed = tmp_path / "list.txt"
    listed.write_text("\n".join(names))
    out = tmp_path / "a.jsonl"
    command = [sys.executable, "-m", "edgeagent.cli", "batch", str(parts.folder), f"@{listed}",
               "--json", "--workers", "2", "--out", str(out)]  # fmt: skip
    environment = {**os.environ, "PYTHONPATH": str(repository), "HOME": str(tmp_path)}
    kept = log_path(out)
    with subprocess.Popen(command, env=environment, cwd=tmp_path) as first:
        until(lambda: kept.exists() and kept.read_bytes().count(b'"crc"') > 20)
        workers = Path(f"/proc/{first.pid}/task/{first.pid}/children").read_text().split()
        first.kill()
    assert len(workers) == 2
    until(lambda: all(_gone(pid) for pid in workers))
    with kept.open("ab") as file:
        file.write(b'{"input":33,"first":0,"rows":1,"end":true,"by')
    with subprocess.Popen(command, env=environment, cwd=tmp_path, stdout=subprocess.PIPE) as again:
        held.write_bytes((pictures / "0.jpg").read_bytes())  # waits until it is opened
        told = json.loads(again.stdout.read() if again.stdout else b"")
    assert again.returncode == 1  # two of the inputs are no pictures
    assert 20 < told["resumed"] < 41 and told["samples"] == 39
    rows = lines(out)
    bad = {str(pictures / "7.jpg"), str(pictures / "23.jpg")}
    assert [row["input"] for row in rows] == [name for name in names if name not in bad]
    said = {its["input"]: its["predictions"] for its in map(json.loads, undisturbed.splitlines())}
    said["held.png"] = said["0.jpg"]
    assert all(row["predictions"] == said[Path(row["input"]).name] for row in rows)


def test_a_video_is_told_in_pieces_and_goes_on_within(
    order: Order, parts: Package, tmp_path: Path
) -> None:
    clip = tmp_path / "belt.avi"
    film = cv2.VideoWriter(str(clip), cv2.VideoWriter.fourcc(*"MJPG"), 25, (160, 120))
    scene = BeltScene(5, (160, 120))
    for number in range(150):
        film.write(scene.render(number)[0])
    film.release()
    jobs = [Job(0, str(clip), "belt.avi")]
    whole, out = tmp_path / "whole.jsonl", tmp_path / "a.jsonl"
    do(order, jobs, whole, parts, size=1)

    def stop(_crew: LocalCrew, count: int) -> None:
        if count == 2:
            raise KeyboardInterrupt

    with Watched(order, 1, stop) as crew, pytest.raises(KeyboardInterrupt):
        run(order, jobs, crew, out, open_format("jsonl", parts))
    done = do(order, jobs, out, parts)
    assert out.read_bytes() == whole.read_bytes()
    rows = lines(out)
    assert [row["sample"] for row in rows] == list(range(150)) and done.resumed == 0
    assert rows[100]["at_s"] == 4.0


def until(condition: Callable[[], bool], within_s: float = 30.0) -> None:
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def _gone(pid: str) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except OSError:
        return True
