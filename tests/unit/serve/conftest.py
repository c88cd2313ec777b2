"""Real models that give back what they are given, served."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from edgeagent.prove.predict import Predictor
from edgeagent.serve.inference.repository import Choice, Repository
from edgeagent.testing.onnxgraph import echo_package
from edgeagent.update.library import Library


class Held:
    """A session whose runs wait until they are let through, and are counted."""

    def __init__(self, session: Any) -> None:
        self._session = session
        self.gate = threading.Event()
        self.gate.set()
        self.began = threading.Semaphore(0)
        """Released by each run that begins."""
        self.rows: list[int] = []
        self.error: Exception | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)

    def run(self, tensors: Sequence[Any]) -> Any:
        self.began.release()
        self.gate.wait(10.0)
        self.rows.append(len(tensors[0]))
        if self.error is not None:
            raise self.error
        return self._session.run(tensors)


@pytest.fixture
def models(tmp_path: Path) -> Path:
    return tmp_path / "models"


@pytest.fixture
def held(models: Path) -> Iterator[Callable[..., tuple[Predictor, Held]]]:
    """Opens an echo model behind a gate."""
    opened: list[Predictor] = []

    def open_it(shape: Sequence[int] = (-1, 4)) -> tuple[Predictor, Held]:
        echo_package(models, "echo", shape=shape)
        predictor = Predictor(Library([models]).find("echo"))
        opened.append(predictor)
        session = Held(predictor.session)
        predictor.session = session  # type: ignore[assignment]
        return predictor, session

    yield open_it
    for predictor in opened:
        predictor.close()


@pytest.fixture
def repository_of(models: Path) -> Callable[..., Repository]:
    """A repository over `models`."""

    def make(usual: Choice = Choice(), idle_s: float = 0.0, **choices: Choice) -> Repository:  # noqa: B008
        return Repository(Library([models]), choices, usual, Predictor, idle_s)

    return make
