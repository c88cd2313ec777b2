"""``edgeagent models install|activate|rollback|hold|unhold|remove``: by the running agent where
there is one, else on its files; the same states either way."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from edgeagent.cli import options, render
from edgeagent.cli.options import AsJson, ConfigFile, DataDir
from edgeagent.cli.twins import Answer, Given, twin
from edgeagent.errors import (
    Busy,
    EdgeAgentError,
    ModelError,
    NotFound,
    Unavailable,
    UsageError,
)

Wait = Annotated[bool, typer.Option(help="Follow it to its end.")]
Soak = Annotated[
    str, typer.Option("--soak", metavar="TIME", help="How long it must do as well as before.")
]
_ENDS = ("committed", "rejected", "failed", "rolled-back", "cancelled", "superseded")
_LOOK_S = 0.5


def install(
    origin: Annotated[
        str,
        typer.Argument(
            metavar="PACKAGE|REPOSITORY|MODEL@VERSION",
            help="A package folder or archive, a copy of the fleet's repository or its URL, or "
            "what the fleet's own repository has.",
        ),
    ],
    model: Annotated[
        str, typer.Argument(metavar="[MODEL@VERSION]", help="Which one of a repository.")
    ] = "",
    activate: Annotated[
        bool, typer.Option("--activate", help="Run it, if it proves itself here.")
    ] = False,
    soak: Soak = "15 min",
    wait: Wait = True,
    config: ConfigFile = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Bring a version to this device: checked, proven, and with --activate run on probation.

    Where the device knows a fleet's root of trust, only what is signed gets in.
    """
    with _unpacked(origin) as place:
        name, version, where = _meant(place, model)
        arguments = {"origin": where, "activate": activate, "soak_s": _seconds(soak)}
        _change(name, version, arguments, wait or place != origin, config, data_dir, as_json)


