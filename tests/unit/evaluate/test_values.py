"""Models of one number: how far off, how well usual and unusual are told apart."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeagent.errors import UsageError
from edgeagent.evaluate.answers import Told
from edgeagent.evaluate.data import Case, Data
from edgeagent.evaluate.labels import Labels
from edgeagent.evaluate.values import Measured, Unusual, fit


def unusual(label: str, score: float) -> Told:
    name = f"{label}-{score}"
    case = Case(Path(name), name, label, slices={"machine": "a" if score < 3 else "b"})
    return Told(case, 0, [{"label": "anomaly", "score": score, "threshold": 5.0}])


def test_measured_values_by_their_errors() -> None:
    told = [
        Told(Case(Path(str(n)), str(n), value=float(n)), 0, [{"name": "t", "value": n + error}])
        for n, error in enumerate((0.0, 1.0, -1.0, 4.0))
    ]
    measured = Measured(told).measured()
    metrics = measured["metrics"]
    assert metrics["mean_error"] == 1.5 and metrics["bias"] == 1.0
    assert metrics["rms_error"] == pytest.approx((18 / 4) ** 0.5, rel=1e-5)
    assert metrics["r2"] == pytest.approx(1 - 18 / 5)
    assert measured["worst"][0]["input"] == "3" and measured["worst"][0]["said"] == 7.0
    assert measured["points"][2] == (2.0, 1.0)


def test_alarms_are_counted_and_a_threshold_is_found() -> None:
    told = [unusual("ok", 1.0), unusual("OK", 2.0), unusual("ok", 6.0), unusual("worn", 4.0),
            unusual("worn", 9.0), unusual("worn", 8.0)]  # fmt: skip
    measured = Unusual(told).measured()
    metrics = measured["metrics"]
    assert (metrics["caught"], metrics["missed"], metrics["false_alarms"]) == (2, 1, 1)
    assert metrics["auc"] == pytest.approx(8 / 9, abs=1e-4)
    assert measured["threshold"]["suggested"]["threshold"] == 4.0
    # What no usual one exceeds: one in a hundred may, and there are three.
    assert measured["threshold"]["quiet"]["threshold"] == 6.0
    assert {its["input"] for its in measured["worst"]} == {"ok-6.0", "worn-4.0"}
    assert [(its["value"], its["accuracy"]) for its in measured["slices"]] == [
        ("a", 1.0),
        ("b", 0.5),
    ]


def test_data_of_one_kind_is_refused() -> None:
    for labels in (["ok", "good"], ["worn"]):
        cases = [Case(Path(label), label, label) for label in labels]
        with pytest.raises(UsageError, match="some inputs must be usual and some not"):
            fit(Data("d", cases))


def test_scores_that_are_no_shares_have_no_calibration() -> None:
    told = [
        Told(Case(Path(name), name, name), 0,
             [{"label": "a", "score": 7.5}, {"label": "b", "score": -2.0}])
        for name in ("a", "b")
    ]  # fmt: skip
    measured = Labels(told, ["a", "b"]).measured(0.9)
    assert measured["calibration"] is None and "ece" not in measured["metrics"]
    assert measured["metrics"]["accuracy"] == 0.5
    assert measured["confusion"] == {"labels": ["a", "b"], "matrix": [[1, 0], [1, 0]]}
