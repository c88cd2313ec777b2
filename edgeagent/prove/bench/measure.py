"""One or two candidates through a plan, in turns, each in a child process of its own."""

from __future__ import annotations

import os
import random
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from statistics import median
from threading import Event

import msgspec
from msgspec.structs import replace

from edgeagent.config.model import Runtime
from edgeagent.device import energy, health, profile
from edgeagent.errors import ProofFailed
from edgeagent.infer.installed import runtimes
from edgeagent.prove.bench import noise, parity, stopping
from edgeagent.prove.bench.operators import Operators
from edgeagent.prove.bench.plan import PERCENTILE, Candidate, Plan, Scenario, Turn
from edgeagent.prove.bench.probe import Opened, Probe
from edgeagent.prove.bench.result import Golden, Machine, Measured, Result, Tally
from edgeagent.prove.golden import reference_of

Tell = Callable[[str], None]

_BUSY = 0.5
"""Load of other programs per core from which figures are told to be doubtful."""
_OPERATORS_S = 8.0
_SERVER_TRIES = 4
_SERVER_SHARE = 0.75
_LEAST_SHARE = 0.05
"""Of what it could do at most: where not even that keeps the bound, no rate does."""


def bench(
    candidates: Sequence[Candidate],
    plan: Plan,
    tell: Tell = lambda _doing: None,
    stopped: Event | None = None,
    root: Path = Path("/"),
) -> Result:
    """Measure candidates, two in turns so that whatever the device does it does to both.

    One that can't be opened, crashes or hangs is told as `Measured.failed`.

    Args:
        candidates: one, or two to be compared.
        plan: what is measured.
        tell: told what is being done.
        stopped: ends it when set.
        root: of the file system, for meters and sensors.

    Raises:
        Busy: it was stopped, or no process can be started.
    """
    meters = energy.choose(energy.find_meters(root))
    result = Result(machine(root, [meter.name for meter in meters]), plan.seed, [])
    _remark(result)
    with ExitStack() as stack:
        runs = [_Run(candidate, plan, meters, stopped, stack) for candidate in candidates]
        result.candidates = [run.measured for run in runs]
        for run in runs:
            tell(f"opening {run.measured.title}")
            run.attempt(run.begin)
        for scenario in plan.scenarios:
            tell(f"{scenario}: {' and '.join(run.measured.title for run in runs)}")
            tallies = _scenario(scenario, [run for run in runs if run.opened], plan)
            turns = [tallies[run.number].turns for run in runs if run.opened]
            if len(turns) == 2 and scenario != "server":
                result.versus[scenario] = noise.compare(turns[0], turns[1], seed=plan.seed)
        for run in runs:
            tell(f"answers of {run.measured.title}")
            run.attempt(run.end)
    return result


def machine(root: Path = Path("/"), meters: Sequence[str] = ()) -> Machine:
    """This device, now."""
    board = profile.Board(root)
    hot = health.temperature(root=root)
    slow = health.throttle(root)
    return Machine(
        profile=profile.detect(root).profile.name,
        cpu=board.cpu() or board.model() or board.architecture(),
        cores=sorted(os.sched_getaffinity(0)),
        runtimes=runtimes(),
        temperature_c=hot[1] if hot else None,
        throttled=list(slow.now) if slow else [],
        load=round(os.getloadavg()[0], 2),
        meters=list(meters),
    )


def _remark(result: Result) -> None:
    its = result.machine
    if its.load > _BUSY * len(its.cores):
        result.notes.append(
            f"Other programs keep this device busy (load {its.load:g} on {len(its.cores)} cores): "
            "times are longer than they need be, ratios hold."
        )
    if its.throttled:
        result.notes.append(f"The processor is slowed down now: {', '.join(its.throttled)}.")


def _scenario(scenario: Scenario, runs: list[_Run], plan: Plan) -> dict[int, Tally]:
    """All turns of one scenario; the tallies by candidate. A candidate that fails drops out."""
    tallies = {run.number: Tally(scenario) for run in runs}
    if scenario == "server":
        for run in runs:
            run.attempt(partial(run.serve, tallies[run.number]))
        return tallies
    order = random.Random(plan.seed)
    percentile = PERCENTILE.get(scenario)
    enough = stopping.least_queries(percentile) if percentile else 1
    turns = max(plan.turns, noise.LEAST_TURNS)
    spent, number = 0.0, 0
    while runs and (
        number < turns
        or (
            spent < plan.most_s and any(len(tallies[run.number].latencies) < enough for run in runs)
        )
    ):
        turn = Turn(
            scenario, plan.seconds / turns, seed=plan.seed + number, most_s=plan.most_s / turns
        )
        for run in order.sample(runs, len(runs)):
            run.attempt(partial(run.turn, turn, tallies[run.number]))
        runs = [run for run in runs if run.opened]
        number += 1
        spent = max((tallies[run.number].seconds for run in runs), default=0.0)
    for run in runs:
        run.measured.figures.append(tallies[run.number].figures())
    return tallies