def activate(
    model: Annotated[str, typer.Argument(metavar="MODEL@VERSION", help="That is on the device.")],
    soak: Soak = "15 min",
    wait: Wait = True,
    config: ConfigFile = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Run a version that is on the device, through all states; an older one too."""
    name, version = _named(model)
    arguments = {"origin": "", "activate": True, "soak_s": _seconds(soak)}
    _change(name, version, arguments, wait, config, data_dir, as_json)


def remove(
    model: Annotated[str, typer.Argument(metavar="MODEL@VERSION", help="That was installed.")],
    config: ConfigFile = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Remove an installed version that does not run."""
    name, version = _named(model)
    try:
        client = options.control(config, data_dir)
        answer = client.result("model-remove", model=name, version=version)
    except Unavailable:
        with _files(config, data_dir) as agent:
            agent.orders.remove(name, version)
        answer = {"model": name, "removed": version}
    render.show(answer, as_json, lambda: render.plain(f"{name} {version} is removed"))


def _rolled_back(problem: EdgeAgentError, given: dict[str, Any]) -> Answer:
    model = given["model"]
    with _without_agent(problem, given) as agent:
        done: Answer = agent.done(model, agent.orders.roll_back(model, _who()))
    return done


def _held(problem: EdgeAgentError, given: dict[str, Any]) -> Answer:
    from edgeagent import clock
    from edgeagent.update.truth import Hold

    model = given["model"]
    with _without_agent(problem, given) as agent:
        agent.orders.engine.house.library().find(model)
        since = clock.rfc3339(clock.wall_ns())
        agent.orders.hold(model, Hold(_who(), since, given["until"], given["because"]))
    return {"model": model, "held": True}


def _let_go(problem: EdgeAgentError, given: dict[str, Any]) -> Answer:
    with _without_agent(problem, given) as agent:
        return {"model": given["model"], "was_held": agent.orders.unhold(given["model"])}


def _tell_held(_answer: Answer, given: Given) -> None:
    model, until = given["model"], given["until"]
    end = f" until {until}" if until else f", until: edgeagent models unhold {model}"
    render.plain(f"{model} is held{end}")


def _tell_free(answer: Answer, given: Given) -> None:
    said = "may be changed again" if answer["was_held"] else "was not held"
    render.plain(f"{given['model']} {said}")


def _tell_back(answer: Answer, given: Given) -> None:
    render.plain(f"{given['model']} runs {answer['version']} again")


rollback = twin(
    "model-rollback", _tell_back, without=_rolled_back,
    help="Return to the version before this one. This one is not tried again by itself.",
)  # fmt: skip
hold = twin(
    "model-hold", _tell_held, without=_held, words={"because": ("--because", "--reason")},
    help="Have a model changed by nobody, the fleet included.",
)  # fmt: skip
unhold = twin(
    "model-unhold", _tell_free, without=_let_go,
    help="Let a model be changed again; what is wished for it meanwhile begins now.",
)  # fmt: skip


# --- how it is done -------------------------------------------------------------------------


def _change(
    name: str, version: str, arguments: dict[str, Any], wait: bool, config: Path | None,
    data_dir: Path | None, as_json: bool,
) -> None:  # fmt: skip
    """Begin a change and follow it. Exit 1 where it does not end well, 75 where it still waits."""
    client = options.control(config, data_dir)
    try:
        begun = client.result("model-install", model=name, version=version, **arguments)
    except Unavailable:
        render.note("No agent runs here: it is done on the files, and runs at the next start.")
        with _files(config, data_dir) as agent:
            from edgeagent.update.desired import Policy

            # Nothing runs that it could be held against.
            id = agent.orders.install(
                name, version, origin=arguments["origin"], by=_who(),
                activate=arguments["activate"], policy=Policy(soak_s=0.0),
            )  # fmt: skip
            _told(name, agent.done(name, id), as_json)
        return
    if not wait:
        render.show(begun, as_json, lambda: render.plain(f"{name} {version}: begun"))
        return
    _told(name, _followed(client, name, begun["id"]), as_json)


def _followed(client: Any, name: str, id: str) -> dict[str, Any]:
    with render.line() as draw:
        while True:
            report = client.status().get("desired", {}).get("models", {}).get(name, {})
            if report.get("id") == id and report["state"] in _ENDS:
                return dict(report)
            if draw is not None and report.get("id") == id:
                share = f" {report['progress']:.0%}" if report.get("progress") else ""
                draw(f"{name} {report['wanted']}: {report['state']}{share} "
                     f"{report.get('detail', '')}")  # fmt: skip
            time.sleep(_LOOK_S)


def _told(name: str, report: dict[str, Any], as_json: bool) -> None:
    state, version = report.get("state", ""), report.get("wanted", "")
    detail = report.get("detail", "")
    if state == "committed":
        runs = report["version"] == version
        said = f"{name} {version} " + ("runs here" if runs else "is here; it does not run yet: "
                                       f"edgeagent models activate {name}@{version}")  # fmt: skip
        took = sum(report.get("times_s", {}).values())
        render.show(report, as_json, lambda: render.plain(f"{said} ({render.duration(took)})"))
        return
    if as_json:
        render.show(report, as_json, lambda: None)
    if state not in _ENDS:
        raise Busy(f"{name} {version} waits: {detail}")
    raise ModelError(f"{name} {version} {state} ({report.get('reason', '')}): {detail}")


@contextmanager
def _without_agent(problem: EdgeAgentError, given: dict[str, Any]) -> Iterator[Any]:
    """The files, where no agent runs; any other problem is raised again."""
    if not isinstance(problem, Unavailable):
        raise problem
    with _files(given["config"], given["data_dir"]) as agent:
        yield agent


@contextmanager
def _files(config: Path | None, data_dir: Path | None) -> Iterator[Any]:
    from edgeagent.agent.offline import resting
    from edgeagent.config.load import load

    folder = options.data_folder(config, data_dir)
    named = config is not None or options.config_file(config).is_file()
    loaded = options.load_config(config, data_dir) if named else load((), data_dir=folder)
    with resting(loaded, folder) as agent:
        yield agent


@contextmanager
def _unpacked(origin: str) -> Iterator[str]:
    """An archive as the package folder that is in it."""
    file = Path(origin).expanduser()
    if not file.is_file():
        yield origin
        return
    import shutil
    import tarfile

    with tempfile.TemporaryDirectory(prefix="edgeagent-") as folder:
        try:
            if tarfile.is_tarfile(file):
                with tarfile.open(file) as archive:
                    archive.extractall(folder, filter="data")
            else:
                shutil.unpack_archive(file, folder)
        except (OSError, ValueError, tarfile.TarError, shutil.ReadError) as error:
            raise UsageError(
                f"{file}: can't be unpacked: {error}", remedy="Give a .tar.gz, a .zip or a folder."
            ) from error
        Path(folder).chmod(0o755)  # The agent reads it as its own user.
        found = sorted(Path(folder).rglob("model.toml"), key=lambda its: len(its.parts))
        if not found:
            raise NotFound(f"{file}: there is no model.toml in it")
        yield str(found[0].parent)


def _meant(origin: str, model: str) -> tuple[str, str, str]:
    """Name, version and origin."""
    from edgeagent.agent.deploying import FLEET
    from edgeagent.manifest import read_manifest

    folder = Path(origin).expanduser()
    if (folder / "model.toml").is_file():
        manifest = read_manifest(folder)
        return manifest.name, manifest.version, str(folder.resolve())
    if "://" in origin or folder.is_dir():
        if not model:
            raise UsageError(
                f"which model of {origin}?",
                remedy=f"edgeagent models install {origin} MODEL@VERSION",
            )
        where = origin if "://" in origin else str(folder.resolve())
        return (*_named(model), where)
    if "/" in origin:
        raise NotFound(f"{origin}: there is no such folder or file")
    return (*_named(origin), FLEET)


def _named(model: str) -> tuple[str, str]:
    name, at, version = model.partition("@")
    if not at or not name or not version:
        raise UsageError(
            f"{model!r} names no version", remedy=f"Write {name or 'MODEL'}@VERSION, such as "
            "parts@1.2.0; see: edgeagent models list",
        )  # fmt: skip
    return name, version


def _seconds(text: str) -> float:
    from edgeagent.config.units import seconds

    try:
        return seconds(text)
    except ValueError as error:
        raise UsageError(f"--soak: {error}", remedy='Write it as "15 min" or "30 s".') from error


def _who() -> str:
    import getpass

    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "local"
