"""What the checks of a configuration see: the merged tables, and what other parts know."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from msgspec import Struct

from edgeagent.config.check import Fault, dotted
from edgeagent.config.toml import KeyPath, Places


class Ports(Struct, frozen=True):
    """What other parts know; absent = not asked."""

    zones_in: Callable[[str], Iterable[str]] | None = None
    """Zones that an expression of `when` names. Raises ValueError where it can't be parsed."""
    actions: Sequence[str] | None = None
    """Names that may stand in `do`."""
    labels_in: Callable[[str], Iterable[str]] | None = None
    """Labels that an expression of `when` names. Raises ValueError as `zones_in`."""
    labels_of: Callable[[str, str, Sequence[str]], Sequence[str] | None] | None = None
    """Labels of a model, by its name, its version (empty = the newest) and the further folders
    of `models.path`. Empty = it names none; None = no such model can be used here."""
    lines_in: Callable[[str], Iterable[str]] | None = None
    """Lines that an expression of `when` names. Raises ValueError as `zones_in`."""
    readings_in: Callable[[str], Iterable[str]] | None = None
    """Other pipelines and sources whose values it asks for. Raises ValueError as `zones_in`."""
    inputs_of: Callable[[str, str, Sequence[str]], Sequence[str] | None] | None = None
    """Inputs of a model that samples go into, asked as `labels_of`; None = it is not here."""
    models: Callable[[Sequence[str]], Sequence[str]] | None = None
    """Names of the models that are here, with the further folders of `models.path`."""


class Look(Struct, frozen=True):
    """The merged tables as a check sees them."""

    tables: dict[str, Any]
    places: Places
    file: str
    remote: str
    ports: Ports

    def get(self, *path: str | int) -> Any:
        """The value at a path, None where there is none."""
        value: Any = self.tables
        for key in path:
            fits = isinstance(value, dict) or (isinstance(value, list) and isinstance(key, int))
            if not fits or (isinstance(value, dict) and key not in value):
                return None
            value = value[key]
        return value

    def text(self, *path: str | int) -> str:
        value = self.get(*path)
        return value if isinstance(value, str) else ""

    def named(self, *path: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """Name and table of each table below a path."""
        value = self.get(*path)
        if isinstance(value, dict):
            yield from ((name, its) for name, its in value.items() if isinstance(its, dict))

    def labels(self, *path: str | int) -> Sequence[str] | None:
        """Labels of the model that the table at a path names; empty = nobody knows them, None =
        it is not here."""
        model = self.text(*path, "model")
        if not model or self.ports.labels_of is None:
            return ()
        return self.ports.labels_of(model, self.text(*path, "version"), self.folders())

    def folders(self) -> list[str]:
        """Further folders of models, as far as they are named rightly."""
        folders = self.get("models", "path")
        return [its for its in folders if isinstance(its, str)] if isinstance(folders, list) else []

    def fault(
        self, path: KeyPath, expected: str, found: str, remedy: str = "", problem: str = ""
    ) -> Fault:
        place = self.places.nearest(path, self.file)
        return Fault(place.file, place.line, dotted(path), expected, found, remedy, problem)
