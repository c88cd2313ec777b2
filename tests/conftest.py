"""What all tests share: where the shared assets are, a trusted clock, a real broker."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
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


@pytest.fixture
def in_full(full: bool) -> None:
    """Skips a test that is worth its time only in whole runs."""
    if not full:
        pytest.skip("runs only with EDGEAGENT_TESTS=full")


@pytest.fixture(scope="session")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A delegate compiled from toy_delegate.c."""
    return compiled_toy(tmp_path_factory.mktemp("toy") / "libtoy.so")


@pytest.fixture(scope="session")
def slow_toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same, and each run takes 3 ms longer."""
    return compiled_toy(tmp_path_factory.mktemp("toy") / "libslow.so", "-DSLOW=3000")


@pytest.fixture(scope="session")
def toy_provider(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Compiles a plugin of ONNX Runtime from toy_provider.c, with flags."""

    def compiled(*flags: str) -> Path:
        library = tmp_path_factory.mktemp("toy") / "libtoyprovider.so"
        return compiled_toy(library, *flags, name="toy_provider.c")

    return compiled


def compiled_toy(library: Path, *flags: str, name: str = "toy_delegate.c") -> Path:
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler: the toy can't be built")
    source = ROOT / "tests" / "unit" / "infer" / name
    command = [
        compiler,
        "-shared",
        "-fPIC",
        "-Wall",
        "-Werror",
        *flags,
        "-o",
        str(library),
        str(source),
    ]
    subprocess.run(command, check=True)
    return library


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


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deal the modules that wait for processes among the workers, each before its quick ones.

    xdist's work stealing gives every worker one piece of the list. As collected, the first piece
    held all that is slow, and one core waited for the last of it while the other had nothing left.
    """
    workers = int(getattr(config, "workerinput", {}).get("workercount", 1))
    if workers == 1 or len(items) < 1000:
        return
    quick = [item for item in items if "/unit/" in item.nodeid]
    slow: dict[str, list[pytest.Item]] = {}
    for item in items:
        if "/unit/" not in item.nodeid:
            slow.setdefault(item.nodeid.partition("::")[0], []).append(item)
    pieces: list[list[pytest.Item]] = [[] for _ in range(workers)]
    for module in sorted(slow.values(), key=len, reverse=True):
        min(pieces, key=len).extend(module)
    size = -(-len(items) // workers)
    for piece in pieces:
        count = max(0, size - len(piece))
        piece += quick[:count]
        del quick[:count]
    items[:] = [item for piece in pieces for item in piece] + quick
