"""Nothing is removed that no demo has made."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeagent.demo.folders import Folders, cache_dir, clean, mark
from edgeagent.errors import UsageError


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def folders(root: Path) -> Folders:
    return Folders(root, root / "index.html")


def test_a_demo_makes_room_for_the_next(tmp_path: Path) -> None:
    its = folders(tmp_path / "demo")
    its.renew()
    (its.data / "outbox.db").touch()
    its.received.write_text("{}")
    its.page.write_text("old page")
    its.renew()
    assert list(its.data.iterdir()) == []
    assert not its.received.exists()
    assert its.page.read_text() == "old page"  # until the new one is there


def test_a_folder_of_somebody_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(UsageError, match="holds no demo"):
        folders(tmp_path).renew()
    assert clean(tmp_path) == []
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def test_clean_removes_folder_and_cache(tmp_path: Path) -> None:
    its = folders(tmp_path / "demo")
    its.renew()
    mark(cache_dir())
    assert clean(its.root) == [its.root, cache_dir()]
    assert not its.root.exists() and not cache_dir().exists()
    assert clean(its.root) == []
