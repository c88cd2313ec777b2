"""What checks look at: configuration, data folder, root of the file system, and two ports."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from msgspec import Struct

from edgeagent.config import snapshot
from edgeagent.config.load import Loaded, ProfileLayer, data_dir_of, load
from edgeagent.config.look import Ports
from edgeagent.config.model import Config
from edgeagent.device.profile import Match, detect
from edgeagent.errors import ConfigError, NotPermitted
from edgeagent.manifest import Package

FindModel = Callable[[str, str], Package]
"""Package of a model by name and version (empty = newest). Raises NotFound, PackageError."""
AskAgent = Callable[[], dict[str, Any]]
"""Status of the running agent. Raises Unavailable where none runs."""
TestLink = Callable[[], dict[str, Any]]
"""Has the running agent prove its topics once more: ``state``, ``proven``, ``complaints``,
``took_ms``. Raises Unavailable where none runs."""


class Context(Struct, frozen=True):
    """Everything is read; nothing is opened that the running agent needs for itself."""

    data_dir: Path
    loaded: Loaded | None
    """None where there is no configuration that can be used."""
    fault: str = ""
    """Why the configuration in the files is not used."""
    remedy: str = ""
    """What to do about the fault, where that is not to correct the files."""
    find_model: FindModel | None = None
    ask_agent: AskAgent | None = None
    test_link: TestLink | None = None
    written: Callable[[], str] | None = None
    """Hash of the configuration as the files have it now. Raises ConfigError."""
    root: Path = Path("/")
    profiles: Sequence[Path] | None = None
    """Folders of device profiles; None = those that are shipped."""

    @property
    def config(self) -> Config:
        """The effective configuration; the defaults where there is none."""
        return self.loaded.config if self.loaded else Config()

    def board(self) -> Match:
        """The profile of this device. Raises ConfigError."""
        return detect(self.root, folders=self.profiles)


def context_of(
    files: Path | Sequence[Path],
    *,
    data_dir: Path | None = None,
    flags: Sequence[str] = (),
    profile: ProfileLayer | None = None,
    ports: Ports | None = None,
    find_model: FindModel | None = None,
    ask_agent: AskAgent | None = None,
    test_link: TestLink | None = None,
) -> Context:
    """The context of a configuration, which may be wrong: then the last good one is looked at,
    as the agent would."""
    folder = data_dir or data_dir_of(files, flags)
    loaded: Loaded | None
    try:
        loaded = load(files, data_dir=folder, flags=flags, profile=profile, ports=ports)
        fault = remedy = ""
    except (ConfigError, NotPermitted) as error:
        loaded, fault, remedy = snapshot.read(folder), str(error), error.remedy
    return Context(folder, loaded, fault, remedy, find_model, ask_agent, test_link)
