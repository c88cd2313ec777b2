"""What runs in the child process of a proof: one version, opened, asked and measured.

Started by `child`, which has the deadline and judges between versions; this end looks at one
version alone. It tells what it is about to do before it does it, so that a crash has a place:
each message is a line of JSON, ``{"doing": …}``, then ``{"passed": {…}}`` or ``{"failed": […]}``.

Only the path that a pipeline runs is imported: what a proof takes above a bare script is paid on
every device.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import sys
import time
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeagent.capture.child import tie

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from edgeagent.prove.predict import Predictor
    from edgeagent.types import Joint, Sample

_RESERVED = 2 << 30
"""Runtimes ask for that much without ever touching it."""
_HANDED = 64 << 20
_WARM = 5
"""Runs before anything is timed: the first ones plan memory and repack weights."""
_ROUND = 40
"""Runs of which a 95th percentile is taken; the median over rounds forgets a busy moment."""
_KEPT = 4
"""Samples that are held for timing …"""
_KEPT_BYTES = 8 << 20
"""… and how large they may be together."""
_COMPARED = 48
"""Samples at most that are compared with the running version."""
_STALL_S = 0.5
_STALL = 20.0
"""A run is a stall that takes so long and so many times the usual."""
KINDLY = "EDGEAGENT_KINDLY"
"""In the environment of children for whose answers nobody waits: they get what is left of the
processor. Of others a pipeline waits for the answer, and they must come to it under load too."""
_KINDEST = 19
_GROWTH_MB = 4.0
_STEP_MB = 0.5
"""Memory leaks where it grows by so much in all, and by so much in each third of the runs."""


class Failed(Exception):
    """The version fails its proof: reason, sentence, remedy."""

    def __init__(self, reason: str, sentence: str, remedy: str = "") -> None:
        super().__init__(sentence)
        self.told = [reason, sentence, remedy]


def main(channel: int) -> None:
    """Entry point of a proof."""
    once(channel, run)


def once(channel: int, work: Callable[[dict[str, Any], Any], dict[str, Any]]) -> None:
    """Answer one request and end: it is the first line of standard input, which is also the
    lifeline. ``work`` takes it, and what tells of what is being done; it raises `Failed`."""
    ask = json.loads(sys.stdin.buffer.readline())
    tie(0)
    # What packaged code is handed lies in memory that counts as a file.
    confine(ask["memory_bytes"], ask["cpu_s"], _HANDED if ask.get("packaged") else 0)
    sys.path[:] = ask["path"]
    with os.fdopen(channel, "w", encoding="utf-8") as out:

        def tell(**message: Any) -> None:
            out.write(json.dumps(message) + "\n")
            out.flush()

        try:
            tell(passed=work(ask, tell))
        except Failed as error:
            tell(failed=error.told)


def confine(memory_bytes: int, cpu_s: int, file_bytes: int = 0, nice: int = 5) -> None:
    """Nothing that a model does in this process can hurt the rest of the device."""
    # numpy's algebra asks for memory for every core that there is, and none of it is used here.
    os.environ.update(OPENBLAS_NUM_THREADS="1", OMP_NUM_THREADS="1")
    limits = {
        # What runs away is stopped here; who fills more than it may, by the parent.
        resource.RLIMIT_DATA: max(_RESERVED, 2 * memory_bytes),
        resource.RLIMIT_CPU: cpu_s,
        resource.RLIMIT_FSIZE: file_bytes,
        resource.RLIMIT_CORE: 0,
    }
    for which, most in limits.items():
        _, hard = resource.getrlimit(which)
        most = most if hard == resource.RLIM_INFINITY else min(most, hard)
        # One more to the hard limit: at the soft one the signal says which limit it was.
        above = most + 1 if which == resource.RLIMIT_CPU and most != hard else most
        resource.setrlimit(which, (most, above))
    kindly = KINDLY in os.environ
    os.nice(_KINDEST if kindly else nice)
    if kindly:
        # Where the kernel groups by session, it is the group that competes with the agent.
        with contextlib.suppress(OSError):
            Path("/proc/self/autogroup").write_text(str(_KINDEST), encoding="ascii")
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")


def run(ask: dict[str, Any], tell: Any) -> dict[str, Any]:
    """The whole proof of one version; its figures. Raises Failed."""
    from edgeagent.config.model import Runtime
    from edgeagent.device.memory import give_back
    from edgeagent.errors import EdgeAgentError
    from edgeagent.infer import open_package
    from edgeagent.manifest import load_package
    from edgeagent.packaged import permit
    from edgeagent.prove.live import read
    from edgeagent.prove.predict import Predictor
    from edgeagent.prove.samples import made_up

    tell(doing="was being opened")
    permit.use_told(ask.get("packaged", {}))
    try:
        package = load_package(Path(ask["folder"]))
        aside = dict.fromkeys(ask.get("aside", ()), "it is put aside")
        predictor = Predictor(
            package,
            Runtime(**ask["runtime"]),
            ask.get("threshold"),
            partial(open_package, aside=aside),
        )
    except EdgeAgentError as error:
        asked = ask["require"] or ask["runtime"].get("require")
        reason = "delegate" if asked and "takes none" in str(error) else "crash"
        raise Failed(reason, f"it can't be opened: {error}", error.remedy) from error
    _receipt(predictor, ask["require"])
    figures: dict[str, Any] = {"model": predictor.model, "receipt": predictor.receipt.sentence()}
    figures["threshold"] = predictor.threshold
    tell(doing="answered its golden samples")
    figures["golden"] = _golden(predictor) if ask["golden"] else 0
    tell(doing="answered stored samples")
    figures["answers"], held = _answers(predictor, ask["compare"])
    for name, sample in read(ask["live"]):
        # Not held for timing: each may be large.
        figures["answers"] |= _answer(predictor, name, sample)
    give_back()
    tell(doing="was run again and again")
    figures.update(_measure(predictor, held or [made_up(package)], ask))
    return figures


def _receipt(predictor: Predictor, require: Iterable[str]) -> None:
    """What must take part does."""
    from edgeagent.infer.delegates import title_of

    receipt = predictor.receipt
    for name in require:
        places = {place.lower() for place in receipt.placement}
        if receipt.fallback or not places & {name.lower(), title_of(name).lower()}:
            why = receipt.fallback or f"it runs on {', '.join(receipt.placement) or '?'}"
            raise Failed(
                "delegate", f"{name} must run it and does not: {why}",
                "Publish a variant that was made for it, or take the requirement out.",
            )  # fmt: skip


def _golden(predictor: Predictor) -> int:
    """Ask the package's golden samples; how many there are."""
    from edgeagent.errors import EdgeAgentError, NotFound
    from edgeagent.prove.golden import check

    try:
        report = check(predictor)
    except NotFound:
        return 0
    except EdgeAgentError as error:
        raise Failed("golden", str(error), error.remedy) from error
    if not report.passed:
        more = len(report.faults) - 1
        raise Failed(
            "golden",
            f"it does not answer its own golden samples here as it was published to "
            f"({report.reference} there, {report.receipt.runtime} here): {report.faults[0]}"
            + (f", and {more} more" if more else ""),
        )
    return report.samples


