"""Putting right what `doctor` has found, where that can do no harm.

Only programs of findings that this very process has made are run: a report that came from elsewhere
says what is wrong, never what to run.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterable, Iterator, Sequence

from msgspec import Struct

from edgeagent.diagnose.finding import Finding

_PATIENCE_S = 30.0


class Repair(Struct, frozen=True):
    """What came of one program."""

    finding: Finding
    program: tuple[str, ...]
    done: bool
    said: str = ""
    """Why it was not done."""


def repair(findings: Iterable[Finding]) -> Iterator[Repair]:
    """Run what puts the findings right, one after the other; a failure ends its finding's."""
    for finding in findings:
        for program in finding.fix:
            its = _run(finding, program)
            yield its
            if not its.done:
                break


def _run(finding: Finding, program: Sequence[str]) -> Repair:
    words = tuple(program)
    try:
        done = subprocess.run(
            words, capture_output=True, text=True, timeout=_PATIENCE_S, check=False,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        return Repair(finding, words, False, str(error))
    said = (done.stderr or done.stdout).strip().splitlines()
    failed = done.returncode != 0
    return Repair(finding, words, not failed, said[-1] if failed and said else "")
