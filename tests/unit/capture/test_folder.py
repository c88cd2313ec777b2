"""A folder into which others put pictures: each one once, whole, in order."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from edgeagent import clock
from edgeagent.capture.folder import FolderSource
from edgeagent.config.model import FolderConfig
from edgeagent.errors import InputError, SourceEnded, SourceLost
from edgeagent.testing.capture import Alone


def put(file: Path, shade: int = 100, age_s: float = 0.0) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    data = cv2.imencode(".jpg", np.full((24, 32, 3), shade, np.uint8))[1].tobytes()
    file.write_bytes(data)
    at = time.time() - age_s
    os.utime(file, (at, at))
    return file


@pytest.fixture
def watch(tmp_path: Path) -> Iterator[Callable[..., FolderSource]]:
    made: list[FolderSource] = []

    def make(**keys: Any) -> FolderSource:
        keys.setdefault("every", "20 ms")
        source = FolderSource("scan", FolderConfig(path=str(tmp_path), **keys))
        made.append(source)
        return source

    yield make
    for source in made:
        source.interrupt()


def test_only_what_comes_is_given_in_the_order_of_its_time(
    watch: Callable[..., FolderSource], tmp_path: Path
) -> None:
    put(tmp_path / "old.jpg")
    source = watch()
    source.open()
    put(tmp_path / "b.jpg", 50, age_s=2.0)
    put(tmp_path / "a.jpg", 90, age_s=1.0)
    (tmp_path / "notes.txt").write_text("no picture")
    first, then = source.read(), source.read()
    assert [Path(its.origin).name for its in (first, then)] == ["b.jpg", "a.jpg"]
    assert (first.number, then.number) == (1, 2)
    assert 1900 < clock.mono_ms() - first.mono_ms < 4000, "it is as old as its file"


def test_existing_ones_below_and_by_pattern(
    watch: Callable[..., FolderSource], tmp_path: Path
) -> None:
    put(tmp_path / "2026" / "11" / "cam1_1.jpg")
    put(tmp_path / "2026" / "11" / "cam2_1.jpg")
    source = watch(existing=True, recursive=True, pattern="cam1_*")
    source.open()
    assert source.read().origin.endswith("cam1_1.jpg")
    source.interrupt()
    with pytest.raises(SourceLost, match="stopped"):
        source.read()


def test_a_file_that_is_still_written_is_left_alone(
    watch: Callable[..., FolderSource], tmp_path: Path
) -> None:
    source = watch()
    source.open()
    whole = put(tmp_path.parent / f"{tmp_path.name}-aside.jpg").read_bytes()
    file = tmp_path / "slow.jpg"

    def write_slowly() -> None:
        with file.open("wb") as stream:
            for start in range(0, len(whole), 40):
                stream.write(whole[start : start + 40])
                stream.flush()
                time.sleep(0.01)

    writer = threading.Thread(target=write_slowly)
    writer.start()
    frame = source.read()
    writer.join()
    assert frame.pixels.shape == (24, 32, 3)


def test_a_broken_one_is_told_once_and_the_next_follows(
    watch: Callable[..., FolderSource], tmp_path: Path
) -> None:
    source = watch()
    source.open()
    (tmp_path / "a.jpg").write_bytes(b"\xff\xd8\xff no picture")
    put(tmp_path / "b.jpg")
    with pytest.raises(InputError, match=r"a\.jpg"):
        source.read()
    assert source.read().origin.endswith("b.jpg")


def test_what_was_read_can_be_deleted_and_a_name_used_again(
    watch: Callable[..., FolderSource], tmp_path: Path
) -> None:
    source = watch(then="delete")
    source.open()
    for shade in (50, 200):
        put(tmp_path / "snap.jpg", shade)
        assert abs(float(source.read().pixels.mean()) - shade) < 3
        assert not (tmp_path / "snap.jpg").exists()


def test_a_file_that_is_written_anew_is_a_new_picture(
    watch: Callable[..., FolderSource], tmp_path: Path
) -> None:
    source = watch()
    source.open()
    for shade, age_s in ((50, 5.0), (200, 0.0)):
        put(tmp_path / "latest.jpg", shade, age_s)
        assert abs(float(source.read().pixels.mean()) - shade) < 3


def test_waiting_is_no_hanging_and_a_folder_that_goes_comes_back(tmp_path: Path) -> None:
    root = tmp_path / "in"
    root.mkdir()
    config = FolderConfig(path=str(root), every="20 ms")
    unit = Alone("scan", FolderSource("scan", config), config)
    mailbox = unit.subscribe()
    unit.start()
    end = time.monotonic() + 5
    while unit.state != "running":
        assert time.monotonic() < end
        time.sleep(0.01)
    assert unit.health().state == "ok", "nothing has come, and nothing is wrong"
    root.rmdir()
    while unit.state != "lost":
        assert time.monotonic() < end
        time.sleep(0.01)
    assert "no such folder" in unit.health().reason
    root.mkdir()
    # Until it was seen again there is nothing that could be new.
    while unit.state == "lost" and time.monotonic() < end:
        put(root / f"{time.monotonic_ns()}.jpg")
        sample = mailbox.get(0.2)
        if sample is not None:
            break
    assert sample is not None
    unit.stop()
    assert unit.wait(2)
    with pytest.raises(SourceEnded):
        while True:
            mailbox.get(0.1)