def _answers(predictor: Predictor, places: Iterable[str]) -> tuple[dict[str, Any], list[Sample]]:
    """What it says about each sample, by file; and a few samples to be timed on."""
    from edgeagent.errors import EdgeAgentError
    from edgeagent.prove.samples import first_sample

    told: dict[str, Any] = {}
    held: list[Sample] = []
    room = _KEPT_BYTES
    for file in _files(predictor, places):
        try:
            sample = first_sample(file, predictor.package)
        except EdgeAgentError:
            continue  # a sample that only the other version can use proves nothing of this one
        answer = _answer(predictor, str(file), sample)
        told |= answer
        size = _bytes(sample)
        if answer and len(held) < _KEPT and (size <= room or not held):
            held.append(sample)
            room -= size
    return told, held


def _answer(predictor: Predictor, name: str, sample: Sample) -> dict[str, Any]:
    """What it says, by the sample's name; nothing where it can't use the sample."""
    from edgeagent.errors import EdgeAgentError, InferenceError
    from edgeagent.prove.compare import tell

    predictor.reset()
    try:
        return {name: [tell(one) for one in predictor(sample).predictions]}
    except InferenceError as error:
        where = name.rpartition("/")[2]
        raise Failed("crash", f"it fails on {where}: {error}", error.remedy) from error
    except EdgeAgentError:
        return {}


