"""What is known of real models, as a table: through preparing, session and decoder.

The expected answers were measured with the pictures scaled down by a filter that averages, as
``resample = "area"`` does; other kernels of the same operators differ by some hundredths.
"""

from __future__ import annotations

import csv
import math
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeagent.errors import ModelError
from edgeagent.interpret.decoder import open_decoder
from edgeagent.manifest import InputSpec, Manifest, OutputSpec, Package, StateSpec
from edgeagent.types import (
    Anomaly,
    Embedding,
    Frame,
    Label,
    Mask,
    Prepared,
    Quantization,
    TensorSpec,
)

pytestmark = pytest.mark.assets

Known = list[tuple[str, float]]
FACE = ("face",)


def asset_lines(assets: Path, name: str) -> list[str]:
    return (assets / "labels" / name).read_text(encoding="utf-8").splitlines()


def image(fit: str = "stretch", resample: str = "area", **keys: Any) -> InputSpec:
    return InputSpec("image", "image", fit=fit, resample=resample, **keys)  # type: ignore[arg-type]


@dataclass
class Seer:
    """A model for pictures and what is known of it."""

    file: str
    input: InputSpec
    output: OutputSpec
    labels: Any
    known: dict[str, Known]
    tolerance: float = 0.02
    above: float = 0.0
    """Nothing else scores more than this (plus the tolerance); 0 = not told."""
    exactly: bool = field(default=False)
    """The known ones are all that there is."""


COCO: dict[str, Known] = {
    "street_people_dog_cars.jpg": [
        ("person", 0.824), ("person", 0.809), ("car", 0.680), ("car", 0.668),
    ],
    "pets.jpg": [("dog", 0.816), ("dog", 0.738)],
    "cat_720p.jpg": [("cat", 0.719)],
    "squat.bmp": [("person", 0.824)],
    "grace_hopper.bmp": [("person", 0.711), ("tie", 0.645)],
    "horse_cart.jpg": [("horse", 0.758), ("car", 0.688), ("person", 0.621)],
    "fox.jpeg": [("dog", 0.730)],
    "messi5.jpg": [("person", 0.793)],
    "pose_image3.jpeg": [("person", 0.809)],
    "table.jpg": [],
}  # fmt: skip
FAST: dict[str, Known] = {
    "street_people_dog_cars.jpg": [
        ("person", 0.926), ("person", 0.900), ("car", 0.828), ("dog", 0.794),
    ],
    "table.jpg": [("cup", 0.873), ("book", 0.588), ("knife", 0.587)],
    "pets.jpg": [("dog", 0.905), ("dog", 0.828)],
    "messi5.jpg": [("person", 0.902), ("sports ball", 0.758)],
}  # fmt: skip
WHOLE = InputSpec("image", "image", fit="stretch", colour="bgr")
SEERS = {
    "coco_ssd": Seer(
        "coco_ssd_mobilenet_v1_quant.tflite", image(), OutputSpec("ssd", label_offset=1),
        "coco_ssd_labelmap_90.txt", COCO,
    ),
    "coco_ssd, linear": Seer(
        "coco_ssd_mobilenet_v1_quant.tflite", image(resample="linear"), OutputSpec("ssd"),
        "coco_labels_coral.txt", COCO, tolerance=0.08,
    ),
    "FastestDet": Seer(
        "FastestDet.onnx", image(resample="linear", colour="bgr", scale=[255]),
        OutputSpec("fastestdet", nms="any"), "coco80.names", FAST, tolerance=0.005,
    ),
    "YuNet n 320": Seer(
        "yunet_n_320_320.onnx", WHOLE, OutputSpec("yunet", threshold=0.6, nms_iou=0.3), FACE,
        {
            "face.jpg": [("face", 0.925), ("face", 0.925), ("face", 0.909), ("face", 0.905)],
            "street_people_dog_cars.jpg": [("face", 0.813), ("face", 0.692), ("face", 0.626)],
            "pets.jpg": [],
        },
        tolerance=0.005, exactly=True,
    ),
    "UltraFace": Seer(
        "ultraface_rfb_320.onnx", image(mean=[127], scale=[128]),
        OutputSpec("ssd", threshold=0.7, boxes="xyxy", background=True), ("background", "face"),
        {
            "face.jpg": [("face", 1.0), ("face", 1.0), ("face", 0.999), ("face", 0.996)],
            "grace_hopper.bmp": [("face", 1.0)],
            "pets.jpg": [],
        },
        tolerance=0.01, exactly=True,
    ),
    "BlazeFace": Seer(
        "face_detection_short_range.tflite", image(mean=[127.5], scale=[127.5]),
        OutputSpec("blazeface", nms_iou=0.3), (),
        {
            "face.jpg": [("face", 0.901)], "grace_hopper.bmp": [("face", 0.899)],
            "pets.jpg": [("face", 0.817)], "table.jpg": [],
        },
    ),
    "MobileNet v2 quant": Seer(
        "mobilenet_v2_1.0_224_quant.tflite", image(), OutputSpec("classify", top=1),
        "imagenet_labels_1001_coral.txt",
        {
            "fox.jpeg": [("red fox, Vulpes vulpes", 145 / 256)],
            "cat_720p.jpg": [("Egyptian cat", 210 / 256)],
            "grace_hopper.bmp": [("military uniform", 236 / 256)],
            "horse_cart.jpg": [("horse cart, horse-cart", 254 / 256)],
        },
        tolerance=0.1, exactly=True,
    ),
    "MobileNet v1 0.25": Seer(
        "mobilenet_v1_0.25_128_quant.tflite", image(), OutputSpec("classify", top=2),
        "imagenet_labels_1001_coral.txt",
        {
            "fox.jpeg": [("red fox, Vulpes vulpes", 205 / 256)],
            "horse_cart.jpg": [("horse cart, horse-cart", 148 / 256)],
            "cat_720p.jpg": [("tiger cat", 31 / 256)],
        },
        tolerance=0.03, exactly=True,
    ),
    "MobileNet v2 int8 ONNX": Seer(
        "mobilenetv2-12-int8.onnx",
        image(mean=[123.675, 116.28, 103.53], scale=[58.395, 57.12, 57.375]),
        OutputSpec("classify", top=5, label_offset=1, activation="softmax"),
        "imagenet_labels_1001_coral.txt",
        {
            "fox.jpeg": [("red fox, Vulpes vulpes", 0.670)],
            "horse_cart.jpg": [("horse cart, horse-cart", 0.614)],
            "grace_hopper.bmp": [("military uniform", 0.514)],
            "cat_720p.jpg": [("tabby, tabby cat", 0.395)],
        },
        tolerance=0.12,  # int8 inside: the same pixels give the same scores, other filters do not
    ),
    "visual wake words": Seer(
        "vww_96_int8.tflite", image(scale=[255]), OutputSpec("classify"), ("nobody", "person"),
        {
            "squat.bmp": [("person", 0.977)], "street_people_dog_cars.jpg": [("person", 0.977)],
            "face.jpg": [("person", 0.977)], "grace_hopper.bmp": [("person", 0.894)],
            "cat_720p.jpg": [("person", 0.047)], "table.jpg": [("person", 0.066)],
            "fox.jpeg": [("person", 0.246)], "pets.jpg": [("person", 0.344)],
        },
        tolerance=0.06,
    ),
    "LSTM": Seer(
        "keras_lstm_mnist_ptq.tflite", InputSpec("image", "image", colour="gray", fit="stretch"),
        OutputSpec("classify", top=2), tuple("0123456789"),
        {"mnist_nine.bmp": [("9", 255 / 256), ("0", 0.0)]}, tolerance=0.0, exactly=True,
    ),
}  # fmt: skip


