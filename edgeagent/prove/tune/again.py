"""A model tuned again beside the pipelines that run, for the agent itself: see `worker`."""

from __future__ import annotations

from pathlib import Path
from threading import Event

import msgspec

from edgeagent.manifest import Package
from edgeagent.prove.process import Child, memory_limit
from edgeagent.prove.tune.choice import Choice

SECONDS = 120.0
"""About so long a search takes at most …"""
SHARE = 0.25
"""… in which something is run for so much of the time."""
LAST = True
"""It gets what nobody else wants of the processor."""
_TIMEOUT_S = 300.0
"""Whatever it does: after that it is ended."""
_CPU_S = 300
_FILES = 512 << 20


def tune_again(package: Package, before: Choice, stopped: Event) -> Choice:
    """Search and prove in a child process at the lowest priority.

    Args:
        package: what is tuned.
        before: what was chosen last, for it or for another version of the model: the search keeps
            to the same goal and bars.
        stopped: asked ten times a second whether to end it.

    Raises:
        ProofFailed: nothing will do, or what was found does not prove itself.
        Busy: it was stopped, or no process can be started.
    """
    ask = {
        "folder": str(Path(package.folder).absolute()), "before": msgspec.to_builtins(before),
        "seconds": SECONDS, "share": SHARE, "last": LAST,
        "memory_bytes": memory_limit(), "cpu_s": _CPU_S, "file_bytes": _FILES,
    }  # fmt: skip
    with Child(ask, module="edgeagent.prove.tune.worker") as child:
        return msgspec.convert(child.outcome(_TIMEOUT_S, stopped), Choice)
