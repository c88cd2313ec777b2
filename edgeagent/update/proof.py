"""The proof of a version, as the engine of a deployment asks for it (`ports.Prover`)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from threading import Event

import msgspec

from edgeagent.config.model import Runtime
from edgeagent.errors import ProofFailed
from edgeagent.manifest import load_package
from edgeagent.types import Sample
from edgeagent.update.ports import Budget, Passed, Refused
from edgeagent.update.proven import Proven, mark_of


class ChildProver:
    """Proves in a child process.

    Args:
        runtime_of: how the pipelines of this device run the model of a package folder.
        proven: where it is remembered what proved itself.
        live: samples that the pipelines of a model are given now; takes a few seconds.
    """

    def __init__(
        self,
        runtime_of: Callable[[Path], Runtime] = lambda _folder: Runtime(),
        proven: Proven | None = None,
        live: Callable[[str, Event], Sequence[Sample]] = lambda _model, _stopped: (),
    ) -> None:
        self._runtime_of = runtime_of
        self._live = live
        self._proven = proven

    def prove(
        self,
        folder: Path,
        *,
        against: Path | None,
        samples: Path | None,
        budget: Budget,
        require: Sequence[str],
        stopped: Event,
    ) -> Passed:
        """See `ports.Prover`. Raises Refused, Busy."""
        from edgeagent.prove.child import Limits, prove_in_child

        runtime = self._runtime_of(folder)
        live = self._live(load_package(folder).name, stopped) if against else ()
        try:
            proof = prove_in_child(
                folder,
                against=against,
                samples=[samples] if samples else (),
                live=live,
                limits=Limits(budget.p95_ms, budget.pss_mb, budget.timeout_s),
                require=require,
                runtime=runtime,
                stopped=stopped,
            )
        except ProofFailed as error:
            raise Refused(f"prove: {error.reason}", str(error), remedy=error.remedy) from error
        if self._proven is not None:
            self._proven.add(mark_of(load_package(folder), runtime))
        return Passed(proof.sentence(), msgspec.to_builtins(proof))
