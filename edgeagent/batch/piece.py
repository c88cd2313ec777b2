"""One input through the model: what a worker does again and again."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from edgeagent.batch.block import Block, make, refusal
from edgeagent.capture.pictures import SUFFIXES
from edgeagent.decide.data import as_data
from edgeagent.errors import InferenceError, InputError, NotFound, NotPermitted
from edgeagent.prove.samples import read_samples
from edgeagent.types import Frame

if TYPE_CHECKING:
    from edgeagent.batch.order import Job
    from edgeagent.prove.predict import Predictor
    from edgeagent.types import Sample

_ROWS, _SECONDS = 64, 1.0
"""A recording is told in blocks of so many samples, or of so long."""


class Piece:
    """A model that goes over one input after the other."""

    def __init__(self, predictor: Predictor) -> None:
        self._predictor = predictor
        manifest = predictor.package.manifest
        self._remembers = bool(manifest.state) or manifest.output.smooth > 1
        """What it says of a sample depends on those before."""

    def __call__(self, job: Job) -> Iterator[Block]:
        """The blocks of one input, the last one with ``end``. Raises ModelError other than
        InferenceError: the model itself can't be used."""
        self._predictor.reset()
        rows: list[bytes] = []
        first = number = job.start
        began = time.monotonic()
        try:
            for number, sample in self._samples(job):
                rows.append(self._row(job, number, sample))
                if len(rows) >= _ROWS or time.monotonic() - began >= _SECONDS:
                    yield make(job.index, first, rows, end=False)
                    first, rows, began = number + 1, [], time.monotonic()
        except (InputError, InferenceError, NotFound, NotPermitted) as problem:
            rows.append(refusal(job.name, problem))
            yield make(job.index, first, rows, end=True, skipped=True)
            return
        yield make(job.index, first, rows, end=True)

    def _samples(self, job: Job) -> Iterator[tuple[int, Sample]]:
        """Samples that are not told yet, with their numbers."""
        for number, sample in enumerate(read_samples(Path(job.path), self._predictor.package)):
            if number >= job.start:
                yield number, sample
            elif self._remembers:
                self._predictor(sample)

    def _row(self, job: Job, number: int, sample: Sample) -> bytes:
        answer = self._predictor(sample)
        row: dict[str, Any] = {
            "input": job.name, "sample": number, "model": self._predictor.model
        }  # fmt: skip
        if isinstance(sample, Frame):
            height, width = sample.pixels.shape[:2]
            row["size"] = [width, height]
        if sample.stream_ms is not None and Path(job.path).suffix.lower() not in SUFFIXES:
            row["at_s"] = round(sample.stream_ms / 1e3, 3)
        row["predictions"] = [as_data(prediction) for prediction in answer.predictions]
        return msgspec.json.encode(row)
