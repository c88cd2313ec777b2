"""Which calls of the kernel packaged code may make, and the filter that says so.

Sources: Linux `arch/x86/entry/syscalls/syscall_64.tbl`, `include/uapi/asm-generic/unistd.h`
(64-bit ARM), `Documentation/userspace-api/seccomp_filter.rst`, `include/uapi/linux/bpf_common.h`.
"""

from __future__ import annotations

import errno
import os
import platform
import struct

_SHARED = ("read", "write", "futex", "clock_gettime", "mmap", "munmap", "madvise", "mremap", "brk",
           "mprotect", "close", "fstat", "newfstatat", "lseek", "readv", "writev", "pread64",
           "readlinkat", "faccessat", "faccessat2", "getdents64", "statx", "getcwd", "ppoll",
           "pselect6", "nanosleep", "clock_nanosleep", "clock_getres", "gettimeofday", "times",
           "sched_yield", "sched_getaffinity", "getcpu", "membarrier", "mincore", "getrandom",
           "rseq", "set_robust_list", "sigaltstack", "rt_sigaction", "rt_sigprocmask",
           "rt_sigreturn", "restart_syscall", "getpid", "getppid", "gettid", "getuid", "geteuid",
           "getgid", "getegid", "getrusage", "getrlimit", "uname", "sysinfo", "exit",
           "exit_group")  # fmt: skip
"""Computing, reading files, time. No new file, socket, process, thread or priority is among it."""
_OLD = ("open", "stat", "lstat", "access", "readlink", "poll", "select", "time")
"""Only where an architecture still has them."""

NUMBERS: dict[str, dict[str, int]] = {
    "x86_64": {
        "read": 0, "write": 1, "open": 2, "close": 3, "stat": 4, "fstat": 5, "lstat": 6, "poll": 7,
        "lseek": 8, "mmap": 9, "mprotect": 10, "munmap": 11, "brk": 12, "rt_sigaction": 13,
        "rt_sigprocmask": 14, "rt_sigreturn": 15, "pread64": 17, "readv": 19, "writev": 20,
        "access": 21, "select": 23, "sched_yield": 24, "mremap": 25, "mincore": 27, "madvise": 28,
        "nanosleep": 35, "getpid": 39, "exit": 60, "uname": 63, "getcwd": 79, "readlink": 89,
        "gettimeofday": 96, "getrlimit": 97, "getrusage": 98, "sysinfo": 99, "times": 100,
        "getuid": 102, "getgid": 104, "geteuid": 107, "getegid": 108, "getppid": 110,
        "sigaltstack": 131, "gettid": 186, "time": 201, "futex": 202, "sched_getaffinity": 204,
        "getdents64": 217, "restart_syscall": 219, "clock_gettime": 228, "clock_getres": 229,
        "clock_nanosleep": 230, "exit_group": 231, "tgkill": 234, "openat": 257, "newfstatat": 262,
        "readlinkat": 267, "faccessat": 269, "pselect6": 270, "ppoll": 271, "set_robust_list": 273,
        "prlimit64": 302, "getcpu": 309, "getrandom": 318, "membarrier": 324, "statx": 332,
        "rseq": 334, "faccessat2": 439,
    },
    "aarch64": {
        "getcwd": 17, "faccessat": 48, "openat": 56, "close": 57, "getdents64": 61, "lseek": 62,
        "read": 63, "write": 64, "readv": 65, "writev": 66, "pread64": 67, "pselect6": 72,
        "ppoll": 73, "readlinkat": 78, "newfstatat": 79, "fstat": 80, "exit": 93, "exit_group": 94,
        "futex": 98, "set_robust_list": 99, "nanosleep": 101, "clock_gettime": 113,
        "clock_getres": 114, "clock_nanosleep": 115, "sched_getaffinity": 123, "sched_yield": 124,
        "restart_syscall": 128, "tgkill": 131, "sigaltstack": 132, "rt_sigaction": 134,
        "rt_sigprocmask": 135, "rt_sigreturn": 139, "times": 153, "uname": 160, "getrlimit": 163,
        "getrusage": 165, "getcpu": 168, "gettimeofday": 169, "getpid": 172, "getppid": 173,
        "getuid": 174, "geteuid": 175, "getgid": 176, "getegid": 177, "gettid": 178,
        "sysinfo": 179, "brk": 214, "munmap": 215, "mremap": 216, "mmap": 222, "mprotect": 226,
        "mincore": 232, "madvise": 233, "prlimit64": 261, "getrandom": 278, "membarrier": 283,
        "statx": 291, "rseq": 293, "faccessat2": 439,
    },
}  # fmt: skip
_ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
"""As the audit subsystem numbers them."""

