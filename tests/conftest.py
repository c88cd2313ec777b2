"""What all tests share: where the shared assets are, a trusted clock, a real broker."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgeagent.errors import NotFound
from edgeagent.testing.broker import Mosquitto, find_mosquitto

# The agent silences FFmpeg before it loads OpenCV; a test that loads OpenCV first must do the same.
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
# Nor do its matrices spin on all cores, which here belong to other tests.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

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


@pytest.fixture(scope="session")
def mosquitto_installed() -> None:
    try:
        find_mosquitto()
    except NotFound as error:
        pytest.skip(f"{error} ({error.remedy})")


@pytest.fixture
def broker(tmp_path: Path, mosquitto_installed: None) -> Iterator[Mosquitto]:
    """mosquitto on a port of its own."""
    running = Mosquitto(tmp_path / "broker")
    running.start()
    yield running
    running.kill()
