"""Proof of a version before it is let near the pipelines: run in a child process, and judged.

A corrupt file or a delegate can take its process down or eat its memory; a child can only lose
itself, and all of its memory goes back when it ends. It is started fresh (nothing of the daemon
is copied), limited by the kernel, and ends with the daemon, whatever it is doing.

The running version is asked in a child of its own first, under the same load of the device: what
it says, how long it takes and what memory it needs is what the new one is measured by.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Struct, field

from edgeagent.config.model import Runtime
from edgeagent.errors import ProofFailed
from edgeagent.prove.agreement import ARROW, NOTHING, Agreement
from edgeagent.prove.live import Handles
from edgeagent.prove.process import Child, memory_limit

if TYPE_CHECKING:
    from edgeagent.manifest import Package
    from edgeagent.types import Sample

TIMES = 1.5
"""What the running version takes, so many times, is what a new one without a budget may take."""
_MEASURED_AT_MOST = 4
_SLACK_MS, _SLACK_MB = 1.0, 8.0
"""Below this nobody notices, and a kernel's page cache decides."""
LEAST_SHARE = 0.5
"""Of stored samples on which a new version must agree with the running one."""
_LEAST_SAMPLES = 3
_MADE_UP = 6


class Limits(Struct, frozen=True):
    """What a version may take on this board; None = `TIMES` what the running one takes, or
    anything where there is none."""

    p95_ms: float | None = None
    pss_mb: float | None = None
    timeout_s: float = 120.0
    agree: float = LEAST_SHARE
    """Share of stored samples on which it must agree with the running version."""
    calls: int = 600
    seconds: float = 10.0
    """It is run so many times in a row, or for so long."""


class Proof(Struct, frozen=True):
    """What a version showed."""

    model: str
    receipt: str
    golden: int
    """Golden samples that it answered as expected."""
    compared: int
    """Stored samples on which it was compared with the running version."""
    agreed: int
    runs: int
    p50_ms: float
    p95_ms: float
    pss_mb: float
    """Of the child process, in which nothing but this model runs."""
    before: dict[str, float] = field(default_factory=dict)
    """``p95_ms`` and ``pss_mb`` of the running version."""

    def sentence(self) -> str:
        """For people."""
        said = [f"p95 {self.p95_ms:.3g} ms", f"{self.pss_mb:.0f} MB"]
        if self.golden:
            said.insert(0, f"{self.golden} golden samples right")
        if self.compared:
            said.append(f"agrees on {self.agreed} of {self.compared} stored samples")
        return f"{', '.join(said)} ({self.receipt})"


def prove_in_child(
    folder: Path,
    *,
    against: Path | None = None,
    samples: Sequence[Path] = (),
    live: Sequence[Sample] = (),
    limits: Limits = Limits(),  # noqa: B008
    require: Sequence[str] = (),
    runtime: Runtime | None = None,
    aside: Sequence[str] = (),
    stopped: Event | None = None,
) -> Proof:
    """Load, warm up, golden samples, agreement with the running version, time and memory.

    Args:
        folder: package of the new version.
        against: package of the version that runs now.
        samples: folders with samples to compare both on, besides the golden ones of ``against``.
        live: samples of this device, to compare both on as well; they stay in memory.
        limits: what it may take.
        require: delegates or providers that must take part.
        runtime: how the pipelines run it.
        aside: delegates and providers that are not to be loaded.
        stopped: ends the proof (and its children) when set.

    Raises:
        ProofFailed: with the reason and one sentence.
        Busy: it was stopped, or no process can be started now.
    """
    stopped = stopped or Event()
    places = [str(place) for place in samples]
    if against is not None:
        places.append(str(against / "golden"))
    ask = _request(runtime or Runtime(), limits) | {
        "require": list(require), "compare": places, "aside": list(aside),
    }  # fmt: skip
    with Handles(live) as handles:
        ask["live"] = handles.described
        asked = _Asked(ask, limits.timeout_s, stopped, handles.fds)
        return _judged(asked, folder, against, limits)


def agreement_of(
    package: Package,
    one: Runtime,
    other: Runtime,
    aside: Sequence[str],
    limits: Limits,
    stopped: Event,
) -> Agreement:
    """Whether a package says the same of made-up samples when it is run in two ways, each in a
    child; the second one without the delegates that are ``aside``. Raises ProofFailed, Busy."""
    from edgeagent.prove.samples import made_up
    from edgeagent.types import Joint

    samples = [made_up(package, seed) for seed in range(_MADE_UP)]
    agreement = Agreement()
    if any(isinstance(sample, Joint) for sample in samples):
        return agreement
    with Handles([its for its in samples if not isinstance(its, Joint)]) as handles:
        told = []
        for runtime, without in ((one, ()), (other, aside)):
            ask = _request(runtime, limits) | {"live": handles.described, "aside": list(without)}
            asked = _Asked(ask, limits.timeout_s, stopped, handles.fds)
            told.append(asked.of(package.folder))
    for name, answer in told[0]["answers"].items():
        if name in told[1]["answers"]:
            agreement.add(told[1]["answers"][name], answer, told[0]["threshold"])
    return agreement


