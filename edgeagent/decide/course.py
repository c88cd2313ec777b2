"""The course of each thing that has a track: its zones, its lines, where it stands still.

Outlives the thing's events, because a track may be missed for longer than an event lasts.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from edgeagent.decide.lines import Lines, Side, Way
from edgeagent.decide.zones import Zones

if TYPE_CHECKING:
    from collections.abc import Collection

    from edgeagent.types import Box

_LEAVES_AFTER = 3
"""Samples in a row outside before a thing has left a zone: a box at its edge trembles."""
_MOVED = 0.25
"""A thing has moved when its middle is farther off than this part of its size …"""
_MOVES_AFTER = 2
"""… for so many samples in a row: one wrong box is no move."""
STATIONARY_S = 10.0
_FORGOTTEN_MS = 10_000.0
"""Trackers keep what they miss for a few seconds only."""


class Course:
    """What is remembered of one thing."""

    __slots__ = (
        "_away", "_outside", "_place", "_still_ms", "crossings", "entered", "lines", "seen_ms",
        "sides", "sightings", "stayed", "zones",
    )  # fmt: skip

    def __init__(self, now: float) -> None:
        self.zones: tuple[str, ...] = ()
        self.entered: dict[str, float] = {}
        """Zones that it stands in → since when (ms)."""
        self.stayed: dict[str, float] = {}
        """Zones that it has left → milliseconds in them."""
        self.lines: tuple[str, ...] = ()
        """Lines that it has crossed: gate, gate:in."""
        self.crossings: list[tuple[str, Way]] = []
        """Those that no record has told yet."""
        self.sides: dict[str, Side] = {}
        self.sightings = 0
        self.seen_ms = self._still_ms = now
        self._outside: Counter[str] = Counter()
        self._place: tuple[float, float] | None = None
        self._away = 0

    @property
    def still_s(self) -> float:
        """Seconds since it last moved."""
        return (self.seen_ms - self._still_ms) / 1000

    def dwell(self) -> dict[str, float]:
        """Seconds in each zone that it stands in, since it entered."""
        return {zone: (self.seen_ms - since) / 1000 for zone, since in self.entered.items()}

    def dwelt(self) -> dict[str, float]:
        """Seconds in each zone that it was ever in."""
        whole = {zone: stayed / 1000 for zone, stayed in self.stayed.items()}
        for zone, seconds in self.dwell().items():
            whole[zone] = whole.get(zone, 0.0) + seconds
        return whole

    def stand(self, zones: tuple[str, ...], order: Collection[str]) -> None:
        """It was seen standing in these zones."""
        for zone in zones:
            self.entered.setdefault(zone, self.seen_ms)
            self._outside.pop(zone, None)
        if len(zones) != len(self.entered):
            for zone in [zone for zone in self.entered if zone not in zones]:
                self._outside[zone] += 1
                if self._outside[zone] >= _LEAVES_AFTER:
                    since = self.entered.pop(zone)
                    self.stayed[zone] = self.stayed.get(zone, 0.0) + self.seen_ms - since
                    del self._outside[zone]
        if len(self.zones) != len(self.entered) or not self.entered.keys() <= set(self.zones):
            self.zones = tuple(zone for zone in order if zone in self.entered)

    def rest(self, box: Box) -> None:
        """It was seen there: has it moved?"""
        place = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
        if self._place is None:
            self._place = place
            return
        far = _MOVED * min(box[2] - box[0], box[3] - box[1])
        if abs(place[0] - self._place[0]) <= far and abs(place[1] - self._place[1]) <= far:
            self._away = 0
            return
        self._away += 1
        if self._away >= _MOVES_AFTER:
            self._place, self._still_ms, self._away = place, self.seen_ms, 0

    def cross(self, name: str, way: Way) -> None:
        """It has crossed a line."""
        others = [its for its in self.lines if its.partition(":")[0] != name]
        self.lines = (*others, name, f"{name}:{way}")
        self.crossings.append((name, way))


class Courses:
    """Those of all tracks of a pipeline.

    Args:
        zones: its zones.
        lines: its lines.
        sure_after: sightings before a thing counts for lines.
    """

    def __init__(self, zones: Zones, lines: Lines, sure_after: int) -> None:
        self._zones = zones
        self._lines = lines
        self._sure_after = sure_after
        self._all: dict[int, Course] = {}
        self._swept_ms = 0.0

    def get(self, track: int) -> Course | None:
        """The course of a track, if it has one."""
        return self._all.get(track)

    def follow(self, track: int, box: Box, now: float) -> Course:
        """A track was seen there. Returns its course."""
        course = self._all.get(track)
        if course is None:
            course = self._all[track] = Course(now)
        course.seen_ms = now
        course.sightings += 1
        if self._zones:
            course.stand(self._zones.of(box), self._zones.names)
        course.rest(box)
        if self._lines:
            for name, way in self._lines.follow(course.sides, box):
                if course.sightings >= self._sure_after:
                    self._lines.count(name, way)
                    course.cross(name, way)
        return course

    def inside(self, now: float) -> Counter[str]:
        """Things by the zone that they stand in, among those seen at ``now``."""
        return Counter(
            zone for its in self._all.values() if its.seen_ms == now for zone in its.zones
        )

    def sweep(self, now: float) -> None:
        """Forget what has not been seen for long."""
        if abs(now - self._swept_ms) < _FORGOTTEN_MS / 2:
            return
        self._swept_ms = now
        for track in [t for t, its in self._all.items() if now - its.seen_ms > _FORGOTTEN_MS]:
            del self._all[track]
