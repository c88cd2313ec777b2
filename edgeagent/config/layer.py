"""Layers of configuration and how they are laid upon each other (RFC 7396).

Tables merge, arrays and plain values replace, ``null`` removes. Each key remembers the layer
and line that set it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from msgspec import Struct, field

from edgeagent.config.check import Fault
from edgeagent.config.toml import KeyPath, Place, Places, TomlError, parse_text, parse_toml
from edgeagent.errors import NotPermitted


class Layer(Struct):
    """Tables, and where each key of them stands."""

    table: dict[str, Any] = field(default_factory=dict)
    places: Places = field(default_factory=Places)

    def lay(self, upper: Layer) -> None:
        """Merge another layer over this one."""
        self._lay((), self.table, upper.table, upper.places)

    def _lay(
        self, path: KeyPath, lower: dict[str, Any], upper: dict[str, Any], places: Places
    ) -> None:
        for key, value in upper.items():
            here = (*path, key)
            if isinstance(value, dict):
                if not isinstance(lower.get(key), dict):
                    self._forget(here)
                    lower[key] = {}
                self.places.setdefault(here, places.nearest(here))
                self._lay(here, lower[key], value, places)
                continue
            self._forget(here)
            lower.pop(key, None)
            if value is not None:
                lower[key] = value
                self.places[here] = places.nearest(here)
                self.places.update(_below(places, here))

    def _forget(self, path: KeyPath) -> None:
        for gone in [known for known in self.places if known[: len(path)] == path]:
            del self.places[gone]


def _below(places: Places, path: KeyPath) -> Iterator[tuple[KeyPath, Place]]:
    return ((its, place) for its, place in places.items() if its[: len(path)] == path)


def read_file(file: Path) -> tuple[Layer, list[Fault]]:
    """A TOML file as a layer; where it can't be read or parsed, an empty layer and the fault."""
    try:
        return Layer(*parse_toml(file)), []
    except OSError as error:
        return Layer(), [_unreadable(file, error)]
    except TomlError as error:
        return Layer(), [_broken(file, its) for its in error.all()]


def _broken(file: Path, error: TomlError) -> Fault:
    said = f"column {error.column}: {error.said}" if error.column else error.said
    return Fault(str(file), error.line, error.key, "TOML", error.said, problem=said)


def read_folder(folder: Path) -> tuple[list[Path], list[Fault]]:
    """The ``*.toml`` of a folder by name; none where it does not exist."""
    try:
        names = sorted(entry.name for entry in folder.iterdir() if entry.suffix == ".toml")
    except FileNotFoundError:
        return [], []
    except OSError as error:
        return [], [_unreadable(folder, error)]
    return [folder / name for name in names], []


def read_remote(file: Path) -> tuple[Layer, list[Fault]]:
    """The layer that desired state left in the data folder: ``{"rev": 12, "config": {…}}``.

    Raises:
        NotPermitted: this user may not read it, so nobody can say what the configuration is.
    """
    try:
        content = json.loads(file.read_bytes())
        table = content["config"]
        if not isinstance(table, dict):
            raise TypeError("config is no object")
    except (FileNotFoundError, NotADirectoryError):
        return Layer(), []
    except PermissionError as error:
        raise NotPermitted(
            f"{file}: the fleet's settings can't be read: {error.strerror}",
            remedy=f"Give {file.parent} to the agent's user, or look as that user: "
            "sudo -u edgeagent edgeagent …",
        ) from error
    except OSError as error:
        return Layer(), [_unreadable(file, error)]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        remedy = f"remove it to run without what the fleet has set: rm {file}"
        said = f"the fleet's settings are damaged ({error})"
        return Layer(), [Fault(str(file), 0, "", "", "", remedy, said)]
    return Layer(table, _everywhere(table, Place(str(file), 0))), []


def read_flag(text: str) -> tuple[Layer, list[Fault]]:
    """``mqtt.port=1884`` as a layer. A value that is no TOML is a text; ``null`` removes."""
    origin = f"--set {text}"
    key, equals, value = text.partition("=")
    try:
        table, _ = parse_text(f"{key} = 0", origin)
    except ValueError:
        table = {}
    if not equals or not table or "\n" in key:
        said = "not of the form KEY=VALUE"
        return Layer(), [Fault(origin, 0, "", "", "", "e.g. --set mqtt.port=1884", said)]
    innermost = table
    while isinstance(next(iter(innermost.values())), dict):
        innermost = next(iter(innermost.values()))
    innermost[next(iter(innermost))] = _flag_value(value.strip())
    return Layer(table, _everywhere(table, Place(origin, 0))), []


def _flag_value(text: str) -> Any:
    if text == "null":
        return None
    try:
        table, _ = parse_text(f"value = {text}", "")
    except ValueError:
        return text
    return table["value"] if set(table) == {"value"} else text


def _everywhere(value: Any, place: Place, path: KeyPath = ()) -> Places:
    places = Places()
    if path:
        places[path] = place
    items: Iterable[tuple[Any, Any]] = ()
    if isinstance(value, dict):
        items = value.items()
    elif isinstance(value, list):
        items = enumerate(value)
    for key, item in items:
        places.update(_everywhere(item, place, (*path, key)))
    return places


def _unreadable(file: Path, error: OSError) -> Fault:
    remedy = ""
    if isinstance(error, FileNotFoundError):
        remedy = "name another with --config FILE"
    elif isinstance(error, PermissionError):
        remedy = f"let the agent's user read it: sudo chgrp edgeagent {file}; sudo chmod g+r {file}"
    said = f"can't be read: {error.strerror or error}"
    return Fault(str(file), 0, "", "a file that can be read", str(error), remedy, said)
