"""The composition root: the only place where things are wired (`edgeagentd`).

`start` reads the command line and the configuration, `build` makes sources and pipelines of
it, `running` is the agent while it runs, `answers` is what it says when asked.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of the daemon; returns the exit code of contract §9."""
    # numpy's second thread waits busily: beside other work it makes a product of matrices four
    # times dearer and no faster. Read when numpy is loaded, so it must stand before that.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    _import_msgspec_alone()
    from edgeagent.agent.start import main as start

    return start(argv)


def _import_msgspec_alone() -> None:
    """Import msgspec without typing_extensions.

    It looks there for annotations that are newer than the running Python; none are used here,
    and that package alone takes as long to import as msgspec and the configuration together
    (a fifth of the start of an agent without pipelines).
    """
    if "typing_extensions" in sys.modules or "msgspec" in sys.modules:
        return
    sys.modules["typing_extensions"] = None  # type: ignore[assignment]
    try:
        import msgspec  # noqa: F401 - the point is that it is loaded now
    finally:
        del sys.modules["typing_extensions"]
