"""A repository that was really begun, and devices that trust it, out of a folder."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from edgeagent.fleet.repository import ceremony, publish
from edgeagent.fleet.repository.home import Home
from edgeagent.manifest import load_package
from edgeagent.update.fetch.folder import FolderCarrier
from edgeagent.update.trust.repository import TrustedRepository

GO = threading.Event()


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return ceremony.begin(tmp_path / "fleet", models=["parts", "other"]).home


@pytest.fixture
def make_version(tmp_path: Path) -> Callable[..., Any]:
    """A package with what only signing looks at; the models' content is bytes."""

    def make(version: str, content: bytes, name: str = "parts") -> Any:
        import msgspec

        from edgeagent.prove.lint import write_files

        folder = tmp_path / "packages" / name / version
        folder.mkdir(parents=True)
        (folder / "m.tflite").write_bytes(content)
        (folder / "golden").mkdir()
        (folder / "golden" / "expected.json").write_bytes(msgspec.json.encode({"v": 1}))
        (folder / "model.toml").write_text(
            f'name = "{name}"\nversion = "{version}"\ntask = "classify"\nlicence = "MIT"\n'
            '[[input]]\nname = "image"\nkind = "image"\n'
            '[output]\ndecoder = "classify"\n'
            '[[variant]]\nfile = "m.tflite"\nruntime = "litert"\n'
        )
        write_files(load_package(folder))
        return load_package(folder)

    return make


@pytest.fixture
def release(home: Home, make_version: Any) -> Callable[..., publish.Plan]:
    def do(version: str, content: bytes, name: str = "parts") -> publish.Plan:
        plan = publish.plan(home, make_version(version, content, name))
        publish.publish(home, plan)
        return plan

    return do


@pytest.fixture
def device(tmp_path: Path, home: Home) -> Iterator[Callable[..., TrustedRepository]]:
    """Devices; each call is another one unless it is named."""
    made: list[TrustedRepository] = []

    def make(name: str = "", carriers: Any = None, **more: Any) -> TrustedRepository:
        folder = tmp_path / "devices" / (name or str(len(made)))
        carriers = carriers or [FolderCarrier(home.folder / "public")]
        made.append(TrustedRepository(folder, home.first_root, carriers, **more))
        return made[-1]

    yield make
    for one in made:
        one.close()
