"""Damaged model files whose hashes agree with the damage: refused, or proven equal on golden.

As somebody would publish who damaged a file before its hash was taken. Whatever the runtime does
about it, it does in a child; 200 of them with EDGEAGENT_TESTS=full.
"""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import pytest

from edgeagent.errors import ProofFailed
from edgeagent.manifest import Package, load_package
from edgeagent.prove.child import Limits, prove_in_child
from edgeagent.prove.lint import write_files
from edgeagent.testing import spoil

pytest.importorskip("onnxruntime")

REASONS = {"crash", "timeout", "golden", "parity", "budget", "delegate"}


def damage(data: bytes, rng: random.Random) -> bytes:
    """One to 64 bytes changed, a page zeroed, a piece cut off or taken out."""
    content = bytearray(data)
    kind = rng.randrange(4)
    if kind == 0:
        for _ in range(rng.choice((1, 4, 16, 64))):
            content[rng.randrange(len(content))] = rng.randrange(256)
    elif kind == 1:
        at = rng.randrange(len(content))
        content[at : at + 4096] = bytes(len(content[at : at + 4096]))
    elif kind == 2:
        del content[rng.randrange(1, len(content)) :]
    else:
        at = rng.randrange(len(content) - 64)
        del content[at : at + rng.randrange(1, 64)]
    return bytes(content)


@pytest.mark.timeout(900)
def test_damaged_files_never_take_the_agent_down(
    repository: Path, tmp_path: Path, full: bool
) -> None:
    good = load_package(repository / "models" / "parts" / "1.0.0")
    told: Counter[str] = Counter()
    for number in range(200 if full else 8):
        package = spoil.version(good, tmp_path / "parts" / f"1.{number}.0")
        only_one_variant(package, number)
        told[outcome(package)] += 1
    print(dict(told))
    assert set(told) <= REASONS | {"equal"}
    assert told.keys() & {"crash", "golden"}


def only_one_variant(package: Package, number: int) -> None:
    """Damage the one that comes first and break the other, so that nothing makes up for it."""
    rng = random.Random(number)
    files = [package.path(variant.file) for variant in package.manifest.variant]
    first = files[number % len(files)]
    first.write_bytes(damage(first.read_bytes(), rng))
    for file in files:
        if file != first:
            file.write_bytes(b"")
    write_files(package)


def outcome(package: Package) -> str:
    try:
        proof = prove_in_child(package.folder, limits=Limits(calls=10, timeout_s=30.0))
    except ProofFailed as error:
        assert str(error), error.reason
        return error.reason
    assert proof.golden == 5
    return "equal"