class _Run:
    """One candidate in its process."""

    def __init__(
        self, candidate: Candidate, plan: Plan, meters: list[energy.Meter],
        stopped: Event | None, stack: ExitStack,
    ) -> None:  # fmt: skip
        self.number = id(self)
        self.measured = Measured(candidate.title or candidate.what.name, candidate.settings())
        self.opened: Opened | None = None
        self._candidate = candidate
        self._plan = plan
        self._meters = meters
        self._stopped = stopped
        self._stack = stack

    def attempt(self, work: Callable[[], None]) -> None:
        """Do something with it, unless it has failed already; a failure is told in the result."""
        if self.measured.failed:
            return
        try:
            work()
        except ProofFailed as error:
            self.measured.failed, self.measured.remedy = str(error), error.remedy
            self.opened = None

    def begin(self) -> None:
        """Open it and look at what it answers."""
        plan, its = self._plan, self.measured
        probe = self._stack.enter_context(Probe(plan.timeout_s, self._stopped))
        opened = probe.open(self._candidate, plan.samples, plan.warm_s)
        self.opened = opened
        its.model, its.file = opened.told["model"], opened.told["file"]
        its.receipt, its.placement = opened.receipt.sentence(), opened.receipt.placement
        its.fallback = opened.receipt.fallback
        its.noise, its.samples = opened.told["made_up"], opened.told["samples"]
        its.opened_ms, its.first_ms = opened.told["opened_ms"], opened.told["first_ms"]

    def turn(self, turn: Turn, tally: Tally) -> None:
        assert self.opened is not None
        if not self._meters:
            tally.add(self.opened.turn(turn, self._plan.timeout_s), None)
            return
        with energy.Metering(self._meters) as metering:
            taken = self.opened.turn(turn, self._plan.timeout_s)
        tally.add(taken, metering.joules)

    def serve(self, tally: Tally) -> None:
        """Queries at random times: at the given rate, or at the highest that keeps the bound."""
        plan = self._plan
        single = self.measured.of("single")
        service = single.latencies if single else self._service_times()
        bound = plan.bound_ms or max(5 * median(service), 2 * _p99(service))
        rate = plan.rate or _highest_rate(service, bound, plan.seed)
        least = stopping.least_queries(PERCENTILE["server"])
        kept = False
        for number in range(1 if plan.rate else _SERVER_TRIES):
            turn = Turn("server", plan.seconds, least, plan.most_s, plan.seed + number, rate)
            fresh = Tally("server")
            self.turn(turn, fresh)
            kept = stopping.meets(fresh.latencies, bound / 1e3, PERCENTILE["server"])
            if kept or number + 1 == _SERVER_TRIES or plan.rate:
                break
            rate *= _SERVER_SHARE
        figures = fresh.figures()
        figures.rate, figures.bound_ms, figures.kept = round(rate, 3), round(bound, 4), kept
        self.measured.figures.append(figures)
        tally.turns = fresh.turns

    def _service_times(self) -> list[float]:
        """How long a sample takes that does not wait, milliseconds."""
        tally = Tally("single")
        self.turn(Turn("single", self._plan.seconds / 4, least=64), tally)
        return [1e3 * latency for latency in tally.latencies]

    def end(self) -> None:
        """Memory, answers, operators: what would disturb a measurement."""
        assert self.opened is not None
        its, opened = self.measured, self.opened
        its.pss_mb = opened.probe.pss_mb()
        golden = opened.ask("golden")
        if golden["samples"]:
            its.golden = msgspec.convert(golden, Golden)
        plan = self._plan
        its.parity = parity_of(opened, plan.samples, plan.timeout_s, self._stopped)
        if self._plan.operators:
            self._operators(opened)

    def _operators(self, opened: Opened) -> None:
        runtime = msgspec.to_builtins(self._candidate.runtime)
        with tempfile.TemporaryDirectory(prefix="edgeagent-bench-") as scratch:
            try:
                told = opened.ask(
                    "operators", self._plan.timeout_s, runtime=runtime, scratch=scratch,
                    seconds=_OPERATORS_S,
                )  # fmt: skip
            except ProofFailed as error:
                if error.died:
                    raise
                self.measured.operators_not = str(error)
                return
        self.measured.operators = msgspec.convert(told["operators"], Operators)


def reference(candidate: Candidate, file: str) -> Candidate:
    """The same file on the CPU's plain kernels, which its answers are compared with."""
    plain = "none" if file.endswith(".tflite") else ""
    variant = Path(file).name if candidate.what.is_dir() else ""
    return replace(candidate, runtime=Runtime(variant=variant, delegate=plain, threads=1), batch=1)


def parity_of(
    opened: Opened, samples: Sequence[Path], timeout_s: float, stopped: Event | None
) -> parity.Parity | None:
    """Its answers beside the reference's; None where nothing else can run this file."""
    ours = opened.ask("answers")["answers"]
    plain = reference(opened.candidate, opened.told["file"])
    try:
        with Probe(timeout_s, stopped) as probe:
            other = probe.open(plain, samples)
            expected = other.ask("answers")["answers"]
            return parity.compared(reference_of(other.receipt), expected, ours)
    except ProofFailed:
        return None


def _highest_rate(service_ms: Sequence[float], bound_ms: float, seed: int) -> float:
    """Queries a second of which 99 % keep the bound, by Lindley's recursion over measured service
    times: a query waits for what the ones before it left undone."""
    rng = random.Random(seed)
    count = max(2 * stopping.least_queries(PERCENTILE["server"]), 2000)
    services = rng.choices(list(service_ms), k=count)
    gaps = [rng.expovariate(1.0) for _ in range(count)]
    most = 1.0 / (sum(services) / count)
    low, high = most * _LEAST_SHARE, most
    for _ in range(20):
        middle = (low + high) / 2
        wait, took = 0.0, []
        for service, gap in zip(services, gaps, strict=True):
            wait = max(wait - gap / middle, 0.0)
            took.append(wait + service)
            wait += service
        if stopping.meets(took, bound_ms, PERCENTILE["server"]):
            low = middle
        else:
            high = middle
    return low * 1e3


def _p99(values: Sequence[float]) -> float:
    return sorted(values)[int(0.99 * (len(values) - 1))]
