"""The model versions on this disk: ``{name}/{version}/model.toml`` in a few folders.

Folders are searched in order and the first that has a version wins, so what was installed on
the device hides what came with the wheel. A broken package is told, never fatal: one bad copy
must not stop the pipelines that use the others.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from msgspec import Struct

from edgeagent.config.paths import shipped, within_reach
from edgeagent.errors import EdgeAgentError, NotFound, PackageError
from edgeagent.manifest import Package, load_package
from edgeagent.prove.semver import version_order

_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_MODEL_FILES = (".tflite", ".onnx")

Folders = list[Path]


class Entry(Struct, frozen=True):
    """One version on disk. Exactly one of ``package`` and ``error`` is set."""

    name: str
    version: str
    folder: Path
    package: Package | None = None
    error: EdgeAgentError | None = None
    hidden_by: Path | None = None
    """The same version in a folder that comes first in the search order."""


def default_folders(
    data_folder: Path | None = None, further: Iterable[str] = (), *, working: bool = False
) -> Folders:
    """Where packages are looked for: data folder, configured ones, those that are shipped.

    Args:
        data_folder: the agent's; its ``models`` holds what was installed on the device.
        further: ``models.path`` of the configuration.
        working: look into ``./models`` last, for people at a shell.
    """
    folders = [data_folder / "models"] if data_folder else []
    folders += [Path(path).expanduser() for path in further]
    folders += shipped("models", working=working)
    unique: dict[Path, Path] = {}
    for folder in folders:
        unique.setdefault(folder.resolve(), folder)
    return list(unique.values())


class Library:
    """All packages in the folders of a search order."""

    def __init__(self, folders: Sequence[Path]) -> None:
        self.folders = tuple(folders)

    def find(self, name: str, version: str = "") -> Package:
        """The package called ``name``, newest by semver unless a version is named.

        ``name`` may also be ``name@version``, the path of a package folder, or the path of a
        model file: that of a package means the package, any other one is taken by what it
        looks like (`prove.init.propose`).

        Raises:
            NotFound: there is no such package or version; the text says what comes close.
            PackageError: it is there and broken, and no whole copy lies in another folder.
        """
        if is_path(name):
            return _at(Path(name).expanduser(), version)
        name, _, named = name.partition("@")
        return self._named(name, version or named)

    def names(self) -> list[str]:
        """Names of all packages, broken ones included."""
        return sorted({folder.parent.name for folder in self._version_folders()})

    def _named(self, name: str, version: str) -> Package:
        folders = self._version_folders(name) if _NAME.fullmatch(name) else []
        if not folders:
            raise self._unknown(name)
        wanted = [folder for folder in folders if not version or folder.name == version]
        if not version:
            wanted = self._chosen(name, wanted)
        if not wanted:
            known = sorted({folder.name for folder in folders}, key=version_order)
            raise NotFound(f"there is no version {version} of {name}; it has: {', '.join(known)}")
        # Stable: equal versions stay in search order.
        wanted.sort(key=lambda folder: version_order(folder.name), reverse=True)
        broken: list[Entry] = []
        for folder in wanted:
            entry = _read(folder)
            if entry.package:
                return entry.package
            broken.append(entry)
        raise PackageError(
            f"no usable package of {name}: " + "; ".join(str(entry.error) for entry in broken),
            remedy="Repair or remove it: edgeagent models lint " + str(broken[0].folder),
        )

    def _chosen(self, name: str, folders: Folders) -> Folders:
        """Those that may run when no version is asked for: the one that the truth about this
        model names, else all but what has not proven itself here."""
        for parent in self.folders:
            file = parent / f"{name}.json"
            if not within_reach(file):
                continue
            from edgeagent.update.truth import read_truth  # only where something was deployed

            truth = read_truth(file)
            if truth is not None:
                named = [folder for folder in folders if folder.name == truth.version]
                allowed = [folder for folder in folders if folder.name not in truth.blocked]
                return named or allowed or folders
        return folders

    def _unknown(self, name: str) -> NotFound:
        import difflib

        known = self.names()
        close = difflib.get_close_matches(name, known, n=1)
        if close:
            hint = f"; did you mean {close[0]!r}?"
        elif known:
            hint = f"; there are: {', '.join(known)}"
        else:
            hint = f"; no package lies in {', '.join(str(folder) for folder in self.folders)}"
        return NotFound(
            f"there is no model {name!r}{hint}",
            remedy="List them with: edgeagent models list",
        )

    def _version_folders(self, name: str = "") -> Folders:
        found = []
        for folder in self.folders:
            owners = [folder / name] if name else _children(folder)
            for owner in owners:
                found += _versions(owner)
        return found

    def list(self) -> list[Entry]:
        """Every version of every folder, by name and falling version; broken ones too."""
        seen: dict[tuple[str, str], Path] = {}
        entries = []
        for folder in self._version_folders():
            entry = _read(folder)
            key = (entry.name, entry.version)
            if key in seen:
                entry = Entry(*key, folder, entry.package, entry.error, hidden_by=seen[key])
            elif entry.package:
                seen[key] = folder
            entries.append(entry)
        entries.sort(key=lambda entry: version_order(entry.version), reverse=True)
        entries.sort(key=lambda entry: entry.name)
        return entries


def is_path(name: str) -> bool:
    """Whether `Library.find` looks for a file or folder of that name, not for a package."""
    # A bare name never means a folder that happens to lie here.
    looks_like = "/" in name or name in (".", "..") or name.endswith(_MODEL_FILES)
    return looks_like and "\0" not in name


def _at(path: Path, version: str) -> Package:
    if path.name.endswith(_MODEL_FILES):
        return _around(path)
    if not path.is_dir():
        raise NotFound(f"{path}: there is no such folder or model file")
    if (path / "model.toml").is_file() or not _versions(path):
        return load_package(path)
    path = path.resolve()
    return Library([path.parent])._named(path.name, version)


def _read(folder: Path) -> Entry:
    name, version = folder.parent.name, folder.name
    try:
        package = load_package(folder)
        if (package.name, package.version) != (name, version):
            raise PackageError(
                f"{folder / 'model.toml'}: says {package.name}@{package.version}, "
                f"but lies in {name}/{version}",
                remedy="Name the folders after the manifest's name and version.",
            )
    except EdgeAgentError as error:
        return Entry(name, version, folder, error=error)
    return Entry(name, version, folder, package)


def _around(file: Path) -> Package:
    if not file.is_file():
        raise NotFound(f"{file}: there is no such model file")
    if (file.parent / "model.toml").is_file():
        package = load_package(file.parent)
        if any(
            package.path(variant.file) == file.resolve() for variant in package.manifest.variant
        ):
            return package
    from edgeagent.prove.init import propose  # heavy, and only bare files need it

    return propose(file).package


def _children(folder: Path) -> Folders:
    try:
        # What begins with a dot is being brought or removed (`stock`).
        found = (its for its in folder.iterdir() if not its.name.startswith("."))
        return sorted(child for child in found if child.is_dir())
    except OSError:
        # Search paths need not exist, and one that may not be read holds nothing for us.
        return []


def _versions(owner: Path) -> Folders:
    return [child for child in _children(owner) if (child / "model.toml").exists()]
