"""Rollouts as people see them."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from edgeagent.cli import render

if TYPE_CHECKING:
    from edgeagent.fleet.rollout.ledger import Ledger
    from edgeagent.fleet.rollout.muster import Muster
    from edgeagent.fleet.rollout.plan import Plan

_DRAW_S = 0.5
_WAYS = ("well", "under_way", "bad", "held", "unreached")


@contextmanager
def ledger(db: str) -> Iterator[Ledger]:
    """The rollouts of a database."""
    from edgeagent.fleet.database import open_database
    from edgeagent.fleet.rollout.ledger import Ledger

    database = open_database(db)
    try:
        yield Ledger(database)
    finally:
        database.close()


def forecast(plan: Plan, mustered: Muster) -> None:
    """Who would be in which wave."""
    waves = mustered.document()["waves"]
    profiles = sorted({name for wave in waves for name in wave["profiles"]})
    render.plain(f"{plan.target}: {mustered.sentence}")
    render.table(
        ("profile", *(f">wave {wave['wave']}" for wave in waves)),
        [(name, *(wave["profiles"].get(name, 0) for wave in waves)) for name in profiles],
    )


def listed(found: Sequence[Mapping[str, Any]]) -> None:
    render.table(
        ("rollout", "state", "wave", ">devices", ">well", ">bad", "reason"),
        [
            (
                its["rollout"], its["state"], f"{its['wave']}/{len(its['waves'])}",
                its["total"]["size"], its["total"]["well"], its["total"]["bad"], its["reason"],
            )
            for its in found
        ],
    )  # fmt: skip


def whole(found: Mapping[str, Any]) -> None:
    """Headline, waves with their profiles, reasons, and what to do next."""
    from edgeagent.fleet.rollout.report import headline

    render.plain(headline(found))
    columns, rows = _waves(found)
    render.table(columns, rows)
    for entry in found["reasons"]:
        profiles = ", ".join(f"{count} × {name}" for name, count in entry["profiles"].items())
        render.plain(f"{entry['cause']}: {entry['devices']} ({profiles})")
        if entry["detail"]:
            render.plain(f"  e.g. {entry['detail']}")
    for wave in found["waves"]:
        for its in wave.get("quality", ()):
            render.plain(f"wave {wave['wave']}: {its['sentence']}")
    if hint := _hint(found):
        render.note(hint)


def _waves(found: Mapping[str, Any]) -> tuple[tuple[str, ...], list[tuple[object, ...]]]:
    columns = ("wave", "profile", ">size", ">well", ">on its way", ">bad", ">held", ">not reached")
    rows: list[tuple[object, ...]] = []
    for wave in found["waves"]:
        rows.append(
            (f"{wave['wave']} {wave['state']}", "all", wave["size"],
             *(wave[name] for name in _WAYS))
        )  # fmt: skip
        if wave["state"] == "open" or any(its["bad"] for its in wave["profiles"].values()):
            rows += [
                ("", name, its["size"], its["well"],
                 its["asked"] - its["well"] - its["bad"], its["bad"], its["held"],
                 its["unreached"])
                for name, its in wave["profiles"].items()
            ]  # fmt: skip
    return columns, rows


def _hint(found: Mapping[str, Any]) -> str:
    name = found["rollout"]
    if found["ended"]:
        return f"The whole story: edgeagent fleet rollout report {name}"
    if not found["driver"]:
        return "Nobody drives it now; start: edgeagent fleet rollout run"
    if found["state"] == "paused":
        return f"Go on with: edgeagent fleet rollout resume {name}"
    return f"Driven by {found['driver']}"


def newest(ledger: Ledger, only: frozenset[str]) -> dict[str, Any] | None:
    """What is to be drawn while several may be driven."""
    from edgeagent.fleet.rollout.report import document

    found = [its for its in ledger.all() if its.id in only or (not only and not its.finished)]
    return document(ledger, found[-1], evidence=False) if found else None


Found = Callable[[], "Mapping[str, Any] | None"]


@contextmanager
def live(quiet: bool) -> Iterator[Callable[[Found], None]]:
    """Draws a rollout over and over on standard error, at most twice a second; where that is no
    terminal nothing is drawn, and nothing is asked of the database for it."""
    from edgeagent.fleet.rollout.report import headline

    due = 0.0
    with render.redrawn(quiet) as draw:

        def show(found: Found) -> None:
            nonlocal due
            if draw is None or time.monotonic() < due:
                return
            due = time.monotonic() + _DRAW_S
            if its := found():
                draw(headline(its), *_waves(its))

        yield show


def formed(found: Mapping[str, Any], suffix: str) -> str:
    """A report as a file's name says. Raises UsageError."""
    from edgeagent.errors import UsageError
    from edgeagent.fleet.rollout import report

    if suffix in (".html", ".htm"):
        return report.page(found)
    if suffix == ".md":
        return report.markdown(found)
    if suffix == ".json":
        return json.dumps(found, ensure_ascii=False, indent=1) + "\n"
    raise UsageError(f"a report is no {suffix or 'file without ending'}", remedy="Name a .html.")
