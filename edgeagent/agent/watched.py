"""What a pipeline has found in its newest samples, for people who watch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgeagent import clock
from edgeagent.sync.live import Shown
from edgeagent.types import Anomaly

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from edgeagent.pipeline import Pipeline
    from edgeagent.types import Prediction


def told(pipeline: Pipeline, predictions: Iterable[Prediction]) -> list[dict[str, Any]]:
    """Those that are above the threshold, as they stand in records."""
    from edgeagent.decide.data import as_data

    stages = pipeline.stages
    least = stages.threshold if stages is not None else 0.0
    return [
        as_data(its) for its in predictions
        if isinstance(its, Anomaly) or getattr(its, "score", least) >= least
    ]  # fmt: skip


def since(pipeline: Pipeline, number: int) -> Sequence[Shown]:
    """Its results after the sample of that number, as far as they are remembered (`sync.live`)."""
    lately = list(pipeline.lately)
    known = [place for place, its in enumerate(lately) if its.number == number]
    fresh = lately[known[-1] + 1 :] if known else lately
    return [
        Shown(pipeline.name, pipeline.model, its.number, clock.rfc3339(its.at_ns),
              told(pipeline, its.predictions))
        for its in fresh
    ]  # fmt: skip