def _files(predictor: Predictor, places: Iterable[str]) -> list[Path]:
    from edgeagent.prove.samples import readable

    found: list[Path] = []
    for place in (*places, str(predictor.package.folder / "golden")):
        folder = Path(place)
        if folder.is_dir():
            files = sorted(its for its in folder.iterdir() if its.is_file() and readable(its))
            found += files[: _COMPARED - len(found)]
    return found


def _bytes(sample: Sample) -> int:
    from edgeagent.types import Frame

    return int((sample.pixels if isinstance(sample, Frame) else sample.values).nbytes)


def _measure(
    predictor: Predictor, samples: Sequence[Sample | Joint], ask: dict[str, Any]
) -> dict[str, Any]:
    """Time and memory of many runs in a row, as in a pipeline."""
    predictor.reset()
    _once(predictor, samples, _WARM)
    took, memory = _once(predictor, samples, ask["calls"], ask["seconds"])
    where, slowest = max(enumerate(took, 1), key=lambda item: item[1])
    usual = _median(took)
    if slowest > max(_STALL_S, _STALL * usual):
        _confirm_stall(predictor, samples, where, usual)
    rounds = [took[at : at + _ROUND] for at in range(0, len(took), _ROUND)]
    whole = [one for one in rounds if len(one) == _ROUND] or rounds
    p95 = _median([sorted(one)[int(0.95 * (len(one) - 1))] for one in whole])
    _leaks(memory, len(took))
    return {
        "runs": len(took),
        "p50_ms": round(usual * 1e3, 3),
        "p95_ms": round(p95 * 1e3, 3),
        "worst_ms": round(slowest * 1e3, 3),
        "pss_mb": round(memory[-1], 1),
    }


def _once(
    predictor: Predictor, samples: Sequence[Sample | Joint], runs: int, seconds: float = 60.0
) -> tuple[list[float], list[float]]:
    """Durations of runs, and the memory after each third of them (and before), MB."""
    from edgeagent.errors import EdgeAgentError

    took: list[float] = []
    memory = [pss_mb()]
    end = time.perf_counter() + seconds
    thirds = [runs // 3, 2 * runs // 3]
    for number in range(runs):
        started = time.perf_counter()
        try:
            predictor(samples[number % len(samples)])
        except EdgeAgentError as error:
            said = f"it fails in run {number + 1}: {error}"
            raise Failed("crash", said, error.remedy) from error
        ended = time.perf_counter()
        took.append(ended - started)
        if number + 1 in thirds:
            memory.append(pss_mb())
        if ended > end:
            break
    memory.append(pss_mb())
    return took, memory


def _confirm_stall(
    predictor: Predictor, samples: Sequence[Sample | Joint], where: int, usual: float
) -> None:
    """Whether it stalls at the same run again: then it is the model, not a busy device."""
    predictor.reset()
    _once(predictor, samples, _WARM)
    again, _ = _once(predictor, samples, where)
    if len(again) == where and again[-1] > max(_STALL_S, _STALL * usual):
        raise Failed(
            "budget",
            f"run {where + _WARM} takes {again[-1]:.1f} s, twice in a row, where it usually takes "
            f"{usual * 1e3:.1f} ms",
        )


def _leaks(memory: list[float], runs: int) -> None:
    steps = [after - before for before, after in pairwise(memory)]
    if len(steps) >= 3 and min(steps) > _STEP_MB and sum(steps) > _GROWTH_MB:
        raise Failed(
            "budget",
            f"its memory grows with every run: {memory[0]:.0f} MB at first, "
            f"{memory[-1]:.0f} MB after {runs} runs",
        )


def pss_mb() -> float:
    """Memory of this process, its part of what it shares; 0 where the kernel does not tell."""
    try:
        with Path("/proc/self/smaps_rollup").open(encoding="ascii") as file:
            for line in file:
                if line.startswith("Pss:"):
                    return int(line.split()[1]) / 1024
    except OSError:
        return 0.0
    return 0.0


def _median(values: list[float]) -> float:
    return sorted(values)[len(values) // 2]
