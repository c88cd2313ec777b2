"""What an anomaly model says about a picture, drawn on it and as data."""

from __future__ import annotations

import numpy as np
import pytest

from edgeagent.decide.data import as_data
from edgeagent.types import Anomaly

pytest.importorskip("cv2")

from edgeagent.decide.picture import draw

BOX = (0.5, 0.5, 0.75, 0.75)


def test_heat_lies_over_what_is_unusual_only() -> None:
    pixels = np.full((240, 320, 3), 90, np.uint8)
    heat = np.full((12, 16), 1.0, np.float32)
    heat[6:9, 8:12] = 5.0
    shown = draw(pixels, [Anomaly(5.0, 2.0, ((BOX, 5.0),), heat)])
    changed = np.abs(shown.astype(int) - 90).sum(axis=2)
    assert changed[130:170, 180:220].min() > 30
    assert changed[200:, :100].max() == 0
    assert (pixels == 90).all()
    hot = shown[150, 200].astype(int)
    assert hot[2] > hot[0] and hot[2] > hot[1]  # red, BGR


def test_grey_frames_and_no_heat() -> None:
    grey = np.full((60, 80), 90, np.uint8)
    assert draw(grey, [Anomaly(1.0, 0.0, (), np.ones((3, 4), np.float32))]).shape == (60, 80, 3)
    assert draw(grey, [Anomaly(1.0, 2.0)]).shape == (60, 80, 3)


def test_regions_are_told_where_there_are_any() -> None:
    assert as_data(Anomaly(2.5, 2.0, ((BOX, 2.5),))) == {
        "label": "anomaly", "score": 2.5, "threshold": 2.0, "alarming": True,
        "regions": [{"box": [0.5, 0.5, 0.75, 0.75], "score": 2.5}],
    }  # fmt: skip
    assert "regions" not in as_data(Anomaly(1.0, 2.0))