def _request(runtime: Runtime, limits: Limits) -> dict[str, Any]:
    """What every child is asked for."""
    return {
        "runtime": msgspec.to_builtins(runtime),
        "require": [],
        "compare": [],
        "aside": [],
        "golden": True,
        "calls": limits.calls,
        "seconds": limits.seconds,
        "memory_bytes": memory_limit(limits.pss_mb),
        "cpu_s": max(1, round(limits.timeout_s)),
    }


def _judged(asked: _Asked, folder: Path, against: Path | None, limits: Limits) -> Proof:
    before = _reference(asked, against)
    shown = asked.of(folder)
    compared = _agreement(before, shown, against, folder, limits)
    for attempt in range(1, _MEASURED_AT_MOST + 1):
        told = _over_budget(before, shown, limits, against)
        if not told:
            break
        if attempt == _MEASURED_AT_MOST:
            raise ProofFailed("budget", told)
        # A busy moment of the device is no fault of a model: both once more. What is really slower
        # is so each time.
        before, shown = _reference(asked, against), asked.of(folder)
    return Proof(
        model=shown["model"],
        receipt=shown["receipt"],
        golden=shown["golden"],
        compared=compared.samples,
        agreed=compared.agreed,
        runs=shown["runs"],
        p50_ms=shown["p50_ms"],
        p95_ms=shown["p95_ms"],
        pss_mb=shown["pss_mb"],
        before={key: before[key] for key in ("p95_ms", "pss_mb") if key in before},
    )


class _Asked:
    """Children with one request, one after the other, within one deadline."""

    def __init__(
        self, ask: dict[str, Any], timeout_s: float, stopped: Event, handles: Sequence[int]
    ) -> None:
        self._ask = ask
        self._handles = handles
        self._timeout_s = timeout_s
        self._stopped = stopped

    def of(self, folder: Path, **other: Any) -> dict[str, Any]:
        """What a version shows. Raises ProofFailed, Busy."""
        with Child({**self._ask, **other, "folder": str(folder)}, self._handles) as child:
            return child.outcome(self._timeout_s, self._stopped)


def _reference(asked: _Asked, against: Path | None) -> dict[str, Any]:
    """What the running version shows; empty where there is none, or where it does not prove
    itself: then the new one can only be better."""
    if against is None:
        return {}
    try:
        return asked.of(against, golden=False, require=[])
    except ProofFailed:
        return {}


def _agreement(
    before: dict[str, Any],
    shown: dict[str, Any],
    against: Path | None,
    folder: Path,
    limits: Limits,
) -> Agreement:
    """How both answer the samples that both could read. Raises ProofFailed."""
    agreement = Agreement()
    threshold = shown["threshold"]
    # Its own golden samples were answered already, and chosen by who trained it.
    own = str(folder / "golden") + os.sep
    for file, old in before.get("answers", {}).items():
        new = shown["answers"].get(file)
        if new is not None and not file.startswith(own):
            agreement.add(old, new, max(threshold, before["threshold"]))
    enough = agreement.samples >= _LEAST_SAMPLES
    if against is not None and enough and agreement.share < limits.agree:
        raise ProofFailed("parity", _disagreement(agreement, against.name, limits.agree))
    return agreement


def _disagreement(agreement: Agreement, running: str, least: float) -> str:
    needed = -(-agreement.samples * least // 1)
    said = (
        f"on {agreement.samples} stored samples it agrees with {running}, which runs here, in "
        f"{agreement.agreed} (at least {needed:.0f} expected)"
    )
    change, count = agreement.foremost()
    if not change:
        return said
    was, _, now = change.partition(ARROW)
    times = "once" if count == 1 else f"{count} times"
    if now == NOTHING:
        return f"{said}: it misses {was} {times}"
    if was == NOTHING:
        return f"{said}: it sees {now} {times} where {running} sees nothing"
    return f"{said}: what {running} calls {was} it calls {now} {times}"


def _over_budget(
    before: dict[str, Any], shown: dict[str, Any], limits: Limits, against: Path | None
) -> str:
    """What is too slow or too large; empty = nothing."""
    running = against.name if against else ""
    for key, unit, limit, slack, said in (
        ("p95_ms", "ms", limits.p95_ms, _SLACK_MS, "one run in 20 takes longer than"),
        ("pss_mb", "MB", limits.pss_mb, _SLACK_MB, "its process needs"),
    ):
        value, its = shown[key], before.get(key)
        if limit is not None and value > limit:
            return f"{said} {value:.3g} {unit}; its budget here is {limit:g} {unit}"
        if limit is None and its is not None and value > max(its * TIMES, its + slack):
            return (
                f"{said} {value:.3g} {unit}; of {running}, which runs here, it is {its:.3g} {unit} "
                f"(at most {TIMES:g} times as much is allowed)"
            )
    return ""
