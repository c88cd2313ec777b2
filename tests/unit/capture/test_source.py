"""What several pipelines want of one source."""

from __future__ import annotations

import pytest

from edgeagent.capture.source import PICTURES, Wanted, merge
from edgeagent.errors import ConfigError

WINDOWS = Wanted(("x",), 8000.0, 1024, 512)


def test_pictures_want_nothing_special() -> None:
    assert merge("cam0", []) == PICTURES
    assert merge("cam0", [PICTURES, PICTURES]) == PICTURES


def test_equal_wishes_are_one() -> None:
    assert merge("vib", [WINDOWS, PICTURES, WINDOWS]) == WINDOWS


def test_different_windows_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"sources\.vib: .*1024 rows every 512 at 8000 Hz of x"):
        merge("vib", [WINDOWS, Wanted(None, 8000.0, 2048)])


def test_models_that_take_different_channels_of_the_same_windows_share_a_source() -> None:
    one = Wanted(channels=("x",), rate_hz=100, length=10)
    other = Wanted(channels=("y", "x"), rate_hz=100, length=10)
    assert merge("s", [one, other]) == Wanted(channels=("x", "y"), rate_hz=100, length=10)
    with pytest.raises(ConfigError, match="different windows"):
        merge("s", [one, Wanted(channels=("y",), rate_hz=50, length=10)])
