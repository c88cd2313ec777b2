"""Every command that the documents show can be typed as it stands there."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
_SHOWN = re.compile(r"^(?: {4,}|\s*\$ )?(?:sudo )?(edgeagent [a-z-].*)$")
_INLINE = re.compile(r"`(edgeagent [a-z-][^`]*)`")


def _lines() -> Iterator[tuple[str, str]]:
    """``file:line`` and the command there."""
    for file in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))):
        fenced = False
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
            fenced ^= line.startswith("```")
            found = _INLINE.findall(line)
            if fenced or line.startswith("    "):
                found += _SHOWN.findall(line)
            yield from ((f"{file.name}:{number}", its) for its in found)
    for file in sorted((ROOT / "examples").glob("*.toml")):
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
            _, hash_, comment = line.partition("#")
            for its in re.findall(r"edgeagent (?:[a-z]+)(?: [^\s;,]+)*", comment if hash_ else ""):
                yield f"{file.name}:{number}", re.sub(r" shows? .*$", "", its)


def _parse(typed: str) -> None:
    """Raises the parser's own error, or LookupError for what is no command."""
    import typer.main

    from edgeagent.cli.app import app

    command: Any = typer.main.get_command(app)
    name, *words = shlex.split(typed.partition(" > ")[0].removesuffix(" &"), comments=True)
    while words and words[0] in getattr(command, "commands", {}):
        command = command.commands[words[0]]
        name, words = f"{name} {words[0]}", words[1:]
    if hasattr(command, "commands") and (
        not command.invoke_without_command or (words and not words[0].startswith("-"))
    ):
        raise LookupError(f"{name}: no command {words[:1]}")
    command.make_context(name, words)


SHOWN = list(_lines())


@pytest.mark.parametrize(("place", "typed"), SHOWN, ids=[place for place, _ in SHOWN])
def test_a_command_of_the_documents(place: str, typed: str) -> None:
    _parse(typed)


def test_there_are_such_commands() -> None:
    files = {place.partition(":")[0] for place, _ in SHOWN}
    assert {"README.md", "engineer.md", "models.md", "camera.toml", "belt.toml"} <= files
    assert len(SHOWN) > 25


@pytest.mark.parametrize(
    "typed",
    ["edgeagent outbox peek --count 5", "edgeagent devices lits", "edgeagent nothing",
     "edgeagent outbox", "edgeagent infer", "edgeagent status now"],
)  # fmt: skip
def test_what_can_not_be_typed_is_found(typed: str) -> None:
    with pytest.raises(Exception, match=r"(?i)no such|no command|missing|unexpected"):
        _parse(typed)
