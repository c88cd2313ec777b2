"""The command line. `main` is the entry point; a command is at most 25 lines over the library."""

from __future__ import annotations

import os
import sys


def main() -> None:
    """Entry point of ``edgeagent``."""
    if sys.argv[1:] == ["--version"]:
        # Asked by scripts and packagers; typer alone costs 20 times as much.
        from edgeagent import __version__

        sys.stdout.write(f"edgeagent {__version__}\n")
        return
    # As the daemon does it, see `edgeagent.agent.main`.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from edgeagent.cli.app import app

    app(prog_name="edgeagent")
