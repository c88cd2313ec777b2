"""Guides as sessions: what a page has typed, in which scene, and what it shows as the answer.

A line ``*Scene: a belt at work.*`` begins a session: a fresh home in which everything of the page's
following ``console`` blocks is typed, up to the next such line. In a block, ``$ `` is typed, ``> ``
goes on with it, the rest is shown. ``<!-- not run: why -->`` above a block leaves that block out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

_SCENE = re.compile(r"\*Scene: (.+?)\.\*")
_NOT_RUN = re.compile(r"<!-- not run: (.+?) -->")


class Typed(NamedTuple):
    """A command, and what a page shows of its answer."""

    line: int
    command: str
    shown: tuple[str, ...] = ()

    def answered_by(self, said: str) -> bool:
        """Whether what it says now is what is shown."""
        return expected(self.shown).fullmatch(said + "\n") is not None


class Session(NamedTuple):
    """What is typed in one scene, one after the other."""

    page: str
    heading: str
    scene: str
    typed: tuple[Typed, ...]

    @property
    def id(self) -> str:
        return f"{self.page.removesuffix('.md')}:{self.heading}"


class Block(NamedTuple):
    """A fenced block, with the heading and the scene that it stands under."""

    line: int
    language: str
    lines: tuple[str, ...]
    heading: str
    scene: str
    scene_line: int
    not_run: str


def blocks(page: Path) -> Iterator[Block]:
    """All fenced blocks of a page."""
    heading = scene = not_run = language = ""
    began = scene_line = 0
    inside: list[str] | None = None
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
        if inside is not None:
            if line.startswith("```"):
                yield Block(began, language, tuple(inside), heading, scene, scene_line, not_run)
                inside, not_run = None, ""
            else:
                inside.append(line)
        elif line.startswith("```"):
            inside, began, language = [], number, line[3:].strip()
        elif line.startswith("#"):
            heading = line.lstrip("# ")
        elif found := _SCENE.fullmatch(line.strip()):
            scene, scene_line = found[1], number
        elif found := _NOT_RUN.fullmatch(line.strip()):
            not_run = found[1]


def sessions(page: Path) -> list[Session]:
    """What a page has typed. A console block without a scene has the scene ""."""
    found: dict[int, Session] = {}
    for block in blocks(page):
        if block.language == "console" and not block.not_run:
            before = found.get(block.scene_line)
            heading, typed = (before.heading, before.typed) if before else (block.heading, ())
            found[block.scene_line] = Session(
                page.name, heading, block.scene, (*typed, *_typed(block))
            )
    return list(found.values())


def _typed(block: Block) -> Iterator[Typed]:
    now: Typed | None = None
    for number, line in enumerate(block.lines, block.line + 1):
        if line.startswith("$ "):
            if now is not None:
                yield now
            now = Typed(number, line[2:])
        elif now is not None and line.startswith("> ") and not now.shown:
            now = now._replace(command=f"{now.command}\n{line[2:]}")
        elif now is not None:
            now = now._replace(shown=(*now.shown, line))
    if now is not None:
        yield now


def expected(shown: tuple[str, ...] | list[str]) -> re.Pattern[str]:
    """``…`` stands for anything, alone on a line for any number of lines; spaces for spaces."""
    text = "\n".join(shown).strip()
    lines = [
        r"(?:.*\n)*?" if line.strip() == "…" else
        r"\s*".join(re.escape(part) for part in re.split(r"\s+", line.strip()))
        .replace("…", ".*?") + r"\s*\n"
        for line in text.splitlines()
    ]  # fmt: skip
    return re.compile(r"\s*" + r"\s*".join(lines) + r"\s*")
