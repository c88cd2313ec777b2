"""Versions for simulated devices: small packages that are whole, and a folder of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from threading import Event

from edgeagent.manifest import load_package
from edgeagent.prove.lint import write_files
from edgeagent.update.local import PackageFolder
from edgeagent.update.ports import Progress, Target

_TOML = """name = "{model}"
version = "{version}"
task = "classify"
licence = "Apache-2.0"
labels = "labels.txt"

[[input]]
name = "image"
kind = "image"
size = [8, 8]

[output]
decoder = "classify"

[[variant]]
file = "model.tflite"
runtime = "litert"
"""


def make_package(folder: Path, model: str, version: str, size: int = 4000) -> Path:
    """A package of ``size`` bytes that lint finds whole; its model can't be run."""
    place = folder / model / version
    if (place / "model.toml").exists():
        return place
    place.mkdir(parents=True)
    (place / "labels.txt").write_text("good\nbad\n")
    (place / "model.tflite").write_bytes((version.encode() * size)[:size])
    (place / "model.toml").write_text(_TOML.format(model=model, version=version))
    write_files(load_package(place))
    return place


class PackagesFolder:
    """`ports.Repository` over a folder of packages, without signatures."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def refresh(self, stopped: Event) -> None:
        """What lies there is what there is."""

    def target(self, path: str) -> Target | None:
        place = self._place(path)
        return PackageFolder(place).target(path) if (place / "model.toml").is_file() else None

    def bring(
        self, target: Target, into: Path, *, bases: Sequence[Path] = (), progress: Progress,
        stopped: Event,
    ) -> None:  # fmt: skip
        del bases
        PackageFolder(self._place(target.path)).bring(
            target, into, progress=progress, stopped=stopped
        )

    def close(self) -> None:
        """Nothing is open."""

    def _place(self, path: str) -> Path:
        _, model, version, _ = path.split("/", 3)
        return self._folder / model / version
