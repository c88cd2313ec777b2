"""Pictures in shared memory: lent in place, taken back when the last view is gone."""

from __future__ import annotations

import gc
import os

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeagent.capture.ring import Ring, Slots

SHAPE = (6, 8, 3)


def pair(count: int = 4) -> tuple[Slots, Ring, list[int]]:
    slots = Slots(count, 6 * 8 * 3)
    back: list[int] = []
    ring = Ring(slots.fd, count, slots.size, back.append)
    os.close(slots.fd)
    return slots, ring, back


def test_the_reader_sees_what_was_written_without_a_copy() -> None:
    slots, ring, _ = pair()
    slots.view(2, SHAPE)[...] = 7
    picture = ring.picture(2, SHAPE)
    assert (picture == 7).all()
    slots.view(2, SHAPE)[0, 0, 0] = 9
    assert picture[0, 0, 0] == 9


def test_a_slot_goes_back_when_its_last_view_is_gone() -> None:
    _, ring, back = pair()
    picture = ring.picture(1, SHAPE)
    row = picture[2:4][::-1, :, 0]
    del picture
    gc.collect()
    assert back == []
    assert ring.lent == 1
    del row
    assert back == [1]
    assert ring.lent == 0


def test_the_last_slots_are_copied_so_that_the_writer_can_go_on() -> None:
    slots, ring, back = pair(4)
    for slot in range(4):
        slots.view(slot, SHAPE)[...] = slot
    held = [ring.picture(slot, SHAPE) for slot in range(4)]
    assert sorted(back) == [2, 3]
    for slot in (2, 3):
        slots.view(slot, SHAPE)[...] = 99
    assert [int(picture[0, 0, 0]) for picture in held] == [0, 1, 2, 3]


def test_pictures_outlive_the_ring() -> None:
    slots, ring, back = pair()
    slots.view(0, SHAPE)[...] = 5
    picture = ring.picture(0, SHAPE)
    del ring, slots
    gc.collect()
    assert (picture == 5).all()
    del picture
    assert back == [0]


def test_a_lent_picture_can_be_written_until_it_is_shared() -> None:
    _, ring, _ = pair()
    picture = ring.picture(0, SHAPE)
    picture[...] = 3
    picture.flags.writeable = False
    with pytest.raises(ValueError, match="read-only"):
        picture[0] = 1


@pytest.mark.parametrize("shape", [(100, 100, 3), (0, 8, 3), (2**40, 2**40, 3)])
def test_shapes_that_do_not_fit_are_refused(shape: tuple[int, ...]) -> None:
    _, ring, back = pair()
    with pytest.raises(ValueError, match="no picture"):
        ring.picture(0, shape)
    for slot in (-1, 4):
        with pytest.raises(ValueError, match="no picture"):
            ring.picture(slot, SHAPE)
    assert not back


def test_memory_that_could_shrink_is_refused() -> None:
    handle = os.memfd_create("unsealed", os.MFD_ALLOW_SEALING)
    os.ftruncate(handle, 8192)
    with pytest.raises(ValueError, match="not sealed"):
        Ring(handle, 1, 4096, lambda _: None)
    os.close(handle)


def test_a_ring_smaller_than_it_says_is_refused() -> None:
    slots = Slots(2, 4096)
    with pytest.raises(ValueError, match="smaller"):
        Ring(slots.fd, 3, 4096, lambda _: None)
    os.close(slots.fd)


def test_nothing_stays_open() -> None:
    gc.collect()
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(20):
        slots, ring, _ = pair()
        picture = ring.picture(0, SHAPE)
        del slots, ring, picture
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) == before


@given(st.lists(st.integers(0, 2), max_size=60))
def test_no_slot_is_given_back_while_it_is_seen(steps: list[int]) -> None:
    """Take, hold a view of, and drop pictures in any order: what is held keeps its content
    while the writer uses every slot that came back."""
    slots, ring, back = pair(4)
    free = set(range(4))
    held: list[tuple[int, np.ndarray]] = []
    number = 0
    for step in steps:
        free.update(back)
        back.clear()
        if step < 2:
            assert free, "the writer must always have a slot"
            number = number % 250 + 1
            slot = min(free)
            slots.view(slot, SHAPE)[...] = number
            free.discard(slot)
            picture = ring.picture(slot, SHAPE)
            held.append((number, picture[1:, ::2] if step else picture))
            del picture
        elif held:
            held.pop(0)
        for value, view in held:
            assert (view == value).all()
