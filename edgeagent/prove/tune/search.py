"""Trying candidates: many briefly, the better half longer, the last ones in turns with the
defaults.

Source: successive halving (Karnin, Koren, Somekh: "Almost optimal exploration in multi-armed
bandits", ICML 2013), with what is known beforehand of latencies: who is far behind after a few runs
does not come back. What answers wrongly, or breaks a bar, is out however fast it is; and nothing
replaces the defaults that is not surely faster than they are.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from threading import Event
from typing import Any, Literal

from msgspec import Struct, field
from msgspec.structs import replace

from edgeagent.device.profile import detect
from edgeagent.errors import ProofFailed
from edgeagent.manifest import Package
from edgeagent.prove.bench import noise
from edgeagent.prove.bench.measure import parity_of
from edgeagent.prove.bench.plan import Candidate, Turn
from edgeagent.prove.bench.probe import Opened, Probe
from edgeagent.prove.process import free_memory
from edgeagent.prove.tune import explain
from edgeagent.prove.tune.choice import Asked, Choice, Row, circumstances, stamp
from edgeagent.prove.tune.stand import Stand

Tell = Callable[[str], None]

_FIRST_S, _WARM_S = 0.06, 0.05
_FAR = 2.5
"""Times of the best after which nobody comes back."""
_FINALISTS = 3
_FINAL_TURNS = 16
_FINAL_S = 0.15
"""Of one turn, at most."""
_PROCESS_BYTES = 150 << 20
"""Memory that must be free for each process of the last round."""
_ALIKE, _THRIFTY = 1.05, 0.75
"""Who is as fast but for so much, and needs so much less processor time, is better: other
pipelines and the battery want it."""
_SLACK = 0.01
"""Accuracy that may be lost against the defaults where nobody names a floor."""


class Bars(Struct, frozen=True):
    """What a candidate must keep to."""

    goal: Literal["latency", "throughput"] = "latency"
    p95_ms: float | None = None
    pss_mb: float | None = None
    accuracy: float | None = None
    """Share of the labelled samples that must be right; None = hardly less than the defaults."""
    labelled: Mapping[str, Sequence[Path]] = field(default_factory=dict)
    """Label → files."""
    samples: Sequence[Path] = ()
    """What to measure on; empty = the package's golden samples, else noise."""
    seconds: float = 60.0
    """About so long the whole search may take."""
    timeout_s: float = 30.0
    seed: int = 7
    share: float = 1.0
    """Of the time in which anything is run; the rest is left to who else needs the device."""
    asked: Asked = Asked()
    """What a person asked for of it, to be remembered."""


def within_budget(bars: Bars, package: Package) -> Bars:
    """With the package's budget for this board where no bar is set."""
    budgets = package.manifest.budget
    budget = budgets.get(detect().profile.name) or budgets.get("default") or {}
    p95 = bars.p95_ms if bars.p95_ms is not None else budget.get("p95_ms")
    pss = bars.pss_mb if bars.pss_mb is not None else budget.get("pss_mb")
    return replace(bars, p95_ms=p95, pss_mb=pss)


class Entry:
    """A candidate in the search."""

    def __init__(self, candidate: Candidate) -> None:
        self.candidate = candidate
        self.row = Row(candidate.title or candidate.settings())
        self.turns: list[list[float]] = []
        """Latencies of the last round, seconds."""
        self.cpu_s = 0.0

    @property
    def answers(self) -> str:
        """What is the same for all that must answer alike: threads and batches change nothing."""
        its = self.candidate.runtime
        return f"{self.row.file} {its.delegate} {its.provider} {sorted(its.options.items())}"

    def took(self, turns: Sequence[dict[str, Any]]) -> None:
        """Take the figures of a round, as `worker` tells them."""
        self.turns = [turn["latencies"] for turn in turns]
        samples = sum(turn["samples"] for turn in turns)
        self.cpu_s = sum(turn["cpu"] for turn in turns) / samples
        every = sorted(value for turn in self.turns for value in turn)
        self.row.ms = round(median(every) * 1e3, 5)
        self.row.p95_ms = round(every[int(0.95 * (len(every) - 1))] * 1e3, 5)
        self.row.cpu_ms = round(self.cpu_s * 1e3, 5)
        self.row.rounds += 1

    def beside(self, default: Entry, seed: int) -> None:
        """Its time as a multiple of the defaults', turn by turn: what else the device did in a
        turn slowed down both."""
        if default.row.ms and len(self.turns) == len(default.turns) > 1:
            ratio = noise.compare(default.turns, self.turns, seed).ratio
            self.row.ms = round(default.row.ms * ratio, 5)

    def out(self, state: str, why: str) -> None:
        """It is out of the search."""
        self.row.state, self.row.why = state, why


