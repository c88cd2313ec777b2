"""Where candidates are opened one after the other to be tried.

Those on the runtimes' own kernels share one child process, which saves a start each; one with a
vendor's library or provider gets a process of its own. Whoever takes a process down is told so,
and the next one finds a new process.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from threading import Event

from edgeagent.errors import ProofFailed
from edgeagent.infer import delegates
from edgeagent.prove.bench.plan import Candidate
from edgeagent.prove.bench.probe import Opened, Probe


def foreign(candidate: Candidate) -> bool:
    """Whether code runs that is neither ours nor the runtimes'."""
    runtime = candidate.runtime
    return bool(runtime.provider) or runtime.delegate not in delegates.BUILT_IN


class Stand:
    """Use it in a ``with``."""

    def __init__(self, timeout_s: float, stopped: Event | None) -> None:
        self._timeout_s = timeout_s
        self._stopped = stopped
        self._shared: Probe | None = None

    @contextlib.contextmanager
    def opened(
        self, candidate: Candidate, samples: Sequence[Path], warm_s: float
    ) -> Iterator[Opened]:
        """A candidate, opened and warm. Raises ProofFailed, Busy; the block may raise them too."""
        if foreign(candidate):
            with Probe(self._timeout_s, self._stopped) as probe:
                yield probe.open(candidate, samples, warm_s)
            return
        if self._shared is None:
            self._shared = Probe(self._timeout_s, self._stopped)
        try:
            opened = self._shared.open(candidate, samples, warm_s)
            yield opened
            opened.close()
        except ProofFailed as error:
            if error.died:
                self._leave()
            raise

    def __enter__(self) -> Stand:
        return self

    def __exit__(self, *_: object) -> None:
        self._leave()

    def _leave(self) -> None:
        if self._shared is not None:
            self._shared.close()
            self._shared = None