@pytest.mark.parametrize(
    ("seer", "name"), [(key, name) for key, seer in SEERS.items() for name in seer.known]
)
def test_pictures(opened: Any, picture: Any, seer: str, name: str) -> None:
    row = SEERS[seer]
    model = opened(row.file, row.input, row.output, row.labels)
    found = model(picture(name)).predictions
    assert model.decoder.dropped == 0
    for label, score in row.known[name]:
        match = min(
            (one for one in found if one.label == label),
            key=lambda one: abs(one.score - score),
            default=None,
        )
        assert match is not None, f"{label} is missing among {found}"
        found.remove(match)
        assert match.score == pytest.approx(score, abs=row.tolerance)
    if row.exactly or not row.known[name]:
        assert not [one for one in found if one.score > 0.5 + row.tolerance]


FACES = [
    ("face_detection_yunet_2023mar.onnx", None, "letterbox", "face.jpg", 4),
    ("face_detection_yunet_2023mar.onnx", None, "letterbox", "grace_hopper.bmp", 1),
    ("face_detection_yunet_2023mar.onnx", None, "letterbox", "pets.jpg", 0),
    ("face_detection_yunet_2023mar.onnx", None, "stretch", "street_people_dog_cars.jpg", 4),
    ("yunet_n_320_320.onnx", None, "letterbox", "face.jpg", 4),
    ("yunet_n_dynamic.onnx", (512, 352), "letterbox", "face.jpg", 4),
    ("yunet_n_dynamic.onnx", (352, 512), "letterbox", "grace_hopper.bmp", 1),
    ("yunet_n_dynamic.onnx", (768, 512), "letterbox", "street_people_dog_cars.jpg", 4),
]


