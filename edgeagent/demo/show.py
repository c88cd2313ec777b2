"""What the visitor sees while the demo runs: a picture that renews itself on a terminal, or
plain lines where there is none. Never ten seconds without a sign of life."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Any, Protocol

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

Report = dict[str, Any]

_LINE_EVERY_S = 4.0
_ACTS_SHOWN = 9


class Show(Protocol):
    """Told what happens."""

    def say(self, text: str) -> None:
        """A step of the set-up."""

    def act(self, text: str) -> None:
        """Something that was done or noticed, worth keeping on the screen."""

    def look(self, view: View) -> None:
        """The present state; called several times a second."""

    def __enter__(self) -> Show: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...


class View:
    """The present state of the demo, ready to be shown."""

    def __init__(
        self, at_s: float, span_s: float, uplink: bool, report: dict[str, Any] | None,
        reader: dict[str, Any],
    ) -> None:  # fmt: skip
        self.at_s = at_s
        self.span_s = span_s
        self.uplink = uplink
        """Whether the way to the broker is open."""
        self.report = report
        """The agent's status; None while it does not run."""
        epochs = reader.get("epochs", [])
        self.arrived = sum(epoch["arrived"] for epoch in epochs)
        self.holes = sum(len(epoch["holes"]) for epoch in epochs)

    @property
    def outbox(self) -> dict[str, Any]:
        return dict(self.report["outbox"]) if self.report else {}

    def line(self) -> str:
        """All of it in one line."""
        said = f"{self.at_s:4.0f} s  uplink {'up' if self.uplink else 'CUT'}"
        if self.report is None:
            return f"{said}, agent not running, reader has {self.arrived:,}"
        own = self.outbox
        said += f", produced {own['produced']:,}, delivered {own['delivered']:,}"
        said += f", waiting {own['pending']:,}, reader has {self.arrived:,}"
        rates = [f"{name} {its['fps']:.0f}/s" for name, its in self.report["pipelines"].items()]
        return f"{said}; {', '.join(rates)}"


def open_show(console: Console) -> Show:
    """The one that fits the terminal."""
    plain = not console.is_terminal or console.is_dumb_terminal
    return PlainShow(console) if plain else LiveShow(console)


class PlainShow:
    """Lines, for logs and pipes."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._next = 0.0

    def say(self, text: str) -> None:
        self._print(text)

    def act(self, text: str) -> None:
        self._print(text)

    def look(self, view: View) -> None:
        if time.monotonic() >= self._next:
            self._print(view.line())

    def _print(self, text: str) -> None:
        self._console.print(text, soft_wrap=True, markup=False, highlight=False)
        self._next = time.monotonic() + _LINE_EVERY_S

    def __enter__(self) -> PlainShow:
        return self

    def __exit__(self, *_: object) -> None:
        return None


class LiveShow:
    """A picture of the whole that renews itself."""

    def __init__(self, console: Console) -> None:
        self._acts: list[Text] = []
        self._last: Report | None = None
        self._live = Live(console=console, auto_refresh=False, vertical_overflow="crop")

    def say(self, text: str) -> None:
        self._live.update(Text(f"Setting up: {text} …", style="dim"), refresh=True)

    def act(self, text: str) -> None:
        said = Text(text, no_wrap=True, overflow="ellipsis")
        self._acts = [*self._acts[-_ACTS_SHOWN + 1 :], said]

    def look(self, view: View) -> None:
        self._last = view.report or self._last
        pipelines = _pipelines(self._last, view.report is not None)
        flow = _flow(view, self._last)
        above = (_title(view), Text(), pipelines, Text(), flow, Text())
        self._live.update(Group(*above, *self._acts), refresh=True)

    def __enter__(self) -> LiveShow:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()


def _title(view: View) -> Table:
    grid = Table.grid(padding=(0, 2))
    bar = ProgressBar(total=view.span_s, completed=min(view.at_s, view.span_s), width=28)
    grid.add_row(
        Text("edgeagent demo", style="bold"), bar, Text(f"{view.at_s:.0f} of {view.span_s:.0f} s")
    )
    return grid


def _pipelines(report: Report | None, alive: bool) -> Table:
    """The last that is known; dim while the agent is dead."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for name in ("pipeline", "model", "state"):
        table.add_column(name, no_wrap=True)
    for name in ("samples/s", "ms a step", "records"):
        table.add_column(name, justify="right", no_wrap=True)
    for name, its in report["pipelines"].items() if report else ():
        state = its["state"] if alive else "dead"
        colour = {"ok": "green", "dead": "red"}.get(state, "yellow")
        table.add_row(
            Text(name, style="bold"), its.get("model", ""), Text(state, style=colour),
            f"{its['fps']:.1f}", f"{its['p50_ms']:.1f}", f"{its.get('records', 0):,}",
            style="" if alive else "dim",
        )  # fmt: skip
    return table


def _flow(view: View, report: Report | None) -> Table:
    """Agent, outbox, uplink, reader, side by side."""
    own = report["outbox"] if report else {"produced": 0, "pending": 0}
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="dim")
    for name in ("agent", "outbox on disk", "uplink", "independent reader"):
        table.add_column(name, no_wrap=True)
    alive = view.report is not None
    table.add_row(
        Text("at work", style="green") if alive else Text("killed", style="bold red"),
        Text(f"{own['produced']:,} produced, ").append(
            f"{own['pending']:,} waiting", style="yellow" if own["pending"] else ""
        ),
        Text("━━━━▶", style="green") if view.uplink else Text("━━ ✂ ━", style="bold red"),
        Text(f"{view.arrived:,} arrived, ").append(
            f"{view.holes:,} missing", style="red" if view.holes else "green"
        ),
    )
    return table
