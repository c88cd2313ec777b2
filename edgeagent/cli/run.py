"""``edgeagent run``: the daemon in the foreground."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgeagent.cli import options, render
from edgeagent.cli.options import ConfigFile, DataDir, Settings
from edgeagent.cli.words import status_line
from edgeagent.errors import Unavailable

if TYPE_CHECKING:
    from edgeagent.serve.client import ControlClient

_EVERY_S = 1.0


def run(
    config: ConfigFile = None,
    data_dir: DataDir = None,
    set_: Settings = None,
    until_done: Annotated[
        bool, typer.Option("--until-done", help="End when all files are through and delivered.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Warnings only.")] = False,
) -> None:
    """Run the agent here until Ctrl-C. Refuses (75) while a daemon holds the data folder."""
    from edgeagent.agent.start import run as run_agent
    from edgeagent.serve.client import ControlClient, socket_path

    file: Path = options.config_file(config)
    folder = options.data_folder(config, data_dir)
    with _status_line(ControlClient(socket_path(folder))):
        # Inside: what is logged must appear above the line that is drawn over and over.
        logging.basicConfig(
            level="WARNING" if quiet else "INFO",
            format="%(asctime)s %(levelname)s %(message)s", datefmt="%H:%M:%S", force=True,
        )  # fmt: skip
        code = run_agent(file, folder, flags=set_ or (), until_done=until_done, strict=True)
    raise typer.Exit(code)


@contextmanager
def _status_line(client: ControlClient) -> Iterator[None]:
    """Show what the agent in this process says about itself, on a terminal."""
    ended = threading.Event()
    with render.line() as draw:
        if draw is None:
            yield
            return

        def follow() -> None:
            while not ended.wait(_EVERY_S):
                try:
                    draw(status_line(client.status()))
                except Unavailable:
                    continue  # it is starting or stopping

        thread = threading.Thread(target=follow, name="status-line", daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join(_EVERY_S * 2)
