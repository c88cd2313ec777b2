"""The composition root: the only place where things are wired (`edgeagentd`).

`start` reads the command line and the configuration, `build` makes sources and pipelines of
it, `running` is the agent while it runs, `answers` is what it says when asked.
"""

from __future__ import annotations

from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of the daemon; returns the exit code of contract §9."""
    from edgeagent.agent.start import main as start

    return start(argv)
