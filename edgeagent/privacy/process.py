"""What of a process's memory others may get at: core dumps, tracing, shared memory, swap."""

from __future__ import annotations

import re
import resource
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from edgeagent.sealed import dumpable

_SHM = Path("/dev/shm")
_MAPPED = re.compile(r"^([0-9a-f]+)-([0-9a-f]+) .* (/memfd:edgeagent\S*|/dev/shm/\S+)", re.M)


def process(root: Path = Path("/")) -> dict[str, Any]:
    """Of this process, as the kernel says."""
    soft, _ = resource.getrlimit(resource.RLIMIT_CORE)
    pattern = _text(root / "proc/sys/kernel/core_pattern").strip()
    may = dumpable()
    return {
        # A byte is too little for a file, and keeps pipes shut; none at all leaves them open.
        "core_dumps": bool(may) and soft != 1 and (soft != 0 or pattern.startswith("|")),
        "core_limit": soft,
        "core_pattern": pattern,
        "traceable": bool(may),
        "shared_memory": list(_shared(root)),
        "dev_shm": sorted(its.name for its in (root / _SHM.relative_to("/")).glob("*edgeagent*")),
        "swap": [line.split()[0] for line in _text(root / "proc/swaps").splitlines()[1:]],
    }


def _shared(root: Path) -> Iterator[dict[str, Any]]:
    """Rings in which children hand over pictures, before anything is hidden in them. They have no
    name (memfd), so only who may look into this process can open them."""
    for start, end, name in _MAPPED.findall(_text(root / "proc/self/maps")):
        yield {"name": name.removesuffix(" (deleted)"), "bytes": int(end, 16) - int(start, 16)}


def _text(file: Path) -> str:
    try:
        return file.read_text()
    except OSError:
        return ""
