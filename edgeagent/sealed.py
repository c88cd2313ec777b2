"""A process whose memory nobody else gets at: it holds pictures from before anything is hidden in
them."""

from __future__ import annotations

_PR_GET_DUMPABLE = 3
_PR_SET_DUMPABLE = 4


def seal() -> bool:
    """From now on no core dump of this process is written, also not by a pipe (for which the kernel
    leaves RLIMIT_CORE aside, core(5)), and only root may trace it or look at its memory (prctl(2),
    PR_SET_DUMPABLE). False = the system can't.

    What it executes has to seal itself again; the limit is inherited. It is 1 byte where that may
    be: too little for any dump, and the one value that the kernel honours for pipes as well
    (do_coredump, fs/coredump.c), so that programs which hold frames (ffmpeg) leave none either.
    """
    import ctypes
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_CORE)
    least = min(hard, 1) if hard != resource.RLIM_INFINITY else 1
    resource.setrlimit(resource.RLIMIT_CORE, (least, least))
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
