"""The page of codes knows every code that the program says."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest

from edgeagent.config.sight import SightFault
from edgeagent.diagnose.codes import AREAS, codes
from edgeagent.diagnose.doctor import CHECKS
from edgeagent.sync.reasons import Kind


def known(area: str) -> set[str]:
    return {its.code for its in codes() if its.area == area}


def calls(folder: Path, name: str) -> Iterator[ast.Call]:
    """Calls of a function by its last name."""
    for file in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                called = getattr(node.func, "id", getattr(node.func, "attr", ""))
                if called == name:
                    yield node


def text(node: ast.expr | None) -> Iterator[str]:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value


def test_reasons_of_commands(repository: Path) -> None:
    said: set[str] = set()
    for folder in ("sync", "agent"):
        for call in calls(repository / "edgeagent" / folder, "Verdict"):
            if len(call.args) > 1 and {*text(call.args[0])} & {"rejected", "failed", "expired"}:
                said |= {*text(call.args[1])}
        for call in calls(repository / "edgeagent" / folder, "CommandRejected"):
            said |= {*text(call.args[0])} if call.args else set()
    assert len(said) > 8 and said - {""} <= known("command")


def test_causes_of_silence(repository: Path) -> None:
    said: set[str] = set()
    for call in calls(repository / "edgeagent/diagnose/why", "Answer"):
        for keyword in call.keywords:
            said |= {*text(keyword.value)} if keyword.arg == "cause" else set()
    assert len(said) > 10 and said <= known("why")


def test_reasons_of_gaps(repository: Path) -> None:
    import edgeagent.store.commit as commit
    from edgeagent.store import group, intake, ledger, room

    own = {group.STALLED, intake.TOO_LARGE, intake.FULL_NEWEST, ledger.NO_LONGER_KEPT,
           room.THINNED, room.OLDEST}  # fmt: skip
    source = Path(commit.__file__).read_text(encoding="utf-8")
    databases = {its.value for its in ast.walk(ast.parse(source))
                 if isinstance(its, ast.Constant) and isinstance(its.value, str)
                 and its.value.startswith("database ")}  # fmt: skip
    assert own | databases <= known("gap") and databases


def test_faults_of_cameras_and_checks() -> None:
    assert known("camera") == set(get_args(SightFault))
    assert known("doctor") == {check.name for check in CHECKS}


@pytest.mark.parametrize("area", AREAS)
def test_each_code_stands_once_and_says_what_it_means(area: str) -> None:
    its = [code for code in codes() if code.area == area]
    assert len({code.code for code in its}) == len(its) > 5
    assert all(code.cause.rstrip(")").endswith((".", "?")) for code in its), its


def test_every_kind_of_a_lost_link_is_a_code_of_the_log() -> None:
    assert {f"link-{kind}" for kind in get_args(Kind)} == known("log")
