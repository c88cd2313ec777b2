"""A whole search in a child process at the lowest priority: what `again` starts.

It judges in the child, too: the search's arithmetic and what it imports are no business of the
agent's process, whose lock on the interpreter a thread of low priority would hold while it waits.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any

from edgeagent.capture.child import tie
from edgeagent.prove.trial import KINDLY, confine

if TYPE_CHECKING:
    from edgeagent.manifest import Package
    from edgeagent.prove.bench.plan import Candidate
    from edgeagent.prove.tune.choice import Choice
    from edgeagent.prove.tune.search import Bars

_CALLS, _CALLS_S = 60, 3.0
"""Runs of what was found, before it is told."""


def main(channel: int) -> None:
    """Entry point: the first line of standard input is the request, and it stays open as long as
    the parent lives."""
    ask = json.loads(sys.stdin.buffer.readline())
    tie(0)
    # What the search starts in turn inherits all of this.
    if ask["last"]:
        os.environ[KINDLY] = "1"
    confine(ask["memory_bytes"], ask["cpu_s"], ask["file_bytes"])
    sys.path[:] = ask["path"]
    from edgeagent.errors import EdgeAgentError

    with os.fdopen(channel, "w", encoding="utf-8") as out:

        def tell(**message: Any) -> None:
            out.write(json.dumps(message) + "\n")
            out.flush()

        try:
            tell(passed=_found(ask, lambda doing: tell(doing=doing)))
        except EdgeAgentError as error:
            tell(failed=[error.code, str(error), error.remedy])


def _found(ask: dict[str, Any], tell: Callable[[str], None]) -> dict[str, Any]:
    """The choice, found and proven. Raises EdgeAgentError."""
    import msgspec

    from edgeagent.manifest import load_package
    from edgeagent.prove.tune.choice import Choice
    from edgeagent.prove.tune.search import tune

    package = load_package(Path(ask["folder"]))
    before = msgspec.convert(ask["before"], Choice)
    bars = _bars(package, before, ask["seconds"], ask["share"])
    choice = tune(package, _candidates(package, before, bars), bars, tell)
    tell("proved what it found")
    _prove(package, choice)
    told: dict[str, Any] = msgspec.to_builtins(choice)
    return told


def _bars(package: Package, before: Choice, seconds: float, share: float) -> Bars:
    """Those that were set when a person had it tuned."""
    from edgeagent.prove.bench.labelled import labelled_files
    from edgeagent.prove.tune.search import Bars, within_budget

    asked = before.asked
    folder = Path(asked.labelled) if asked.labelled else None
    return within_budget(
        Bars(
            goal="throughput" if before.goal == "throughput" else "latency",
            p95_ms=asked.p95_ms, pss_mb=asked.pss_mb,
            labelled=labelled_files(folder) if folder and folder.is_dir() else {},
            accuracy=asked.accuracy if folder and folder.is_dir() else None,
            seconds=seconds, share=share, asked=asked,
        ),
        package,
    )  # fmt: skip


def _candidates(package: Package, before: Choice, bars: Bars) -> list[Candidate]:
    """All that could be tried here, with what ran before; where samples with labels decided and
    are gone, only variants that they let pass."""
    from edgeagent.prove.bench.plan import Candidate
    from edgeagent.prove.tune.space import space_here

    ran = before.runtime
    there = any(ran.variant in ("", its.file, its.runtime) for its in package.manifest.variant)
    found = space_here(package, (), bars.goal == "throughput")
    if there and ran not in [its.runtime for its in found]:
        found.append(Candidate(package.folder, ran))
    if before.asked.labelled and not bars.labelled:
        passed = {row.file for row in before.rows if row.state in ("chosen", "lost")}
        found = [found[0], *(its for its in found[1:] if its.runtime.variant in passed)]
    return found


def _prove(package: Package, choice: Choice) -> None:
    """What is to run in the agent answers its golden samples, says the same of made-up ones as what
    would run without it, and neither leaks nor stalls. Raises ProofFailed."""
    from edgeagent.config.model import Runtime
    from edgeagent.errors import ProofFailed
    from edgeagent.prove.child import Limits, agreement_of, prove_in_child

    if choice.runtime == Runtime():
        return
    limits = Limits(calls=_CALLS, seconds=_CALLS_S)
    prove_in_child(package.folder, limits=limits, runtime=choice.runtime)
    agreement = agreement_of(package, choice.runtime, Runtime(), (), limits, Event())
    if agreement.busy and agreement.share < limits.agree:
        raise ProofFailed(
            "parity", f"of {agreement.samples} made-up samples it answers only "
            f"{agreement.agreed} as the defaults do",
        )  # fmt: skip
