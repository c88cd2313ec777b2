"""Giving memory back to the system.

Start-up leaves several megabytes of free blocks in glibc's heap (parsed configuration, schemas,
import machinery): 4.6 of 27 MB for an agent without pipelines. glibc returns only what lies at
the end of the heap unless it is asked.
"""

from __future__ import annotations

import gc


def give_back() -> bool:
    """Return free memory to the system; False where the C library has no malloc_trim (musl)."""
    import ctypes

    gc.collect()
    try:
        trim = ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError):
        return False
    trim(ctypes.c_size_t(0))
    return True
