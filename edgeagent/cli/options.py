"""Options that many commands share, and what follows from them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from edgeagent.config.load import Loaded
    from edgeagent.config.model import Pipeline, Runtime
    from edgeagent.manifest import Package
    from edgeagent.serve.client import ControlClient
    from edgeagent.update.library import Library

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")]
ConfigFile = Annotated[
    Path | None,
    typer.Option(
        "--config", "-c", envvar="EDGEAGENT_CONFIG", show_envvar=False, metavar="FILE",
        readable=False,  # that it can't be read is a fault of the configuration, told with it
        help="Configuration [default: /etc/edgeagent/agent.toml].",
    ),
]  # fmt: skip
DataDir = Annotated[
    Path | None,
    typer.Option(
        "--data-dir", "-d", envvar="EDGEAGENT_DATA_DIR", show_envvar=False, metavar="DIR",
        readable=False,
        help="Where the agent keeps its data [default: as the configuration says].",
    ),
]  # fmt: skip
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Set one key; may be given several times."),
]

VariantName = Annotated[
    str, typer.Option("--variant", metavar="FILE", help="Variant or runtime to use [default: "
                      "what runs].")
]  # fmt: skip
Workers = Annotated[
    int | None, typer.Option("--workers", min=1, help="Processes [default: one for each core].")
]


def config_file(given: Path | None) -> Path:
    """The configuration that is meant: as given, else the system's."""
    from edgeagent.config.paths import SYSTEM_CONFIG

    return given or SYSTEM_CONFIG


def load_config(
    given: Path | None, data: Path | None = None, settings: list[str] | None = None
) -> Loaded:
    """The effective configuration, checked as strictly as `edgeagent run` does.

    Raises ConfigError with all faults.
    """
    from edgeagent.agent.updates import permit_code
    from edgeagent.config.load import load

    folder = data_folder(given, data)
    loaded = load(config_file(given), data_dir=folder, flags=settings or (), **checks(folder))
    permit_code(loaded.config, folder)
    return loaded


def checks(folder: Path) -> dict[str, Any]:
    """What a configuration is checked against besides itself: board, models, rules."""
    from edgeagent.agent.ports import config_ports
    from edgeagent.device.profile import profile_layer

    return {"profile": profile_layer(), "ports": config_ports(folder)}


def data_folder(given: Path | None, data: Path | None) -> Path:
    """The data folder that is meant: as given, as the configuration says, or the default.

    Where nothing is named and no service is set up on this machine, it is the person's own: that
    of `edgeagent run --config FILE` in another shell.
    """
    from edgeagent.config import paths
    from edgeagent.config.load import data_dir_of

    if data:
        return data.absolute()
    if given is None and not any(map(paths.there, (paths.SYSTEM_CONFIG, paths.SYSTEM_DATA))):
        return paths.data_dir()
    return data_dir_of(config_file(given), ())


def library(given: Path | None, data: Path | None) -> Library:
    """The models on this device. A wrong configuration hides only the folders it names."""
    from edgeagent.agent.updates import permit_code
    from edgeagent.config.load import load
    from edgeagent.errors import ConfigError
    from edgeagent.update.library import Library, default_folders

    further: list[str] = []
    if config_file(given).is_file():
        try:
            config = load(config_file(given)).config
            further = config.models.path
            permit_code(config, data_folder(given, data))
        except ConfigError:
            if given is not None:
                raise
    return Library(default_folders(data_folder(given, data), further, working=True))


def runtime(package: Package, given: Path | None, data: Path | None) -> Runtime:
    """How a model is run here where nobody says it: as it was tuned, if it was."""
    from edgeagent.config.model import Runtime
    from edgeagent.prove.tune.choice import chosen

    return chosen(data_folder(given, data), package, Runtime()).runtime


def pipeline(name: str, given: Path | None, data: Path | None) -> Pipeline:
    """A pipeline of the configuration. Raises NotFound, ConfigError."""
    from edgeagent.config.words import did_you_mean
    from edgeagent.errors import NotFound

    known = load_config(given, data).config.pipelines
    if name not in known:
        raise NotFound(
            f"{config_file(given)} has no pipeline {name!r}",
            remedy=did_you_mean(name, list(known)),
        )
    return known[name]


def control(given: Path | None, data: Path | None) -> ControlClient:
    """The running agent of that data folder."""
    from edgeagent.serve.client import ControlClient, find_socket

    return ControlClient(find_socket(data_folder(given, data)))


def from_agent(given: Path | None, data: Path | None, type_: str, **arguments: Any) -> Any:
    """What the running agent of that data folder answers to a command; None where none can be
    asked, and the files are to be read. Which of the two it is, is said on standard error."""
    from edgeagent.cli import render
    from edgeagent.errors import NotPermitted, Unavailable

    client = control(given, data)
    try:
        answer = client.result(type_, **arguments)
    except (Unavailable, NotPermitted) as problem:
        render.note(f"Read from the files: {problem}.")
        return None
    render.note(f"Told by the running agent at {client.path.parent}.")
    return answer


def noted(client: ControlClient, folder: Path, what: str, **detail: Any) -> None:
    """That a person is shown what the device keeps is noted: by the agent, or where none can be
    asked in its files; where this user may not do that either, it is said."""
    import getpass

    from edgeagent.cli import render
    from edgeagent.errors import EdgeAgentError, NotPermitted, Unavailable
    from edgeagent.store import looks
    from edgeagent.store.entry import give_back

    try:
        client.ask({"type": "looked", "what": what, "detail": detail})
    except (Unavailable, NotPermitted):
        try:
            looks.note(folder, what, f"local:{getpass.getuser()}", detail)
            give_back(folder, looks.FOLDER)
        except EdgeAgentError as problem:
            render.note(f"That you look could not be noted: {problem}.")


def package_folder(model: str, given: Path | None, data: Path | None) -> Path:
    """Folder of a package, also of one that is too broken to be loaded."""
    place = Path(model).expanduser()
    if (place / "model.toml").is_file():
        return place
    name, _, version = model.partition("@")
    for entry in library(given, data).list():
        if entry.name == name and version in ("", entry.version):
            return entry.folder
    return library(given, data).find(model).folder


def sample_files(given: list[Path]) -> list[Path]:
    """Files, and those in folders that can be samples, by name. Raises NotFound."""
    from edgeagent.errors import NotFound
    from edgeagent.prove.samples import readable

    files: list[Path] = []
    for place in given:
        if place.is_dir():
            files += sorted(its for its in place.iterdir() if its.is_file() and readable(its))
        elif place.is_file():
            files.append(place)
        else:
            raise NotFound(f"{place}: there is no such file or folder")
    return files
