"""Blocks of decisions on disk."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from edgeagent.errors import NotPermitted, StoreFull
from edgeagent.store.decisions import FOLDER, Decisions, read, segments


def block(number: int, size: int = 200) -> bytes:
    """One that zlib can't make small."""
    return number.to_bytes(4, "big") + random.Random(number).randbytes(size)


def numbers(folder: Path) -> list[int]:
    return [int.from_bytes(its[:4], "big") for its in read(folder)]


def test_blocks_come_back_in_their_order(tmp_path: Path) -> None:
    assert list(read(tmp_path)) == []
    files = Decisions(tmp_path, 1 << 20)
    files.append([block(1), block(2)])
    files.append([block(3)])
    Decisions(tmp_path, 1 << 20).append([block(4)])
    assert numbers(tmp_path) == [1, 2, 3, 4]


def test_the_oldest_go_and_the_bound_holds(tmp_path: Path) -> None:
    files = Decisions(tmp_path, 32 * 1024)
    for number in range(400):
        files.append([block(number)])
        used = sum(its.stat().st_size for its in segments(tmp_path / FOLDER))
        assert used <= 32 * 1024
    kept = numbers(tmp_path)
    assert kept == list(range(kept[0], 400)) and len(kept) >= 32 * 1024 * 3 // 4 // 220 - 40
    assert len(segments(tmp_path / FOLDER)) <= 5


@pytest.mark.parametrize("cut", [1, 7, 100, 205])
def test_a_torn_block_hides_nothing_that_is_written_after_it(tmp_path: Path, cut: int) -> None:
    Decisions(tmp_path, 1 << 20).append([block(1), block(2)])
    (file,) = segments(tmp_path / FOLDER)
    os.truncate(file, file.stat().st_size - cut)
    assert numbers(tmp_path) == [1]
    Decisions(tmp_path, 1 << 20).append([block(3)])
    assert numbers(tmp_path) == [1, 3]


def test_a_spoiled_block_ends_its_file_only(tmp_path: Path) -> None:
    files = Decisions(tmp_path, 16 * 1024)
    for number in range(40):
        files.append([block(number)])
    first = segments(tmp_path / FOLDER)[0]
    data = bytearray(first.read_bytes())
    data[30] ^= 0xFF
    first.write_bytes(data)
    kept = numbers(tmp_path)
    assert 0 not in kept and kept[-1] == 39 and len(kept) > 15


def test_foreign_files_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / FOLDER).mkdir()
    (tmp_path / FOLDER / "notes.txt").write_text("mine")
    Decisions(tmp_path, 4096).append([block(1)])
    assert numbers(tmp_path) == [1] and (tmp_path / FOLDER / "notes.txt").exists()


def test_who_may_not_look_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Decisions(tmp_path, 4096).append([block(1)])

    def refused(_self: Path) -> bytes:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", refused)
    with pytest.raises(NotPermitted) as caught:
        list(read(tmp_path))
    assert "sudo -u edgeagent" in caught.value.remedy


def test_a_full_disk_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_a: object, **_k: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "mkdir", full)
    with pytest.raises(StoreFull):
        Decisions(tmp_path, 4096).append([block(1)])
