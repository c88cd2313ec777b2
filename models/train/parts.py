"""Train `parts`: find parts on a conveyor belt and say whether they are whole.

    python models/train/parts.py [--out DIR] [--check]

The data is rendered by `edgeagent.capture.synthetic.BeltScene`: training, calibration and
held-out worlds have different seeds. The network is anchor-free: each cell of a 12 × 12 grid
answers one box and three class scores, all as values in 0..1, because one int8 output tensor
has one scale (1/256) for boxes and scores alike.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from typing import Any

import cv2
import export
import numpy as np
from export import Floats, Run
from numpy.typing import NDArray

from edgeagent.capture.synthetic import LABELS, BeltScene, Truth

SEED = 11
SIDE = 96
GRID = 12
CELLS = GRID * GRID
CLASSES = len(LABELS)
LARGEST = 0.4
"""Longest box side that the model can say, as a share of the tensor."""
SURE, CUT = 0.9, 0.8
"""Parts visible to less than CUT are background, or the frame's edge would look like damage;
between the two the model may choose."""
EPOCHS = 24
BATCH = 32
SLACK = {
    "map50_litert_int8": 0.02,
    "map50_onnx_int8": 0.02,
    "false_per_frame_litert_int8": 0.03,
    "false_per_frame_onnx_int8": 0.03,
}

HEAD = f"""
task = "detect"
licence = "Apache-2.0"
min_agent = "0.1"
labels = "labels.txt"
description = "Parts on a conveyor belt seen from above: whole, cracked, or a piece missing."

[[input]]
name = "image"
kind = "image"
size = [{SIDE}, {SIDE}]
colour = "rgb"
fit = "letterbox"
mean = [0, 0, 0]
scale = [255, 255, 255]

