"""What the guides show is what comes: their sessions are typed, in scenes with real agents, brokers
and models. Two scenes in every run, all of them with EDGEAGENT_TESTS=full.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from guide import Session, blocks, expected, sessions
from scenes import QUICK, SCENES
from theatre import ROOT, Stage

from edgeagent.diagnose.checks.kernel import disk_errors, file_system, killed, power, usb
from edgeagent.diagnose.context import Context

PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
PLAYED = [its for page in PAGES for its in sessions(page)]
TASKS = ("installer.md", "engineer.md", "operator.md")
_JUDGES = re.compile(r"edgeagent (?:doctor|fleet accept)")
_MOST_COMMANDS, _LEAST_TASKS = 3, 5


@pytest.mark.timeout(600)
@pytest.mark.parametrize("session", PLAYED, ids=[its.id for its in PLAYED])
def test_what_is_shown_is_what_comes(
    session: Session, tmp_path: Path, full: bool, mosquitto_installed: None
) -> None:
    if not full and session.scene not in QUICK:
        pytest.skip("runs only with EDGEAGENT_TESTS=full")
    if any(_JUDGES.search(its.command) for its in session.typed):
        _of_a_healthy_machine()
    with Stage(tmp_path / "home") as stage:
        SCENES[session.scene](stage)
        for typed in session.typed:
            code, said = stage.type(typed)
            told = f"{session.page}:{typed.line}: $ {typed.command}\n{said}"
            # 1: it found something, which the page then shows; whatever else is no guide's way.
            assert code in (0, 1), f"{told}\nended with {code}"
            assert typed.answered_by(said), told


def _of_a_healthy_machine() -> None:
    """The kernel's complaints are the machine's: a page shows what one without any answers."""
    for check in (killed, disk_errors, file_system, power, usb):
        for found in check(Context(data_dir=Path("/"), loaded=None)):
            if found.severity in ("failed", "problem"):
                pytest.skip(f"doctor says so of this machine: {found.what}")


def test_each_scene_is_known_and_played() -> None:
    assert {its.scene for its in PLAYED} == set(SCENES)
    assert set(SCENES) >= QUICK


@pytest.mark.parametrize("name", TASKS)
def test_a_task_takes_three_commands(name: str) -> None:
    tasks = [its for its in PLAYED if its.page == name]
    assert len(tasks) >= _LEAST_TASKS
    long = {its.heading: len(its.typed) for its in tasks if len(its.typed) > _MOST_COMMANDS}
    assert not long


def test_a_block_that_is_not_run_says_why() -> None:
    """Answers are shown in console blocks only, so that none stands unproven in another."""
    for page in PAGES:
        for block in blocks(page):
            where = f"{page.name}:{block.line}"
            if block.language != "console":
                assert not any(re.match(r"\$ edgeagent", line) for line in block.lines), where
            elif not block.not_run:
                assert block.scene, f"{where}: name the scene, or say why it is not run"


def test_patterns_hold_what_they_show() -> None:
    assert expected(["a … b", "…", "c"]).fullmatch("a  12 b\nx\ny\nc\n")
    assert not expected(["a", "c"]).fullmatch("a\nb\nc\n")
    assert not expected([]).fullmatch("something\n")


def test_what_is_typed_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# A\n## B\n*Scene: one.*\n```console\n$ a\nsaid\n$ b <<E\n> c\n> E\n```\n"
        "```sh\n$ never\n```\n## C\n<!-- not run: a reason -->\n```console\n$ never\n```\n"
        "```console\n$ d\n```\n*Scene: two.*\n```console\n$ e\n```\n"
    )
    one, two = sessions(page)
    assert (one.heading, one.scene) == ("B", "one")
    assert [its.command for its in one.typed] == ["a", "b <<E\nc\nE", "d"]
    assert one.typed[0].shown == ("said",) and one.typed[0].line == 5
    assert (two.scene, [its.command for its in two.typed]) == ("two", ["e"])
