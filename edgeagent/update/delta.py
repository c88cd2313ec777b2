"""Patches between two versions of a file (bsdiff4), applied in a process of their own.

bsdiff keeps base, patch and result in memory; a child gives it back whole, and has a limit.
Source of the format: https://www.daemonology.net/bsdiff (BSDIFF40).
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import resource
import subprocess
import sys
from pathlib import Path

import edgeagent
from edgeagent.durable import sync
from edgeagent.errors import StoreError, Untrusted, unwritable

_BOOT = (
    "import sys; sys.path.insert(0, sys.argv[1]); sys.path += sys.argv[7].split(chr(10)); "
    "from edgeagent.update.delta import work; work(*sys.argv[2:7])"
)
_MAGIC = b"BSDIFF40"
_HEADER = 32
_AROUND = 256 << 20
"""Address space that the interpreter and its libraries want."""
_TIMEOUT_S = 600.0
_WRONG = 3
"""Exit code: the patch does not make what was signed."""


def apply(base: Path, patch: Path, into: Path, length: int, sha256: str) -> None:
    """Make ``into`` of a base and a patch; it is checked, and on the medium.

    Raises:
        Untrusted: that patch does not make the signed file of this base.
        StoreError: it can't be made here (memory, time, disk).
    """
    with patch.open("rb") as stream:
        header = stream.read(_HEADER)
    if header[:8] != _MAGIC or int.from_bytes(header[24:32], "little") != length:
        # Before it is unpacked: a patch could make something endless.
        raise Untrusted(f"{patch.name} is no patch that makes {length} bytes")
    fresh = into.with_name(f"{into.name}.new")
    room = 3 * (base.stat().st_size + length) + 4 * patch.stat().st_size + _AROUND
    root = str(Path(edgeagent.__file__).parent.parent)
    arguments = [root, str(base), str(patch), str(fresh), sha256, str(room), "\n".join(sys.path)]
    try:
        done = subprocess.run(
            [sys.executable, "-I", "-c", _BOOT, *arguments],
            stdin=subprocess.DEVNULL, capture_output=True, timeout=_TIMEOUT_S,
            start_new_session=True,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        raise StoreError(f"{patch.name} can't be applied: {error}") from error
    try:
        if done.returncode == _WRONG:
            raise Untrusted(f"{patch.name} does not make the file that was signed")
        if done.returncode:
            said = done.stderr.decode(errors="replace").strip().splitlines()
            last = said[-1] if said else f"exit {done.returncode}"
            raise StoreError(f"{patch.name} can't be applied: {last}")
        fresh.replace(into)
        sync(into.parent)
    except OSError as error:
        raise unwritable(into, error) from error
    finally:
        with contextlib.suppress(OSError):
            fresh.unlink(missing_ok=True)


def work(base: str, patch: str, fresh: str, sha256: str, room: str) -> None:
    """What the child does."""
    import bsdiff4

    resource.setrlimit(resource.RLIMIT_AS, (int(room), int(room)))
    made = bsdiff4.patch(Path(base).read_bytes(), Path(patch).read_bytes())
    if hashlib.sha256(made).hexdigest() != sha256:
        sys.exit(_WRONG)
    with Path(fresh).open("wb") as stream:
        stream.write(made)
        stream.flush()
        os.fsync(stream.fileno())
