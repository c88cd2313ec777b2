"""A source on its unit, as an agent runs it, and a kernel's tree of files."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from edgeagent.capture.mailbox import Mailbox
from edgeagent.capture.unit import CaptureUnit
from edgeagent.types import Window

sys.path.insert(0, str(Path(__file__).parent))


class Running:
    """A source that runs."""

    def __init__(self, name: str, source: Any, config: Any) -> None:
        self.source = source
        self.unit = CaptureUnit(name, source, config)
        self.mailbox: Mailbox = self.unit.subscribe(64)
        self._thread = threading.Thread(target=self._run)
        self.error: BaseException | None = None
        self._thread.start()

    def _run(self) -> None:
        try:
            self.unit.run()
        except BaseException as error:
            self.error = error

    def window(self, timeout_s: float = 10.0) -> Window:
        """The next one."""
        sample = self.mailbox.get(timeout_s)
        assert isinstance(sample, Window), self.unit.health()
        return sample

    def until(self, told: Callable[[Window], bool], timeout_s: float = 20.0) -> Window:
        """The first window for which this holds."""
        end = time.monotonic() + timeout_s
        while time.monotonic() < end:
            sample = self.mailbox.get(0.2)
            if isinstance(sample, Window) and told(sample):
                return sample
        raise AssertionError(f"no such window: {self.unit.health()}")

    def health(self, told: Callable[[Any], bool], timeout_s: float = 20.0) -> Any:
        """The unit's health, once this holds."""
        end = time.monotonic() + timeout_s
        while time.monotonic() < end:
            health = self.unit.health()
            if told(health):
                return health
            self.mailbox.get(0.05)
        raise AssertionError(f"never so: {self.unit.health()}")

    def stop(self) -> None:
        began = time.monotonic()
        self.unit.stop()
        self._thread.join(5)
        assert not self._thread.is_alive()
        assert time.monotonic() - began < 2.5, "a stop is quick"

    def join(self) -> None:
        """Wait for its own end."""
        self._thread.join(10)
        assert not self._thread.is_alive()


@pytest.fixture
def running() -> Iterator[Callable[[str, Any, Any], Running]]:
    started: list[Running] = []

    def start(name: str, source: Any, config: Any) -> Running:
        started.append(Running(name, source, config))
        return started[-1]

    yield start
    for its in started:
        its.stop()


class Tree:
    """Files like those below /sys."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def device(self, place: str, **files: object) -> Path:
        """A device's folder with files; they are written in place, as the kernel's change."""
        folder = self.root / place
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (folder / name).write_text(f"{text}\n")
        return folder


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path / "sys")
