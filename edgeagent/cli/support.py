"""``edgeagent support-bundle``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from edgeagent.cli import options, render
from edgeagent.cli.options import AsJson, ConfigFile, DataDir


def support_bundle(
    file: Annotated[
        Path | None, typer.Argument(help="Where to [default: a name of its own, here].")
    ] = None,
    config: ConfigFile = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """One file with all that somebody far away needs to help; no secrets, no pictures.

    It is collected here, whether an agent runs or not. From afar: the command of the same name.
    """
    from edgeagent.errors import unwritable

    name, data = _collected(config, data_dir)
    target = file or Path(f"{name}.tar.gz")
    try:
        target.write_bytes(data)
        target.chmod(0o600)
    except OSError as error:
        raise unwritable(target, error) from error
    made = {"file": str(target), "bytes": len(data)}
    said = f"{target}: {render.size(len(data))}. Look into it before you send it: tar -tf {target}"
    render.show(made, as_json, lambda: render.plain(said))


def _collected(config: Path | None, data_dir: Path | None) -> tuple[str, bytes]:
    from edgeagent.agent.diagnosis import why_from_files
    from edgeagent.cli.doctor import context_here
    from edgeagent.device.identity import device_id
    from edgeagent.diagnose.bundle import collect
    from edgeagent.diagnose.why import Asked
    from edgeagent.errors import EdgeAgentError

    context = context_here(config, data_dir, None)
    client = options.control(config, data_dir)
    loaded = context.loaded
    options.noted(client, context.data_dir, "support-bundle")

    def why(pipeline: str) -> dict[str, Any]:
        try:
            return client.result("why", target=pipeline)
        except EdgeAgentError:
            if loaded is None:
                raise
            return why_from_files(Asked(pipeline), loaded, context.data_dir, running=None)

    return collect(
        context, device=device_id(context.config.device.id), why=why,
        log=lambda: list(client.result("logs", lines=1000)["lines"]),
        models=lambda: options.library(config, data_dir).list(),
    )  # fmt: skip
