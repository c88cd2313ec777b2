"""Nothing of a hidden box is left, and nothing else is touched."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeagent.config.model import Redact
from edgeagent.decide.redact import Redactor, cover, grown
from edgeagent.types import Detection, Keypoints, Label, Mask

RNG = np.random.default_rng(5)
METHODS = ["fill", "blur", "pixelate"]


def noise(width: int = 64, height: int = 48, grey: bool = False) -> Any:
    shape = (height, width) if grey else (height, width, 3)
    return RNG.integers(0, 256, shape, dtype=np.uint8)


def face(box: Any, label: str = "face") -> Detection:
    return Detection(label, 0.9, box)


def hide(pixels: Any, *predictions: Any, **keys: Any) -> Any:
    redactor = Redactor(Redact(["face"], **keys))
    redactor.watch(predictions, 5.0)
    return redactor.hide(pixels, 5.0)


coordinate = st.floats(-0.5, 1.5)


@given(box=st.tuples(*[coordinate] * 4), method=st.sampled_from(METHODS), grey=st.booleans())
@settings(max_examples=200, deadline=None)
def test_all_of_the_box_and_nothing_else(box: Any, method: str, grey: bool) -> None:
    # No pixel of the source has the value 0 or a neighbour's, so any that survived shows.
    pixels = noise(grey=grey) // 2 + 100
    hidden = hide(pixels, face(box), method=method, margin=0.0)
    x1, x2 = sorted((box[0], box[2]))
    y1, y2 = sorted((box[1], box[3]))
    columns = (np.arange(64) + 1 > x1 * 64) & (np.arange(64) < x2 * 64)
    rows = (np.arange(48) + 1 > y1 * 48) & (np.arange(48) < y2 * 48)
    touched = rows[:, None] & columns[None, :]
    assert np.array_equal(hidden[~touched], pixels[~touched])
    if method == "fill":
        assert (hidden[touched] == 0).all()


@pytest.mark.parametrize("method", METHODS)
def test_a_planted_pattern_does_not_survive(method: str) -> None:
    pixels = np.full((200, 200, 3), 90, np.uint8)
    pattern = noise(80, 80)
    pixels[50:130, 60:140] = pattern
    hidden = hide(pixels, face((0.3, 0.25, 0.7, 0.65)), method=method)
    left = hidden[50:130, 60:140].astype(float).ravel()
    want = pattern.astype(float).ravel()
    assert (hidden[50:130, 60:140] == pattern).mean() < 0.05
    assert left.std() < 25  # 74 before
    if left.std() > 0:
        assert abs(np.corrcoef(left, want)[0, 1]) < 0.25


def test_margin_is_a_share_of_the_box_on_each_side() -> None:
    assert grown((0.4, 0.4, 0.6, 0.8), 0.25) == pytest.approx((0.35, 0.3, 0.65, 0.9))
    assert grown((0.6, 0.8, 0.4, 0.4), 0.25) == pytest.approx((0.35, 0.3, 0.65, 0.9))
    pixels = noise(100, 100)
    hidden = hide(pixels, face((0.4, 0.4, 0.6, 0.6)), method="fill", margin=0.5)
    assert (hidden[30:70, 30:70] == 0).all()
    assert np.array_equal(hidden[:30], pixels[:30])


def test_a_box_without_numbers_hides_everything() -> None:
    hidden = hide(noise(), face((0.1, float("nan"), 0.5, 0.5)), method="fill")
    assert not hidden.any()


def test_other_labels_stay() -> None:
    pixels = noise()
    assert np.array_equal(hide(pixels, face((0, 0, 1, 1), "dog"), Label("face", 1.0)), pixels)


def test_poses_and_masks_are_hidden_too() -> None:
    pixels = noise() // 2 + 100
    pose = Keypoints("face", 0.9, (), (0.0, 0.0, 0.5, 1.0))
    assert not hide(pixels, pose, method="fill", margin=0.0)[:, :32].any()
    polygon = ((0.5, 0.0), (1.0, 0.0), (0.75, 1.0))
    half = hide(pixels, Mask("face", 0.9, 0.2, (polygon,)), method="fill", margin=0.0)
    assert not half[:, 32:].any() and half[:, :32].all()
    assert not hide(pixels, Mask("face", 0.9, 0.2), method="fill").any()


def test_held_for_a_while() -> None:
    redactor = Redactor(Redact(["face"], method="fill", hold="500 ms"))
    pixels = noise() // 2 + 100
    redactor.watch([face((0, 0, 1, 1))], 1000.0)
    redactor.watch([], 1500.0)
    assert not redactor.hide(pixels, 1500.0).any()
    redactor.watch([], 1501.0)
    assert np.array_equal(redactor.hide(pixels, 1501.0), pixels)


def hidden_at(when: float, *seen: tuple[float, Any], hold: str = "1 s", end: float = 5000) -> Any:
    """A picture of that time by all that was seen until ``end``; white is what is hidden."""
    redactor = Redactor(Redact(["face"], method="fill", margin=0.0, hold=hold))
    boxes = dict(seen)
    for now in range(0, int(end) + 1, 100):
        box = boxes.get(float(now))
        found = [Detection("face", 0.9, box, track=3)] if box is not None else []
        redactor.watch(found, float(now), keep_from_ms=when)
    hidden = redactor.hide(np.full((10, 100), 200, np.uint8), when)
    return hidden[5] == 0


LEFT, RIGHT = (0.1, 0.0, 0.2, 1.0), (0.7, 0.0, 0.8, 1.0)


def test_what_is_found_later_is_hidden_before() -> None:
    assert hidden_at(1000, (1900, LEFT))[10:20].all()
    assert not hidden_at(1000, (2100, LEFT)).any()  # longer than it is held


def test_between_two_places_all_of_the_way_is_hidden() -> None:
    way = hidden_at(1500, (1000, LEFT), (2000, RIGHT))
    assert way[10:80].all() and not way[:10].any() and not way[80:].any()
    there = hidden_at(1000, (1000, LEFT), (2000, RIGHT))  # found just then: no guess is needed
    assert there[10:20].all() and not there[20:70].any()


def test_what_went_on_unseen_is_hidden_as_far_as_it_may_have_come() -> None:
    step = (0.2, 0.0, 0.3, 1.0)
    gone = hidden_at(1400, (1000, LEFT), (1100, step))
    assert gone[10:60].all() and not gone[61:].any()
    came = hidden_at(700, (1000, step), (1100, LEFT))  # and where it may have come from
    assert came[10:60].all() and not came[61:].any()


def test_known_once_all_that_is_held_was_watched() -> None:
    redactor = Redactor(Redact(["face"], hold="500 ms"))
    for now in (0.0, 100.0, 499.0):
        redactor.watch([], now)
        assert not redactor.known(0.0)
    redactor.watch([], 500.0)
    assert redactor.known(0.0) and not redactor.known(100.0)


def test_a_picture_before_a_stall_is_refused() -> None:
    """What the detector may have missed on it was not looked for in time."""
    redactor = Redactor(Redact(["face"], hold="500 ms"))
    for now in (0.0, 100.0, 200.0, 900.0, 1000.0):
        redactor.watch([], now, keep_from_ms=0.0)
    assert redactor.hide(noise(), 200.0) is None
    for now in (0.0, 100.0, 900.0, 1000.0):
        assert redactor.hide(noise(), now) is not None


def test_a_source_that_is_slower_than_the_hold_has_pictures_all_the_same() -> None:
    redactor = Redactor(Redact(["face"], hold="500 ms"))
    for now in (0.0, 2000.0, 4000.0, 6000.0):
        redactor.watch([], now, keep_from_ms=0.0)
    assert redactor.hide(noise(), 2000.0) is not None


def test_a_picture_on_which_a_finder_failed_is_refused() -> None:
    redactor = Redactor(Redact(["face"]))
    redactor.watch([], 0.0, None)
    redactor.watch([], 100.0, [])
    assert redactor.hide(noise(), 0.0) is None
    assert redactor.hide(noise(), 100.0) is not None


def test_time_that_jumps_back_holds_and_forgets_all_the_same() -> None:
    redactor = Redactor(Redact(["face"], method="fill", hold="500 ms"))
    pixels = noise() // 2 + 100
    for round_ in range(5):
        redactor.watch([face((0, 0, 1, 1))] if round_ == 0 else [], 9000.0)
        redactor.watch([], 0.0)
        assert bool(redactor.hide(pixels, 0.0).any()) == (round_ > 0)
        redactor.watch([], 501.0)
        assert redactor.hide(pixels, 501.0).any()


def test_both_where_it_was_and_where_it_is() -> None:
    redactor = Redactor(Redact(["face"], method="fill", margin=0.0))
    redactor.watch([face((0.0, 0.0, 0.25, 1.0))], 0.0)
    redactor.watch([face((0.5, 0.0, 0.75, 1.0))], 100.0)
    hidden = redactor.hide(noise() // 2 + 100, 100.0)
    assert not hidden[:, :16].any() and hidden[:, 16:32].all() and not hidden[:, 32:48].any()


def test_a_picture_of_another_time_is_refused() -> None:
    redactor = Redactor(Redact(["face"]))
    redactor.watch([], 100.0)
    assert redactor.hide(noise(), 133.0) is None
    assert redactor.hide(noise(), 100.0) is not None


def test_the_frame_itself_is_not_written_to() -> None:
    pixels = noise()
    pixels.setflags(write=False)
    before = pixels.copy()
    hidden = hide(pixels, face((0, 0, 1, 1)), method="fill")
    assert np.array_equal(pixels, before) and not np.shares_memory(hidden, pixels)


@pytest.mark.parametrize("method", METHODS)
def test_one_pixel_and_slivers(method: str) -> None:
    for shape in ((1, 1, 3), (1, 50, 3), (50, 1, 3)):
        cover(np.full(shape, 9, np.uint8), (0.0, 0.0, 1.0, 1.0), method)
    pixels = noise()
    cover(pixels, (0.5, 0.2, 0.5, 0.8), method)