@pytest.mark.parametrize(("file", "size", "fit", "name", "least"), FACES)
def test_yunet_says_what_opencv_says(
    assets: Path, opened: Any, picture: Any, file: str, size: Any, fit: str, name: str, least: int
) -> None:
    """OpenCV's own detector on the very pixels of our tensor: every face, box and landmark."""
    cv2 = pytest.importorskip("cv2")
    spec = InputSpec("image", "image", fit=fit, colour="bgr", size=size)  # type: ignore[arg-type]
    model = opened(file, spec, OutputSpec("yunet", threshold=0.6, nms_iou=0.3))
    frame = picture(name)
    prepared = model.prepare(frame)
    pixels = np.ascontiguousarray(prepared.tensors[0][0].transpose(1, 2, 0)).astype(np.uint8)
    height, width = pixels.shape[:2]
    oracle = cv2.FaceDetectorYN.create(
        str(assets / "models" / file), "", (width, height), 0.6, 0.3, 5000
    )
    told = oracle.detect(pixels)[1]
    told = [] if told is None else told
    found = model(frame).predictions
    assert len(found) == len(told) >= least
    assert not told if name == "pets.jpg" else len(told) >= least
    for face, row in zip(found, told, strict=True):
        assert face.label == "face"
        assert face.score == pytest.approx(row[14], abs=1e-4)
        x1, y1, x2, y2 = prepared.placement.to_tensor(face.box)
        have = [x1 * width, y1 * height, (x2 - x1) * width, (y2 - y1) * height]
        for x, y in face.points:
            u, v = prepared.placement.to_tensor((x, y, 0, 0))[:2]
            have += [u * width, v * height]
        assert have == pytest.approx(list(row[:14]), abs=0.01)


@pytest.mark.parametrize(
    ("file", "name", "size", "scores"),
    [
        ("yunet_n_dynamic.onnx", "face.jpg", (512, 384), (0.935, 0.930, 0.930, 0.920)),
        ("face_detection_yunet_2023mar.onnx", "face.jpg", (640, 640), (0.928, 0.924, 0.924, 0.916)),
        ("face_detection_yunet_2023mar.onnx", "grace_hopper.bmp", (640, 640), (0.944,)),
        ("face_detection_yunet_2023mar.onnx", "pets.jpg", (640, 640), ()),
    ],
)
def test_yunet_scores_of_a_picture_that_is_not_scaled(
    opened: Any, picture: Any, file: str, name: str, size: tuple[int, int],
    scores: tuple[float, ...],
) -> None:  # fmt: skip
    """The frame in the corner of the tensor, zeros right and below, as OpenCV feeds it."""
    frame = picture(name)
    rows, columns = frame.pixels.shape[:2]
    padded = np.zeros((size[1], size[0], 3), np.uint8)
    padded[:rows, :columns] = frame.pixels
    model = opened(
        file, InputSpec("image", "image", colour="bgr", size=size),
        OutputSpec("yunet", threshold=0.6, nms_iou=0.3),
    )  # fmt: skip
    found = model(type(frame)("files", 1, padded, 0, 0.0)).predictions
    assert [one.score for one in found] == pytest.approx(scores, abs=0.012)


def test_ssd_boxes_stand_where_the_things_are(opened: Any, picture: Any) -> None:
    """Letterboxed or stretched, the boxes are those of the frame."""
    row = SEERS["coco_ssd"]
    boxes = []
    for fit in ("stretch", "letterbox"):
        found = opened(row.file, image(fit), row.output, row.labels)(picture("squat.bmp"))
        assert found.predictions[0].label == "person"
        boxes.append(found.predictions[0].box)
    assert boxes[0] == pytest.approx(boxes[1], abs=0.06)
    horse = opened(row.file, image(), row.output, row.labels)(picture("horse_cart.jpg"))
    found = next(one for one in horse.predictions if one.label == "horse")
    assert found.box[3] == pytest.approx(1.009, abs=0.02)  # it may leave the frame


@pytest.fixture(scope="module")
def torn(assets: Path, picture: Any) -> Any:
    """The SSD's tensors on both sides of its post-processing operator, and the anchors in it."""
    library = pytest.importorskip("ai_edge_litert.interpreter", reason="needs inner tensors")
    with pytest.warns(UserWarning, match="experimental_preserve_all_tensors"):
        graph = library.Interpreter(
            str(assets / "models/coco_ssd_mobilenet_v1_quant.tflite"),
            experimental_preserve_all_tensors=True, num_threads=1,
        )  # fmt: skip
    graph.allocate_tensors()
    (operator,) = (o for o in graph._get_ops_details() if "PostProcess" in o["op_name"])
    details = {detail["index"]: detail for detail in graph.get_tensor_details()}

    def run(name: str) -> tuple[list[Any], list[Any]]:
        small = picture(name).pixels
        cv2 = pytest.importorskip("cv2")
        rgb = cv2.cvtColor(cv2.resize(small, (300, 300)), cv2.COLOR_BGR2RGB)
        graph.set_tensor(graph.get_input_details()[0]["index"], rgb[None])
        graph.invoke()
        return tuple(  # type: ignore[return-value]
            [graph.get_tensor(index) for index in operator[side]] for side in ("inputs", "outputs")
        )

    specs = []
    for index in operator["inputs"]:
        scale, zero = details[index]["quantization"]
        shape = tuple(int(axis) for axis in details[index]["shape"])
        specs.append(TensorSpec(details[index]["name"], shape, "uint8", Quantization(scale, zero)))
    return run, specs


