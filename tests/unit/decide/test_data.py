"""Predictions as plain JSON values."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from edgeagent.decide.data import as_data
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


@pytest.mark.parametrize(
    ("prediction", "data"),
    [
        (Label("a", 0.123456), {"label": "a", "score": 0.1235}),
        (
            Detection("a", 0.5, (0.1, 0.2, 0.30000001, 0.4)),
            {"label": "a", "score": 0.5, "box": [0.1, 0.2, 0.3, 0.4]},
        ),
        (
            Detection("a", 0.5, (0, 0, 1, 1), ((0.123456, 0.5),), 3),
            {
                "label": "a", "score": 0.5, "box": [0, 0, 1, 1], "track": 3,
                "points": [[0.1235, 0.5]],
            },
        ),
        (
            Keypoints("p", 0.5, ((0.1, 0.2, 0.9),)),
            {"label": "p", "score": 0.5, "box": [0, 0, 1, 1], "points": [[0.1, 0.2, 0.9]]},
        ),
        (
            Mask("m", 0.5, 0.25, (((0.1, 0.2), (0.3, 0.4), (0.5, 0.123456)),)),
            {"label": "m", "score": 0.5, "share": 0.25,
             "polygons": [[[0.1, 0.2], [0.3, 0.4], [0.5, 0.1235]]]},
        ),
        (
            Anomaly(12345.678, 2.0),
            {"label": "anomaly", "score": 12345.7, "threshold": 2.0, "alarming": True},
        ),
        (Regression("flow", 1.23456789, "l"), {"name": "flow", "value": 1.23457, "unit": "l"}),
        (Regression("flow", 1e-9), {"name": "flow", "value": 1e-9}),
        (Embedding((0.1234567, 1.0)), {"vector": [0.123457, 1.0]}),
        (Raw({"y": [[1, 2]]}), {"outputs": {"y": [[1, 2]]}}),
    ],
)  # fmt: skip
def test_as_data(prediction: Any, data: dict[str, Any]) -> None:
    assert as_data(prediction) == data
    assert msgspec.json.decode(msgspec.json.encode(as_data(prediction))) == data
