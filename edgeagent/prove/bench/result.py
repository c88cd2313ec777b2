"""What a measurement found: all that is shown, drawn and kept as JSON."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean, median
from typing import Any

from msgspec import Struct, field

from edgeagent.prove.bench import stopping
from edgeagent.prove.bench.noise import Ratio
from edgeagent.prove.bench.operators import Operators
from edgeagent.prove.bench.parity import Parity
from edgeagent.prove.bench.plan import PERCENTILE, Scenario


class Figures(Struct):
    """One candidate in one scenario. Times in milliseconds."""

    scenario: Scenario
    queries: int
    samples: int
    percentile: float | None
    """What ``promised_ms`` is a percentile of; None = the scenario has none (offline)."""
    promised_ms: float | None
    """May be promised with 99 % confidence; None = there were too few queries …"""
    least_queries: int
    """… below this."""
    p50_ms: float
    p90_ms: float
    p99_ms: float
    mean_ms: float
    """As measured, of queries."""
    throughput: float
    """Samples a second."""
    cpu_ms: float
    """Processor time of a sample, all threads."""
    stages: dict[str, float] = field(default_factory=dict)
    """Median of prepare, infer and interpret, of a sample."""
    joules: float | None = None
    """Of a sample, by the board's own meter; None = it has none that can be read."""
    rate: float | None = None
    """Server: queries a second."""
    bound_ms: float | None = None
    """Server: what 99 % must keep."""
    kept: bool | None = None
    """Server: whether it may be promised that they do."""
    latencies: list[float] = field(default_factory=list)
    """Of each query, for plots; at most some thousands, evenly picked."""


class Golden(Struct, frozen=True):
    """The package's golden samples, asked on this configuration."""

    samples: int
    faults: list[str] = field(default_factory=list)


class Measured(Struct):
    """One candidate."""

    title: str
    settings: str
    model: str = ""
    file: str = ""
    receipt: str = ""
    """One sentence of what runs where."""
    placement: dict[str, int] = field(default_factory=dict)
    fallback: str = ""
    failed: str = ""
    """Why there are no figures."""
    remedy: str = ""
    noise: bool = False
    """Measured on made-up samples."""
    samples: int = 0
    opened_ms: float = 0.0
    first_ms: float = 0.0
    """The very first run."""
    pss_mb: float = 0.0
    """Of a process that runs only this."""
    golden: Golden | None = None
    parity: Parity | None = None
    figures: list[Figures] = field(default_factory=list)
    operators: Operators | None = None
    operators_not: str = ""
    """Why operators were not timed."""

    def of(self, scenario: str) -> Figures | None:
        """Its figures of a scenario, if it was measured."""
        return next((its for its in self.figures if its.scenario == scenario), None)

    @property
    def wrong(self) -> str:
        """What is wrong with its answers; empty = nothing."""
        if self.golden is not None and self.golden.faults:
            return f"golden samples: {self.golden.faults[0]}"
        if self.parity is not None and not self.parity.holds:
            return self.parity.sentence()
        return ""


class Machine(Struct):
    """Where and when it was measured."""

    profile: str
    cpu: str
    cores: list[int]
    """That the process may use."""
    runtimes: dict[str, str]
    temperature_c: float | None = None
    throttled: list[str] = field(default_factory=list)
    load: float = 0.0
    """Processes that wanted to run before anything was measured."""
    meters: list[str] = field(default_factory=list)
    """What measures energy."""


class Result(Struct):
    """A whole measurement."""

    machine: Machine
    seed: int
    candidates: list[Measured]
    versus: dict[str, Ratio] = field(default_factory=dict)
    """By scenario: how many times as long the second candidate takes."""
    notes: list[str] = field(default_factory=list)

    @property
    def sound(self) -> bool:
        """Whether all candidates ran and answered rightly."""
        return not any(its.failed or its.wrong for its in self.candidates)


_KEPT = 4000


class Tally:
    """The turns of one candidate in one scenario."""

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        self.turns: list[list[float]] = []
        self._stages: dict[str, list[float]] = {"prepare": [], "infer": [], "interpret": []}
        self.samples = 0
        self.seconds = 0.0
        self._cpu = 0.0
        self.joules: float | None = None

    @property
    def latencies(self) -> list[float]:
        """Of all queries, seconds."""
        return [latency for turn in self.turns for latency in turn]

    def add(self, taken: dict[str, Any], joules: float | None) -> None:
        """A turn, as `worker` tells it."""
        self.turns.append(taken["latencies"])
        for name, durations in self._stages.items():
            durations += taken[name]
        self.samples += taken["samples"]
        self.seconds += taken["seconds"]
        self._cpu += taken["cpu"]
        if joules is not None:
            self.joules = (self.joules or 0.0) + joules

    def figures(self) -> Figures:
        """Put together."""
        took = sorted(self.latencies)
        percentile = PERCENTILE.get(self.scenario)
        promised = stopping.estimate(took, percentile) if percentile else None
        offline = self.scenario == "offline"
        busy = sum(took) * (self.samples / len(took) if offline else 1.0)
        kept = self.latencies[:: -(-len(took) // _KEPT)]
        return Figures(
            scenario=self.scenario,
            queries=1 if offline else len(took),
            samples=self.samples,
            percentile=percentile,
            promised_ms=_ms(promised) if promised is not None else None,
            least_queries=stopping.least_queries(percentile) if percentile else 0,
            p50_ms=_ms(median(took)),
            p90_ms=_ms(_at(took, 0.90)),
            p99_ms=_ms(_at(took, 0.99)),
            mean_ms=_ms(fmean(took)),
            throughput=self.samples / (self.seconds if self.scenario == "server" else busy),
            cpu_ms=_ms(self._cpu / self.samples),
            stages={name: _ms(median(its)) for name, its in self._stages.items() if its},
            joules=self.joules / self.samples if self.joules is not None else None,
            latencies=[_ms(latency) for latency in kept],
        )


def _at(ordered: Sequence[float], share: float) -> float:
    return ordered[min(math.ceil(share * len(ordered)), len(ordered)) - 1]


def _ms(seconds: float) -> float:
    return round(seconds * 1e3, 5)