@pytest.mark.parametrize(
    ("name", "own"),
    [
        ("street_people_dog_cars.jpg", False),
        ("street_people_dog_cars.jpg", True),
        ("pets.jpg", False),
        ("pets.jpg", True),
        # Candidates of one score overlap by just the limit: only the graph's anchors settle it.
        ("horse_cart.jpg", True),
    ],
)
def test_raw_ssd_says_what_its_graph_says(
    torn: Any, assets: Path, tmp_path: Path, name: str, own: bool
) -> None:
    """Without the operator the same detections come out of corrections, scores and anchors."""
    run, (boxes, scores, anchors) = torn
    (raw_boxes, raw_scores, raw_anchors), (told, classes, their_scores, _) = run(name)
    table: dict[str, Any] = {"kind": "ssd"}
    if own:
        quantization = anchors.quantization
        real = (raw_anchors.astype(np.float32) - quantization.zero_point) * quantization.scale
        np.savetxt(tmp_path / "anchors.csv", real, delimiter=",")
        table = {"kind": "file", "file": "anchors.csv"}
    output = OutputSpec(
        "ssd", threshold=0.3, nms="any", nms_iou=0.6, background=True, anchors=table
    )
    manifest = Manifest(
        "m", "1.0.0", "detect", output, [InputSpec("image", "image", size=(300, 300))], []
    )
    labels = asset_lines(assets, "coco_ssd_labelmap_90.txt")
    decode = open_decoder(Package(tmp_path, manifest, tuple(labels)), (scores, boxes))
    found = decode([raw_scores, raw_boxes], Prepared([]))
    sure = their_scores[0] >= 0.3
    want = zip(told[0][sure], classes[0][sure], their_scores[0][sure], strict=True)
    for (y1, x1, y2, x2), number, score in want:
        # Quantized scores are often equal, so the order among equals is nobody's; the graph's
        # anchors are quantized too, by steps of 0.0065.
        assert any(
            one.label == labels[int(number) + 1]
            and one.score == pytest.approx(score, abs=1e-5)
            and one.box == pytest.approx((x1, y1, x2, y2), abs=1e-4 if own else 0.012)
            for one in found
        ), (labels[int(number) + 1], score, found)
    assert sure.sum() == min(len(found), 10) >= 2


def test_blazeface_box_and_landmarks(opened: Any, picture: Any) -> None:
    row = SEERS["BlazeFace"]
    model = opened(row.file, image("letterbox", mean=[127.5], scale=[127.5]), row.output)
    (face,) = model(picture("grace_hopper.bmp")).predictions
    left, top, right, bottom = face.box
    right_eye, left_eye, nose, mouth, right_ear, left_ear = face.points
    # Measured by hand in the portrait, as shares of its width and height.
    assert right_eye == pytest.approx((0.44, 0.32), abs=0.03)
    assert left_eye == pytest.approx((0.60, 0.32), abs=0.03)
    assert mouth == pytest.approx((0.52, 0.46), abs=0.03)
    assert right_ear[0] < right_eye[0] < nose[0] < left_eye[0] < left_ear[0]
    assert left < right_eye[0] and left_eye[0] < right and top < left_eye[1] and mouth[1] < bottom
    assert right - left < 0.5 and bottom - top < 0.45
    one, other = model(picture("face.jpg")).predictions
    assert one.box == pytest.approx((0.49, 0.19, 0.70, 0.48), abs=0.05)
    assert other.box == pytest.approx((0.25, 0.28, 0.45, 0.57), abs=0.05)


# --- masks and poses -----------------------------------------------------------------------

SEGMENTERS = {
    "argmax in the graph": (
        "deeplabv3_mnv2_dm05_pascal_quant.tflite", image(), OutputSpec("mask"),
        "pascal_voc_segmentation_labels.txt",
    ),
    "argmax outside": (
        "deeplabv3_257_mv_float.tflite", image(mean=[127.5], scale=[127.5]),
        OutputSpec("mask", activation="softmax"), "deeplabv3_voc_labels.txt",
    ),
}  # fmt: skip


@pytest.mark.parametrize(
    ("which", "name", "shares"),
    [
        ("argmax in the graph", "bird_segmentation.bmp", {"bird": 0.171}),
        ("argmax in the graph", "cat_720p.jpg", {"cat": 0.373}),
        ("argmax in the graph", "street_people_dog_cars.jpg", {"car": 0.192, "person": 0.209}),
        ("argmax outside", "cat_720p.jpg", {"background": 0.641, "cat": 0.359}),
        ("argmax outside", "bird_segmentation.bmp", {"bird": 0.208}),
    ],
)
def test_shares_of_the_picture(
    opened: Any, picture: Any, which: str, name: str, shares: dict[str, float]
) -> None:
    found = opened(*SEGMENTERS[which])(picture(name)).predictions
    told = {one.label: one.share for one in found}
    assert all(isinstance(one, Mask) for one in found)
    for label, share in shares.items():
        assert told[label] == pytest.approx(share, abs=0.01)
    assert sum(told.values()) == pytest.approx(1.0, abs=0.01)


