"""Damaged model files whose hashes agree with the damage: refused, or proven equal on golden.

As somebody would publish who damaged a file before its hash was taken. Whatever the runtime does
about it, it does in a child; 200 of them with EDGEAGENT_TESTS=full.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from edgeagent.errors import ProofFailed
from edgeagent.manifest import Package, load_package
from edgeagent.prove.child import Limits, prove_in_child
from edgeagent.testing import spoil

pytest.importorskip("onnxruntime")

REASONS = {"crash", "timeout", "golden", "parity", "budget", "delegate"}


@pytest.mark.timeout(900)
def test_damaged_files_never_take_the_agent_down(
    repository: Path, tmp_path: Path, full: bool
) -> None:
    good = load_package(repository / "models" / "parts" / "1.0.0")
    told: Counter[str] = Counter()
    for number in range(200 if full else 8):
        package = spoil.damaged(good, tmp_path / "parts" / f"1.{number}.0", number)
        told[outcome(package)] += 1
    print(dict(told))
    assert set(told) <= REASONS | {"equal"}
    assert told.keys() & {"crash", "golden"}


def outcome(package: Package) -> str:
    try:
        proof = prove_in_child(package.folder, limits=Limits(calls=10, timeout_s=30.0))
    except ProofFailed as error:
        assert str(error), error.reason
        return error.reason
    assert proof.golden == 5
    return "equal"
