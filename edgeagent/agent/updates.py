"""Where models come from, and whose word counts: trust and transfer, wired."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgeagent.agent.running import Agent
    from edgeagent.update.signatures import Operators

TRUST = "trust"
"""Folder within the data folder: signed metadata, and what else trust must remember."""


def operators(agent: Agent) -> Operators:
    """Those whose signature counts here: files of this device, and the fleet's signed list."""
    from edgeagent.update import signatures

    folder = agent.loaded.config.trust.operators
    listed = agent.folder / TRUST / signatures.OPERATORS
    return signatures.Operators(Path(folder) if folder else None, listed)
