"""``edgeagent setup``: a device gets its name, its broker and its camera."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgeagent.cli import render
from edgeagent.cli.options import AsJson, ConfigFile, DataDir

if TYPE_CHECKING:
    from edgeagent.cli.attached import Attached


def setup(
    file: Annotated[
        Path | None, typer.Argument(metavar="FILE", help="An unattended file; without it: ask.")
    ] = None,
    boot: Annotated[
        bool,
        typer.Option("--boot", help="Take edgeagent-setup.toml of the boot partition, if any."),
    ] = False,
    keep: Annotated[bool, typer.Option("--keep", help="Do not wipe the file afterwards.")] = False,
    config: ConfigFile = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Set this device up, from a file or by questions; checked as a whole before it is kept."""
    from edgeagent.cli import options, setting_up
    from edgeagent.errors import EdgeAgentError

    if boot:
        file = setting_up.on_boot_partition()
        if file is None:
            render.show(
                {"written": []}, as_json, lambda: render.text("There is nothing to set up.")
            )
            return
    place = setting_up.Setup(options.config_file(config).parent, data_dir)
    try:
        content = setting_up.read(file) if file is not None else _asked()
        written = place.apply(content)
    except EdgeAgentError as problem:
        if boot and file is not None:
            setting_up.complain(file, problem)
        raise
    if file is not None and not keep:
        setting_up.wipe(file)
    data = {"written": [str(its) for its in written], "next": setting_up.reload()}
    render.show(data, as_json, lambda: render.facts(data.items()))


def _asked() -> dict[str, Any]:
    """The wizard's questions. Raises NotFound."""
    from edgeagent.cli import setting_up
    from edgeagent.cli.attached import attached

    device = {"name": _ask("What is this device called (Door 7)"), "site": _ask("Where is it")}
    mqtt: dict[str, Any] = {"host": _ask("The broker's name or address (empty: none)")}
    password = ca = ""
    if mqtt["host"]:
        secured = typer.confirm("Does it speak TLS", default=True, err=True)
        mqtt["port"] = typer.prompt("Its port", 8883 if secured else 1883, type=int, err=True)
        if secured:
            ca = pem(_ask("File with its authority (empty: the system's)"))
            # The table alone switches TLS on, with the system's authorities.
            mqtt |= {} if ca else {"tls": {"insecure": False}}
        mqtt["username"] = _ask("Our name there")
        if mqtt["username"]:
            password = typer.prompt("The password", hide_input=True, default="", err=True,
                                    show_default=False)  # fmt: skip
    keys = _camera([its for its in attached() if its.kind in ("camera", "audio")])
    return setting_up.tables(device, mqtt, password=password, ca=ca, keys=keys)


def _camera(found: list[Attached]) -> dict[str, Any]:
    """The source that is picked, and a model for it."""
    if not found:
        render.note("No camera or microphone is attached; add what comes later: "
                    "edgeagent devices add")  # fmt: skip
        return {}
    for number, its in enumerate(found, 1):
        render.note(f"  {number}  {its.kind}: {its.name} ({its.path})")
    choice = typer.prompt("Which one (0: none)", 1, type=int, err=True)
    if not 0 < choice <= len(found):
        return {}
    its = found[choice - 1]
    keys = {"sources.cam0.kind": its.kind, "sources.cam0.device": its.path}
    model = _ask("The model that looks at it (see: edgeagent models list; empty: none)")
    if model:
        keys |= {"pipelines.cam0.source": "cam0", "pipelines.cam0.model": model}
    return keys


def _ask(text: str) -> str:
    return str(typer.prompt(text, default="", show_default=False, err=True)).strip()


def pem(name: str) -> str:
    """The content of a certificate's file; nothing = none. Raises NotFound."""
    from edgeagent.errors import NotFound

    if not name:
        return ""
    try:
        return Path(name).expanduser().read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise NotFound(f"{name}: can't be read: {error}") from error
