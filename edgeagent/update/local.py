"""A package folder as a repository: what a person at the device installs from a stick.

It is what it is: nothing vouches for it but whoever may write here. Where the device knows a
fleet's root of trust, `agent` gives the signed repository instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from threading import Event

from edgeagent.manifest import read_manifest, sha256_of
from edgeagent.update.disk import Disk, failed
from edgeagent.update.ports import Progress, Target

_CHUNK = 1 << 20


class PackageFolder:
    """`ports.Repository` over one package."""

    def __init__(self, folder: Path, disk: Disk | None = None) -> None:
        """Raises: NotFound, PackageError: ``folder`` is no package."""
        manifest = read_manifest(folder)
        self.model, self.version = manifest.name, manifest.version
        self._folder = folder.resolve()
        self._disk = disk or Disk()

    def refresh(self, stopped: Event) -> None:
        """Nothing to bring up to date."""

    def target(self, path: str) -> Target | None:
        """A file of the package by its path in a repository."""
        above = f"models/{self.model}/{self.version}/"
        file = (self._folder / path.removeprefix(above)).resolve()
        if not path.startswith(above) or not file.is_relative_to(self._folder):
            return None
        return Target(path, file.stat().st_size, sha256_of(file)) if file.is_file() else None

    def bring(
        self,
        target: Target,
        into: Path,
        *,
        bases: Sequence[Path] = (),  # noqa: ARG002 - a copy needs none
        progress: Progress,
        stopped: Event,
    ) -> None:
        """Copy one file. Raises StoreError, StoreFull."""
        source = self._folder / target.path.split("/", 3)[3]
        part, done = into.with_name(f"{into.name}.part"), 0
        try:
            with source.open("rb") as its, part.open("wb") as out:
                while chunk := its.read(_CHUNK):
                    out.write(chunk)
                    done += len(chunk)
                    progress(done, target.length)
                    if stopped.is_set():
                        return
        except OSError as error:
            raise failed(into, error) from error
        self._disk.settle(part)
        self._disk.move(part, into)

    def close(self) -> None:
        """Nothing is open."""
