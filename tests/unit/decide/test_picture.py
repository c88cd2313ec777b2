"""Predictions drawn for people."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest

from edgeagent.decide.picture import Scenery, colour_of, draw, jpeg
from edgeagent.errors import InputError
from edgeagent.types import (
    Anomaly,
    Detection,
    Embedding,
    Keypoints,
    Label,
    Mask,
    Raw,
    Regression,
)

GREY = np.full((240, 320, 3), 60, np.uint8)


def changed(picture: Any) -> Any:
    return (picture != 60).any(axis=2)


def test_a_box_stands_where_it_is_and_in_its_colour() -> None:
    picture = draw(GREY, [Detection("crack", 0.93, (0.25, 0.25, 0.75, 0.75))])
    touched = changed(picture)
    for row, column in ((60, 160), (180, 160), (120, 80), (120, 240)):
        assert touched[row - 1 : row + 2, column - 1 : column + 2].any()
    assert not touched[100:140, 120:200].any()  # the inside stays free
    assert (GREY == 60).all()
    colour = np.array(colour_of("crack"))
    assert (np.abs(picture.astype(int) - colour).sum(axis=2) < 30).any()


def test_colours_tell_labels_apart_and_last() -> None:
    assert colour_of("crack") == colour_of("crack")
    assert len({colour_of(label) for label in ("whole", "cracked", "missing", "face")}) > 1


def test_the_caption_of_a_box_at_the_edge_stays_inside() -> None:
    for box in ((-0.2, -0.2, 0.3, 0.3), (0.8, 0.8, 1.3, 1.3), (0.9, 0.0, 1.0, 0.1)):
        picture = draw(GREY, [Detection("a long label", 0.5, box)])
        filled = (picture == colour_of("a long label")).all(axis=2)
        assert filled.sum() > 300


def test_everything_can_be_drawn() -> None:
    predictions: list[Any] = [
        Detection("gesicht ü", 0.9, (0.1, 0.1, 0.2, 0.2), ((0.15, 0.15),), 7),
        Keypoints("person", 0.8, ((0.5, 0.5, 0.9), (0.6, 0.6, 0.2))),
        Mask("road", 0.9, 0.3, (((0.1, 0.9), (0.9, 0.9), (0.5, 0.6)),)),
        Mask("sky", 0.9, 0.0),
        Label("狐", 0.5),
        Anomaly(3.0, 2.0),
        Regression("flow", 2.5, "l/min"),
        Embedding((1.0, 2.0)),
        Raw({}),
        Detection("far", 0.5, (-1e30, -1e30, 1e30, 1e30)),
    ]
    assert changed(draw(GREY, predictions)).any()
    grey = draw(np.full((50, 60), 60, np.uint8), predictions)
    assert grey.shape == (50, 60, 3)
    assert draw(np.zeros((1, 1, 3), np.uint8), predictions).shape == (1, 1, 3)
    assert np.array_equal(draw(GREY, []), GREY)


def test_jpeg() -> None:
    data = jpeg(draw(GREY, [Label("fox", 0.9)]))
    again = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert again.shape == GREY.shape
    assert len(jpeg(GREY, 30)) <= len(jpeg(GREY, 95))
    assert jpeg(np.zeros((8, 8), np.uint8))[:2] == b"\xff\xd8"
    with pytest.raises(InputError):
        jpeg(np.zeros((0, 0, 3), np.uint8))


def test_zones_lines_and_trails_stand_where_they_are() -> None:
    scenery = Scenery(
        zones={"door": [(0.6, 0.1), (0.9, 0.1), (0.9, 0.6), (0.6, 0.6)]},
        lines={"gate": ((0.2, 0.2), (0.2, 0.8))},
        counts={"gate": {"in": 3, "out": 2}},
        trails={7: [(0.4, 0.5), (0.45, 0.55), (0.5, 0.5)], 8: [(0.1, 0.1), (0.3, 0.1)]},
    )
    found = [Detection("crack", 0.9, (0.45, 0.3, 0.55, 0.5), track=7)]
    picture = draw(GREY, found, scenery)
    touched = changed(picture)

    def at(x: float, y: float) -> bool:
        column, row = round(x * 320), round(y * 240)
        return bool(touched[row - 2 : row + 3, column - 2 : column + 3].any())

    assert at(0.6, 0.3) and at(0.75, 0.1)  # the zone's sides
    assert at(0.2, 0.4) and at(0.2, 0.7)  # the line
    assert at(0.42, 0.52)  # the trail of what is there
    assert not at(0.25, 0.1)  # not of what is gone
    # Seen from the first point to the second, in is to the right: here the left of the picture.
    left, right = touched[110:131, 48:60].sum(), touched[110:131, 70:82].sum()
    assert left > 0 and right == 0


def test_a_pose_is_joined_where_it_is_sure() -> None:
    points = [(0.1 + 0.05 * n, 0.2 if n % 2 else 0.8, 0.9) for n in range(17)]
    whole = changed(draw(GREY, [Keypoints("person", 0.8, tuple(points))])).sum()
    points[5] = (*points[5][:2], 0.1)
    assert 0 < changed(draw(GREY, [Keypoints("person", 0.8, tuple(points))])).sum() < whole
    dots = changed(draw(GREY, [Keypoints("person", 0.8, tuple(points[:4]))])).sum()
    assert 0 < dots < whole / 4
