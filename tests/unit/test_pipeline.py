"""How a pipeline ends: what it tells its stages of the stream's end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from edgeagent.errors import SourceEnded
from edgeagent.pipeline import Pipeline, Stages
from edgeagent.types import Frame, Prepared


class Nowhere:
    seq = None

    def append(self, draft: Any) -> Nowhere:
        return self


class Inbox:
    """Samples, then the end; before the end something may happen."""

    def __init__(self, samples: list[Frame], before_end: Callable[[], None]) -> None:
        self._samples = samples
        self._before_end = before_end

    def get(self, timeout_s: float) -> Frame:
        if self._samples:
            return self._samples.pop(0)
        self._before_end()
        raise SourceEnded

    def close(self) -> None:
        pass


class Session:
    def run(self, tensors: Any) -> Any:
        return []

    def close(self) -> None:
        pass


def frame(stream_ms: float | None) -> Frame:
    return Frame("cam", 1, np.zeros((1, 1, 3), np.uint8), 0, 5.0, stream_ms=stream_ms)


@pytest.mark.parametrize(
    ("stream_ms", "stopped", "over"),
    [(100.0, False, True), (100.0, True, False), (None, False, False), (None, True, False)],
)
def test_only_a_recording_that_was_read_to_its_end_is_over(
    stream_ms: float | None, stopped: bool, over: bool
) -> None:
    told: list[bool] = []
    times: list[float] = []

    def finish(_at_ns: int, _mono_ms: float, *, ended: bool) -> list[Any]:
        told.append(ended)
        return []

    def track(predictions: Any, when_ms: float) -> Any:
        times.append(when_ms)
        return predictions

    stages = Stages(
        model="m", receipt="r", session=Session(), prepare=lambda _: Prepared([]),
        interpret=lambda *_: [], track=track, decide=lambda *_: [], finish=finish,
        picture=lambda *_: None,
    )  # fmt: skip
    # A supervisor stops pipelines first; then their source ends the mailbox.
    inbox = Inbox([frame(stream_ms)], lambda: pipeline.stop() if stopped else None)
    pipeline = Pipeline("p", inbox, Nowhere(), lambda: stages)
    pipeline.run()
    assert told == [over]
    assert times == [5.0 if stream_ms is None else stream_ms]