[output]
decoder = "yolo"
layout = "rows"
boxes = "cxcywh"
units = "normalized"
threshold = 0.5
nms_iou = 0.45
"""


@dataclass
class Scenes:
    """Prepared pictures with what is in them."""

    images: NDArray[np.uint8]
    """(n, 96, 96, 3) RGB."""
    truths: list[list[Truth]]
    """Boxes in 0..1 of the tensor."""
    frames: list[NDArray[np.uint8]]
    """The pictures before preparing (BGR), where asked for."""


# --- data ----------------------------------------------------------------------------------


def letterbox(picture: NDArray[np.uint8], resample: int, pad: int) -> NDArray[np.uint8]:
    """BGR picture (h, w, 3) centred in a square (96, 96, 3) RGB tensor."""
    height, width = picture.shape[:2]
    ratio = SIDE / max(height, width)
    inner = (round(width * ratio), round(height * ratio))
    top, left = (SIDE - inner[1]) // 2, (SIDE - inner[0]) // 2
    tensor = np.full((SIDE, SIDE, 3), pad, np.uint8)
    small = cv2.resize(picture, inner, interpolation=resample)
    tensor[top : top + inner[1], left : left + inner[0]] = small[..., ::-1]
    return tensor


def placed(truth: Truth, shape: tuple[int, ...]) -> Truth:
    """The same part with its box in 0..1 of the letterboxed tensor."""
    height, width = shape[:2]
    longest = max(height, width)
    sx, sy = width / longest, height / longest
    dx, dy = (1 - sx) / 2, (1 - sy) / 2
    x1, y1, x2, y2 = truth.box
    box = (x1 * sx + dx, y1 * sy + dy, x2 * sx + dx, y2 * sy + dy)
    return Truth(truth.label, box, truth.part, truth.visible)


def _world(task: tuple[int, int, float, bool, bool]) -> Scenes:
    """Pictures of one world: (seed, how many, fault rate, vary the preparation, keep frames)."""
    seed, count, fault_rate, vary, keep = task
    cv2.setNumThreads(1)
    rng = np.random.default_rng((SEED, seed))
    # Some worlds are seen by other cameras: resampling from more pixels looks different.
    size = {4: (480, 270), 5: (640, 480)}.get(seed % 6, (320, 240))
    scene = BeltScene(seed, size, fault_rate=fault_rate)
    scenes = Scenes(np.zeros((count, SIDE, SIDE, 3), np.uint8), [], [])
    # Three looks at the same stretch of belt: drawing parts anew is what takes the time.
    places = np.sort(rng.integers(0, 4000, math.ceil(count / 3)))
    looks = (places[:, None] + (0, 17, 36)).ravel()[:count]
    for k, number in enumerate(looks):
        picture, truths = scene.render(int(number))
        resample = cv2.INTER_AREA if vary and rng.random() < 0.4 else cv2.INTER_LINEAR
        pad = int(rng.choice((0, 114, 128))) if vary else 0
        scenes.images[k] = letterbox(picture, resample, pad)
        scenes.truths.append([placed(truth, picture.shape) for truth in truths])
        if keep:
            scenes.frames.append(picture)
    return scenes


def render(
    seeds: Sequence[int], each: int, *, fault_rate: float, vary: bool, keep: bool = False
) -> Scenes:
    """Pictures of several worlds, rendered in two processes, in a fixed order."""
    # Fresh processes: TensorFlow has threads by now, and forking those may hang.
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        tasks = [(seed, each, fault_rate, vary, keep) for seed in seeds]
        worlds = list(pool.map(_world, tasks))
    return Scenes(
        np.concatenate([world.images for world in worlds]),
        [truths for world in worlds for truths in world.truths],
        [frame for world in worlds for frame in world.frames],
    )


def targets(truths: Sequence[Sequence[Truth]]) -> Floats:
    """What each cell should answer: (n, cells, 4 box + classes + class weight + box weight)."""
    wanted = np.zeros((len(truths), CELLS, 4 + CLASSES + 2), np.float32)
    wanted[..., -2] = 1.0
    gy, gx = np.mgrid[0:GRID, 0:GRID].reshape(2, CELLS)
    for answer, parts in zip(wanted, truths, strict=True):
        for truth in parts:
            if truth.visible < CUT:
                continue
            x1, y1, x2, y2 = truth.box
            cx, cy = (x1 + x2) / 2, (y1 + y2) / 2
            away = np.maximum(abs(gx + 0.5 - cx * GRID), abs(gy + 0.5 - cy * GRID))
            # Cells round the centre answer together. In the ring after them the score is free,
            # but the box is taught as well: else NMS would not know a repetition.
            ring = away < 1.45
            answer[ring, -2] = 0.0
            if truth.visible < SURE:
                continue
            answer[ring, :4] = cx, cy, x2 - x1, y2 - y1
            answer[ring, -1] = 1.0
            near = away < 0.95
            answer[near, 4 + LABELS.index(truth.label)] = 1.0
            answer[near, -2] = 1.0
    return wanted


# --- network -------------------------------------------------------------------------------


def build() -> Any:
    """96 × 96 RGB in 0..1 → (144, 7): cx, cy, w, h of the tensor and three scores."""
    import keras
    from keras import layers

    def conv(x: Any, filters: int, stride: int = 1) -> Any:
        x = layers.Conv2D(filters, 3, stride, padding="same", use_bias=False)(x)
        return layers.ReLU()(layers.BatchNormalization()(x))

    image = keras.Input((SIDE, SIDE, 3), name="image")
    x = conv(image, 12, 2)
    x = conv(x, 12)
    x = conv(x, 20, 2)
    x = conv(x, 20)
    x = conv(x, 32, 2)
    x = conv(x, 32)
    x = conv(x, 32)

    # Three heads keep three int8 scales: logits of sizes would drown in those of classes.
    def head(filters: int, bias: float, name: str) -> Any:
        initial = keras.initializers.Constant(bias)
        y = layers.Conv2D(filters, 1, bias_initializer=initial, name=name)(x)
        return layers.Activation("sigmoid")(layers.Reshape((CELLS, filters))(y))

    gy, gx = np.mgrid[0:GRID, 0:GRID].reshape(2, CELLS)
    # A cell may place the centre up to a cell away, but not outside the picture: values in
    # 0..1 give the output tensor the finest int8 scale.
    cell = np.stack([gx, gy], axis=1)[None].astype(np.float32)
    low, high = np.maximum(cell - 1, 0) / GRID, np.minimum(cell + 2, GRID) / GRID
    centre = layers.Rescaling(high - low, low)(head(2, 0.0, "centre"))
    size = layers.Rescaling(LARGEST)(head(2, 0.0, "size"))
    scores = head(CLASSES, -4.0, "scores")
    return keras.Model(image, layers.Concatenate(name="detections")([centre, size, scores]))


def loss(wanted: Any, answer: Any) -> Any:
    """Cross entropy of the scores plus, where there is a part, 1 − IoU and centre distance."""
    import tensorflow as tf

    scores = tf.clip_by_value(answer[..., 4:], 1e-6, 1 - 1e-6)
    truth = wanted[..., 4 : 4 + CLASSES]
    entropy = -truth * tf.math.log(scores) * 2.0 - (1 - truth) * tf.math.log(1 - scores)
    parts = tf.reduce_sum(wanted[..., -1]) + 1.0
    of_class = tf.reduce_sum(entropy * wanted[..., -2:-1]) / parts
    half, true_half = answer[..., 2:4] / 2, wanted[..., 2:4] / 2
    low = tf.maximum(answer[..., :2] - half, wanted[..., :2] - true_half)
    high = tf.minimum(answer[..., :2] + half, wanted[..., :2] + true_half)
    inter = tf.reduce_prod(tf.maximum(high - low, 0.0), axis=-1)
    area = tf.reduce_prod(answer[..., 2:4], -1) + tf.reduce_prod(wanted[..., 2:4], -1)
    iou = inter / (area - inter + 1e-6)
    off = tf.reduce_sum(tf.abs(answer[..., :4] - wanted[..., :4]), axis=-1)
    of_box = tf.reduce_sum((2.0 * (1 - iou) + 10.0 * off) * wanted[..., -1]) / parts
    return of_class + of_box


def train(scenes: Scenes, epochs: int) -> Any:
    """Fit the network; brightness, contrast and tint vary from batch to batch."""
    import keras
    import tensorflow as tf

    def vary(image: Any, wanted: Any) -> tuple[Any, Any]:
        image = tf.cast(image, tf.float32) / 255.0
        batch = tf.shape(image)[0]
        gain = tf.random.uniform((batch, 1, 1, 1), 0.75, 1.25)
        tint = tf.random.uniform((batch, 1, 1, 3), 0.94, 1.06)
        lift = tf.random.uniform((batch, 1, 1, 1), -0.04, 0.04)
        return tf.clip_by_value(image * gain * tint + lift, 0.0, 1.0), wanted

    data = tf.data.Dataset.from_tensor_slices((scenes.images, targets(scenes.truths)))
    data = data.shuffle(len(scenes.images), seed=SEED).batch(BATCH, drop_remainder=True)
    steps = epochs * (len(scenes.images) // BATCH)
    model = build()
    rate = keras.optimizers.schedules.CosineDecay(
        1e-4, steps, alpha=0.01, warmup_target=4e-3, warmup_steps=200
    )
    model.compile(optimizer=keras.optimizers.Adam(rate), loss=loss)
    model.fit(data.map(vary).prefetch(2), epochs=epochs, verbose=2)
    return model


# --- measuring -----------------------------------------------------------------------------


def iou(a: Floats, b: Floats) -> Floats:
    """Overlap of one box with several, all x1, y1, x2, y2."""
    low = np.maximum(a[:2], b[:, :2])
    high = np.minimum(a[2:], b[:, 2:])
    inter = np.prod(np.clip(high - low, 0, None), axis=1)
    area = np.prod(a[2:] - a[:2]) + np.prod(b[:, 2:] - b[:, :2], axis=1)
    return np.asarray(inter / (area - inter + 1e-9), np.float32)


def decode(
    rows: Floats, threshold: float = 0.05, overlap: float = 0.45
) -> list[tuple[int, float, Floats]]:
    """(class, score, box) of one output (144, 7), best first, after suppression over classes."""
    best = rows[:, 4:].argmax(axis=1)
    score = rows[:, 4:].max(axis=1)
    half = rows[:, 2:4] / 2
    boxes = np.concatenate([rows[:, :2] - half, rows[:, :2] + half], axis=1)
    kept: list[tuple[int, float, Floats]] = []
    for k in np.argsort(-score):
        if score[k] < threshold:
            break
        if all(iou(boxes[k], box[None])[0] < overlap for _, _, box in kept):
            kept.append((int(best[k]), float(score[k]), boxes[k]))
    return kept


def _matches(
    found: list[list[tuple[int, float, Floats]]], truths: list[list[Truth]], label: int
) -> Iterator[tuple[float, bool, float]]:
    """(score, right, overlap) of each detection of a class; those of cut-off parts left out."""
    for detections, parts in zip(found, truths, strict=True):
        boxes = np.array([part.box for part in parts], np.float32).reshape(-1, 4)
        free = [part.visible >= 0.9 for part in parts]
        for cls, score, box in detections:
            if cls != label:
                continue
            overlaps = iou(box, boxes) if len(boxes) else np.zeros(1, np.float32)
            k = int(overlaps.argmax())
            good = bool(overlaps[k] >= 0.5)
            # Of a part that the edge cuts, nothing is asked; but it must not look damaged.
            if good and parts[k].visible < 0.9 and LABELS[label] in ("whole", parts[k].label):
                continue
            right = good and free[k] and parts[k].label == LABELS[label]
            if right:
                free[k] = False
            yield score, right, float(overlaps[k])


def measure(run: Run, scenes: Scenes) -> dict[str, float]:
    """mAP at IoU 0.5; at the shipped threshold: parts named right, false boxes, mean overlap."""
    outputs = run(scenes.images.astype(np.float32) / 255.0)
    found = [decode(rows) for rows in outputs]
    precisions, right_now, wrong_now, overlaps = [], 0, 0, []
    counted = [part for parts in scenes.truths for part in parts if part.visible >= 0.9]
    for label, name in enumerate(LABELS):
        total = sum(part.label == name for part in counted)
        matches = sorted(_matches(found, scenes.truths, label), key=lambda m: -m[0])
        hits = np.cumsum([right for _, right, _ in matches])
        precision = hits / np.arange(1, len(hits) + 1)
        envelope = np.maximum.accumulate(precision[::-1])[::-1]
        recall = np.concatenate([[0.0], hits / total])
        precisions.append(float(np.sum(np.diff(recall) * envelope)))
        sure = [match for match in matches if match[0] >= 0.5]
        right_now += sum(right for _, right, _ in sure)
        wrong_now += sum(not right for _, right, _ in sure)
        overlaps += [overlap for _, right, overlap in sure if right]
    return {
        "map50": float(np.mean(precisions)),
        "named_right": right_now / len(counted),
        "false_per_frame": wrong_now / len(found),
        "mean_iou": float(np.mean(overlaps)),
    }


def golden(runs: dict[str, Run], scenes: Scenes, count: int) -> dict[str, bytes]:
    """Pictures on which all kernels are sure and agree, between them showing every label.

    Noise does not compress: at half size a package with its samples stays small to send.
    """
    chosen: dict[str, bytes] = {}
    shown: dict[str, int] = dict.fromkeys(LABELS, 0)
    for truths, frame in zip(scenes.truths, scenes.frames, strict=True):
        labels = [truth.label for truth in truths]
        rare = min(shown, key=lambda name: shown[name])
        cut = any(0.15 < truth.visible < 0.95 for truth in truths)
        if cut or frame.shape[1] != 320 or not 2 <= len(labels) <= 3 or rare not in labels:
            continue
        half = cv2.resize(frame, (160, 120), interpolation=cv2.INTER_AREA)
        image = letterbox(np.asarray(half, np.uint8), cv2.INTER_LINEAR, 0)
        if not _certain(runs, image, [truth for truth in truths if truth.visible >= 0.95]):
            continue
        for name in labels:
            shown[name] += 1
        chosen[f"{len(chosen) + 1}.png"] = cv2.imencode(".png", half)[1].tobytes()
        if len(chosen) == count:
            return chosen
    raise SystemExit("too few pictures on which all kernels agree")


def _certain(runs: dict[str, Run], image: NDArray[np.uint8], truths: list[Truth]) -> bool:
    """True where each kernel finds just these parts, sure, with the same boxes and scores."""
    given = image[None].astype(np.float32) / 255.0
    answers = [run(given)[0] for run in runs.values()]
    first = answers[0]
    for rows in answers:
        found = decode(rows, threshold=0.15)
        if len(found) != len(truths) or np.abs(rows[:, 4:] - first[:, 4:]).max() > 0.05:
            return False
        for truth in truths:
            label = LABELS.index(truth.label)
            box = np.array(truth.box, np.float32)
            same = [b for cls, score, b in found if cls == label and score > 0.9]
            if not any(iou(box, b[None])[0] > 0.85 for b in same):
                return False
    return True


def main(argv: Sequence[str] | None = None) -> int:
    parser = export.options(__doc__, "parts")
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument("--worlds", type=int, default=240)
    given = parser.parse_args(argv)

    export.fix_seeds(SEED)
    scenes = render(range(1000, 1000 + given.worlds), 40, fault_rate=0.62, vary=True)
    model = train(scenes, given.epochs)
    sample = np.random.default_rng(SEED).choice(len(scenes.images), 300, replace=False)
    samples = scenes.images[np.sort(sample)].astype(np.float32) / 255.0
    litert, onnx = export.to_litert(model, samples), export.to_onnx(model, samples, "detections")

    held_out = render(range(9000, 9060), 12, fault_rate=0.5, vary=False, keep=True)
    runs = export.kernels(litert, onnx)
    variants = {
        "float": lambda batch: np.asarray(model.predict(batch, verbose=0)),
        "litert_int8": runs["litert-xnnpack"],
        "onnx_int8": runs["onnx-optimised"],
    }
    metrics: dict[str, float] = {"parameters": model.count_params()}
    for variant, run in variants.items():
        measured = measure(run, held_out)
        metrics |= {f"{key}_{variant}": round(value, 4) for key, value in measured.items()}
    trained = export.Trained(
        name="parts",
        head=HEAD,
        litert=litert,
        onnx=onnx,
        metrics=metrics,
        recipe={
            "seed": SEED,
            "data": f"BeltScene seeds 1000 to {999 + given.worlds}, 40 frames each, 320x240, "
            "480x270 and 640x480; held out: seeds 9000 to 9059, 12 frames each",
            "epochs": given.epochs,
        },
        tolerance={"score": 0.1, "iou": 0.8, "top1": 1.0},
        texts={"labels.txt": "\n".join(LABELS) + "\n"},
        golden={} if given.check else golden(runs, held_out, 5),
    )
    return export.finish(trained, given.out, given.check, SLACK)


if __name__ == "__main__":
    sys.exit(main())
