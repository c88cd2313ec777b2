"""What runs in the child process of a measurement: models opened, and asked as `probe` wants it.

Each line of the channel is a request ``{"do": …}``; the answer is ``{"passed": {…}}`` or
``{"failed": [reason, sentence, remedy]}``. What is about to be done is told before, so that a
crash has a place.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeagent.capture.child import tie
from edgeagent.prove.trial import confine, pss_mb

if TYPE_CHECKING:
    from edgeagent.prove.bench.subject import Subject

_COMPARED = 8
_COMPARED_BYTES = 4 << 20
"""Samples, and bytes of outputs, that are told for a comparison."""
_DIGITS = 7
"""Of a time in seconds: a tenth of a microsecond."""


def main(channel: int) -> None:
    """Entry point: the first line of standard input is the request to begin, and it stays open
    as long as the parent lives."""
    ask = json.loads(sys.stdin.buffer.readline())
    tie(0)
    # A measurement runs as the agent would: at its usual priority.
    confine(ask["memory_bytes"], ask["cpu_s"], ask["file_bytes"], nice=0)
    sys.path[:] = ask["path"]
    with (
        os.fdopen(os.dup(channel), "r", encoding="utf-8") as requests,
        os.fdopen(channel, "w", encoding="utf-8") as out,
    ):

        def tell(**message: Any) -> None:
            out.write(json.dumps(message) + "\n")
            out.flush()

        serve = _Worker(tell)
        tell(passed={})
        for line in requests:
            serve(json.loads(line))


class _Worker:
    def __init__(self, tell: Callable[..., None]) -> None:
        self._tell = tell
        self._open: dict[str, Subject] = {}
        self._do: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
            "open": self._opened, "close": self._closed, "turn": self._turn,
            "golden": self._golden, "answers": self._answers, "labelled": self._labelled,
            "told": self._told,
            "operators": self._operators, "memory": lambda _ask: {"pss_mb": round(pss_mb(), 2)},
            "providers": self._providers,
        }  # fmt: skip

    def __call__(self, ask: dict[str, Any]) -> None:
        from edgeagent.errors import EdgeAgentError

        try:
            answer = self._do[ask["do"]](ask)
        except EdgeAgentError as error:
            self._tell(failed=[error.code, str(error), error.remedy])
        else:
            self._tell(passed=answer)

    def _opened(self, ask: dict[str, Any]) -> dict[str, Any]:
        """Open and warm up."""
        import msgspec

        from edgeagent.config.model import Runtime
        from edgeagent.packaged import permit
        from edgeagent.prove.bench.load import warm_up
        from edgeagent.prove.bench.subject import open_subject

        self._tell(doing="was being opened")
        before, began = pss_mb(), time.perf_counter()
        runtime = msgspec.convert(ask["runtime"], Runtime)
        samples = [Path(file) for file in ask.get("samples", ())]
        permit.use_told(ask.get("packaged", {}))
        subject = open_subject(Path(ask["what"]), runtime, samples, ask.get("batch", 1))
        opened = time.perf_counter() - began
        self._open[ask["id"]] = subject
        self._tell(doing="was run for the first time")
        first = warm_up(subject, ask.get("warm_s", 0.0))
        return {
            "model": subject.name,
            "file": str(subject.file),
            "receipt": msgspec.to_builtins(subject.receipt),
            "samples": subject.samples,
            "made_up": subject.made_up,
            "together": subject.together,
            "opened_ms": round(opened * 1e3, 3),
            "first_ms": round(first * 1e3, 3),
            "own_mb": round(pss_mb() - before, 2),
        }

    def _closed(self, ask: dict[str, Any]) -> dict[str, Any]:
        subject = self._open.pop(ask["id"], None)
        if subject is not None:
            subject.close()
        return {}

    def _turn(self, ask: dict[str, Any]) -> dict[str, Any]:
        import msgspec

        from edgeagent.prove.bench.load import run_turn
        from edgeagent.prove.bench.plan import Turn

        self._tell(doing="was run again and again")
        taken = run_turn(self._open[ask["id"]], msgspec.convert(ask["turn"], Turn))
        told: dict[str, Any] = msgspec.to_builtins(taken)
        for name in ("latencies", "prepare", "infer", "interpret"):
            told[name] = [round(value, _DIGITS) for value in told[name]]
        return told

    def _golden(self, ask: dict[str, Any]) -> dict[str, Any]:
        """Golden samples; none where the package has no answers to them."""
        from edgeagent.errors import NotFound
        from edgeagent.prove.golden import check

        self._tell(doing="answered its golden samples")
        predictor = self._open[ask["id"]].predictor
        if predictor is None:
            return {"samples": 0, "faults": []}
        with contextlib.suppress(NotFound):
            report = check(predictor)
            return {"samples": report.samples, "faults": report.faults}
        return {"samples": 0, "faults": []}

    def _answers(self, ask: dict[str, Any]) -> dict[str, Any]:
        """Real values of the outputs to the first samples."""
        from edgeagent.prove.bench.parity import packed

        self._tell(doing="answered samples")
        subject = self._open[ask["id"]]
        told: list[list[dict[str, Any]]] = []
        room = _COMPARED_BYTES
        for number in range(min(subject.samples, _COMPARED)):
            outputs = subject.outputs(number)
            room -= sum(4 * output.size for output in outputs)
            if told and room < 0:
                break
            told.append(
                [packed(*its) for its in zip(outputs, subject.session.outputs, strict=True)]
            )
        return {"answers": told}

    def _labelled(self, ask: dict[str, Any]) -> dict[str, Any]:
        from edgeagent.prove.bench.labelled import count_right

        self._tell(doing="answered labelled samples")
        predictor = self._open[ask["id"]].predictor
        if predictor is None:
            return {"samples": 0, "right": 0}
        files = {label: [Path(file) for file in its] for label, its in ask["files"].items()}
        return count_right(predictor, files)

    def _providers(self, _ask: dict[str, Any]) -> dict[str, Any]:
        from edgeagent.infer.onnx import providers

        return {"providers": providers()}

    def _told(self, ask: dict[str, Any]) -> dict[str, Any]:
        """Predictions for the first sample of each file; None where it can't be used."""
        from edgeagent.errors import InputError
        from edgeagent.prove.compare import tell
        from edgeagent.prove.samples import first_sample

        self._tell(doing="answered samples")
        predictor = self._open[ask["id"]].predictor
        assert predictor is not None  # only packages are asked
        told: list[list[dict[str, Any]] | None] = []
        for file in ask["files"]:
            predictor.reset()
            try:
                answer = predictor(first_sample(Path(file), predictor.package))
            except InputError:
                told.append(None)
            else:
                told.append([tell(one) for one in answer.predictions])
        return {"told": told}

    def _operators(self, ask: dict[str, Any]) -> dict[str, Any]:
        import msgspec

        from edgeagent.config.model import Runtime
        from edgeagent.prove.bench.operators import time_operators

        self._tell(doing="was timed operator by operator")
        runtime = msgspec.convert(ask["runtime"], Runtime)
        told = time_operators(
            self._open[ask["id"]], runtime, Path(ask["scratch"]), ask["seconds"], self._tell
        )
        return {"operators": msgspec.to_builtins(told)}
