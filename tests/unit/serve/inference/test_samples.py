"""Bodies that are sounds, as long as they may be."""

from __future__ import annotations

import io
import wave
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeagent.prove.predict import Predictor
from edgeagent.serve.http.exchange import Refused
from edgeagent.serve.inference import samples
from edgeagent.update.library import Library


@pytest.fixture(scope="module")
def bearing(repository: Path) -> Iterator[Predictor]:
    with Predictor(Library([repository / "models"]).find("bearing")) as predictor:
        yield predictor


def sound(count: int) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as written:
        written.setparams((1, 2, 8000, 0, "NONE", ""))
        noise: Any = np.random.default_rng(1).integers(-3000, 3000, count)
        written.writeframes(noise.astype(np.int16).tobytes())
    return file.getvalue()


def test_a_prediction_for_each_window(bearing: Predictor) -> None:
    told = samples._reading("audio/wav", sound(1024 + 3 * 512))(bearing)
    assert [its["window"] for its in told["windows"]] == [0, 1, 2, 3]
    assert all(its["predictions"][0]["label"] == "anomaly" for its in told["windows"])
    assert set(told["ms"]) == {"prepare", "infer", "interpret"}


def test_a_sound_has_an_end(bearing: Predictor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(samples, "MOST_WINDOWS", 3)
    with pytest.raises(Refused) as refused:
        samples._reading("audio/wav", sound(1024 + 3 * 512))(bearing)
    assert refused.value.status == 413
