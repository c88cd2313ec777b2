"""All that the command line prints goes through here: tables, JSON, errors, progress.

Results go to standard output, everything else (errors, hints, progress) to standard error, so
``--json`` leaves nothing but JSON on standard output. ``NO_COLOR``, ``TERM=dumb`` and pipes give
plain text; tables have no frames and fold at the width of the terminal (80 without one).
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table
from rich.text import Text

from edgeagent.errors import ConfigError, EdgeAgentError

_STATES = {
    "ok": "green", "online": "green", "up": "green", "successful": "green",
    "degraded": "yellow", "warn": "yellow", "connecting": "yellow", "opening": "yellow",
    "note": "cyan", "ended": "dim", "paused": "dim", "off": "dim",
    "done": "green", "aborting": "yellow", "aborted": "red",
    "down": "red", "fail": "red", "offline": "red", "safe-mode": "red", "failed": "red",
}  # fmt: skip


def stdout() -> Console:
    """Made anew for each use: tests and pagers swap the streams."""
    return Console(file=sys.stdout, highlight=False, markup=False, emoji=False)


def stderr() -> Console:
    return Console(file=sys.stderr, highlight=False, markup=False, emoji=False)


def height() -> int:
    """Lines of the terminal that is drawn on."""
    return stderr().height


def show(data: Any, as_json: bool, view: Callable[[], None]) -> None:
    """``data`` as one JSON document, or whatever ``view`` prints for people."""
    if as_json:
        json_line(data)
    else:
        view()


def page(data: Any, as_json: bool, view: Callable[[], None]) -> None:
    """As `show`, for what is printed again and again: the terminal is cleared before."""
    console = stdout()
    if not as_json and console.is_terminal and not console.is_dumb_terminal:
        console.clear()
    show(data, as_json, view)


def json_line(data: Any) -> None:
    """One JSON document on one line of standard output."""
    sys.stdout.write(json.dumps(data, ensure_ascii=False, default=str, allow_nan=False) + "\n")
    sys.stdout.flush()


def text(content: str) -> None:
    """Lines for standard output as they are, never folded (they may be copied)."""
    sys.stdout.write(content if content.endswith("\n") else content + "\n")


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Rows under headings. A column whose heading starts with ``>`` is set to the right."""
    _print(_grid(columns, rows))


def _grid(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> Table:
    grid = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for column in columns:
        right = column.startswith(">")
        grid.add_column(column.lstrip(">"), justify="right" if right else "left", overflow="fold")
    for row in rows:
        grid.add_row(*(cell(value) for value in row))
    return grid


def _print(grid: Table) -> None:
    """Without the blanks that pad the last column: output is often copied and compared."""
    console = stdout()
    with console.capture() as capture:
        console.print(grid)
    text("\n".join(line.rstrip() for line in capture.get().splitlines()))


def facts(pairs: Iterable[tuple[str, object]]) -> None:
    """Name and value, one pair a line; pairs without a value are left out."""
    grid = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    grid.add_column(style="bold")
    grid.add_column(overflow="fold")
    for name, value in pairs:
        if value not in (None, ""):
            grid.add_row(name, cell(value))
    _print(grid)


def cell(value: object) -> Text:
    """A value as people write it; known states in their colour."""
    if isinstance(value, Text):
        return value
    if value is None:
        return Text("–")
    if isinstance(value, bool):
        return Text("yes" if value else "no")
    if isinstance(value, float):
        return Text(f"{value:.3g}" if abs(value) < 100 else f"{value:,.0f}")
    if isinstance(value, int):
        return Text(f"{value:,}")
    if isinstance(value, (list, tuple)):
        return Text(", ".join(str(item) for item in value))
    said = str(value)
    return Text(said, style=_STATES.get(said, ""))


def size(count: float) -> str:
    """Bytes for people: ``12.3 KiB``."""
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} GiB"


def duration(span_s: float) -> str:
    """A span for people: ``3 d 4 h``, ``2 min 5 s``."""
    left, parts = int(span_s), []
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60), ("s", 1)):
        count, left = divmod(left, length)
        if count:
            parts.append(f"{count} {unit}")
    return " ".join(parts[:2]) or "0 s"


def note(message: str) -> None:
    """Something worth knowing that is no result; nothing where there is nothing to say."""
    if message:
        stderr().print(Text(message, style="dim"), soft_wrap=True)


def error(problem: EdgeAgentError, label: str = "error") -> None:
    """One clear message and what to do about it, on standard error."""
    console = stderr()
    console.print(Text(f"{label}: ", style="bold red") + Text(str(problem)), soft_wrap=True)
    if isinstance(problem, ConfigError):
        for fault in problem.faults:
            if str(fault) not in str(problem):
                console.print(Text(f"  {fault}"), soft_wrap=True)
    if problem.remedy:
        console.print(Text(problem.remedy, style="dim"), soft_wrap=True)


def plain(line: str) -> None:
    """A line for people, folded at the width of the terminal."""
    stdout().print(Text(line))


def blank() -> None:
    text("")


def finding(mark: str, name: str, what: str, how: str, remedy: str) -> None:
    """One finding of a check: how bad, what, how it is known, what to do."""
    grid = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    grid.add_column(width=4)
    if name:
        grid.add_column(width=13, overflow="fold")
    grid.add_column(overflow="fold")
    under = ("", "") if name else ("",)
    grid.add_row(cell(mark), *([Text(name, style="bold")] if name else []), Text(what))
    if how and mark != "ok":
        grid.add_row(*under, Text(f"seen in {how}", style="dim"))
    if remedy:
        grid.add_row(*under, Text(f"→ {remedy}"))
    _print(grid)


def quoted(value: str) -> str:
    """A text as TOML and JSON write it."""
    return json.dumps(value, ensure_ascii=False)


@contextmanager
def progress(label: str, total: int | None, quiet: bool = False) -> Iterator[Callable[[str], None]]:
    """A bar on standard error; the function given moves it on by one and names the item.

    Nothing is drawn where standard error is no terminal or ``quiet`` is set.
    """
    console = stderr()
    if quiet or not console.is_terminal or console.is_dumb_terminal:
        yield lambda _item: None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(label, total=total)
        yield lambda item: bar.update(task, advance=1, description=f"{label} {item}")


@contextmanager
def line() -> Iterator[Callable[[str], None] | None]:
    """Draws one line on standard error over and over; None where that is no terminal. Other
    output to standard error appears above it."""
    console = stderr()
    if not console.is_terminal or console.is_dumb_terminal:
        yield None
        return
    with Live(console=console, auto_refresh=False, transient=True) as view:
        yield lambda content: view.update(
            Text(content, overflow="ellipsis", no_wrap=True), refresh=True
        )


Redraw = Callable[[str, Sequence[str], Iterable[Sequence[object]]], None]


@contextmanager
def redrawn(quiet: bool = False) -> Iterator[Redraw | None]:
    """Draws a sentence and a table under it on standard error, each time in the same place;
    None where that is no terminal or ``quiet`` is set."""
    console = stderr()
    if quiet or not console.is_terminal or console.is_dumb_terminal:
        yield None
        return
    with Live(console=console, auto_refresh=False, transient=True) as view:

        def draw(sentence: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
            view.update(Group(Text(sentence), _grid(columns, rows)), refresh=True)

        yield draw
