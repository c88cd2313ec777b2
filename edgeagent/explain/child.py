"""What runs in the child process of a question: one model, one sample, an answer or a map.

The child of a question is confined as that of a proof (`prove.trial`): a picture that breaks a
decoder, or a model that breaks its runtime, takes nothing else down. A sample never touches the
disk: it comes in anonymous memory.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeagent.prove.trial import Failed, once

if TYPE_CHECKING:
    from edgeagent.prove.predict import Predictor
    from edgeagent.types import Sample

LOW = 0.2
"""Part of the threshold from which on an answer still counts as a weaker one."""


def main(channel: int) -> None:
    """Entry point, see `prove.trial.once`."""
    once(channel, run)


def run(ask: dict[str, Any], tell: Any) -> dict[str, Any]:
    """The answer to one question of `aside`. Raises Failed."""
    from edgeagent.config.model import Runtime
    from edgeagent.errors import EdgeAgentError
    from edgeagent.manifest import load_package
    from edgeagent.prove.predict import Predictor

    tell(doing="opened the model")
    try:
        package = load_package(Path(ask["folder"]))
        threshold = ask["threshold"]
        if threshold is None:
            threshold = package.manifest.output.threshold
        lowest = threshold * LOW if ask["do"] == "explain" else threshold
        with Predictor(package, Runtime(**ask["runtime"]), lowest) as predictor:
            tell(doing="read the sample")
            sample = _sample(ask, predictor)
            tell(doing="was asked")
            if ask["do"] == "infer":
                return answered(predictor, sample)
            return _explained(predictor, sample, ask, tell)
    except EdgeAgentError as error:
        raise Failed(error.code, str(error), error.remedy) from error


def answered(predictor: Predictor, sample: Sample) -> dict[str, Any]:
    """What a model says about one sample. Raises InputError, InferenceError."""
    from edgeagent.decide.data import as_data

    answer = predictor(sample)
    return {
        "model": predictor.model,
        "predictions": [as_data(prediction) for prediction in answer.predictions],
        "ms": {
            "prepare": round(answer.prepare_ms, 3), "infer": round(answer.infer_ms, 3),
            "interpret": round(answer.interpret_ms, 3),
        },
    }  # fmt: skip


def _explained(
    predictor: Predictor, sample: Sample, ask: dict[str, Any], tell: Any
) -> dict[str, Any]:
    from edgeagent.explain.pictures import explain_picture
    from edgeagent.explain.windows import explain_window
    from edgeagent.types import Frame

    count: Callable[[str], None] = _Count(tell)
    if isinstance(sample, Frame):
        return explain_picture(
            predictor, sample, label=ask["label"], method=ask["method"], runs=ask["runs"],
            tell=count,
        ).told(predictor.model)  # fmt: skip
    return explain_window(predictor, sample, label=ask["label"], tell=count).told(predictor.model)


class _Count:
    """Tells the number of each run."""

    def __init__(self, tell: Any) -> None:
        self._tell = tell
        self._runs = 0

    def __call__(self, _what: str) -> None:
        self._runs += 1
        if self._runs % 10 == 1:
            self._tell(doing=f"was asked for the {self._runs}. time")


def _sample(ask: dict[str, Any], predictor: Predictor) -> Sample:
    """Raises InputError, NotFound."""
    if ask["live"]:
        from edgeagent.prove.live import read

        return next(sample for _, sample in read(ask["live"]))
    from edgeagent.prove.samples import first_sample

    return first_sample(Path(ask["file"]), predictor.package)
