"""Glare in the clip, and what the page tells of lines and hidden faces."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from edgeagent.demo import asides, glare
from edgeagent.demo.story import Arrivals, Arrived, Event
from edgeagent.errors import InputError


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    file = tmp_path / "clip.avi"
    code = cv2.VideoWriter.fourcc(*"MJPG")
    writer = cv2.VideoWriter(str(file), cv2.CAP_OPENCV_MJPEG, code, 30.0, (176, 144))
    scene = np.zeros((144, 176, 3), np.uint8)
    scene[:, 88:] = 220
    for _ in range(130):
        writer.write(scene)
    writer.release()
    return file


def arrivals(*records: dict[str, Any]) -> Arrivals:
    found = object.__new__(Arrivals)
    found.records = [Arrived(n, n, record) for n, record in enumerate(records)]
    return found


def result(boot: str, **data: Any) -> dict[str, Any]:
    return {"kind": "result", "pipeline": "p", "boot": boot, "data": data}


def test_glare_takes_the_contrast_of_its_frames_only(clip: Path, tmp_path: Path) -> None:
    target = tmp_path / "glare.avi"
    glare.draw_glare(clip, target)
    reader = cv2.VideoCapture(str(target))
    assert reader.get(cv2.CAP_PROP_FPS) == pytest.approx(30.0)
    spread = []
    while (frame := reader.read())[0]:
        spread.append(float(frame[1].std()))
    assert len(spread) == 130
    blinded = [n for n, its in enumerate(spread) if its < 10]
    assert blinded == list(glare.BLINDED)


def test_what_is_hidden_in_the_glare_is_shown_with_its_contrast(clip: Path, tmp_path: Path) -> None:
    target = tmp_path / "glare.avi"
    glare.draw_glare(clip, target)
    shown = glare.found_in([target])
    assert shown is not None
    picture, number = shown
    assert number == len(glare.BLINDED)
    pixels = cv2.imdecode(np.frombuffer(picture, np.uint8), cv2.IMREAD_GRAYSCALE)
    assert pixels is not None
    assert pixels[:, :150].mean() + 60 < pixels[:, 200:].mean()
    assert glare.found_in([clip]) is None


def test_a_clip_without_pictures(tmp_path: Path) -> None:
    (tmp_path / "empty.mp4").touch()
    with pytest.raises(InputError, match=r"empty\.mp4"):
        glare.draw_glare(tmp_path / "empty.mp4", tmp_path / "out.avi")


def test_what_became_of_pushed_versions_is_told_with_the_evidence() -> None:
    changes = [
        {"wanted": "1.1.0", "state": "rolled-back", "times_s": {"proving": 8.6},
         "detail": "belt: what 1.0.0 calls <whole> 1.1.0 calls missing, 38 times"},
        {"wanted": "1.2.0", "state": "committed", "detail": "belt: agrees on 45 of 45"},
    ]  # fmt: skip
    told = asides.changed(changes)
    assert "after 9 s the agent took it back" in told
    assert "calls &lt;whole&gt; 1.1.0 calls missing, 38 times" in told
    assert "1.2.0 was pushed next and kept: agrees on 45 of 45" in told
    assert not asides.changed([])


def test_the_lines_of_two_agents_add_up() -> None:
    got = arrivals(
        result("a", lines={"exit": {"in": 1, "out": 0}}),
        result("a", lines={"exit": {"in": 4, "out": 1}}),
        result("b", lines={"exit": {"in": 2, "out": 0}}),
    )
    assert asides.counted(got, "p") == " 7 parts crossed the line and were counted."
    assert asides.counted(got, "other") == ""


def test_moments_without_a_detection_are_counted(clip: Path, tmp_path: Path) -> None:
    target = tmp_path / "glare.avi"
    glare.draw_glare(clip, target)
    event = Event("e-1", "p", "face", 0, 1, 0.9, None, "", clip="sha")
    got = arrivals(result("a", predictions=[]), result("a", predictions=[{"label": "face"}]))
    said = asides.hidden(got, [event], {"sha": target}, "p")
    assert "in 1 of 2 recorded samples" in said and "12 such frames" in said
    assert asides.hidden(got, [event], {}, "p") == ""
