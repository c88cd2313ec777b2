"""A file is replaced whole, or not at all."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from edgeagent import durable
from edgeagent.errors import StoreFull, UsageError


def test_a_file_takes_the_place_of_another_with_its_mode(tmp_path: Path) -> None:
    file = tmp_path / "new" / "a.toml"
    before = os.umask(0o022)
    try:
        durable.replace(file, b"one", mode=0o640)
        durable.replace(file, b"two", mode=0o600)
    finally:
        os.umask(before)
    assert file.read_bytes() == b"two"
    assert file.stat().st_mode & 0o777 == 0o600
    assert [its.name for its in file.parent.iterdir()] == ["a.toml"]


@pytest.mark.parametrize("call", ["open", "fsync", "replace"])
def test_what_fails_leaves_the_old_one_and_nothing_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    file = tmp_path / "a"
    file.write_bytes(b"old")

    def full(*_: Any, **__: Any) -> Any:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    if call == "replace":
        monkeypatch.setattr(Path, "replace", full)
    else:
        monkeypatch.setattr(os, call, full)
    with pytest.raises(StoreFull, match="can't be written"):
        durable.replace(file, b"new")
    monkeypatch.undo()
    assert file.read_bytes() == b"old"
    assert [its.name for its in tmp_path.iterdir()] == ["a"]


def test_a_folder_in_its_place_is_told(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with pytest.raises(UsageError, match="can't be written"):
        durable.replace(tmp_path / "a", b"new")
