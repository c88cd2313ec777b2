"""Where a JPEG picture ends in a stream of bytes."""

from __future__ import annotations

import itertools

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeagent.capture import jpeg
from edgeagent.errors import InputError


def picture(value: int, *options: int) -> bytes:
    pixels = np.random.default_rng(value).integers(0, 255, (24, 32, 3), np.uint8)
    return cv2.imencode(".jpg", pixels, list(options))[1].tobytes()


PLAIN = [picture(value) for value in (10, 50, 90)]
PROGRESSIVE = picture(120, cv2.IMWRITE_JPEG_PROGRESSIVE, 1)
# As cameras write it: a whole little picture within a segment of the large one.
THUMBED = PLAIN[0][:2] + b"\xff\xe1" + (len(PLAIN[1]) + 2).to_bytes(2, "big") + PLAIN[1]
THUMBED += PLAIN[0][2:]
ALL = [*PLAIN, THUMBED]


@given(st.lists(st.sampled_from(ALL), max_size=4), st.lists(st.integers(1, 9000), max_size=8))
def test_pictures_come_out_whole_however_the_bytes_are_cut(
    pictures: list[bytes], cuts: list[int]
) -> None:
    stream = b"".join(pictures)
    splitter = jpeg.Splitter()
    found: list[bytes] = []
    places = [0, *sorted(cut for cut in cuts if cut < len(stream)), len(stream)]
    for start, end in itertools.pairwise(places):
        found += splitter.push(stream[start:end])
    assert found == pictures


def test_a_progressive_picture_is_decoded() -> None:
    (whole,) = jpeg.Splitter().push(PROGRESSIVE + b"\r\n")
    assert jpeg.decode(whole).shape == (24, 32, 3)


@given(st.binary(max_size=400))
def test_rubbish_between_pictures_costs_none_that_follows(rubbish: bytes) -> None:
    splitter = jpeg.Splitter()
    # What looks like a beginning swallows the picture it runs into, and no more.
    found = splitter.push(PLAIN[0] + rubbish.replace(b"\xff\xd8", b"") + b"\n" + PLAIN[1])
    assert found[0] == PLAIN[0]
    assert splitter.push(PLAIN[2])[-1] == PLAIN[2]


@pytest.mark.parametrize("data", [PLAIN[0][:-40], b"\xff\xd8\xff\xd9", b"no picture", b""])
def test_what_is_no_picture_is_told(data: bytes) -> None:
    with pytest.raises(InputError, match=f"{len(data)} bytes"):
        jpeg.decode(data)


def test_a_picture_without_an_end_is_not_kept_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jpeg, "LONGEST", 1000)
    splitter = jpeg.Splitter()
    with pytest.raises(ValueError, match="more than"):
        for _ in range(100):
            splitter.push(PLAIN[0][:-2] if not splitter._data else b"\x00" * 100)
