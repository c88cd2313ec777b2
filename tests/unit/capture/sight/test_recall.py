"""How well faults of real pictures are told, and how seldom a sound picture is called faulty."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from degraded import LEVELS, clip, clips, degradations, fitted, noisy, pictures

from edgeagent.capture.sight.glance import glance
from edgeagent.capture.sight.judge import judge
from edgeagent.capture.sight.sight import Sight, SightSettings
from edgeagent.capture.sight.view import View, learn
from edgeagent.types import Draft, Frame

LOOKS = 20


def scenes(assets: Path) -> list[tuple[str, View, np.ndarray]]:
    """Name, learned view, and a later picture of the same scene."""
    rng = np.random.default_rng(1)
    found = []
    for name, picture in pictures(assets):
        lessons = [noisy(picture, 1 + 0.02 * (turn % 3), 2, rng) for turn in range(5)]
        found.append((name, learn([glance(its) for its in lessons]), picture))
    for name, file in clips(assets):
        taken = clip(file, 1.0, 21)
        view = learn([glance(its) for its in taken[:14]])
        found.append((name, view, fitted(taken[20 % len(taken)])))
    return found


@pytest.mark.usefixtures("in_full")
def test_precision_and_recall_by_fault(assets: Path) -> None:
    rng = np.random.default_rng(3)
    told: Counter[tuple[str, str | None]] = Counter()
    for _, view, picture in scenes(assets):
        for fault, degraded in degradations(picture, rng):
            told[fault, judge(glance(degraded), view)] += 1
        for gain, sigma in LEVELS:
            told["none", judge(glance(noisy(picture, gain, sigma, rng)), view) or "none"] += 1
    assert sum(count for (fault, _), count in told.items() if fault != "none") >= 300
    faults = {fault for fault, _ in told}
    for fault in sorted(faults):
        right = told[fault, fault]
        recall = right / sum(count for (its, _), count in told.items() if its == fault)
        precision = right / sum(count for (_, its), count in told.items() if its == fault)
        print(f"{fault:8} recall {recall:.3f} precision {precision:.3f} of {right}")
        assert recall >= 0.95, (fault, told)
        assert precision >= 0.95, (fault, told)
    assert not any(count for (its, said), count in told.items() if its == "none" != said), told


@pytest.mark.parametrize(
    "name",
    ["bottle-detection.mp4", "car-detection.mp4", "one-by-one-person-detection.mp4", "vtest.avi"],
)
def test_no_false_alarm_on_a_clip_at_any_level(assets: Path, name: str, full: bool) -> None:
    taken = clip(assets / "video" / name, 2.0, 10_000 if full else 80)
    levels = LEVELS if full else LEVELS[1::4]
    rng = np.random.default_rng(4)
    for gain, sigma in levels:
        told: list[Draft] = []
        sight = Sight("cam", SightSettings(looks=LOOKS), tell=told.append)
        for number, picture in enumerate(taken):
            # It is learned as it is; the light changes afterwards.
            learned = number > 2 * LOOKS
            seen = noisy(picture, gain, sigma, rng) if learned and sigma else picture
            sight.look(Frame("cam", number, seen, 0, 500.0 * number))
        assert sight.detail()["view"] == "learned"
        assert not told, (gain, sigma, [its.data for its in told])