def tune(
    package: Package,
    candidates: Sequence[Candidate],
    bars: Bars,
    tell: Tell = lambda _doing: None,
    stopped: Event | None = None,
) -> Choice:
    """Find the best of the candidates; the first one is the default.

    Raises:
        ProofFailed: none of them runs, answers rightly and keeps the bars.
        Busy: it was stopped, or no process can be started.
    """
    return _Search(package, candidates, bars, tell, stopped or Event()).run()


class _Search:
    def __init__(
        self, package: Package, candidates: Sequence[Candidate], bars: Bars, tell: Tell,
        stopped: Event,
    ) -> None:  # fmt: skip
        self.package = package
        self.bars = bars
        self.tell = tell
        self.stopped = stopped
        self.entries = [Entry(candidate) for candidate in candidates]
        self.default = self.entries[0]
        self._rng = random.Random(bars.seed)
        self._scenario: Literal["single", "offline"] = (
            "offline" if bars.goal == "throughput" else "single"
        )
        self._judged: dict[str, tuple[str, str, int | None, int | None]] = {}
        self._began = time.monotonic()

    def run(self) -> Choice:
        with Stand(self.bars.timeout_s, self.stopped) as stand:
            running = self._first(stand)
            alive = self._halve(stand, running)
        finalists = self._finals(alive)
        keeping = self._keeping(finalists)
        while not keeping:
            # Memory is not known before: who was slower may keep the bars.
            alive = [its for its in running if its.row.state == "lost" and its not in finalists]
            if not alive:
                raise self._nothing()
            finalists = self._finals(alive)
            keeping = self._keeping(finalists)
        best = self._best(keeping)
        best.out("chosen", "")
        why = explain.explain(best, self.entries, self.default, finalists)
        ratio = best.row.ms / self.default.row.ms if best.row.ms and self.default.row.ms else 1.0
        return Choice(
            v=1, model=f"{self.package.name}@{self.package.version}", at=stamp(),
            circumstances=circumstances(self.package, best.candidate.runtime),
            runtime=best.candidate.runtime, batch=best.candidate.batch, goal=self.bars.goal,
            why=why, ratio=round(ratio, 4), took_s=round(time.monotonic() - self._began, 1),
            rows=[entry.row for entry in self._ranked()], asked=self.bars.asked,
        )  # fmt: skip

    # --- rounds ----------------------------------------------------------------------------

    def _first(self, stand: Stand) -> list[Entry]:
        """Who can be opened, answers rightly, and is not far behind after some runs."""
        for number, entry in enumerate(list(self.entries), 1):
            self.tell(f"trying {entry.row.settings} ({number} of {len(self.entries)})")
            try:
                with (
                    self._sparing(),
                    stand.opened(entry.candidate, self.bars.samples, _WARM_S) as opened,
                ):
                    if not self._takes_part(entry, opened):
                        continue
                    turn = Turn(self._scenario, _FIRST_S, 3, 3.0, self.bars.seed)
                    entry.took([opened.turn(turn, self.bars.timeout_s)])
            except ProofFailed as error:
                entry.out("failed", str(error))
                continue
        alive = [entry for entry in self.entries if entry.row.state == "lost" and entry.turns]
        if not alive:
            raise self._nothing()
        best = min(map(_ms, alive))
        return [its for its in alive if its is self.default or _ms(its) <= _FAR * best]

    def _halve(self, stand: Stand, alive: list[Entry]) -> list[Entry]:
        seconds = 2 * _FIRST_S
        while len(alive) > _FINALISTS + 1 and self._left() > 0.5:
            self.tell(f"{len(alive)} candidates, {seconds:.2g} s each")
            for entry in self._rng.sample(alive, len(alive)):
                try:
                    with (
                        self._sparing(),
                        stand.opened(entry.candidate, self.bars.samples, _WARM_S) as opened,
                    ):
                        turns = [
                            Turn(self._scenario, seconds / 2, 5, 4.0, self.bars.seed + number)
                            for number in range(2)
                        ]
                        entry.took([opened.turn(turn, self.bars.timeout_s) for turn in turns])
                except ProofFailed as error:
                    entry.out("failed", str(error))
            alive = [entry for entry in alive if entry.row.state == "lost"]
            kept = max(_FINALISTS, -(-len(alive) // 2))
            others = sorted((its for its in alive if its is not self.default), key=_ms)
            alive = [*(its for its in alive if its is self.default), *others[:kept]]
            seconds *= 2
        return alive

    def _finals(self, alive: list[Entry]) -> list[Entry]:
        """The last ones side by side, each alone in a process, in turns."""
        ranked = sorted((its for its in alive if its is not self.default), key=_ms)
        room = max(int(free_memory() // _PROCESS_BYTES) - 1, 1)
        finalists = [
            *(its for its in alive if its is self.default), *ranked[: min(_FINALISTS, room)]
        ]  # fmt: skip
        seconds = min(
            _FINAL_S, max(self._left(), 0.1) * self.bars.seconds * 0.8
            / (_FINAL_TURNS * max(len(finalists), 1)),
        )  # fmt: skip
        with ExitStack() as stack:
            tried: dict[int, Opened] = {}
            told: dict[int, list[dict[str, Any]]] = {}
            for entry in finalists:
                with self._sparing(), _watched(entry):
                    probe = stack.enter_context(Probe(self.bars.timeout_s, self.stopped))
                    tried[id(entry)] = probe.open(entry.candidate, self.bars.samples, 2 * _WARM_S)
                    told[id(entry)] = []
            for number in range(_FINAL_TURNS):
                if number >= noise.LEAST_TURNS and self._left() <= 0:
                    break
                self.tell(f"{len(finalists)} candidates in turns ({number + 1} of {_FINAL_TURNS})")
                turn = Turn(self._scenario, seconds, 3, 4.0, self.bars.seed + number)
                running = [its for its in finalists if its.row.state == "lost"]
                with self._sparing():
                    for entry in self._rng.sample(running, len(running)):
                        with _watched(entry):
                            told[id(entry)].append(tried[id(entry)].turn(turn, self.bars.timeout_s))
            for entry in finalists:
                if entry.row.state == "lost":
                    with _watched(entry):
                        entry.row.pss_mb = round(tried[id(entry)].probe.pss_mb(), 1)
                        entry.took(told[id(entry)])
        left = [entry for entry in finalists if entry.row.state == "lost"]
        for entry in left:
            if entry is not self.default and self.default in left:
                entry.beside(self.default, self.bars.seed)
        return left

    # --- judgement -------------------------------------------------------------------------

    def _takes_part(self, entry: Entry, opened: Opened) -> bool:
        """Whether an opened candidate may go on; what it is stands in its row."""
        row, receipt = entry.row, opened.receipt
        row.file = Path(opened.told["file"]).name
        row.precision = opened.told["model"].rpartition("/")[2]
        if entry is not self.default and self._is_default(entry):
            self.entries.remove(entry)
            return False
        if entry is self.default:
            row.settings = f"defaults ({row.file})"
        if receipt.fallback:
            entry.out("failed", receipt.fallback)
            return False
        if entry.candidate.batch > 1 and opened.told["together"] == 1:
            entry.out("failed", "the model takes one sample at a time")
            return False
        if entry.answers not in self._judged:
            self._judged[entry.answers] = self._judgement(entry, opened)
        state, why, row.right, row.samples = self._judged[entry.answers]
        if state:
            entry.out(state, why)
        return not state

    def _is_default(self, entry: Entry) -> bool:
        """Whether it is the default one by another name."""
        its = entry.candidate.runtime
        plain = not (its.delegate or its.provider or its.options)
        same = entry.row.file == self.default.row.file and entry.candidate.batch == 1
        return plain and same and its.threads in (None, 1)

    def _judgement(self, entry: Entry, opened: Opened) -> tuple[str, str, int | None, int | None]:
        """State (empty = good), why, and how many of how many samples are right."""
        golden = opened.ask("golden")
        if golden["faults"]:
            return "wrong", f"golden samples: {golden['faults'][0]}", None, golden["samples"]
        if not self.bars.labelled:
            apart = "" if golden["samples"] else self._apart(opened)
            known = golden["samples"] or None
            return "wrong" if apart else "", apart, known, known
        files = {label: [str(file) for file in its] for label, its in self.bars.labelled.items()}
        told = opened.ask("labelled", 600.0, files=files)
        right, samples = told["right"], told["samples"]
        floor = self.bars.accuracy
        if floor is None and entry is not self.default and self.default.row.samples:
            floor = (self.default.row.right or 0) / self.default.row.samples - _SLACK
        if floor is not None and right / samples < floor:
            said = f"right on {right / samples:.1%} of the labelled samples, below {floor:.1%}"
            return "wrong", said, right, samples
        return "", "", right, samples

    def _apart(self, opened: Opened) -> str:
        """How its answers are others than those of the CPU's plain kernels; empty = they are the
        same. All that can be asked where nobody knows what is right."""
        parity = parity_of(opened, self.bars.samples, self.bars.timeout_s, self.stopped)
        return "" if parity is None or parity.holds else parity.sentence()

    def _keeping(self, finalists: list[Entry]) -> list[Entry]:
        """Those that keep the bars, the fastest first."""
        for entry in finalists:
            self._bar(entry, "p95_ms", self.bars.p95_ms, "one run in 20 takes", "ms")
            self._bar(entry, "pss_mb", self.bars.pss_mb, "its process needs", "MB")
        return sorted((its for its in finalists if its.row.state == "lost"), key=_ms)

    def _best(self, keeping: list[Entry]) -> Entry:
        """The fastest, or the defaults where nobody is surely faster."""
        best = keeping[0]
        thrifty = [
            its for its in keeping
            if _ms(its) <= _ALIKE * _ms(best) and its.cpu_s <= _THRIFTY * best.cpu_s
        ]  # fmt: skip
        best = min(thrifty, key=lambda its: its.cpu_s, default=best)
        if best is self.default or self.default not in keeping:
            return best
        surely = noise.compare(self.default.turns, best.turns, self.bars.seed)
        if surely.faster and surely.ratio < explain.WORTH:
            return best
        return best if self._thriftier(best) else self.default

    def _thriftier(self, entry: Entry) -> bool:
        """Whether it is as fast as the defaults for less."""
        return _ms(entry) <= _ms(self.default) and entry.cpu_s <= _THRIFTY * self.default.cpu_s

    def _bar(self, entry: Entry, name: str, bar: float | None, said: str, unit: str) -> None:
        value = getattr(entry.row, name)
        if bar is not None and value is not None and value > bar:
            entry.out("over", f"{said} {value:.3g} {unit}, the bar is {bar:g} {unit}")

    # --- else ------------------------------------------------------------------------------

    @contextmanager
    def _sparing(self) -> Iterator[None]:
        """Rest after what is done inside, so that it takes no more than its share of the time."""
        began = time.monotonic()
        try:
            yield
        finally:
            self.stopped.wait((time.monotonic() - began) * (1 / self.bars.share - 1))

    def _left(self) -> float:
        """Share of the time that is left."""
        return 1.0 - (time.monotonic() - self._began) / self.bars.seconds

    def _ranked(self) -> list[Entry]:
        order = ("chosen", "lost", "over", "wrong", "failed")
        return sorted(self.entries, key=lambda its: (order.index(its.row.state), _ms(its)))

    def _nothing(self) -> ProofFailed:
        said = "; ".join(
            f"{entry.row.settings}: {entry.row.why}" for entry in self.entries if entry.row.why
        )
        return ProofFailed(
            "budget", f"no configuration of {self.package.name}@{self.package.version} will do: "
            f"{said}", remedy="Lower the bars, or bring another variant.",
        )  # fmt: skip


@contextmanager
def _watched(entry: Entry) -> Iterator[None]:
    """What goes wrong inside with an entry puts it out."""
    try:
        yield
    except ProofFailed as error:
        entry.out("failed", str(error))


def _ms(entry: Entry) -> float:
    return entry.row.ms if entry.row.ms is not None else float("inf")
