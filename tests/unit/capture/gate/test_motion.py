"""Movement on real clips, and what is none: noise, light, things that stand."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from degraded import noisy, pictures
from numpy.typing import NDArray

from edgeagent.capture.gate.gate import Gate
from edgeagent.capture.gate.motion import MotionDetector
from edgeagent.config.model import Gate as GateConfig
from edgeagent.config.model import Motion, Pipeline
from edgeagent.types import Frame

HZ = 5.0
# Seen by eye: when the first part of a thing comes into the picture, and the last one leaves it.
LABELLED = {
    "car-detection.mp4": [(4.5, 9.0), (14.3, 19.1), (25.2, 27.8)],
    "one-by-one-person-detection.mp4": [
        (6.0, 20.0), (22.8, 45.5), (50.3, 70.0), (74.7, 87.0), (92.2, 120.3), (123.6, 136.3),
    ],
}  # fmt: skip


def gate(**keys: object) -> Gate:
    config = GateConfig(motion=Motion(), **keys)  # type: ignore[arg-type]
    return Gate(Pipeline(model="m", gate=config))


def frames(file: Path, hz: float = HZ) -> Iterator[tuple[float, NDArray[np.uint8]]]:
    video = cv2.VideoCapture(str(file), cv2.CAP_FFMPEG)
    fps = video.get(cv2.CAP_PROP_FPS)
    number, due = 0, 0.0
    while video.grab():
        if number / fps >= due:
            yield number / fps, np.asarray(video.retrieve()[1], np.uint8)
            due += 1 / hz
        number += 1


@pytest.mark.parametrize("name", list(LABELLED))
def test_no_labelled_event_is_missed_and_empty_stretches_are_saved(assets: Path, name: str) -> None:
    """Each thing passes at its coming and its going; of stretches in which nothing is to be seen
    four fifths are saved, once the time to hold has passed."""
    its = gate()
    passed: list[float] = []
    times: list[float] = []
    for when_s, pixels in frames(assets / "video" / name):
        times.append(when_s)
        if its.passes(Frame("cam", len(times), pixels, 0, 0.0, stream_ms=when_s * 1e3)):
            passed.append(when_s)
    events = LABELLED[name]
    for begins, ends in events:
        assert sum(begins <= when <= begins + 1.5 for when in passed) >= 2, (begins, passed)
        assert any(ends - 1.0 <= when <= ends + 0.2 for when in passed), (ends, passed)
    hold = 3.2  # two seconds, and one in which what was there is remembered
    empty = [
        when for when in times
        if when > 4.0 and all(when < begins - 0.5 or when > ends + hold for begins, ends in events)
    ]  # fmt: skip
    saved = 1 - sum(when in passed for when in empty) / len(empty)
    print(f"{name}: {len(empty)} empty samples, {saved:.1%} saved; "
          f"{1 - len(passed) / len(times):.1%} of all")  # fmt: skip
    assert saved >= 0.8


def test_still_scenes_save_more_than_four_fifths(assets: Path, full: bool) -> None:
    """Real pictures as scenes of a minute, with the noise of a sensor and a lamp that
    flickers by three percent."""
    rng = np.random.default_rng(2)
    for name, picture in list(pictures(assets))[:: 1 if full else 3]:
        small = np.asarray(cv2.resize(picture, (320, 240), interpolation=cv2.INTER_AREA))
        its = gate()
        for number in range(int(60 * HZ)):
            seen = noisy(small, 1 + 0.03 * np.sin(number * 1.7), 4.0, rng)
            its.passes(Frame("cam", number, seen, 0, 0.0, stream_ms=1e3 * number / HZ))
        assert its.tally()["saved"] >= 0.9, (name, its.tally())


def test_only_the_zone_counts() -> None:
    detector = MotionDetector([[(0.0, 0.0), (0.5, 0.0), (0.5, 1.0), (0.0, 1.0)]])
    rng = np.random.default_rng(3)
    ground = rng.integers(60, 120, (240, 320, 3), np.uint8)
    shares = {"left": 0.0, "right": 0.0}
    when = 0.0
    for side, x in (("", -1), ("right", 200), ("left", 40)):
        for number in range(20):
            when += 0.2
            pixels = ground.copy()
            if x >= 0:
                pixels[80:160, x + 3 * number : x + 3 * number + 60] = 230
            share = detector(pixels, when)
            if x >= 0:
                shares[side] = max(shares[side], share)
    assert shares["right"] == 0.0
    assert shares["left"] > 0.02


def test_a_switched_light_passes_once_and_a_parked_thing_stops_passing() -> None:
    detector = MotionDetector()
    rng = np.random.default_rng(3)
    ground = rng.integers(60, 120, (240, 320, 3), np.uint8)
    parked = ground.copy()
    parked[100:180, 100:200] = 220
    when = 0.0
    for _ in range(20):
        detector(ground, when := when + 0.2)
    when += 0.2
    assert detector(parked, when) > 0.05
    for _ in range(15):
        share = detector(parked, when := when + 0.2)
    assert share == 0.0, "it stands for three seconds"
    when += 0.2
    assert detector(ground, when) > 0.05, "it has gone"
    lit = np.clip(parked * 1.6, 0, 255).astype(np.uint8)
    for _ in range(20):
        share = detector(lit, when := when + 0.2)
    assert share == 0.0


def test_grey_and_small_pictures() -> None:
    detector = MotionDetector()
    pixels = np.full((48, 64), 90, np.uint8)
    detector(pixels, 0.0)
    assert detector(pixels, 1.0) == 0.0
    moved = pixels.copy()
    moved[10:30, 10:40] = 200
    assert detector(moved, 1.2) > 0.1


def test_what_vanishes_between_two_pictures_has_moved() -> None:
    detector = MotionDetector()
    rng = np.random.default_rng(3)
    ground = rng.integers(60, 120, (240, 320, 3), np.uint8)
    there = ground.copy()
    there[100:180, 100:200] = 220
    for number in range(30):
        detector(ground, number * 0.2)
    assert detector(there, 6.2) > 0.05
    assert detector(there, 6.4) > 0.05
    assert detector(ground, 6.9) > 0.05
