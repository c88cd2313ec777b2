"""What a repository holds, by the paths that devices ask for.

A path is looked up in a listing and never put together with a folder: what is not listed does
not exist, whatever its name tries.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

PARTS = ("metadata", "targets")


@dataclass(frozen=True, slots=True)
class Held:
    """One file."""

    file: Path
    size: int
    sha256: str


class Index:
    """The files under ``metadata`` and ``targets`` of a folder; follows what is published."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._stamp: tuple[int, ...] = ()
        self._files: dict[str, Path] = {}
        self._known: dict[Path, tuple[tuple[int, int, int], Held]] = {}

    def find(self, path: str) -> Held | None:
        """The file that devices call ``path``; None where there is none."""
        stamp = self._now()
        if stamp != self._stamp:
            self._files, self._stamp = self._listing(), stamp
        file = self._files.get(path)
        return self._held(file) if file is not None else None

    def __len__(self) -> int:
        self.find("")
        return len(self._files)

    def _held(self, file: Path) -> Held | None:
        try:
            state = file.stat()
            mark = (state.st_mtime_ns, state.st_size, state.st_ino)
            known = self._known.get(file)
            if known is None or known[0] != mark:
                held = Held(file, state.st_size, _sha256(file))
                known = self._known[file] = (mark, held)
            return known[1]
        except OSError:
            return None

    def _now(self) -> tuple[int, ...]:
        """Changes with every publication: its last act is a new timestamp.json."""
        found = []
        for name in ("metadata", "metadata/timestamp.json"):
            try:
                state = (self._folder / name).stat()
                found += [state.st_mtime_ns, state.st_ino]
            except OSError:
                found += [0, 0]
        return tuple(found)

    def _listing(self) -> dict[str, Path]:
        found = {}
        for part in PARTS:
            for folder, _, names in os.walk(self._folder / part):
                for name in names:
                    file = Path(folder, name)
                    if file.is_file() and not file.is_symlink():
                        found[file.relative_to(self._folder).as_posix()] = file
        return found


def _sha256(file: Path) -> str:
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        for block in iter(lambda: stream.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()
