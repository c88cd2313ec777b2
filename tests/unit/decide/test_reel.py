"""Clips: what they hold, how large they may be, and that anybody can open them."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeagent.config.model import Clip, Pipeline, Privacy, Redact, Rule
from edgeagent.decide.avi import avi
from edgeagent.decide.decider import Decide
from edgeagent.decide.reel import Reel
from edgeagent.types import Detection, Draft, Frame

RNG = np.random.default_rng(8)


def frame(number: int, shape: tuple[int, ...] = (48, 64, 3), ms: float = 100.0) -> Frame:
    """Its brightness, a fifth of it, tells its number."""
    pixels = np.full(shape, min(5 * number, 255), np.uint8)
    return Frame("cam", number, pixels, 0, 0.0, stream_ms=ms * number)


def reel(**keys: Any) -> Reel:
    keys = {"before": "1 s", "after": "1 s", "fps": 10, **keys}
    return Reel(Clip(**keys), lambda _when: True, lambda pixels, _when: pixels)


def opened(data: bytes, folder: Path) -> tuple[list[Any], float]:
    """Pictures and rate of a film, read by FFmpeg."""
    file = folder / "clip.avi"
    file.write_bytes(data)
    video = cv2.VideoCapture(str(file))
    assert video.isOpened()
    rate = video.get(cv2.CAP_PROP_FPS)
    pictures = []
    while True:
        good, picture = video.read()
        if not good:
            return pictures, rate
        pictures.append(picture)


def numbers(data: bytes, folder: Path) -> list[int]:
    pictures, _ = opened(data, folder)
    return [round(float(picture.mean()) / 5) for picture in pictures]


@given(count=st.integers(1, 12), fps=st.floats(0.2, 60), wide=st.integers(8, 80), odd=st.booleans())
@settings(max_examples=25, deadline=None)
def test_any_film_can_be_opened(
    tmp_path_factory: pytest.TempPathFactory, count: int, fps: float, wide: int, odd: bool
) -> None:
    shape = (34, wide * 2, 3)
    coded = [
        cv2.imencode(".jpg", RNG.integers(0, 255, shape, np.uint8))[1].tobytes()
        + b"\0" * (odd and number % 2)  # chunks of odd length are padded
        for number in range(count)
    ]
    pictures, rate = opened(avi(coded, (wide * 2, 34), fps), tmp_path_factory.mktemp("avi"))
    assert len(pictures) == count and pictures[0].shape == shape
    assert rate == pytest.approx(fps, rel=0.01)


@pytest.mark.skipif(shutil.which("ffprobe") is None, reason="ffprobe is not installed")
def test_what_ffprobe_says(tmp_path: Path) -> None:
    noise = RNG.integers(0, 255, (20, 48, 64, 3), np.uint8)
    coded = [cv2.imencode(".jpg", pixels)[1].tobytes() for pixels in noise]
    file = tmp_path / "a.avi"
    file.write_bytes(avi(coded, (64, 48), 5.0))
    said = subprocess.run(
        ["ffprobe", "-v", "warning", "-count_frames", "-of", "default=nk=1:nw=1", "-show_entries",
         "stream=codec_name,width,height,r_frame_rate,nb_read_frames,duration", str(file)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert said.stdout.split() == ["mjpeg", "64", "48", "5/1", "4.000000", "20"]
    assert said.stderr == ""


def test_before_and_after(tmp_path: Path) -> None:
    roll = reel()
    for number in range(1, 31):
        roll.see(frame(number))
        if number == 20:
            roll.begin("a")
        done = roll.done()
        assert [key for key, _ in done] == (["a"] if number == 30 else [])
    ((_, evidence),) = done
    assert evidence is not None and evidence.type == "video/x-msvideo"
    assert numbers(evidence.data, tmp_path) == list(range(10, 31))
    assert opened(evidence.data, tmp_path)[1] == pytest.approx(10.0)
    assert roll.done(ended=True) == []


def test_slower_than_the_source_and_smaller(tmp_path: Path) -> None:
    roll = reel(fps=2, width=32)
    roll.see(frame(0))
    roll.begin("a")
    for number in range(1, 12):
        roll.see(frame(number))
    ((_, evidence),) = roll.done()
    assert evidence is not None
    pictures, rate = opened(evidence.data, tmp_path)
    assert [round(float(its.mean()) / 5) for its in pictures] == [0, 5, 10]
    assert pictures[0].shape == (24, 32, 3) and rate == pytest.approx(2.0)


def test_never_larger_than_allowed(tmp_path: Path) -> None:
    roll = reel(max="40 KiB", after="20 s", before="5 s")
    for number in range(300):
        noise = RNG.integers(0, 255, (48, 64, 3), np.uint8)
        roll.see(Frame("cam", number, noise, 0, 0.0, stream_ms=100.0 * number))
        assert sum(len(jpeg) for _, jpeg in roll.ring) <= 40 * 1024
        if number == 60:
            roll.begin("a")
    ((_, evidence),) = roll.done()
    assert evidence is not None and len(evidence.data) <= 42 * 1024
    pictures, rate = opened(evidence.data, tmp_path)
    assert len(pictures) / rate == pytest.approx(25, rel=0.35)  # fewer pictures, the same length


def test_pictures_wait_until_they_are_known_and_doubtful_ones_are_left_out(tmp_path: Path) -> None:
    now = [0.0]
    roll = Reel(
        Clip(before="1 s", after="500 ms", fps=10), lambda when: now[0] - when >= 300,
        lambda pixels, when: None if when == 500.0 else pixels,
    )  # fmt: skip
    for number in range(1, 14):
        now[0] = 100.0 * number
        roll.see(frame(number))
        if number == 4:
            assert [when for when, _ in roll.ring] == [100.0]
            roll.begin("a")
        done = roll.done()
        assert bool(done) == (number == 12)
        if done:
            ((_, evidence),) = done
    assert evidence is not None
    assert numbers(evidence.data, tmp_path) == [1, 2, 3, 4, 6, 7, 8, 9]


def test_another_size_begins_anew_and_none_is_no_clip(tmp_path: Path) -> None:
    roll = reel()
    roll.see(frame(1))
    roll.begin("a")
    roll.see(frame(2, (24, 32, 3)))
    ((_, evidence),) = roll.done(ended=True)
    assert evidence is not None and numbers(evidence.data, tmp_path) == [2]
    hidden = Reel(Clip(), lambda _: True, lambda *_: None)
    hidden.see(frame(1))
    hidden.begin("b")
    assert hidden.done(ended=True) == [("b", None)]


# --- in a pipeline -------------------------------------------------------------------------


def clips(seen: range, frames: int, **keys: Any) -> list[Draft]:
    keys = {
        "on": 1, "off": 2, "clip": Clip(before="500 ms", after="1 s", fps=10),
        "rules": [Rule("label == 'a'", ["clip"])], **keys,
    }  # fmt: skip
    privacy = Privacy(keys.pop("privacy", "events"))
    decide = Decide("p", Pipeline("m", **keys), privacy, ("a", "b"), threshold=0.5)
    told = []
    for number in range(frames):
        there = [Detection("a", 0.9, (0, 0, 0.5, 0.5), track=1)] if number in seen else []
        told += decide(frame(number), there)
    return told + decide.finish(0, 0.0, ended=True)


def test_a_clip_follows_with_an_update(tmp_path: Path) -> None:
    told = clips(range(10, 40), 50)
    assert [draft.data["phase"] for draft in told] == ["new", "update", "end"]
    new, update, end = told
    assert new.data["clip"] == "follows" and not new.evidence and not end.evidence
    assert update.event == new.event and numbers(update.evidence[0].data, tmp_path)[0] == 5
    assert len(numbers(update.evidence[0].data, tmp_path)) == 16


def test_the_end_waits_for_the_clip(tmp_path: Path) -> None:
    told = clips(range(10, 12), 50)
    assert [draft.data["phase"] for draft in told] == ["new", "end"]
    assert told[1].frame == 13 and numbers(told[1].evidence[0].data, tmp_path)[-1] == 20


def test_at_the_end_of_the_source_it_is_what_there_is(tmp_path: Path) -> None:
    told = clips(range(10, 15), 15)
    assert [draft.data["phase"] for draft in told] == ["new", "end"]
    assert numbers(told[1].evidence[0].data, tmp_path) == list(range(5, 15))


@pytest.mark.parametrize("privacy", ["never", "asked"])
def test_no_clip_where_privacy_says_so(privacy: str) -> None:
    told = clips(range(10, 40), 50, privacy=privacy)
    assert [draft.data["phase"] for draft in told] == ["new", "end"]
    assert not any(draft.evidence for draft in told)


def test_with_redaction_every_picture_of_it_is_redacted(tmp_path: Path) -> None:
    redact = Redact(["a"], method="fill", margin=0.0, hold="300 ms")
    told = clips(range(10, 40), 60, redact=redact)
    (update,) = [draft for draft in told if draft.evidence]
    pictures, _ = opened(update.evidence[0].data, tmp_path)
    corner = [float(picture[4:20, 4:28].mean()) for picture in pictures]
    assert len(pictures) == 16
    # Frames 5 and 6 lie more than the hold before it was first found.
    assert corner[0] > 4 and corner[1] > 4 and max(corner[2:]) < 2
