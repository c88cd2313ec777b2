"""How measurements are laid out for people."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

from edgeagent.cli import render

if TYPE_CHECKING:
    from edgeagent.prove.bench.operators import Operators
    from edgeagent.prove.bench.result import Figures, Machine, Measured, Result

NAMES = {
    "single": "single stream", "multi": "multi stream (8 samples a query)", "server": "server",
    "offline": "offline",
}  # fmt: skip
_SLOWEST = 10
"""Operators that are listed one by one."""


def without_latencies(data: dict[str, Any]) -> dict[str, Any]:
    """For ``--json``: the figures say what the thousands of latencies do."""
    for candidate in data["candidates"]:
        for figures in candidate["figures"]:
            del figures["latencies"]
    return data


def show(result: Result) -> None:
    """All of it."""
    for note in result.notes:
        render.note(note)
    render.note(_machine(result.machine))
    for number, its in enumerate(result.candidates):
        if number:
            render.blank()
        _candidate(its, result.machine)
    if len(result.candidates) > 1:
        render.blank()
        first, second = (its.title for its in result.candidates)
        for scenario, ratio in result.versus.items():
            render.plain(f"{NAMES[scenario]}: {ratio.sentence(first, second)}.")


def _machine(its: Machine) -> str:
    cores = f"{len(its.cores)} core{'s' if len(its.cores) != 1 else ''}"
    parts = [its.cpu, cores, f"profile {its.profile}", f"load {its.load:g}"]
    if its.temperature_c is not None:
        parts.append(f"{its.temperature_c:.0f} °C")
    return ", ".join(parts)


def _candidate(its: Measured, machine: Machine) -> None:
    model = f"{its.model} ({its.title})" if its.model not in ("", its.title) else its.title
    if its.failed:
        render.facts([("model", model), ("failed", its.failed), ("", its.remedy)])
        if its.remedy:
            render.note(its.remedy)
        return
    joules = next((one.joules for one in its.figures if one.joules is not None), None)
    render.facts([
        ("model", model),
        ("runs on", its.receipt),
        ("opened in", f"{its.opened_ms:.0f} ms, first run {_ms(its.first_ms)} ms"),
        ("memory", f"{its.pss_mb:.0f} MB (PSS of a process with nothing else)"),
        ("energy", _energy(joules, machine)),
        ("answers", _answers(its)),
        ("measured on", "noise" if its.noise else f"{its.samples} samples"),
    ])  # fmt: skip
    for figures in its.figures:
        _figures(figures)
    if its.operators is not None:
        _operators(its.operators)
    elif its.operators_not:
        render.note(f"Operators were not timed: {its.operators_not}")


def _energy(joules: float | None, machine: Machine) -> str:
    if joules is None:
        return "not measured: this board has no meter that can be read"
    return f"{joules * 1e3:.3g} mJ a sample (all of {', '.join(machine.meters)})"


def _answers(its: Measured) -> str:
    said = []
    if its.golden is not None:
        faults = its.golden.faults
        said.append(
            f"{its.golden.samples} golden samples right" if not faults else
            f"golden samples WRONG: {faults[0]}" + _more(len(faults) - 1)
        )  # fmt: skip
    if its.parity is not None:
        said.append(its.parity.sentence())
    return "; ".join(said) or "nothing to compare with: no golden samples, no other kernels"


def _more(count: int) -> str:
    return f" (and {count} more)" if count > 0 else ""


def _figures(its: Figures) -> None:
    render.blank()
    stages = ", ".join(
        f"{name} {_ms(value)}" for name, value in its.stages.items() if any(its.stages.values())
    )
    if its.scenario == "offline":
        render.plain(
            f"{NAMES[its.scenario]}: {its.throughput:,.0f} samples/s, "
            f"CPU {_ms(its.cpu_ms)} ms a sample, {its.samples:,} samples"
        )
        return
    columns = [f"{NAMES[its.scenario]}", ">p50 ms", ">p90", ">p99", f">p{_percent(its)} promised",
               ">samples/s", ">CPU ms"]  # fmt: skip
    promised = _ms(its.promised_ms) if its.promised_ms is not None else "–"
    row = [f"{its.queries:,} queries", _ms(its.p50_ms), _ms(its.p90_ms), _ms(its.p99_ms), promised,
           f"{its.throughput:,.0f}", _ms(its.cpu_ms)]  # fmt: skip
    render.table(columns, [row])
    if stages:
        render.plain(f"  of a sample: {stages} ms")
    if its.promised_ms is None:
        render.plain(
            f"  p{_percent(its)} can't be promised: {its.queries} of at least "
            f"{its.least_queries} queries; give it more --seconds"
        )
    if its.rate is not None and its.bound_ms is not None:
        kept = "keep" if its.kept else "do NOT keep"
        render.plain(f"  at {its.rate:,.1f} queries/s 99 % {kept} {_ms(its.bound_ms)} ms")


def _operators(its: Operators) -> None:
    render.blank()
    how = "estimated by cutting the model off behind each" if its.estimated else "as profiled"
    total = sum(one.ms for one in its.each) or 1.0
    sums: dict[tuple[str, str], list[float]] = defaultdict(list)
    for one in its.each:
        sums[one.operator, one.place].append(one.ms)
    ranked = sorted(sums.items(), key=lambda item: -sum(item[1]))
    render.table(
        [f"operators ({how})", "place", ">count", ">ms", ">share"],
        [[kind, place, len(took), _ms(sum(took)), f"{sum(took) / total:.0%}"]
         for (kind, place), took in ranked],
    )  # fmt: skip
    slowest = sorted(enumerate(its.each, 1), key=lambda item: -item[1].ms)[:_SLOWEST]
    render.blank()
    render.table(
        ["slowest", ">number", "place", ">ms", ">share"],
        [[one.name or one.operator, number, one.place, _ms(one.ms), f"{one.ms / total:.0%}"]
         for number, one in slowest if one.ms],
    )  # fmt: skip


def _percent(its: Figures) -> str:
    return f"{100 * (its.percentile or 0):g}"


def _ms(value: float) -> str:
    """Three digits that count."""
    return f"{value:.3g}" if value < 100 else f"{value:,.0f}"
