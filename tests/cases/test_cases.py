"""Golden runs: a configuration and its input through the real daemon, record by record.

Each folder beside this file is a case: ``agent.toml`` and ``expected.json``. Times, ids of the
boot and hashes are left out of the comparison; scores and boxes may differ by what two correct
kernels differ. ``EDGEAGENT_UPDATE=1`` writes the expectation anew: read the diff.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from edgeagent.store.export import jsonl
from edgeagent.store.verify import verify
from edgeagent.testing.agent import AgentProcess

CASES = sorted(file.parent for file in Path(__file__).parent.glob("*/agent.toml"))
VOLATILE = ("at", "boot", "mono_ms", "clock", "config", "model")
VOLATILE_DATA = ("since", "began")
SCORE_TOLERANCE = 0.06
BOX_TOLERANCE = 0.03


def run(case: Path, folder: Path) -> list[dict[str, Any]]:
    """The records that a case leaves in its outbox."""
    agent = AgentProcess(case / "agent.toml", folder, "--until-done", "--strict").start()
    assert agent.wait() == 0, agent.log
    assert "ERROR" not in agent.log, agent.log
    assert verify(folder / "data").ok
    names: dict[int, int] = {}
    return [named(plain(json.loads(line)), names) for line in jsonl(folder / "data")]


def plain(record: dict[str, Any]) -> dict[str, Any]:
    """A record without what differs from run to run."""
    kept = {key: value for key, value in record.items() if key not in VOLATILE}
    kept["blobs"] = [blob["type"] for blob in record.get("blobs", [])]
    if "data" in kept:
        data = kept["data"].items()
        kept["data"] = {key: value for key, value in data if key not in VOLATILE_DATA}
    return kept


def named(value: Any, names: dict[int, int]) -> Any:
    """With tracks numbered as they appear: a doubtful thing that one kernel sees and another does
    not takes a number, too, though nobody is told of it."""
    if isinstance(value, list):
        return [named(its, names) for its in value]
    if not isinstance(value, dict):
        return value
    return {
        key: names.setdefault(its, len(names) + 1) if key == "track" else named(its, names)
        for key, its in value.items()
    }


def differences(found: Any, expected: Any, path: str = "") -> list[str]:
    """Where two documents differ by more than the tolerance."""
    name = path.rsplit(".", 1)[-1].split("[")[0]
    if isinstance(found, dict) and isinstance(expected, dict):
        if found.keys() != expected.keys():
            return [f"{path}: keys {sorted(found)} != {sorted(expected)}"]
        return [d for key in found for d in differences(found[key], expected[key], f"{path}.{key}")]
    if isinstance(found, list) and isinstance(expected, list):
        if len(found) != len(expected):
            return [f"{path}: {len(found)} != {len(expected)} items"]
        pairs = zip(found, expected, strict=True)
        return [d for i, (a, b) in enumerate(pairs) for d in differences(a, b, f"{path}[{i}]")]
    if isinstance(found, float) and isinstance(expected, float):
        tolerance = BOX_TOLERANCE if name == "box" else SCORE_TOLERANCE
        scale = max(1.0, abs(expected))
        return (
            [] if abs(found - expected) <= tolerance * scale else [f"{path}: {found} != {expected}"]
        )
    if name in ("in", "out") and abs(found - expected) <= 1:
        return []  # what crosses a line just then may do so a sample earlier or later
    return [] if found == expected else [f"{path}: {found!r} != {expected!r}"]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_case(case: Path, tmp_path: Path) -> None:
    records = run(case, tmp_path)
    file = case / "expected.json"
    if os.environ.get("EDGEAGENT_UPDATE"):
        file.write_text(json.dumps(records, indent=1) + "\n", encoding="utf-8")
    expected = json.loads(file.read_text(encoding="utf-8"))
    assert records, "a case without records proves nothing"
    assert not differences(records, expected)


def test_two_runs_give_the_same_records(tmp_path: Path) -> None:
    case = Path(__file__).parent / "gate"
    assert run(case, tmp_path / "one") == run(case, tmp_path / "two")
