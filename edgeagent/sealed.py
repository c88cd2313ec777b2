"""A process whose memory nobody else gets at: it holds pictures from before anything is hidden in
them."""

from __future__ import annotations

_PR_GET_DUMPABLE = 3
_PR_SET_DUMPABLE = 4


def seal() -> bool:
    """From now on no core dump of this process is written, also not by a pipe (for which the kernel
    leaves RLIMIT_CORE aside, core(5)), and only root may trace it or look at its memory (prctl(2),
    PR_SET_DUMPABLE). False = the system can't.

    What it executes has to seal itself again; the limit is inherited.
    """
    import ctypes
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        return bool(ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0) == 0)
    except (OSError, AttributeError):
        return False


def dumpable() -> bool | None:
    """Whether a core dump of this process may be written; None where it can't be asked."""
    import ctypes

    try:
        answer = ctypes.CDLL(None).prctl(_PR_GET_DUMPABLE, 0, 0, 0, 0)
    except (OSError, AttributeError):
        return None
    return None if answer < 0 else bool(answer)
