"""A disk whose power can be cut: what was not synced may be lost, by fsync(2) and rename(2).

It works on a real folder and notes how to undo each change until an fsync makes it safe.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from edgeagent.update.disk import Disk


class PowerCut(BaseException):
    """No code of ours may catch this."""


class UnsureDisk(Disk):
    """Counts its calls; cuts the power before the ``cut_at``-th one."""

    def __init__(self, scratch: Path) -> None:
        self.calls: list[str] = []
        self.cut_at: int | None = None
        self.full = False
        self.dead = False
        self._scratch = scratch
        self._names: list[tuple[Path, Callable[[], None]]] = []
        """Folder whose sync makes it safe, and what undoes it; oldest first."""
        self._contents: dict[int, Path] = {}
        """Inode → a path of files whose content is not safe."""

    def lose(self, how: str) -> None:
        """The power is gone: ``kept`` = all had reached the medium, ``lost`` = nothing that was
        not synced, ``torn`` = names but half of the contents."""
        if how == "lost":
            for _, undo in reversed(self._names):
                undo()
        if how in ("lost", "torn"):
            for file in self._contents.values():
                if file.is_file():
                    os.truncate(file, file.stat().st_size // 2)
        self._names, self._contents = [], {}

    def _step(self, what: str, *, writes: bool = True) -> None:
        if self.dead or len(self.calls) == self.cut_at:
            self.dead = True
            raise PowerCut(what)
        self.calls.append(what)
        if self.full and writes:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def _spare(self, path: Path) -> Path:
        spare = self._scratch / f"{len(self._names)}-{len(self.calls)}"
        if path.is_dir():
            shutil.copytree(path, spare)
        else:
            shutil.copy2(path, spare)
        return spare

    def _put(self, file: Path, content: bytes) -> None:
        self._step(f"write {file.name}")
        fresh = not file.exists()
        super()._put(file, content)
        self._contents[file.stat().st_ino] = file
        if fresh:
            self._names.append((file.parent, lambda: file.unlink(missing_ok=True)))

    def _sync(self, path: Path) -> None:
        # That the medium takes its time is not what is tested.
        self._step(f"sync {path.name}", writes=False)
        if path.is_dir():
            self._names = [(folder, undo) for folder, undo in self._names if folder != path]
        else:
            self._contents.pop(path.stat().st_ino, None)

    def _rename(self, source: Path, into: Path) -> None:
        self._step(f"rename {into.name}")
        before = self._spare(into) if into.exists() else None
        super()._rename(source, into)

        def undo() -> None:
            if into.exists():
                into.rename(source)
            if before is not None:
                shutil.copy2(before, into)

        self._names.append((into.parent, undo))

    def _make(self, folder: Path) -> None:
        self._step(f"make {folder.name}")
        super()._make(folder)
        self._names.append((folder.parent, lambda: shutil.rmtree(folder, ignore_errors=True)))

    def _link(self, source: Path, into: Path) -> None:
        self._step(f"link {into.name}")
        super()._link(source, into)
        self._names.append((into.parent, lambda: into.unlink(missing_ok=True)))

    def _delete(self, path: Path) -> None:
        self._step(f"delete {path.name}", writes=False)
        super()._delete(path)
