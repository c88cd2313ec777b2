"""What all commands have in common: light start, pure JSON, plain text, short functions."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from edgeagent import __version__

READ_ONLY = [
    ["devices"],
    ["devices", "list", "--explain"],
    ["models", "list"],
    ["models", "show", "parts"],
    ["config", "schema"],
]
"""Commands that work on any machine without an agent."""


def test_version_needs_neither_typer_nor_rich(repository: Path) -> None:
    code = (
        "import sys; sys.argv = ['edgeagent', '--version']\n"
        "from edgeagent.cli import main; main()\n"
        "assert not {'typer', 'rich', 'numpy', 'cv2'} & set(sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=repository, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"edgeagent {__version__}\n"


def test_building_all_commands_loads_no_heavy_library(repository: Path) -> None:
    code = (
        "import sys; import edgeagent.cli.app\n"
        "heavy = {'numpy', 'cv2', 'ai_edge_litert', 'onnxruntime', 'paho', 'msgspec', 'sqlite3'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=repository, capture_output=True, text=True, check=False
    )
    assert done.stdout.strip() == "[]", done.stdout + done.stderr


@pytest.mark.parametrize("arguments", READ_ONLY)
def test_json_is_one_document_and_nothing_else(invoke: Any, arguments: list[str]) -> None:
    done = invoke(*arguments, "--json")
    assert done.exit_code == 0, done.stderr
    assert isinstance(json.loads(done.stdout), (dict, list))
    assert done.stdout.count("\n") == 1


def test_devices_is_devices_list(invoke: Any) -> None:
    for one, other in (([], ["list"]), (["--explain"], ["list", "--explain"])):
        found = [set(json.loads(invoke("devices", *its, "--json").stdout)) for its in (one, other)]
        assert found[0] == found[1]
        assert ("explained" in found[0]) == bool(one)
    assert json.loads(invoke("devices", "--json", "list").stdout)


@pytest.mark.parametrize("arguments", READ_ONLY[:4])
def test_no_line_is_wider_than_80_columns(
    invoke: Any, monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    done = invoke(*arguments)
    assert done.stdout.strip()
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert all(line == line.rstrip() for line in done.stdout.splitlines())


def test_native_libraries_leave_json_alone(shell: Any, tmp_path: Path) -> None:
    """Runtimes write to the file descriptors themselves: only a process shows that."""
    from edgeagent.capture.synthetic import BeltScene

    file = tmp_path / "belt.ppm"
    pixels = BeltScene(5, (320, 240)).render(0)[0][..., ::-1]
    file.write_bytes(b"P6 320 240 255\n" + pixels.tobytes())
    done = shell("infer", "parts", file, "--json")
    assert json.loads(done.stdout)["input"] == str(file)
    assert done.stdout.count("\n") == 1


@pytest.mark.parametrize(
    ("environment", "coloured"),
    [
        ({"FORCE_COLOR": "1", "TERM": "xterm"}, True),
        ({"NO_COLOR": "1", "FORCE_COLOR": "1", "TERM": "xterm"}, False),
        ({"TERM": "dumb"}, False),
        ({}, False),
    ],
)
def test_plain_where_colours_are_not_wanted(
    invoke: Any, monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], coloured: bool
) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    done = invoke("status")
    assert bool(re.search(r"\x1b\[[0-9;]*3[0-9]", done.stderr)) is coloured


def test_commands_are_short(repository: Path) -> None:
    """A command is at most 25 lines over the library (its signature and docstring aside)."""
    for file in (repository / "edgeagent" / "cli").glob("*.py"):
        if file.name in ("views.py", "words.py", "render.py"):
            continue  # layout, not commands
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.FunctionDef):
                first = node.body[1] if len(node.body) > 1 else node.body[0]
                body = (node.end_lineno or 0) - first.lineno + 1
                assert body <= 25, f"{file.name}: {node.name} has {body} lines"


def test_a_reader_that_goes_away_is_no_error(repository: Path) -> None:
    command = f"{sys.executable} -m edgeagent.cli config schema | head -c 10"
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command],
        cwd=repository, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""


def test_the_shell_can_complete_commands_and_options(shell: Any) -> None:
    asked = {"_EDGEAGENT_COMPLETE": "complete_bash", "COMP_CWORD": "2"}
    done = shell(COMP_WORDS="edgeagent outbox ver", **asked)
    assert done.stdout.split() == ["verify"]
    done = shell(COMP_WORDS="edgeagent status --wa", **asked)
    assert done.stdout.split() == ["--watch"]


def test_help_names_the_program_and_every_command(shell: Any) -> None:
    done = shell("--help")
    assert done.stdout.startswith("Usage: edgeagent ")
    for name in ("run", "demo", "infer", "devices", "status", "doctor", "config", "models",
                 "outbox"):  # fmt: skip
        assert f"  {name} " in done.stdout
    assert "78 bad configuration" in done.stdout
