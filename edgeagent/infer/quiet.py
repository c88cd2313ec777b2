"""Keeping the C++ libraries' chatter off the terminal.

LiteRT announces "Created TensorFlow Lite XNNPACK delegate for CPU." once per process on file
descriptor 2, and offers no switch for it. Descriptor 2 belongs to the whole process, so it is
not thrown away: while `hushed` is in force it is a pipe, and a thread passes on every line
that is no chatter, also those of other threads and of children that were started meanwhile
(the thread lives for as long as anybody holds the pipe's end).
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator

_CHATTER = (b"Created TensorFlow Lite XNNPACK delegate",)
_STDERR = 2
_lock = threading.Lock()


@contextlib.contextmanager
def hushed(heard: threading.Event) -> Iterator[None]:
    """Filter descriptor 2 for the length of the block; other lines pass, a moment later.

    ``heard`` is set when a line was held back.
    """
    with _lock:
        try:
            real = os.dup(_STDERR)
        except OSError:
            # Closed by whoever started us: nothing can be written, so nothing is filtered.
            yield
            return
        inlet, outlet = os.pipe()
        os.dup2(outlet, _STDERR)
        os.close(outlet)
        forwarder = threading.Thread(
            target=_forward, args=(inlet, real, heard), name="infer:stderr", daemon=True
        )
        forwarder.start()
        try:
            yield
        finally:
            os.dup2(real, _STDERR)
            # Normally the last writer is gone now; a child that inherited the pipe keeps the
            # thread, and is not waited for.
            forwarder.join(timeout=0.2)


def _forward(inlet: int, real: int, heard: threading.Event) -> None:
    with os.fdopen(inlet, "rb") as lines, os.fdopen(real, "wb", buffering=0) as out:
        for line in lines:
            if any(word in line for word in _CHATTER):
                heard.set()
                continue
            with contextlib.suppress(OSError):
                out.write(line)
