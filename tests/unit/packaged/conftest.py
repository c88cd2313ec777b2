"""Packages with code of their own, and a permit for them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edgeagent.manifest import Package, load_package
from edgeagent.packaged import permit
from edgeagent.testing.onnxgraph import echo_package

Make = Callable[..., Package]


@pytest.fixture
def made(tmp_path: Path) -> Make:
    """Makes a package of the task, with this code."""

    def make(code: str, task: str = "classify", labels: str = "", name: str = "m") -> Package:
        folder = echo_package(tmp_path / "models", name)
        toml = (folder / "model.toml").read_text()
        toml = toml.replace('task = "regress"', f'task = "{task}"\nlabels = [{labels}]')
        (folder / "model.toml").write_text(toml.replace('"none"\n[[var', '"handler"\n[[var'))
        (folder / "handler.py").write_text(code)
        return load_package(folder)

    return make


@pytest.fixture
def permitted() -> Iterator[None]:
    """Everybody's code runs here, in its process."""
    permit.use(permit.anybody)
    yield
    permit.use(permit.nobody)
