"""What the kernel keeps a process from, put up by itself before it runs code of others.

Each fence stands for itself, so that an old kernel or a container that lacks one still has the
others; what stands is told, and `enough` says whether it is enough. Only the standard library is
needed. Sources: `man 2 seccomp`, `man 7 landlock`, `man 2 unshare`, `man 2 setrlimit`,
Linux `include/uapi/linux/landlock.h`.
"""

from __future__ import annotations

import ctypes
import os
import resource
import struct
import sys
from collections.abc import Iterable
from pathlib import Path

from edgeagent.packaged import syscalls

CALLS, FILES, NETWORK = "system calls", "files", "network"
"""Names of the fences: seccomp, Landlock, a network namespace."""

_NEW_USER, _NEW_NETWORK, _NEW_IPC = 0x10000000, 0x40000000, 0x08000000
_NO_NEW_PRIVILEGES, _DUMPABLE, _SECCOMP, _FILTER = 38, 4, 22, 2
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_READ_FILE, _READ_FOLDER = 1 << 2, 1 << 3
_RIGHTS = {1: 13, 2: 14, 3: 15, 4: 15, 5: 16}
"""Version of Landlock → how many rights over files it knows."""
_SYSTEM = ("/usr/lib", "/usr/lib64", "/lib", "/lib64", "/usr/share/zoneinfo", "/dev/null",
           "/dev/zero", "/dev/urandom", "/etc/ld.so.cache", "/etc/localtime")  # fmt: skip


def leave_network() -> str:
    """Into a network namespace with nothing in it; empty, or why that can't be.

    Called while the process has one thread: a user namespace asks for that.
    """
    libc = _libc()
    for flags in (_NEW_USER | _NEW_NETWORK | _NEW_IPC, _NEW_NETWORK | _NEW_IPC, _NEW_NETWORK):
        if libc.unshare(flags) == 0:
            return ""
    return f"no namespace is given: {os.strerror(ctypes.get_errno())}"


def limit(memory_bytes: int, cpu_s: int, files: int) -> None:
    """Limits of the kernel: memory beyond what is mapped now, processor time, open files; no file
    grows, no process and no core is made."""
    mapped = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    most = mapped * resource.getpagesize() + memory_bytes
    for which, value in (
        (resource.RLIMIT_AS, most),
        (resource.RLIMIT_NOFILE, files),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NPROC, 0),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_MEMLOCK, 0),
        (resource.RLIMIT_MSGQUEUE, 0),
    ):
        _, hard = resource.getrlimit(which)
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(which, (value, value))
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    # The parent moves the soft one on while it is answered. A proof has less.
    soft = cpu_s if hard == resource.RLIM_INFINITY else min(cpu_s, hard)
    resource.setrlimit(resource.RLIMIT_CPU, (soft, hard))


def close_files(folders: Iterable[str]) -> str:
    """Only these folders, and what Python is made of, can be read, and nothing written; empty, or
    why that can't be."""
    libc = _libc()
    version = libc.syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), 1)
    if version < 1:
        return "this kernel has no Landlock"
    rights = (1 << _RIGHTS.get(version, 16)) - 1
    attributes = struct.pack("<QQQ", rights, 3 if version >= 4 else 0, 3 if version >= 6 else 0)
    size = 24 if version >= 6 else 16 if version >= 4 else 8
    ruleset = libc.syscall(_CREATE_RULESET, attributes, ctypes.c_size_t(size), 0)
    if ruleset < 0:
        return f"Landlock: {os.strerror(ctypes.get_errno())}"
    try:
        for place in dict.fromkeys((*_SYSTEM, *sys.path, *folders)):
            _let_read(libc, ruleset, place)
        if libc.syscall(_RESTRICT_SELF, ruleset, 0):
            return f"Landlock: {os.strerror(ctypes.get_errno())}"
    finally:
        os.close(ruleset)
    return ""


def _let_read(libc: ctypes.CDLL, ruleset: int, place: str) -> None:
    try:
        handle = os.open(place, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return  # what is not there needs no right
    try:
        folder = Path(place).is_dir()
        rights = _READ_FILE | (_READ_FOLDER if folder else 0)
        libc.syscall(_ADD_RULE, ruleset, 1, struct.pack("<Qi", rights, handle), 0)
    finally:
        os.close(handle)


def renounce() -> None:
    """No rights by other programs, and nobody without rights looks into this process."""
    libc = _libc()
    libc.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0)
    libc.prctl(_DUMPABLE, 0, 0, 0, 0)


def close_calls() -> str:
    """Only the calls that computing needs; empty, or why that can't be. The last fence: behind it
    none of the others can be put up."""
    steps = syscalls.program(os.getpid())
    if not steps:
        return f"no list of system calls for {os.uname().machine}"
    kept = ctypes.create_string_buffer(steps, len(steps))
    head = struct.pack("@HP", len(steps) // 8, ctypes.addressof(kept))
    if _libc().prctl(_SECCOMP, _FILTER, head, 0, 0):
        return f"seccomp: {os.strerror(ctypes.get_errno())}"
    return ""


def enough(standing: Iterable[str]) -> bool:
    """Whether neither the network nor a file to write can be reached."""
    stand = set(standing)
    return CALLS in stand or {FILES, NETWORK} <= stand


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)
