"""What a rule can ask beyond the thing itself: counts, other values, the time of day."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime, timezone, tzinfo
from typing import TYPE_CHECKING

from edgeagent import clock
from edgeagent.decide.rules.facts import DAYS, Scene
from edgeagent.types import Anomaly, Detection, Keypoints, Label, Mask, Regression, Window

if TYPE_CHECKING:
    from edgeagent.decide.course import Courses
    from edgeagent.decide.lines import Lines
    from edgeagent.decide.readings import Readings
    from edgeagent.decide.rules.facts import Facts
    from edgeagent.types import Prediction, Sample

_ASK_CLOCK_S = 1.0
"""How long an answer to whether the clock may be trusted holds."""


class Surveyor:
    """Makes the scene of each sample, as far as some rule asks for it.

    Args:
        asked: names that the rules ask; calls as ``count()``.
        threshold: what scores less is not counted.
        zone: name of the local time zone.
        plugins: rules of plugins, by name.
    """

    def __init__(
        self,
        asked: Collection[str],
        threshold: float,
        courses: Courses,
        lines: Lines,
        readings: Readings,
        zone: str,
        trusted: Callable[[], bool] = clock.synced,
        plugins: Mapping[str, Callable[[Facts], float]] | None = None,
    ) -> None:
        self._count = "count" in asked or "count()" in asked
        self._inside = "inside()" in asked
        self._crossed = "crossed()" in asked
        self._value = "value()" in asked
        self._clock = not {"time", "day", "clock"}.isdisjoint(asked)
        self.threshold = threshold
        self._courses = courses
        self._lines = lines
        self._readings = readings
        self._zone = _zone(zone) if self._clock else timezone.utc
        self._trusted = trusted
        self._plugins = plugins or {}
        self._asked_s, self._answer = -math.inf, False

    def scene(self, sample: Sample, predictions: Sequence[Prediction]) -> Scene:
        """Of one sample, once its tracks have been followed."""
        scene = Scene(plugins=self._plugins)
        if self._crossed:
            scene.crossed = dict(self._lines.crossed)
        if self._count:
            scene.counts = self._counted(predictions)
        if self._inside:
            scene.inside = self._courses.inside(sample.when_ms)
        if self._value:
            get = self._readings.get
            scene.values = {name: get(name) for name in self._readings.wanted}
        if self._clock and self._synced():
            local = datetime.fromtimestamp(sample.at_ns / 1e9, self._zone)
            midnight = local.hour * 3600 + local.minute * 60 + local.second
            scene.time = midnight + local.microsecond / 1e6
            scene.day, scene.clock = DAYS[local.weekday()], "synced"
        return scene

    def _counted(self, predictions: Sequence[Prediction]) -> Counter[str]:
        return Counter(
            prediction.label
            for prediction in predictions
            if isinstance(prediction, (Label, Detection, Keypoints, Mask))
            and prediction.score >= self.threshold
        )

    def _synced(self) -> bool:
        now = time.monotonic()
        if now - self._asked_s >= _ASK_CLOCK_S:
            self._asked_s, self._answer = now, self._trusted()
        return self._answer


def _zone(name: str) -> tzinfo:
    if name in ("", "UTC"):
        return timezone.utc
    import zoneinfo

    return zoneinfo.ZoneInfo(name)


def note_values(
    readings: Readings, pipeline: str, sample: Sample, predictions: Sequence[Prediction]
) -> None:
    """Put what this sample measures where other pipelines' rules can ask for it."""
    for prediction in predictions:
        if isinstance(prediction, Regression):
            readings.note(pipeline, prediction.value)
            readings.note(f"{pipeline}.{prediction.name}", prediction.value)
        elif isinstance(prediction, Anomaly):
            readings.note(pipeline, prediction.score)
    if isinstance(sample, Window):
        for place, channel in enumerate(sample.channels):
            name = f"{sample.source}.{channel}"
            if name in readings.wanted and len(sample.values):
                readings.note(name, float(sample.values[-1][place]))
