"""What a model says of all cases, asked on all cores by the machinery of `batch`."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Struct

from edgeagent.batch.formats.lines import jsonl
from edgeagent.batch.order import Job, order_for
from edgeagent.batch.run import Progress, Skipped, run
from edgeagent.errors import InputError

if TYPE_CHECKING:
    from edgeagent.batch.crew import Crew
    from edgeagent.batch.order import Order
    from edgeagent.evaluate.data import Case, Data
    from edgeagent.manifest import Package

LOWEST = 0.01
"""Detections from this score on are looked at: curves need those that nobody would act on."""


class Told(Struct):
    """What was said of one sample of a case."""

    case: Case
    sample: int
    predictions: list[dict[str, Any]]
    size: tuple[int, int] = (0, 0)
    """Width and height of a picture."""


class Answers(Struct):
    """All that one model said, in the order of the cases."""

    model: str
    receipt: str
    told: list[Told]
    skipped: list[Skipped]
    samples_per_s: float


def ask(
    package: Package,
    data: Data,
    open_crew: Callable[[Order], Crew],
    *,
    variant: str = "",
    tell: Callable[[Progress], None] = lambda _progress: None,
) -> Answers:
    """Ask about all cases, below every threshold and for all labels.

    Raises: as `batch.run.run`.
    """
    task = package.manifest.task
    order = order_for(
        package, variant=variant, threshold=LOWEST if task in ("detect", "pose") else None,
        top=max(1, len(package.labels)) if task in ("classify", "keyword") else 0,
    )  # fmt: skip
    jobs = [Job(n, str(case.path), case.name) for n, case in enumerate(data.cases)]
    cases = {case.name: case for case in data.cases}
    if len(cases) < len(data.cases):
        twice = next(name for name, n in Counter(c.name for c in data.cases).items() if n > 1)
        raise InputError(f"{data.name}: {twice} is listed twice")
    with tempfile.TemporaryDirectory(prefix="edgeagent-eval-") as scratch:
        out = Path(scratch) / "answers.jsonl"
        crew = open_crew(order)
        try:
            done = run(order, jobs, crew, out, jsonl(package), tell=tell)
        finally:
            crew.close()
        with out.open("rb") as file:
            told = [_told(msgspec.json.decode(line), cases) for line in file]
    return Answers(order.model, done.receipt, told, done.skipped, done.samples_per_s)


def _told(row: dict[str, Any], cases: dict[str, Case]) -> Told:
    width, height = row.get("size", (0, 0))
    return Told(cases[row["input"]], row["sample"], row["predictions"], (width, height))
