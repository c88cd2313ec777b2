"""Train `digits`: read one handwritten digit of 8 × 8 pixels.

    python models/train/digits.py [--out DIR] [--check]

The data is real: 1,797 digits written by 43 people (Alpaydin & Kaynak, UCI Machine Learning
Repository, CC BY 4.0), as scikit-learn ships them; 1,257 train, 540 are held out.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import cv2
import export
import numpy as np
from export import Floats, Run
from numpy.typing import NDArray

SEED = 3
EPOCHS, BATCH = 70, 32
HELD_OUT = 540
SLACK = {"top1_litert_int8": 0.015, "top1_onnx_int8": 0.015}

HEAD = """
task = "classify"
licence = "Apache-2.0"
min_agent = "0.1"
labels = "labels.txt"
description = "One handwritten digit, light ink on dark ground, 8 x 8 pixels."

[[input]]
name = "image"
kind = "image"
size = [8, 8]
colour = "gray"
fit = "stretch"
mean = [0]
scale = [255]

[output]
decoder = "classify"
threshold = 0.5
top = 3
"""

LICENCE = """\
The golden samples in this folder are images of the data set "Optical Recognition of
Handwritten Digits" by E. Alpaydin and C. Kaynak (1998), UCI Machine Learning Repository,
https://doi.org/10.24432/C50P49, licensed under the Creative Commons Attribution 4.0
International licence, https://creativecommons.org/licenses/by/4.0/ . The grey values 0..16 of
the data set are scaled to 0..255; nothing else was changed. The model was trained on this
data. The model files themselves are licensed under Apache-2.0.
"""


def load() -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """All pictures (1797, 8, 8) as the device reads them, 0..255, and their digits."""
    from sklearn.datasets import load_digits

    data = load_digits()
    return np.rint(data.images * 255 / 16).astype(np.uint8), data.target.astype(np.int64)


def build() -> Any:
    """8 × 8 grey in 0..1 → ten probabilities."""
    import keras
    from keras import layers

    image = keras.Input((8, 8, 1), name="image")
    x = layers.Conv2D(16, 3, padding="same", activation="relu")(image)
    x = layers.Conv2D(32, 3, 2, padding="same", activation="relu")(x)
    x = layers.Conv2D(32, 3, padding="same", activation="relu")(x)
    x = layers.Dropout(0.35)(layers.Flatten()(x))
    return keras.Model(image, layers.Dense(10, "softmax", name="digit")(x))


def train(images: Floats, digits: NDArray[np.int64]) -> Any:
    """Fit with small shifts, so that a digit need not be centred to the pixel."""
    import keras
    import tensorflow as tf

    def vary(image: Any, digit: Any) -> tuple[Any, Any]:
        wide = tf.pad(image, ((1, 1), (1, 1), (0, 0)))
        gain = tf.random.uniform((), 0.75, 1.15)
        return tf.clip_by_value(tf.image.random_crop(wide, (8, 8, 1)) * gain, 0.0, 1.0), digit

    # Half of the pictures as they are: most digits are well centred.
    plain = tf.data.Dataset.from_tensor_slices((images, digits))
    data = plain.concatenate(plain.map(vary)).shuffle(2 * len(images), seed=SEED).batch(BATCH)
    model = build()
    steps = EPOCHS * (2 * len(images) // BATCH)
    rate = keras.optimizers.schedules.CosineDecay(2e-3, steps, alpha=0.01)
    model.compile(optimizer=keras.optimizers.Adam(rate), loss="sparse_categorical_crossentropy")
    model.fit(data.prefetch(2), epochs=EPOCHS, verbose=2)
    return model


def golden(
    runs: dict[str, Run], images: NDArray[np.uint8], digits: NDArray[np.int64]
) -> dict[str, bytes]:
    """Eight held-out digits that every kernel reads right, with nearly the same score."""
    given = images[..., None].astype(np.float32) / 255.0
    answers = np.stack([run(given) for run in runs.values()])
    sure = np.all(answers.argmax(axis=2) == digits, axis=0)
    sure &= answers.max(axis=2).min(axis=0) > 0.97
    sure &= np.ptp(answers, axis=0).max(axis=1) < 0.02
    chosen: dict[str, bytes] = {}
    for digit in (0, 1, 2, 3, 4, 5, 6, 7):
        index = int(np.flatnonzero(sure & (digits == digit))[0])
        chosen[f"{digit}.png"] = cv2.imencode(".png", images[index])[1].tobytes()
    return chosen


def main(argv: Sequence[str] | None = None) -> int:
    given = export.options(__doc__, "digits").parse_args(argv)

    export.fix_seeds(SEED)
    from sklearn.model_selection import train_test_split

    images, digits = load()
    train_x, held_x, train_y, held_y = train_test_split(
        images, digits, test_size=HELD_OUT, random_state=SEED, stratify=digits
    )
    floats = train_x[..., None].astype(np.float32) / 255.0
    model = train(floats, train_y)
    litert = export.to_litert(model, floats[:400])
    onnx = export.to_onnx(model, floats[:400], "digit")
    runs = export.kernels(litert, onnx)
    variants = {
        "float": lambda batch: np.asarray(model.predict(batch, verbose=0)),
        "litert_int8": runs["litert-xnnpack"],
        "onnx_int8": runs["onnx-optimised"],
    }
    held = held_x[..., None].astype(np.float32) / 255.0
    metrics: dict[str, float] = {"parameters": model.count_params()}
    for variant, run in variants.items():
        metrics[f"top1_{variant}"] = round(float(np.mean(run(held).argmax(axis=1) == held_y)), 4)
    trained = export.Trained(
        name="digits",
        head=HEAD,
        litert=litert,
        onnx=onnx,
        metrics=metrics,
        recipe={
            "seed": SEED,
            "data": "UCI Optical Recognition of Handwritten Digits (CC BY 4.0) by "
            "sklearn.datasets.load_digits; 540 of 1797 held out, stratified",
            "epochs": EPOCHS,
        },
        tolerance={"score": 0.05, "top1": 1.0},
        texts={"labels.txt": "\n".join(map(str, range(10))) + "\n", "LICENCE": LICENCE},
        golden=golden(runs, held_x, held_y),
    )
    return export.finish(trained, given.out, given.check, SLACK)


if __name__ == "__main__":
    sys.exit(main())
