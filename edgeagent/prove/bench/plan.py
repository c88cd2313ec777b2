"""What is to be measured, and how."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from msgspec import Struct, field

from edgeagent.config.model import Runtime
from edgeagent.infer.delegates import title_of

Scenario = Literal["single", "multi", "server", "offline"]
SCENARIOS: tuple[Scenario, ...] = ("single", "multi", "server", "offline")
SAMPLES: dict[str, int] = {"single": 1, "multi": 8, "server": 1, "offline": 1}
"""Samples of a query."""
PERCENTILE: dict[str, float] = {"single": 0.90, "multi": 0.99, "server": 0.99}
"""What is promised of the latencies of a scenario."""


class Candidate(Struct, frozen=True):
    """A model and how it is run."""

    what: Path
    """Folder of a package, or a model file."""
    runtime: Runtime = field(default_factory=Runtime)
    batch: int = 1
    title: str = ""
    """What people call it."""

    def settings(self) -> str:
        """How it is run, in words: ``int8.tflite, xnnpack, 2 threads``."""
        runtime = self.runtime
        delegate = title_of(runtime.delegate) if runtime.delegate else ""
        said = [runtime.variant, delegate, runtime.provider]
        if runtime.threads:
            said.append(f"{runtime.threads} thread{'s' if runtime.threads > 1 else ''}")
        said += [f"{key}={value}" for key, value in sorted(runtime.options.items())]
        if self.batch > 1:
            said.append(f"batch {self.batch}")
        return ", ".join(part for part in said if part) or "defaults"


class Turn(Struct, frozen=True):
    """One stretch of queries of one candidate."""

    scenario: Scenario
    seconds: float
    least: int = 1
    """Queries, however long they take …"""
    most_s: float = 60.0
    """… up to here."""
    seed: int = 0
    rate: float = 0.0
    """Server: queries a second."""


class Plan(Struct, frozen=True):
    """A whole measurement."""

    scenarios: tuple[Scenario, ...] = ("single",)
    seconds: float = 5.0
    """For each scenario and candidate."""
    most_s: float = 60.0
    """Above `seconds` only as long as there are too few queries to promise a percentile, and
    never above this."""
    turns: int = 20
    warm_s: float = 0.3
    samples: tuple[Path, ...] = ()
    seed: int = 7
    rate: float | None = None
    """Server: queries a second; None = the most that keep the bound."""
    bound_ms: float | None = None
    """Server: latency that 99 % of the queries must keep; None = five times the usual latency of a
    query that does not wait, or twice its 99th percentile."""
    operators: bool = False
    """Time and place of each operator, too."""
    timeout_s: float = 120.0
    """A model that does not answer for so long hangs."""
