"""The list of system calls is right, and without a fence that matters nothing runs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from edgeagent.packaged import fence, syscalls

HEADERS = {
    "x86_64": Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h"),
    "aarch64": Path("/usr/include/asm-generic/unistd.h"),
}


@pytest.mark.parametrize("machine", sorted(HEADERS))
def test_numbers_are_those_of_the_kernel(machine: str) -> None:
    if not HEADERS[machine].is_file():
        pytest.skip(f"{HEADERS[machine]} is not installed (linux-libc-dev)")
    text = HEADERS[machine].read_text()
    told = dict(re.findall(r"#define __NR(?:3264)?_(\w+)\s+(\d+)", text))
    # On 64-bit machines these names stand for the plain ones.
    told |= {name: told.get(old, told.get(name, "")) for name, old in
             (("newfstatat", "fstatat"), ("mmap", "mmap"), ("lseek", "lseek"))}  # fmt: skip
    for name, number in syscalls.NUMBERS[machine].items():
        assert told.get(name) == str(number), name


def test_both_kinds_of_processor_get_the_same_calls() -> None:
    shared = set(syscalls._SHARED)
    for machine, numbers in syscalls.NUMBERS.items():
        assert shared <= numbers.keys(), machine
        assert len(syscalls.program(1, machine)) % 8 == 0
    assert syscalls.program(1, "riscv64") == b""


@pytest.mark.parametrize(
    ("standing", "enough"),
    [
        ({fence.CALLS}, True),
        ({fence.FILES, fence.NETWORK}, True),
        ({fence.FILES}, False),
        ({fence.NETWORK}, False),
        (set(), False),
    ],
)
def test_what_is_enough(standing: set[str], enough: bool) -> None:
    assert fence.enough(standing) == enough
