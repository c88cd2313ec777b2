"""A story told by hand, so that pages and plots can be looked at without running a demo."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from edgeagent.clock import rfc3339
from edgeagent.demo.story import Act, Arrivals, Glance, Story

SECOND = 1_000_000_000
START = 1_795_000_000 * SECOND


class Told:
    """What an agent would have delivered, written as the reader writes it."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.lines: list[str] = []
        self.seq = 0

    def record(self, kind: str, pipeline: str, at_s: float, **more: Any) -> int:
        """Add a record that arrived 0.2 s after it was made; its number."""
        self.seq += 1
        at_ns = START + int(at_s * SECOND)
        arrived_ns = at_ns + SECOND // 5
        record = {"seq": self.seq, "kind": kind, "pipeline": pipeline, "at": rfc3339(at_ns), **more}
        batch = {"v": 1, "device": "demo", "epoch": "E1", "records": [record]}
        self.lines.append(json.dumps({"arrived_ns": arrived_ns, "bytes": 9, "records": batch}))
        return self.seq

    def event(self, pipeline: str, label: str, span: tuple[float, float], **more: Any) -> str:
        """An event with its beginning and its end; its id."""
        id_ = f"e-{self.seq + 1}"
        data = {"id": id_, "label": label, "score": 0.9}
        box = more.pop("box", [0.4, 0.3, 0.6, 0.7])
        self.record("event", pipeline, span[0], data={**data, "phase": "new", "box": box}, **more)
        self.record("event", pipeline, span[1], data={**data, "phase": "end", "score": 0.95})
        return id_

    def arrivals(self) -> Arrivals:
        self.file.write_text("\n".join(self.lines) + "\n")
        return Arrivals(self.file)


@pytest.fixture
def told(tmp_path: Path) -> Told:
    return Told(tmp_path / "received.jsonl")


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    file = tmp_path / "shot.jpg"
    cv2.imwrite(str(file), np.full((48, 64, 3), 90, np.uint8))
    return file


@pytest.fixture
def story() -> Story:
    """A sound one of 30 seconds."""
    made = Story(START, START + 30 * SECOND, broker="mosquitto 2 on port 1")
    made.cut_ns = (START + 8 * SECOND, START + 18 * SECOND)
    made.killed_ns, made.back_ns = START + 12 * SECOND, START + 14 * SECOND
    made.acts = [
        Act(START + 8 * SECOND, "the uplink is cut", "uplink cut"),
        Act(START + 12 * SECOND, "the agent is killed <now>", "kill -9"),
    ]
    made.glances = [Glance(START + n * SECOND, n * 10) for n in range(30)]
    figures = {"fps": 15.0, "p50_ms": 2.0, "p95_ms": 3.0, "steps": 400, "state": "ok"}
    figures["receipt"] = "litert 2.3.0, 5 of 5 operators on XNNPACK, 1 thread"
    made.pipelines = {
        name: {**figures, "model": f"{name}@1.0.0/int8"} for name in ("face", "belt", "bearing")
    }
    made.thresholds = {"face": 0.6, "belt": 0.5, "bearing": 1.8}
    made.drained = True
    made.account = {"produced": 12, "delivered": 12, "pending": 0, "dropped": {}}
    epoch = {"arrived": 12, "last": 12, "doubles": 1, "told_lost": {}, "holes": []}
    made.reader = {"batches": 4, "unreadable": 0, "epochs": [epoch]}
    return made
