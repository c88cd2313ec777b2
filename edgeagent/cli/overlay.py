"""What ``edgeagent infer`` adds to a model's answers: tracks in videos, and a pipeline's zones and
lines with what has crossed them."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING

from edgeagent.config.model import Pipeline
from edgeagent.decide.course import Courses
from edgeagent.decide.lines import Lines
from edgeagent.decide.track import DOUBTFUL, TASKS
from edgeagent.decide.track.byte import ByteTracker
from edgeagent.decide.zones import Zones, foot
from edgeagent.types import Detection, Keypoints

if TYPE_CHECKING:
    from edgeagent.decide.picture import Scenery
    from edgeagent.manifest import Package
    from edgeagent.types import Prediction, Sample

_TRAIL = 40
"""Places of a track that are shown."""


class Overlay:
    """Follows one video after another.

    Args:
        pipeline: whose zones and lines are shown; None = there are none.
        package: of the model.
        threshold: from this score on a detection is shown and begins a track; None = the model's.
    """

    def __init__(
        self, pipeline: Pipeline | None, package: Package, threshold: float | None
    ) -> None:
        self._pipeline = pipeline or Pipeline(model="")
        self._threshold = package.manifest.output.threshold if threshold is None else threshold
        self._tracks = package.manifest.task in TASKS
        self.lowest = self._threshold * DOUBTFUL if self._tracks else threshold
        """The threshold for the model: what is doubtful keeps tracks alive."""
        self._tracker: ByteTracker | None = None
        self._begin()

    def _begin(self) -> None:
        self._lines = Lines(self._pipeline.lines)
        self._courses = Courses(Zones(self._pipeline.zones), self._lines, self._pipeline.on)
        self._trails: dict[int, deque[tuple[float, float]]] = {}

    def begin(self, *, video: bool) -> None:
        """Another file; only what is in a video has tracks."""
        self._begin()
        follows = video and self._tracks
        self._tracker = ByteTracker(self._threshold, missed=self._pipeline.off) if follows else None

    def __call__(self, sample: Sample, predictions: list[Prediction]) -> list[Prediction]:
        """Those that are sure enough to be shown, with tracks."""
        if self._tracker is not None:
            predictions = self._tracker.update(predictions, sample.when_ms)
            self._follow(predictions, sample.when_ms)
        return [
            its for its in predictions
            if not isinstance(its, (Detection, Keypoints)) or its.score >= self._threshold
        ]  # fmt: skip

    def _follow(self, predictions: Sequence[Prediction], now: float) -> None:
        self._courses.sweep(now)
        for its in predictions:
            if isinstance(its, (Detection, Keypoints)) and its.track:
                self._courses.follow(its.track, its.box, now)
                self._trails.setdefault(its.track, deque(maxlen=_TRAIL)).append(foot(its.box))
        for track in [track for track in self._trails if self._courses.get(track) is None]:
            del self._trails[track]

    def scenery(self) -> Scenery:
        """What is to be drawn besides the predictions."""
        from edgeagent.decide.picture import Scenery

        return Scenery(
            zones={name: zone.polygon for name, zone in self._pipeline.zones.items()},
            lines={name: line.points for name, line in self._pipeline.lines.items()},
            counts=self._lines.table() if self._tracker is not None else {},
            trails={track: list(trail) for track, trail in self._trails.items()},
        )
