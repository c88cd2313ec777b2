"""Embeddings: what is nearest, and how well same and other are told apart."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeagent.errors import UsageError
from edgeagent.evaluate import likeness as module
from edgeagent.evaluate.answers import Told
from edgeagent.evaluate.data import Case, Data
from edgeagent.evaluate.likeness import Likeness, fit
from edgeagent.testing.onnxgraph import echo_package

KINDS, EACH = 6, 8


def told(noise: float, seed: int = 1) -> list[Told]:
    """Vectors around a middle of each kind; a perfect model has no noise."""
    rng = np.random.default_rng(seed)
    middles = np.linalg.qr(rng.normal(size=(16, KINDS)))[0].T
    found = []
    for kind in range(KINDS):
        for number in range(EACH):
            vector = middles[kind] + rng.normal(0, noise, 16)
            case = Case(Path("x"), f"{kind}-{number}", label=f"k{kind}")
            found.append(Told(case, 0, [{"vector": (vector / np.linalg.norm(vector)).tolist()}]))
    return found


def test_a_perfect_model_and_one_that_guesses() -> None:
    metrics = Likeness(told(0.01), 0.5).measured()["metrics"]
    assert metrics["recall1"] == metrics["recall5"] == metrics["auc"] == 1.0
    assert metrics["eer"] == 0.0 and metrics["same_told"] == 1.0 and metrics["others_told"] == 0.0
    assert metrics["pairs"] == KINDS * EACH * (KINDS * EACH - 1) // 2
    poor = Likeness(told(5.0), 0.5).measured()
    assert poor["metrics"]["recall1"] < 0.5 and 0.35 < poor["metrics"]["auc"] < 0.65
    assert poor["metrics"]["recall1"] <= poor["metrics"]["recall5"] <= poor["metrics"]["recall10"]
    assert poor["worst"] and poor["worst"][0]["said"] != poor["worst"][0]["truth"]


def test_it_is_what_counting_by_hand_gives() -> None:
    its = Likeness(told(0.4), 0.5)
    cosines = its.vectors @ its.vectors.T
    np.fill_diagonal(cosines, -2)
    hits = its.truth[cosines.argmax(axis=1)] == its.truth
    measured = its.measured()
    assert measured["metrics"]["recall1"] == pytest.approx(hits.mean(), abs=1e-4)
    left, right = np.triu_indices(len(its.truth), 1)
    same, scores = its.truth[left] == its.truth[right], cosines[left, right]
    wins = (scores[same][:, None] > scores[~same]).mean()
    assert measured["metrics"]["auc"] == pytest.approx(wins, abs=1e-3)
    strict = measured["threshold"]["strict"]
    assert (scores[~same] > strict["threshold"]).mean() <= strict["false_rate"]


def test_of_many_pairs_some_are_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = Likeness(told(0.4), 0.5).measured()["metrics"]["auc"]
    monkeypatch.setattr(module, "_PAIRS", 500)
    drawn = Likeness(told(0.4), 0.5).measured()["metrics"]
    assert drawn["pairs"] < KINDS * EACH * (KINDS * EACH - 1) // 2
    assert drawn["auc"] == pytest.approx(whole, abs=0.05)


def test_data_that_can_not_tell() -> None:
    alone = Data("d", [Case(Path("a"), "a", label="x"), Case(Path("b"), "b", label="y")])
    with pytest.raises(UsageError, match="pairs"):
        fit(alone)
    some = Data("d", [*alone.cases, Case(Path("c"), "c", label="x")])
    fit(some)
    assert some.notes == ["1 labels have one input only: others are compared with it"]


def test_the_command_on_a_model(invoke: Any, tmp_path: Path) -> None:
    folder = echo_package(tmp_path / "models", "vectors", shape=(1, 1, 4))
    text = (folder / "model.toml").read_text()
    for old, new in (
        ('"regress"', '"embed"'),
        ('kind = "tensor"', _WINDOW),
        ('"none"\n[[', '"embed"\n[['),
    ):
        assert old in text
        text = text.replace(old, new)
    (folder / "model.toml").write_text(text)
    rng = np.random.default_rng(2)
    for kind in range(3):
        middle = rng.normal(size=4)
        for number in range(4):
            values = middle + rng.normal(0, 0.05, 4)
            file = tmp_path / "data" / f"k{kind}" / f"{number}.csv"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text("a,b,c,d\n" + ",".join(f"{its:.5f}" for its in values) + "\n")
    report = tmp_path / "report.html"
    done = invoke("eval", folder, tmp_path / "data", "--json", "--report", report)
    assert done.exit_code == 0, done.stderr
    metrics = json.loads(done.stdout)["metrics"]
    assert metrics["samples"] == 12 and metrics["recall1"] == 1.0 and metrics["auc"] > 0.95
    assert "recall at 1" in report.read_text()


_WINDOW = 'kind = "window"\nchannels = ["a", "b", "c", "d"]\nrate_hz = 1.0\nlength = 1'
