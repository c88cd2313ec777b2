"""``edgeagent demo``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgeagent.cli import render


def demo(
    seconds: Annotated[
        float, typer.Option(min=10.0, max=60.0, help="Length of the live part.")
    ] = 30.0,
    camera: Annotated[
        str, typer.Option(metavar="DEVICE", help="Your own camera in place of the clip.")
    ] = "",
    folder: Annotated[
        Path | None,
        typer.Option(
            "--dir", help="Folder for all of it [default: ~/.local/share/edgeagent/demo]."
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="The page [default: in --dir].")
    ] = None,
    picture: Annotated[
        Path | None,
        typer.Option("--picture", metavar="FILE", help="Also save one annotated belt picture."),
    ] = None,
    clean: Annotated[bool, typer.Option("--clean", help="Remove all that demos left.")] = False,
) -> None:
    """See the agent do its job in about a minute. Needs no broker, hardware or root."""
    from edgeagent.demo import folders, run

    root = (folder or folders.default_dir()).absolute()
    if clean:
        for gone in folders.clean(root):
            render.text(f"removed {gone}")
        return
    wishes = run.Wishes(seconds, camera)
    sound = run.demo(root, out, wishes, render.stdout(), picture)
    raise typer.Exit(0 if sound else 1)
