"""``edgeagent outbox``: stats, peek, verify."""

from __future__ import annotations

from typing import Annotated

import typer

from edgeagent.cli import options, render, views
from edgeagent.cli.options import AsJson, ConfigFile, DataDir

app = typer.Typer(help="What waits to be sent, and the account of it.", no_args_is_help=True)
