"""Why each candidate lost, and what was chosen for, in the words of the person who asked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from edgeagent.prove.bench import noise

if TYPE_CHECKING:
    from edgeagent.prove.tune.search import Entry

_NOTICED = 1.03


def explain(
    best: Entry, entries: Sequence[Entry], default: Entry, finalists: Sequence[Entry]
) -> str:
    """Fill in why of each row that has none; one sentence about the choice."""
    firsts = _first_of_each_file(entries)
    for entry in entries:
        if entry.row.state == "lost" and not entry.row.why:
            entry.row.why = _why(entry, best, firsts, finalists)
    said = _chosen(best, default)
    best.row.why = said
    slower = [
        entry.row for entry in firsts
        if entry.row.file != best.row.file and entry.row.precision != best.row.precision
        and entry.row.state == "lost"
    ]  # fmt: skip
    return "; ".join([said, *(row.why for row in slower)])


def _first_of_each_file(entries: Sequence[Entry]) -> list[Entry]:
    """The fastest entry of each model file that was measured."""
    firsts: dict[str, Entry] = {}
    for entry in sorted(entries, key=lambda its: its.row.ms or float("inf")):
        if entry.row.ms is not None:
            firsts.setdefault(entry.row.file, entry)
    return list(firsts.values())


def _chosen(best: Entry, default: Entry) -> str:
    if best is default:
        return "nothing is surely faster than the defaults"
    if default.row.state != "lost":
        return f"the defaults will not do: {default.row.why}"
    surely = noise.compare(default.turns, best.turns) if default.turns and best.turns else None
    if surely is not None and surely.faster:
        return (
            f"{surely.ratio:.2f} × the time of the defaults ({surely.low:.2f} to {surely.high:.2f})"
        )
    return "as fast as the defaults for less processor time"


def _why(entry: Entry, best: Entry, firsts: Sequence[Entry], finalists: Sequence[Entry]) -> str:
    ours, theirs = entry.row, best.row
    if not ours.ms or not theirs.ms:
        return "not measured"
    times = ours.ms / theirs.ms
    if entry in finalists and len(entry.turns) == len(best.turns):
        surely = noise.compare(best.turns, entry.turns)
        times = surely.ratio
        if surely.faster and times > 1 / 1.06:
            spent = (ours.cpu_ms or 0) / (theirs.cpu_ms or 1)
            return f"{1 / times:.2f} × as fast, for {spent:.1f} × the processor time"
        if not surely.differs:
            return "no faster than what was chosen: the difference is within the noise"
    if times < _NOTICED:
        return "no faster than what was chosen"
    how = f"{times:.2f} × the time"
    if entry in firsts and ours.file != theirs.file:
        if ours.precision != theirs.precision:
            return f"{ours.precision} is slower than {theirs.precision} on this device ({how})"
        return f"{ours.file} is slower than {theirs.file} on this device ({how})"
    return how if entry in finalists else f"{how}, out after round {ours.rounds}"
