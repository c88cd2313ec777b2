"""What all tests share: where the shared assets are, and a trusted clock."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

# The agent silences FFmpeg before it loads OpenCV; a test that loads OpenCV first must do the same.
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the checkout."""
    return ROOT


@pytest.fixture(scope="session")
def assets() -> Path:
    """Folder of real models, pictures and clips that are not part of the repository."""
    named = os.environ.get("EDGEAGENT_ASSETS")
    folder = Path(named) if named else ROOT.parent / "shared" / "assets"
    if not (folder / "SOURCES.md").is_file():
        pytest.skip(f"the shared test assets are not at {folder} (set EDGEAGENT_ASSETS)")
    return folder


@pytest.fixture(scope="session")
def full() -> bool:
    """Whether long tests run whole (EDGEAGENT_TESTS=full)."""
    return os.environ.get("EDGEAGENT_TESTS") == "full"


@pytest.fixture(autouse=True)
def _trusted_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    # Containers and build machines often run without time synchronisation.
    monkeypatch.setenv("EDGEAGENT_CLOCK", "synced")