_ALLOW, _ERRNO, _KILL = 0x7FFF0000, 0x00050000, 0x80000000
_LOAD, _EQUAL, _ANY_BIT, _RETURN = 0x20, 0x15, 0x45, 0x06
_NUMBER, _ARCHITECTURE, _ARGUMENTS = 0, 4, 16
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | (os.O_TMPFILE & ~os.O_DIRECTORY)
"""Flags of an opening by which something would change."""

Step = tuple[int, int, int, int]
"""Operation, jump if true, jump if false, value."""


def program(pid: int, machine: str = "") -> bytes:
    """The filter for this kind of processor, as the kernel reads it; empty = there is none.

    Everything that it does not name fails with EPERM, an opening for writing with EACCES.
    ``pid``: the process that it is for, which may only signal itself.
    """
    numbers = NUMBERS.get(machine or platform.machine())
    if numbers is None:
        return b""
    steps: list[Step] = [
        (_LOAD, 0, 0, _ARCHITECTURE),
        (_EQUAL, 1, 0, _ARCHITECTURES[machine or platform.machine()]),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, _NUMBER),
    ]
    for name in (*_SHARED, *_OLD):
        if name != "open" and name in numbers:
            steps += [(_EQUAL, 0, 1, numbers[name]), (_RETURN, 0, 0, _ALLOW)]
    steps += _unless(numbers["openat"], 2, _ANY_BIT, _WRITES, errno.EACCES)
    if "open" in numbers:
        steps += _unless(numbers["open"], 1, _ANY_BIT, _WRITES, errno.EACCES)
    steps += _only(numbers["tgkill"], 0, pid)
    # Limits may be asked for; a second argument would set them. A pointer has two halves.
    steps += _limits_read(numbers["prlimit64"])
    steps.append((_RETURN, 0, 0, _ERRNO | errno.EPERM))
    return b"".join(struct.pack("<HBBI", *step) for step in steps)


def _argument(place: int) -> int:
    return _ARGUMENTS + 8 * place


def _unless(number: int, place: int, test: int, value: int, refusal: int) -> list[Step]:
    return [
        (_EQUAL, 0, 4, number),
        (_LOAD, 0, 0, _argument(place)),
        (test, 0, 1, value),
        (_RETURN, 0, 0, _ERRNO | refusal),
        (_RETURN, 0, 0, _ALLOW),
    ]


def _only(number: int, place: int, value: int) -> list[Step]:
    return [
        (_EQUAL, 0, 4, number),
        (_LOAD, 0, 0, _argument(place)),
        (_EQUAL, 0, 1, value),
        (_RETURN, 0, 0, _ALLOW),
        (_RETURN, 0, 0, _ERRNO | errno.EPERM),
    ]


def _limits_read(number: int) -> list[Step]:
    return [
        (_EQUAL, 0, 6, number),
        (_LOAD, 0, 0, _argument(2)),
        (_EQUAL, 0, 3, 0),
        (_LOAD, 0, 0, _argument(2) + 4),
        (_EQUAL, 0, 1, 0),
        (_RETURN, 0, 0, _ALLOW),
        (_RETURN, 0, 0, _ERRNO | errno.EPERM),
    ]
