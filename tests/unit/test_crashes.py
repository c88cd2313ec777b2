"""Reports of crashes in one process: what is kept, what is not, and what a full disk changes."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from edgeagent import crashes


def keeper(folder: Path) -> crashes.Keeper:
    return crashes.Keeper(folder, "c0ffee", lambda text: text.replace("tr0ub4dor", "…"), list)


def test_a_process_of_the_same_number_does_not_wipe_out_the_last_one(tmp_path: Path) -> None:
    """As in a container, where each is number 1."""
    first = keeper(tmp_path)
    first.arm()
    first.remark("these did not react: cam0")
    assert first._file is not None
    os.close(first._file)  # killed
    second = keeper(tmp_path)
    second.gather()
    second.arm()
    second.disarm()
    (its,) = crashes.read(tmp_path)
    assert its["what"] == "killed" and its["reason"].endswith("before: these did not react: cam0")
    assert len(list((tmp_path / crashes.FOLDER).iterdir())) == 1


def test_only_the_last_remark_stands_and_a_full_disk_ends_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    its = keeper(tmp_path)
    its.arm()
    (file,) = (tmp_path / crashes.FOLDER).iterdir()
    bare = file.read_text()
    for turn in range(3):
        its.remark(f"these did not react: cam{turn} tr0ub4dor")
    assert file.read_text() == bare + "# these did not react: cam2 …\n"
    its.remark("")
    assert file.read_text() == bare and file.stat().st_mode & 0o777 == 0o640 & ~_umask()

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    its.remark("these did not react: cam0")
    assert "No space left" in caplog.text
    monkeypatch.undo()
    its.disarm()
    assert not file.exists()


def test_the_same_crash_at_other_addresses_is_counted_and_not_written_each_time(
    tmp_path: Path,
) -> None:
    its = keeper(tmp_path)
    stack = 'Current thread 0x{:x} (most recent call first):\n  File "d.py", line 3 in read\n'
    for turn in range(9):
        its.report("child", "decoder of cam0", "SIGABRT", stack.format(1 << 40 | turn))
    (kept,) = crashes.read(tmp_path)
    assert kept["times"] == 8  # on the medium at 1, 2, 4, 8 …
    its.report("child", "decoder of cam1", "SIGABRT", stack.format(7))
    assert [kept["who"] for kept in crashes.read(tmp_path)] == [
        "decoder of cam0", "decoder of cam1",
    ]  # fmt: skip


def test_reports_that_the_medium_has_changed_are_passed_over(tmp_path: Path) -> None:
    its = keeper(tmp_path)
    its.report("exception", "cam0", "TypeError: x", "stack")
    folder = tmp_path / crashes.FOLDER
    for number, text in ((7, "{}"), (8, "[1]"), (9, '{"told"')):
        (folder / f"{number:06d}.json").write_text(text)
    (folder / "running-5.txt").write_text("3\n")
    told: list[crashes.Report] = []
    its.gather()
    its.tell(told.append)
    assert [line.get("who") for line in told] == ["cam0", None]
    assert json.loads((folder / "000001.json").read_text())["told"]
    assert crashes.purge(tmp_path, lambda line: line["id"] == "000007") == 1


def test_what_can_not_be_cleaned_is_not_kept_and_hurts_nobody(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(_: str) -> str:
        raise ValueError("a secret file is gone")

    crashes.Keeper(tmp_path, "", broken, list).report("exception", "cam0", "x", "stack")
    assert crashes.read(tmp_path) == [] and "can't be kept" in caplog.text


def _umask() -> int:
    now = os.umask(0o022)
    os.umask(now)
    return now
