"""The effective configuration: defaults < profile < agent.toml < conf.d < remote < flags.

`load` reads and checks; `load_or_last_good` is what a daemon does: a device in the field must
not stay dark because somebody broke a file, so it goes on with the last good configuration
and says so.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from edgeagent.config import layer as layers
from edgeagent.config.advice import advice
from edgeagent.config.check import Fault, check_table, dotted, faults_text
from edgeagent.config.layer import Layer
from edgeagent.config.look import Ports
from edgeagent.config.model import Config, to_builtins
from edgeagent.config.paths import data_dir as find_data_dir
from edgeagent.config.secret import redacted
from edgeagent.config.sense import sense
from edgeagent.config.toml import KeyPath, Places
from edgeagent.errors import ConfigError, NotFound, StoreError

REMOTE_FILE = "remote.json"

ProfileLayer = Callable[[str], Layer]
"""Gives the defaults of a board profile by ``device.profile`` (``auto`` = detect it)."""

_PATHS = (
    ("mqtt", "password_file"),
    ("mqtt", "tls", "ca"),
    ("mqtt", "tls", "cert"),
    ("mqtt", "tls", "key"),
    ("sources", "*", "path"),
    ("sources", "*", "password_file"),
    ("models", "path", "*"),
    ("storage", "data_dir"),
)
"""Keys that name files: relative ones are meant from the file that says so."""


class Loaded(Struct, frozen=True):
    """A configuration that is valid, and where it came from."""

    config: Config
    hash: str
    """8 hex digits over the effective configuration."""
    files: tuple[Path, ...]
    """Files that were read, lowest layer first."""
    places: Places
    stale: str = ""
    """Not empty: the files are wrong (this says how) and an earlier configuration is used."""
    warnings: tuple[str, ...] = ()
    """What is no fault and should be told: keys without effect, models that are not here."""

    def origins(self) -> dict[str, str]:
        """Every effective key → ``file:line``, a flag, or ``default``."""
        found: dict[str, str] = {}
        for path in _leaves(to_builtins(self.config)):
            place = self.places.get(path)
            if place is None:
                found[dotted(path)] = "default"
            else:
                found[dotted(path)] = f"{place.file}:{place.line}" if place.line else place.file
        return found

    def value(self, key: str) -> Any:
        """What is in force at a dotted key, secrets left out; all of it for "". Raises NotFound."""
        value: Any = self.shown()
        for part in key.split(".") if key else ():
            if not isinstance(value, dict) or part not in value:
                raise NotFound(f"the configuration has no key {key!r}")
            value = value[part]
        return value

    def shown(self) -> dict[str, Any]:
        """The effective tables as they may be shown: no secrets."""
        tables: dict[str, Any] = redacted(to_builtins(self.config))
        return tables


def load(
    files: Path | Sequence[Path] = (),
    *,
    data_dir: Path | None = None,
    remote: Path | None = None,
    profile: ProfileLayer | None = None,
    flags: Sequence[str] = (),
    ports: Ports | None = None,
) -> Loaded:
    """Read, merge and check all layers.

    Args:
        files: each is followed by the ``conf.d/*.toml`` beside it.
        data_dir: holds the fleet's layer, `REMOTE_FILE`; it need not be there.
        remote: the fleet's layer, if it lies elsewhere.
        profile: gives the board's layer.
        flags: ``key=value`` of ``--set``.
        ports: what sense checks may ask of other parts (rules, models).

    Raises:
        ConfigError: with all faults, a line each.
        NotPermitted: the fleet's layer may not be read by this user.
    """
    named = _several(files)
    if remote is None and data_dir is not None:
        remote = data_dir / REMOTE_FILE
    read, laid, faults = _read(named, remote)
    if faults:
        # What else seems wrong would only follow from what could not be read.
        raise _refusal(faults)
    faults += _lay_flags(laid, flags)
    laid, unknown = _with_profile(laid, profile)
    faults += unknown
    first = str(named[0]) if named else "configuration"
    faults += check_table(laid.table, Config, file=first, places=laid.places)
    around: dict[str, Any] = {"file": first, "remote": remote, "ports": ports or Ports()}
    faults += sense(laid.table, laid.places, **around)
    if faults:
        raise _refusal(faults)
    config = msgspec.convert(laid.table, Config)
    told = advice(laid.table, laid.places, **around)
    return Loaded(config, config_hash(config), tuple(read), laid.places, warnings=told)


def load_or_last_good(
    files: Path | Sequence[Path],
    *,
    data_dir: Path | None = None,
    profile: ProfileLayer | None = None,
    flags: Sequence[str] = (),
    ports: Ports | None = None,
) -> Loaded:
    """As `load`, but where the files are wrong the last good configuration is used.

    A good one is kept as a snapshot in the data folder; that it could not be kept stands in
    ``warnings``.

    Raises:
        ConfigError: the files are wrong and there is no snapshot.
    """
    from edgeagent.config import snapshot

    folder = data_dir or data_dir_of(files, flags)
    try:
        loaded = load(files, data_dir=folder, profile=profile, flags=flags, ports=ports)
    except ConfigError as error:
        kept = snapshot.read(folder)
        if kept is None:
            raise
        return replace(kept, stale=str(error))
    try:
        snapshot.write(folder, loaded)
    except StoreError as error:
        return replace(loaded, warnings=(*loaded.warnings, str(error)))
    return loaded


def data_dir_of(files: Path | Sequence[Path], flags: Sequence[str] = ()) -> Path:
    """The data folder that a configuration means, even if something else in it is wrong."""
    named = _several(files)
    _, laid, _ = _read(named, None)
    _lay_flags(laid, flags)
    storage = laid.table.get("storage")
    folder = storage.get("data_dir") if isinstance(storage, dict) else None
    return find_data_dir(folder if isinstance(folder, str) else None, named[0] if named else None)


def config_hash(config: Config) -> str:
    """8 hex digits that stand in every record made under this configuration."""
    return hashlib.sha256(msgspec.json.encode(config, order="sorted")).hexdigest()[:8]


def _several(files: Path | Sequence[Path]) -> Sequence[Path]:
    return [files] if isinstance(files, Path) else files


def _read(files: Sequence[Path], remote: Path | None) -> tuple[list[Path], Layer, list[Fault]]:
    read: list[Path] = []
    laid, faults = Layer(), []
    for file in files:
        others, bad = layers.read_folder(file.parent / "conf.d")
        faults += bad
        read += [file, *others]
    for file in read:
        upper, bad = layers.read_file(file)
        _anchor(upper, file.parent)
        laid.lay(upper)
        faults += bad
    if remote is not None:
        upper, bad = layers.read_remote(remote)
        _anchor(upper, remote.parent)
        laid.lay(upper)
        faults += bad
        if upper.table:
            read.append(remote)
    return read, laid, faults


def _lay_flags(laid: Layer, flags: Sequence[str]) -> list[Fault]:
    faults = []
    for flag in flags:
        upper, bad = layers.read_flag(flag)
        _anchor(upper, Path.cwd())
        laid.lay(upper)
        faults += bad
    return faults


def _with_profile(laid: Layer, profile: ProfileLayer | None) -> tuple[Layer, list[Fault]]:
    """The board's layer below all others; which board it is, the others say."""
    if profile is None:
        return laid, []
    device = laid.table.get("device")
    wanted = device.get("profile", "auto") if isinstance(device, dict) else "auto"
    if not isinstance(wanted, str):
        return laid, []
    try:
        lowest = profile(wanted)
    except NotFound as error:
        place = laid.places.nearest(("device", "profile"))
        said = Fault(*place, "device.profile", "a profile", wanted, error.remedy, str(error))
        return laid, [said]
    lowest.lay(laid)
    return lowest, []


def _anchor(layer: Layer, folder: Path) -> None:
    for pattern in _PATHS:
        _anchor_one(layer.table, pattern, folder)


def _anchor_one(holder: Any, pattern: tuple[str, ...], folder: Path) -> None:
    key, rest = pattern[0], pattern[1:]
    keys: list[Any] = [key]
    if key == "*":
        keys = list(holder) if isinstance(holder, dict) else []
        keys = list(range(len(holder))) if isinstance(holder, list) else keys
    elif not isinstance(holder, dict) or key not in holder:
        return
    for each in keys:
        if rest:
            _anchor_one(holder[each], rest, folder)
        elif isinstance(holder[each], str):
            holder[each] = _anchored(holder[each], folder)


def _anchored(text: str, folder: Path) -> str:
    if not text or text == "-" or "://" in text or text.startswith("/"):
        return text
    if text.startswith("~"):
        return str(Path(text).expanduser())
    return str(folder.absolute() / text)


def _refusal(faults: list[Fault]) -> ConfigError:
    return ConfigError(faults_text(faults), faults=tuple(faults))


def _leaves(value: Any, path: KeyPath = ()) -> list[KeyPath]:
    if isinstance(value, dict) and value:
        return [leaf for key, item in value.items() for leaf in _leaves(item, (*path, key))]
    return [path]
