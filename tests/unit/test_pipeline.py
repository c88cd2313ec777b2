"""How a pipeline ends: what it tells its stages of the stream's end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace

from edgeagent import clock
from edgeagent.errors import SourceEnded
from edgeagent.pipeline import Pipeline
from edgeagent.stages import Stages
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


class Odd:
    """A gate that lets every second sample through."""

    reason = "odd"

    def __init__(self) -> None:
        self.asked = 0

    def passes(self, sample: Frame) -> bool:
        self.asked += 1
        return self.asked % 2 == 1

    def tally(self) -> dict[str, Any]:
        return {"saved": 0.5}


def test_what_the_gate_holds_back_is_not_inferred_and_live_samples_have_an_age() -> None:
    inferred: list[int] = []
    seen: list[Any] = []

    class Counted(Session):
        def run(self, tensors: Any) -> Any:
            inferred.append(1)
            seen.append(pipeline.figures()["gate"])
            return []

    stages = Stages(
        model="m", receipt="r", session=Counted(), prepare=lambda _: Prepared([]),
        interpret=lambda *_: [], track=lambda predictions, _: predictions,
        decide=lambda *_: [], finish=lambda *_, **__: [], picture=lambda *_: None, gate=Odd(),
    )  # fmt: skip
    long_ago = clock.mono_ms() - 250.0
    samples = [replace(frame(None), mono_ms=long_ago) for _ in range(6)]
    pipeline = Pipeline("p", Inbox(samples, lambda: None), Nowhere(), lambda: stages)
    pipeline.run()
    assert len(inferred) == 3
    assert seen == [{"saved": 0.5}] * 3
    figures = pipeline.health().detail
    assert figures["steps"] == 3
    assert 240 < figures["age_p50_ms"] < 2000
    assert "gate" in figures["stages_ms"]
