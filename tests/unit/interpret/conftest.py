"""Real models behind the real stages: a description in, predictions out."""

from __future__ import annotations

import wave
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeagent.manifest import InputSpec, Manifest, OutputSpec, Package, StateSpec, Variant
from edgeagent.prove.predict import Predictor
from edgeagent.types import Frame, Window


def asset_lines(assets: Path, name: str) -> tuple[str, ...]:
    """Labels, one a line; of a class map (index, id, name), the names."""
    text = (assets / "labels" / name).read_text(encoding="utf-8").splitlines()
    if name == "yamnet_class_map.csv":
        return tuple(line.split(",", 2)[2].strip('"') for line in text[1:])
    if name == "pascal_voc_segmentation_labels.txt":
        return tuple(text[:21])  # the rest is a comment
    return tuple(text)


@pytest.fixture(scope="session")
def opened(assets: Path) -> Iterator[Callable[..., Predictor]]:
    """Opens a model of the asset folder; what was opened with the same description is shared.

    Call: opened(file, input or inputs, output, labels=file name or tuple, states=()).
    """
    cache: dict[str, Predictor] = {}

    def open_it(
        file: str,
        inputs: InputSpec | list[InputSpec],
        output: OutputSpec,
        labels: str | tuple[str, ...] = (),
        states: tuple[StateSpec, ...] = (),
    ) -> Predictor:
        key = repr((file, inputs, output, labels, states))
        if key not in cache:
            runtime: Any = "litert" if file.endswith(".tflite") else "onnx"
            inputs = inputs if isinstance(inputs, list) else [inputs]
            manifest = Manifest(
                "m", "1.0.0", "detect", output, inputs, [Variant(file, runtime)],
                state=list(states),
            )  # fmt: skip
            names = asset_lines(assets, labels) if isinstance(labels, str) else labels
            cache[key] = Predictor(Package(assets / "models", manifest, names))
        predictor = cache[key]
        predictor.reset()
        return predictor

    yield open_it
    for predictor in cache.values():
        predictor.close()


@pytest.fixture(scope="session")
def picture(assets: Path) -> Callable[[str], Frame]:
    """A picture of the asset folder."""
    cv2 = pytest.importorskip("cv2")

    def read(name: str) -> Frame:
        flag = cv2.IMREAD_UNCHANGED if name.startswith("mnist") else cv2.IMREAD_COLOR
        pixels = cv2.imread(str(assets / "images" / name), flag)
        assert pixels is not None
        return Frame("files", 1, pixels, 0, 0.0, name)

    return read


@pytest.fixture(scope="session")
def sound(assets: Path) -> Callable[[str], Any]:
    """The first channel of a WAV file, float32 (samples, 1) in −1..1."""

    def read(name: str) -> Any:
        with wave.open(str(assets / "audio" / name)) as file:
            assert (file.getframerate(), file.getsampwidth()) == (16000, 2)
            raw = np.frombuffer(file.readframes(file.getnframes()), np.int16)
            return raw.reshape(-1, file.getnchannels())[:, :1].astype(np.float32) / 32768

    return read


@pytest.fixture(scope="session")
def window() -> Callable[..., Window]:
    """Values (length, channels) as a sample."""

    def make(values: Any, rate: float = 1.0) -> Window:
        values = np.asarray(values, np.float32)
        channels = tuple(f"c{k}" for k in range(values.shape[1]))
        return Window("files", 1, values, rate, channels, 0, 0.0)

    return make


@pytest.fixture(scope="session")
def listened(window: Any) -> Callable[..., Iterator[list[Any]]]:
    """Predictions of windows cut from a sound every ``hop`` samples."""

    def listen(model: Predictor, samples: Any, length: int, hop: int) -> Iterator[list[Any]]:
        for start in range(0, len(samples) - length + 1, hop):
            yield model(window(samples[start : start + length], 16000)).predictions

    return listen
