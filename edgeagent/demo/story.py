"""What was seen during the demo: all that the page tells, and nothing else."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgeagent.clock import parse_rfc3339


@dataclass(frozen=True, slots=True)
class Act:
    """Something that was done or noticed."""

    at_ns: int
    text: str
    mark: str = ""
    """Short form for the timeline; empty = not on it."""


@dataclass(frozen=True, slots=True)
class Glance:
    """The outbox at an instant."""

    at_ns: int
    pending: int


@dataclass(slots=True)
class Story:
    """One run of the demo. Times are wall clock, nanoseconds since 1970."""

    started_ns: int
    ended_ns: int = 0
    broker: str = ""
    cut_ns: tuple[int, int] = (0, 0)
    """From, to: the uplink was down."""
    up_ns: int = 0
    """After that: the agent was connected again."""
    killed_ns: int = 0
    back_ns: int = 0
    """The agent, killed before, was at work again."""
    acts: list[Act] = field(default_factory=list)
    glances: list[Glance] = field(default_factory=list)
    pipelines: dict[str, dict[str, Any]] = field(default_factory=dict)
    """The last status of each pipeline."""
    thresholds: dict[str, float] = field(default_factory=dict)
    account: dict[str, Any] = field(default_factory=dict)
    """What the agent's own files say after it has stopped."""
    drained: bool = False
    """Everything was out before the agent was told to stop."""
    reader: dict[str, Any] = field(default_factory=dict)
    """What the independent reader says."""
    changes: list[dict[str, Any]] = field(default_factory=list)
    """What became of versions that were pushed: the agent's reports."""
    missing: str = ""
    """Why a pipeline is not there."""

    def seconds(self, at_ns: int) -> float:
        """Since the start."""
        return (at_ns - self.started_ns) / 1e9

    @property
    def span_s(self) -> float:
        return self.seconds(self.ended_ns)

    @property
    def holes(self) -> int:
        """Numbers of which the reader knows nothing."""
        return sum(len(epoch["holes"]) for epoch in self.reader.get("epochs", []))

    @property
    def balanced(self) -> bool:
        """Whether produced = delivered + pending + dropped."""
        own = self.account
        spent = own["delivered"] + own["pending"] + sum(own["dropped"].values())
        return bool(own["produced"] == spent)

    @property
    def sound(self) -> bool:
        """Whether everything that was promised held."""
        proven = self.balanced and not self.account.get("problems")
        return proven and not self.holes and self.drained and self.well_changed

    @property
    def well_changed(self) -> bool:
        """Whether the bad version was taken back and the good one kept."""
        ends = [change["state"] for change in self.changes]
        return ends in ([], ["rolled-back", "committed"])


@dataclass(frozen=True, slots=True)
class Arrived:
    """One record as it came out of the broker."""

    at_ns: int
    """When it was captured or decided, by the agent."""
    arrived_ns: int
    record: dict[str, Any]

    def kept(self, cut_ns: tuple[int, int], up_ns: int) -> bool:
        """Whether it had to wait for the uplink: made before the agent was connected again,
        arrived after the way was open."""
        return self.at_ns <= (up_ns or cut_ns[1]) and self.arrived_ns >= cut_ns[1] > 0

    @property
    def delay_s(self) -> float:
        return max(0.0, (self.arrived_ns - self.at_ns) / 1e9)


@dataclass(slots=True)
class Event:
    """An event put together from its records."""

    id: str
    pipeline: str
    label: str
    start_ns: int
    end_ns: int
    """Its end, or the last that was heard of it."""
    score: float
    box: tuple[float, float, float, float] | None
    picture: str
    """sha256 of its picture, empty without one."""
    clip: str = ""
    """The same of its moving pictures."""
    over: bool = False


class Arrivals:
    """What the independent reader wrote down."""

    def __init__(self, file: Path) -> None:
        self.records: list[Arrived] = []
        seen: set[tuple[str, int]] = set()
        for batch, arrived_ns in _batches(file):
            for record in batch["records"]:
                key = (batch["epoch"], record["seq"])
                if key not in seen:
                    seen.add(key)
                    at_ns = parse_rfc3339(record["at"])
                    self.records.append(Arrived(at_ns, arrived_ns, record))
        self.records.sort(key=lambda its: its.at_ns)

    def of(self, kind: str, pipeline: str = "") -> Iterator[Arrived]:
        """Records of a kind, oldest first."""
        for its in self.records:
            if its.record["kind"] == kind and pipeline in ("", its.record.get("pipeline")):
                yield its

    def events(self) -> list[Event]:
        """In the order of their beginnings."""
        found: dict[str, Event] = {}
        for its in self.of("event"):
            _follow(found, its)
        return list(found.values())

    def measured(self, pipeline: str) -> list[tuple[int, str, float]]:
        """(at_ns, label, score) of every prediction among the pipeline's results."""
        return [
            (its.at_ns, label, score)
            for kind in ("result", "anomaly")
            for its in self.of(kind, pipeline)
            for label, score in _scores(its.record["data"])
        ]


def _batches(file: Path) -> Iterator[tuple[dict[str, Any], int]]:
    with file.open(encoding="utf-8") as lines:
        for text in lines:
            line = json.loads(text)
            if "records" in line:
                yield line["records"], line["arrived_ns"]


def _follow(found: dict[str, Event], its: Arrived) -> None:
    data, record = its.record["data"], its.record
    event = found.get(data["id"])
    if event is None:
        box = data.get("box")
        event = found[data["id"]] = Event(
            data["id"], record["pipeline"], str(data.get("label", "")), its.at_ns, its.at_ns,
            float(data.get("score", 0.0)), tuple(box) if box else None, "",
        )  # fmt: skip
    # Where something must be hidden, the picture follows with an update.
    blobs = record.get("blobs") or []
    shots = (blob["sha256"] for blob in blobs if blob["type"].startswith("image/"))
    event.picture = event.picture or next(shots, "")
    clips = (blob["sha256"] for blob in blobs if blob["type"].startswith("video/"))
    event.clip = event.clip or next(clips, "")
    event.end_ns = max(event.end_ns, its.at_ns)
    event.score = max(event.score, float(data.get("score", 0.0)))
    event.over = event.over or data.get("phase") == "end"


def _scores(data: dict[str, Any]) -> Iterator[tuple[str, float]]:
    for prediction in data.get("predictions", [data]):
        if "score" in prediction:
            yield str(prediction.get("label", "")), float(prediction["score"])
