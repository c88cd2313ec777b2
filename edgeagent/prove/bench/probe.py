"""The parent's end of a measurement: a child process with opened models that can be asked.

A delegate that crashes, hangs or fills the memory takes the child with it, and is told as
ProofFailed with `died`; nothing else is touched.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from threading import Event
from typing import Any

import msgspec

from edgeagent.infer import Receipt
from edgeagent.packaged import permit
from edgeagent.prove.bench.plan import Candidate, Turn
from edgeagent.prove.process import Child, memory_limit

_FILES = 512 << 20
"""What a child may write where it is timed operator by operator."""
_START_S = 60.0


class Probe:
    """A child process. Use it in a ``with``. All methods raise ProofFailed and Busy."""

    def __init__(self, timeout_s: float, stopped: Event | None = None) -> None:
        self._timeout_s = timeout_s
        self._stopped = stopped or Event()
        self._child = Child(
            {"memory_bytes": memory_limit(), "cpu_s": 1 << 20, "file_bytes": _FILES},
            module="edgeagent.prove.bench.worker",
        )
        try:
            self._child.outcome(_START_S, self._stopped)
        except BaseException:
            self._child.close()
            raise
        self._count = 0

    def open(
        self, candidate: Candidate, samples: Sequence[Path] = (), warm_s: float = 0.0
    ) -> Opened:
        """Open a model and run it for the first times."""
        self._count += 1
        opened = Opened(self, str(self._count), candidate)
        opened.told = opened.ask(
            "open", self._timeout_s + warm_s,
            what=str(candidate.what), runtime=msgspec.to_builtins(candidate.runtime),
            batch=candidate.batch, samples=[str(file) for file in samples], warm_s=warm_s,
            packaged=permit.told(Path(candidate.what)),
        )  # fmt: skip
        opened.receipt = msgspec.convert(opened.told["receipt"], Receipt)
        return opened

    def ask(self, do: str, timeout_s: float | None = None, **more: Any) -> dict[str, Any]:
        """One question, one answer."""
        return self._child.ask_again(
            {"do": do, **more}, timeout_s or self._timeout_s, self._stopped
        )

    def pss_mb(self) -> float:
        """Memory of the child, its part of what it shares."""
        return float(self.ask("memory")["pss_mb"])

    def __enter__(self) -> Probe:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the child."""
        self._child.close()


class Opened:
    """A model that is open in a probe."""

    told: dict[str, Any]
    """What was found out when it was opened."""
    receipt: Receipt

    def __init__(self, probe: Probe, id_: str, candidate: Candidate) -> None:
        self.probe = probe
        self.candidate = candidate
        self._id = id_

    def ask(self, do: str, timeout_s: float | None = None, **more: Any) -> dict[str, Any]:
        return self.probe.ask(do, timeout_s, id=self._id, **more)

    def turn(self, turn: Turn, timeout_s: float) -> dict[str, Any]:
        """See `load.run_turn`."""
        whole = max(turn.seconds, turn.most_s) + timeout_s
        return self.ask("turn", whole, turn=msgspec.to_builtins(turn))

    def close(self) -> None:
        self.ask("close")