def test_a_bird_and_its_outline(assets: Path, opened: Any, picture: Any) -> None:
    """96.1 % of the pixels and an overlap of 0.819 with the reference; the polygon says so too."""
    cv2 = pytest.importorskip("cv2")
    reference = cv2.imread(str(assets / "images/bird_segmentation_mask.bmp"), cv2.IMREAD_UNCHANGED)
    assert np.bincount(reference.ravel()).tolist() == [210555, 680, 557, 51377]
    model = opened(*SEGMENTERS["argmax in the graph"])
    frame = picture("bird_segmentation.bmp")
    (numbers,) = model.session.run(model.prepare(frame).tensors)
    assert (numbers[0] == reference).mean() == pytest.approx(0.961, abs=0.01)
    assert overlap(numbers[0] == 3, reference == 3) == pytest.approx(0.819, abs=0.015)
    bird = next(one for one in model(frame).predictions if one.label == "bird")
    drawn = np.zeros(reference.shape, np.uint8)
    corners = [np.rint(np.array(p) * 513).astype(np.int32) for p in bird.polygons]
    cv2.fillPoly(drawn, corners, 1)
    assert overlap(drawn == 1, numbers[0] == 3) > 0.93
    assert overlap(drawn == 1, reference == 3) > 0.80
    assert sum(len(polygon) for polygon in bird.polygons) <= 80


def overlap(one: Any, other: Any) -> float:
    return float((one & other).sum() / (one | other).sum())


def test_a_cat_in_a_letterbox_lies_where_it_lies(opened: Any, picture: Any) -> None:
    file, spec, output, labels = SEGMENTERS["argmax outside"]
    boxed = image("letterbox", mean=spec.mean, scale=spec.scale)
    hidden = OutputSpec("mask", activation="softmax", background=True)
    (cat,) = opened(file, boxed, hidden, labels)(picture("cat_720p.jpg")).predictions
    whole = opened(file, spec, output, labels)(picture("cat_720p.jpg")).predictions
    assert cat.share == pytest.approx(next(m.share for m in whole if m.label == "cat"), abs=0.09)
    ys = [y for polygon in cat.polygons for _, y in polygon]
    assert min(ys) >= 0 and max(ys) <= 1 and max(ys) > 0.9


def test_movenet_within_three_hundredths(assets: Path, opened: Any, picture: Any) -> None:
    rows = csv.DictReader(
        (assets / "labels/movenet_single_pose_lightning_ptq_reference.csv").open()
    )
    want = [(float(row["keypoint_x"]), float(row["keypoint_y"])) for row in rows]
    model = opened(
        "movenet_single_pose_lightning_ptq.tflite", image(resample="linear"),
        OutputSpec("movenet", threshold=0.2),
    )  # fmt: skip
    (body,) = model(picture("squat.bmp")).predictions
    assert len(body.points) == len(want) == 17 and body.label == "person"
    nose = body.points[0]
    assert nose[:2] == pytest.approx((0.578, 0.336), abs=0.01)
    for (x, y, _), (at_x, at_y) in zip(body.points, want, strict=True):
        assert (x, y) == pytest.approx((at_x, at_y), abs=0.0301)
    x1, y1, x2, y2 = body.box
    assert x1 <= nose[0] <= x2 and y1 <= nose[1] <= y2 and body.score > 0.5
    boxed = opened(
        "movenet_single_pose_lightning_ptq.tflite", image("letterbox"),
        OutputSpec("movenet", threshold=0.2),
    )(picture("squat.bmp")).predictions[0]  # fmt: skip
    assert np.abs(np.array(boxed.points)[:, :2] - want).max() < 0.06


# --- sound ---------------------------------------------------------------------------------

KEYWORDS = (
    "kws_ref_model.tflite",
    InputSpec("sound", "audio", rate_hz=16000, window_ms=1000, frontend="mfcc"),
    OutputSpec("classify"),
    "kws_labels.txt",
)


@pytest.mark.parametrize(
    ("name", "label", "score"),
    [
        ("yes_1000ms.wav", "yes", 0.996),
        ("no_1000ms.wav", "go", 0.918),  # a real miss of the model
        ("noise_1000ms.wav", "unknown", 0.719),
        ("silence_1000ms.wav", "silence", 0.594),
    ],
)
def test_keywords(
    opened: Any, sound: Any, window: Any, name: str, label: str, score: float
) -> None:
    found = opened(*KEYWORDS)(window(sound(name), 16000)).predictions
    assert found[0] == Label(label, pytest.approx(score, abs=0.03))


