"""The last good configuration, kept in the data folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from edgeagent.config.model import Config
from edgeagent.config.toml import Places
from edgeagent.durable import put
from edgeagent.errors import StoreError

if TYPE_CHECKING:
    from edgeagent.config.load import Loaded

FILE = "config-last-good.json"


class _Snapshot(msgspec.Struct):
    hash: str
    files: list[str]
    config: Config


def write(folder: Path, loaded: Loaded) -> None:
    """Keep a configuration; does nothing when it is the one that is kept already.

    Raises:
        StoreError: the folder can't be written.
    """
    file = folder / FILE
    content = msgspec.json.encode(
        _Snapshot(loaded.hash, [str(its) for its in loaded.files], loaded.config)
    )
    try:
        if file.exists() and file.read_bytes() == content:
            return
        put(file, content, mode=0o600)
    except OSError as error:
        raise StoreError(
            f"the configuration can't be kept as the last good one: {file}: {error.strerror}",
            remedy=f"Make {folder} writable for the agent's user.",
        ) from error


def read(folder: Path) -> Loaded | None:
    """The configuration kept there; None where there is none that can be used."""
    from edgeagent.config.load import Loaded

    try:
        kept = msgspec.json.decode((folder / FILE).read_bytes(), type=_Snapshot)
    except (OSError, msgspec.MsgspecError):
        return None
    return Loaded(kept.config, kept.hash, tuple(Path(its) for its in kept.files), Places())
