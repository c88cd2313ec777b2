"""Versions that deployments bring: unpacked aside, admitted whole, shared by content, removed.

models/{name}/{version}/…    what `library.Library` finds; never changed once it is there
models/.coming/{name}/…      what is being brought
models/.files/{sha256}       one more name of each admitted file, so that a version with the
                             same labels, golden samples or model takes no second copy
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from edgeagent.manifest import sha256_of
from edgeagent.update.disk import Disk

COMING = ".coming"
FILES = ".files"


class Stock:
    """The folder of installed models. One thread changes it. Raises of all: StoreError."""

    def __init__(self, folder: Path, disk: Disk | None = None) -> None:
        self.folder = folder
        self._disk = disk or Disk()

    def place(self, model: str, version: str) -> Path:
        """Where a version lies, or would."""
        return self.folder / model / version

    def has(self, model: str, version: str) -> bool:
        """Whether it is here, whole: nothing else ever gets that name."""
        return (self.place(model, version) / "model.toml").is_file()

    def coming(self, model: str, version: str) -> Path:
        """Folder for what is being brought of a version; what came before is still there."""
        folder = self.folder / COMING / model / version
        self._disk.folder(folder)
        return folder

    def room(self, into: Path) -> None:
        """Have the folder that a file is to lie in."""
        self._disk.folder(into.parent)

    def have(self, sha256: str, into: Path) -> bool:
        """Whether a file with that content was here and is now at ``into`` as well."""
        kept = self.folder / FILES / sha256
        if not kept.is_file() or sha256_of(kept) != sha256:
            return False
        self._disk.folder(into.parent)
        self._disk.remove(into)
        self._disk.share(kept, into)
        return True

    def bases(self, model: str) -> list[Path]:
        """Files of the versions of a model that are here, largest first: what a patch may start
        from."""
        found = [file for file in (self.folder / model).rglob("*") if file.is_file()]
        return sorted(found, key=lambda file: -file.stat().st_size)

    def admit(self, model: str, version: str) -> Path:
        """What was brought is whole: give it its place. Returns that."""
        place = self.place(model, version)
        if self.has(model, version):
            return place
        coming = self.coming(model, version)
        for file in sorted(coming.rglob("*")):
            if file.is_dir():
                self._disk.settle(file)
            else:
                self._share(file)
        self._disk.settle(coming)
        self._disk.move(coming, place)
        return place

    def _share(self, file: Path) -> None:
        self._disk.settle(file)
        kept = self.folder / FILES / sha256_of(file)
        self._disk.folder(kept.parent)
        if not kept.exists():
            self._disk.share(file, kept)
        elif not kept.samefile(file):
            self._disk.remove(file)
            self._disk.share(kept, file)

    def discard(self, model: str, version: str) -> None:
        """Forget what was brought of a version."""
        self._disk.remove(self.folder / COMING / model / version)
        self._sweep()

    def remove(self, model: str, versions: Iterable[str]) -> None:
        """Remove versions, and files that no other version has."""
        for version in versions:
            self._disk.remove(self.place(model, version))
        self._sweep()

    def _sweep(self) -> None:
        files = self.folder / FILES
        for file in files.iterdir() if files.is_dir() else ():
            # Where the file system knows no second names, nothing was shared: a copy too many.
            if file.stat().st_nlink == 1:
                self._disk.remove(file)