def test_keywords_of_the_set(assets: Path, opened: Any, sound: Any, window: Any) -> None:
    model, names = opened(*KEYWORDS), opened(*KEYWORDS).labels
    files = sorted((assets / "audio/kws_wav").glob("tst_*.wav"))
    wrong = []
    for file in files:
        found = model(window(sound(f"kws_wav/{file.name}"), 16000)).predictions
        if found[0].label != names[int(file.stem.rsplit("_", 1)[1])]:
            wrong.append((file.name, found[0].label))
    assert len(files) == 36
    assert wrong == [
        ("tst_000011_Left_2.wav", "unknown"), ("tst_000018_Right_6.wav", "unknown"),
    ]  # fmt: skip


def test_mfcc_values_equal_the_reference(
    assets: Path, opened: Any, sound: Any, window: Any
) -> None:
    """What the front end feeds, against the features that came with the recordings."""
    model = opened(*KEYWORDS)
    stored = np.fromfile(assets / "audio/kws01_mfcc_int8_1000x490.bin", np.int8).reshape(1000, -1)
    same = near = total = 0
    for file in sorted((assets / "audio/kws_wav").glob("tst_*.wav")):
        want = stored[int(file.name.split("_")[1])].astype(int)
        (tensor,) = model.prepare(window(sound(f"kws_wav/{file.name}"), 16000)).tensors
        off = np.abs(tensor.ravel().astype(int) - want)
        same, near, total = same + (off == 0).sum(), near + (off <= 1).sum(), total + off.size
    assert same / total >= 0.99 and near / total >= 0.9999 and total == 36 * 490


@pytest.mark.parametrize(
    ("file", "right"), [("kws_ref_model.tflite", 902), ("kws_ref_model_float32.tflite", 900)]
)
def test_keywords_from_features(
    assets: Path, opened: Any, window: Any, file: str, right: int
) -> None:
    stored = np.fromfile(assets / "audio/kws01_mfcc_int8_1000x490.bin", np.int8)
    stored = stored.reshape(1000, 49, 10)
    model = opened(
        file, InputSpec("mfcc", "window", length=49), OutputSpec("classify", top=1),
        "kws_labels.txt",
    )  # fmt: skip
    rows = csv.reader((assets / "labels/kws01_y_labels.csv").open())
    truth = [model.labels[int(row[2])] for row in rows]
    real = (stored.astype(np.float32) - 83) * np.float32(0.5847029089927673)
    best = [model(window(features)).predictions[0].label for features in real]
    assert abs(sum(map(str.__eq__, best, truth)) - right) <= 5
    if file == "kws_ref_model.tflite":
        assert best[:5] == [model.labels[number] for number in (7, 2, 6, 8, 5)]


WAKE = 1024 + 29 * 512
MARVIN = (
    "sww_marvin_int8.tflite",
    InputSpec("sound", "audio", rate_hz=16000, length=WAKE, hop=512, frontend="lfbe"),
    OutputSpec("classify", top=3),
    ("marvin", "silence", "unknown"),
)


def test_wake_word_three_times(opened: Any, sound: Any, listened: Any) -> None:
    ends: list[float] = []
    samples = sound("sww_short_wav_easy10s.wav")
    for step, found in enumerate(listened(opened(*MARVIN), samples, WAKE, 512)):
        if found[0].label == "marvin" and found[0].score > 0.5:
            ends.append((step * 512 + WAKE) / 16000)
    events = [end for k, end in enumerate(ends) if k == 0 or end - ends[k - 1] > 0.5]
    assert events == pytest.approx([1.22, 4.54, 7.36], abs=0.05)
    last = [end for k, end in enumerate(ends) if k + 1 == len(ends) or ends[k + 1] - end > 0.5]
    assert last == pytest.approx([2.14, 5.09, 7.81], abs=0.05)


@pytest.mark.parametrize(
    ("name", "score"), [("marvin_617de221_0.wav", 0.996), ("yes_1000ms.wav", 0.0)]
)
def test_wake_word_or_not(opened: Any, sound: Any, listened: Any, name: str, score: float) -> None:
    heard = list(listened(opened(*MARVIN), sound(name), WAKE, 512))
    best = max(one.score for found in heard for one in found if one.label == "marvin")
    assert best == pytest.approx(score, abs=0.02)


