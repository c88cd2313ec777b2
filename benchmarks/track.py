"""What following many things costs: ByteTracker on crowds that walk, hide and flicker."""

from __future__ import annotations

import statistics
import time

import numpy as np

from edgeagent.decide.track.byte import ByteTracker
from edgeagent.types import Detection, Prediction

FRAMES = 300


def crowd(count: int, seed: int = 1) -> list[list[Prediction]]:
    """Detections of ``count`` walkers, frame by frame, with misses, low scores and trembling."""
    rng = np.random.default_rng(seed)
    place = rng.uniform(0.05, 0.95, (count, 2))
    speed = rng.normal(0, 0.05, (count, 2))
    size = np.stack([rng.uniform(0.01, 0.03, count), rng.uniform(0.04, 0.09, count)], 1)
    frames: list[list[Prediction]] = []
    for _ in range(FRAMES):
        place += speed / 10
        speed[(place < 0.02) | (place > 0.98)] *= -1
        seen = np.flatnonzero(rng.random(count) > 0.05)
        boxes = np.concatenate([place - size / 2, place + size / 2], 1)
        boxes = boxes[seen] + rng.normal(0, 0.002, (len(seen), 4))
        scores = np.where(rng.random(len(seen)) < 0.15, 0.3, 0.8)
        frames.append(
            [
                Detection("person", float(score), tuple(box))
                for box, score in zip(boxes.tolist(), scores, strict=True)
            ]
        )
    return frames


def measure(_folder: object = None) -> dict[str, dict[str, float]]:
    """Milliseconds of processor time a frame by how many are followed."""
    rows = {}
    for count in (10, 100):
        frames = crowd(count)
        tracker, took = ByteTracker(0.5), []
        for number, found in enumerate(frames):
            began = time.thread_time()
            tracker.update(found, number * 100.0)
            took.append((time.thread_time() - began) * 1e3)
        took = took[10:]
        rows[f"ByteTracker, {count} tracks"] = {
            "median_ms": round(statistics.median(took), 3),
            "p95_ms": round(statistics.quantiles(took, n=20)[-1], 3),
        }
    return rows


if __name__ == "__main__":
    for name, figures in measure().items():
        print(name, figures)