@pytest.mark.parametrize(
    ("name", "most"),
    [
        ("yes_1000ms.wav", 1.000), ("no_1000ms.wav", 0.996), ("noise_1000ms.wav", 0.020),
        ("silence_1000ms.wav", 0.012), ("meow_16k.wav", 0.048),
    ],
)  # fmt: skip
def test_voice_with_overlapping_windows(
    opened: Any, sound: Any, listened: Any, name: str, most: float
) -> None:
    """Its 64 samples of context are the end of the window before: length 576, hop 512."""
    model = opened(
        "silero_vad.onnx",
        [
            InputSpec("input", "audio", rate_hz=16000, length=576, hop=512),
            InputSpec("sr", "tensor", value=16000),
        ],
        OutputSpec("classify"), ("speech",), (StateSpec("state", "stateN"),),
    )  # fmt: skip
    before = np.zeros((64, 1), np.float32)  # the reference begins with silence
    heard = listened(model, np.concatenate([before, sound(name)]), 576, 512)
    assert max(found[0].score for found in heard) == pytest.approx(most, abs=0.02)


def audio_events(smooth: int) -> tuple[Any, ...]:
    return (
        "yamnet.tflite",
        InputSpec("sound", "audio", rate_hz=16000, length=15600, hop=7800),
        OutputSpec("classify", smooth=smooth),
        "yamnet_class_map.csv",
    )


@pytest.mark.parametrize(
    ("name", "label", "score"),
    [
        ("yes_1000ms.wav", "Speech", 0.950), ("silence_1000ms.wav", "Silence", 1.0),
        ("noise_1000ms.wav", "Pink noise", 0.723),
    ],
)  # fmt: skip
def test_audio_events(
    opened: Any, sound: Any, window: Any, name: str, label: str, score: float
) -> None:
    found = opened(*audio_events(1))(window(sound(name)[:15600], 16000)).predictions
    assert found[0] == Label(label, pytest.approx(score, abs=0.05))


def test_audio_events_over_twelve_windows(opened: Any, sound: Any, listened: Any) -> None:
    """Of two outputs, that with a score for each label; their mean over the recording."""
    model = opened(*audio_events(12))
    heard = list(listened(model, sound("meow_16k.wav"), 15600, 7800))
    assert len(heard) == 12
    told = {one.label: one.score for one in heard[-1]}
    want = {"Animal": 0.628, "Domestic animals, pets": 0.324, "Cat": 0.235}
    # Plain kernels quantize the front end's matrix products in another way: 0.452, …, 0.165.
    assert next(iter(told)) == "Animal"
    assert all(told[label] == pytest.approx(score, rel=0.35) for label, score in want.items())


def test_okay_nabu_hears_nothing_in_random_features(opened: Any, window: Any) -> None:
    model = opened(
        "okay_nabu.tflite", InputSpec("features", "window", length=3),
        OutputSpec("classify", smooth=5), ("okay nabu",),
    )  # fmt: skip
    scale = 0.1019607857
    noise = np.random.default_rng(1).integers(0, 256, (200, 3, 40)) * scale
    scores = [model(window(features)).predictions[0].score for features in noise]
    assert max(scores) == 0.0


def test_micro_speech_without_a_sound(opened: Any, window: Any) -> None:
    model = opened(
        "micro_speech_quantized.tflite", InputSpec("features", "window", length=49),
        OutputSpec("classify"), ("silence", "unknown", "yes", "no"),
    )  # fmt: skip
    found = model(window(np.zeros((49, 40)))).predictions
    assert [one.score for one in found] == [0.25] * 4


def test_pitch_of_a_tone(opened: Any, window: Any) -> None:
    model = opened(
        "swift_f0.onnx",
        [
            InputSpec("audio", "audio", rate_hz=16000),
            InputSpec("fmin", "tensor", value=50),
            InputSpec("fmax", "tensor", value=1000),
        ],
        OutputSpec(
            "regress", tensors={"values": "pitch"}, reduce="median", name="pitch", unit="Hz"
        ),
    )  # fmt: skip
    tone = np.sin(2 * np.pi * 220 * np.arange(16000) / 16000)[:, None]
    (found,) = model(window(tone, 16000)).predictions
    assert (found.name, found.unit) == ("pitch", "Hz")
    assert found.value == pytest.approx(220.005, abs=0.1)
    every = opened(
        "swift_f0.onnx", model.package.manifest.input,
        OutputSpec("regress", tensors={"values": "pitch"}),
    )  # fmt: skip
    assert len(every(window(tone, 16000)).predictions) == 62


# --- sensors -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("file", "first", "mean"),
    [("ad01_int8.tflite", 11.648, 10.265), ("ad01_fp32.tflite", 11.094, 9.707)],
)
def test_anomaly_scores(
    assets: Path, opened: Any, window: Any, file: str, first: float, mean: float
) -> None:
    frames = np.fromfile(
        assets / "sensor/ad01_normal_id_01_00000000_hist_librosa.bin", np.float32
    ).reshape(200, 128)
    assert (frames.min(), frames.max()) == pytest.approx((-66.90, 2.05), abs=0.01)
    model = opened(
        file, InputSpec("mel", "window", length=5), OutputSpec("autoencoder", threshold=15.0)
    )
    scores = []
    for start in range(196):
        (found,) = model(window(frames[start : start + 5])).predictions
        assert isinstance(found, Anomaly) and found.threshold == 15.0
        scores.append(found.score)
    # Kernels of different libraries differ by this much.
    assert scores[0] == pytest.approx(first, abs=0.05)
    assert np.mean(scores) == pytest.approx(mean, abs=0.05)


@pytest.mark.parametrize(
    ("file", "worst", "mean"),
    [("hello_world_int8.tflite", 0.113, 0.024), ("hello_world_float.tflite", 0.043, 0.0)],
)
def test_regression_of_a_sine(
    opened: Any, window: Any, file: str, worst: float, mean: float
) -> None:
    model = opened(file, InputSpec("x", "tensor"), OutputSpec("regress", name="sine"))
    errors = [
        abs(model(window([[x]])).predictions[0].value - math.sin(x))
        for x in np.linspace(0, 6.28, 100)
    ]
    assert max(errors) == pytest.approx(worst, abs=0.01)
    if mean:
        assert np.mean(errors) == pytest.approx(mean, abs=0.003)


@pytest.mark.parametrize(
    ("file", "says"),
    [
        ("audio_preprocessor_int8.tflite", "SignalWindow"),
        ("logreg_iris.onnx", r"seq\(map"),
    ],
)
def test_valid_files_that_can_not_run(opened: Any, file: str, says: str) -> None:
    with pytest.raises(ModelError, match=says) as caught:
        opened(file, InputSpec("x", "window"), OutputSpec("none"))
    assert file in str(caught.value) and caught.value.remedy


def test_a_classifier_as_an_embedding(opened: Any, picture: Any) -> None:
    """However it is scaled down, a picture is more like itself than like another."""
    row = SEERS["MobileNet v2 int8 ONNX"]
    vectors = {}
    for resample in ("area", "linear"):
        spec = image(resample=resample, mean=row.input.mean, scale=row.input.scale)
        model = opened(row.file, spec, OutputSpec("embed"))
        for name in ("pets.jpg", "fox.jpeg", "table.jpg"):
            (found,) = model(picture(name)).predictions
            assert isinstance(found, Embedding)
            vectors[name, resample] = np.array(found.vector)
            assert np.linalg.norm(found.vector) == pytest.approx(1.0, abs=1e-5)
    for name in ("pets.jpg", "fox.jpeg", "table.jpg"):
        likeness = {
            other: float(vectors[name, "area"] @ vectors[other, "linear"])
            for other in ("pets.jpg", "fox.jpeg", "table.jpg")
        }
        assert max(likeness, key=likeness.__getitem__) == name


# --- clips ---------------------------------------------------------------------------------

CLIPS = [
    ("bottle-detection.mp4", "coco_ssd", 15, "bottle", 12, (80, 78)),
    ("one-by-one-person-detection.mp4", "coco_ssd", 10, "person", 5, (140, 105)),
    ("one-by-one-person-detection.mp4", "FastestDet", 10, "person", 6, (140, 105)),
    ("vtest.avi", "FastestDet", 10, "person", 12, (80, 80)),
    ("vtest.avi", "coco_ssd at 0.4", 10, "person", 12, (80, 80)),
    ("car-detection.mp4", "coco_ssd", 5, "car", 0, (76, 1)),
]
WHOLE_CLIPS = os.environ.get("EDGEAGENT_TESTS") == "full"
PART = 12
"""Sampled frames of a clip, unless the whole runs are wanted."""


@pytest.mark.parametrize(("name", "seer", "every", "label", "at_first", "seen"), CLIPS)
def test_clips(
    assets: Path, opened: Any, name: str, seer: str, every: int, label: str, at_first: int,
    seen: tuple[int, int],
) -> None:  # fmt: skip
    """In how many of the sampled frames the label is seen, and for vtest how often in each."""
    cv2 = pytest.importorskip("cv2")
    low = seer.endswith("0.4")
    row = SEERS[seer.removesuffix(" at 0.4")]
    output = OutputSpec("ssd", threshold=0.4, label_offset=1) if low else row.output
    model = opened(row.file, row.input, output, row.labels)
    film = cv2.VideoCapture(str(assets / "video" / name))
    counts, number = [], 0
    while (WHOLE_CLIPS or len(counts) < PART) and film.grab():
        if number % every == 0:
            frame = Frame(name, number, film.retrieve()[1], 0, 0.0)
            found = model(frame).predictions
            counts.append(sum(one.label == label for one in found))
        number += 1
    film.release()
    frames, with_it = seen
    if not WHOLE_CLIPS:
        print(name, seer, sum(map(bool, counts)))
        return
    assert len(counts) == frames
    assert abs(sum(map(bool, counts)) - with_it) <= 3
    if name == "vtest.avi":
        mean, most = (7.8, 10) if low else (10.2, 15)
        assert np.mean(counts) == pytest.approx(mean, abs=0.4) and max(counts) <= most + 1
