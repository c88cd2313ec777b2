"""Prepare and interpret around real models and pictures: the known objects come out.

LiteRT is called directly, so that nothing but preparing and interpreting is on trial. The
expected scores were measured with pictures resized by a filter that averages (as
``resample = "area"`` does); linear sampling differs from it by up to 0.08.
"""

from __future__ import annotations

import math
import wave
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from edgeagent.interpret.decoder import Decoder, open_decoder
from edgeagent.manifest import InputSpec, Manifest, OutputSpec, Package, Variant
from edgeagent.prepare.inputs import Prepare
from edgeagent.types import Anomaly, Frame, Label, Quantization, Sample, TensorSpec, Window

try:
    from ai_edge_litert import interpreter as litert
except ModuleNotFoundError:
    litert = pytest.importorskip("tflite_runtime.interpreter", reason="no TFLite library here")
pytestmark = pytest.mark.assets


class Model:
    """A `.tflite` file between our preparer and our decoder."""

    def __init__(
        self, file: Path, input_: InputSpec, output: OutputSpec, labels: tuple[str, ...] = ()
    ) -> None:
        self.interpreter = litert.Interpreter(str(file), num_threads=1)
        self.interpreter.allocate_tensors()
        manifest = Manifest("m", "1.0.0", "detect", output, [input_], [Variant("f", "litert")])
        package = Package(file.parent, manifest, labels)
        self._inputs = self.interpreter.get_input_details()
        self._outputs = self.interpreter.get_output_details()
        self.prepare = Prepare(package, _specs(self._inputs))
        self.decode: Decoder = open_decoder(package, _specs(self._outputs))

    def __call__(self, sample: Sample) -> list[Any]:
        prepared = self.prepare(sample)
        for detail, values in zip(self._inputs, prepared.tensors, strict=True):
            self.interpreter.set_tensor(detail["index"], values)
        self.interpreter.invoke()
        outputs = [self.interpreter.get_tensor(detail["index"]) for detail in self._outputs]
        return list(self.decode(outputs, prepared))

    def raw(self, stored: Any) -> Any:
        """The bare runtime: stored values in, the first output out."""
        self.interpreter.set_tensor(self._inputs[0]["index"], stored)
        self.interpreter.invoke()
        return self.interpreter.get_tensor(self._outputs[0]["index"])


def _specs(details: Any) -> tuple[TensorSpec, ...]:
    specs = []
    for detail in details:
        shape = detail.get("shape_signature", detail["shape"])
        scale, zero = detail["quantization"]
        quantization = Quantization(scale, zero) if scale else None
        dtype = np.dtype(detail["dtype"]).name
        specs.append(TensorSpec(detail["name"], tuple(map(int, shape)), dtype, quantization))
    return tuple(specs)


def picture(assets: Path, name: str) -> Frame:
    pixels = cv2.imread(str(assets / "images" / name))
    assert pixels is not None
    return Frame("files", 1, pixels, 0, 0.0, name)


def window(values: Any, rate: float = 0.0) -> Window:
    values = np.asarray(values, np.float32)
    channels = tuple(f"c{k}" for k in range(values.shape[1]))
    return Window("files", 1, values, rate or 1.0, channels, 0, 0.0)


def lines(assets: Path, name: str) -> tuple[str, ...]:
    return tuple((assets / "labels" / name).read_text().splitlines())


# --- SSD -----------------------------------------------------------------------------------

SEEN = {
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


@pytest.fixture(scope="module", params=["linear", "area"])
def ssd(assets: Path, request: Any) -> tuple[Model, float]:
    model = Model(
        assets / "models/coco_ssd_mobilenet_v1_quant.tflite",
        InputSpec("image", "image", fit="stretch", resample=request.param),
        OutputSpec("ssd", threshold=0.5, label_offset=1),
        lines(assets, "coco_ssd_labelmap_90.txt"),
    )
    return model, 0.08 if request.param == "linear" else 0.02


@pytest.mark.parametrize("name", SEEN)
def test_ssd_finds_what_is_in_the_picture(
    assets: Path, ssd: tuple[Model, float], name: str
) -> None:
    model, tolerance = ssd
    found = model(picture(assets, name))
    for label, score in SEEN[name]:
        match = min(
            (one for one in found if one.label == label),
            key=lambda one: abs(one.score - score),
            default=None,
        )
        assert match is not None, f"{label} is missing among {found}"
        found.remove(match)
        assert match.score == pytest.approx(score, abs=tolerance)
    # Nothing else that is sure of itself.
    assert [one for one in found if one.score > 0.5 + tolerance and not SEEN[name]] == []


def test_ssd_boxes_stand_where_the_things_are(assets: Path, ssd: tuple[Model, float]) -> None:
    """Letterboxed or stretched, the boxes are those of the frame."""
    model, _ = ssd
    stretched = model(picture(assets, "squat.bmp"))[0]
    boxed = Model(
        assets / "models/coco_ssd_mobilenet_v1_quant.tflite",
        InputSpec("image", "image", fit="letterbox"),
        OutputSpec("ssd", threshold=0.5, label_offset=1),
        lines(assets, "coco_ssd_labelmap_90.txt"),
    )(picture(assets, "squat.bmp"))[0]
    assert boxed.label == stretched.label == "person"
    assert boxed.box == pytest.approx(stretched.box, abs=0.06)


# --- BlazeFace -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def faces(assets: Path) -> Any:
    def make(fit: str) -> Model:
        return Model(
            assets / "models/face_detection_short_range.tflite",
            InputSpec("image", "image", fit=fit, resample="area", mean=[127.5], scale=[127.5]),
            OutputSpec("blazeface", threshold=0.5, nms_iou=0.3),
        )

    return make


@pytest.mark.parametrize(("name", "score"), [("face.jpg", 0.901), ("grace_hopper.bmp", 0.899)])
def test_blazeface_score(assets: Path, faces: Any, name: str, score: float) -> None:
    found = faces("stretch")(picture(assets, name))
    assert found[0].label == "face"
    assert found[0].score == pytest.approx(score, abs=0.02)


def test_blazeface_sees_no_face_on_a_table(assets: Path, faces: Any) -> None:
    assert faces("stretch")(picture(assets, "table.jpg")) == []


def test_blazeface_box_and_landmarks(assets: Path, faces: Any) -> None:
    (face,) = faces("letterbox")(picture(assets, "grace_hopper.bmp"))
    left, top, right, bottom = face.box
    right_eye, left_eye, nose, mouth, right_ear, left_ear = face.points
    # Measured by hand in the portrait, as shares of its width and height.
    assert right_eye == pytest.approx((0.44, 0.32), abs=0.03)
    assert left_eye == pytest.approx((0.60, 0.32), abs=0.03)
    assert mouth == pytest.approx((0.52, 0.46), abs=0.03)
    assert right_ear[0] < right_eye[0] < nose[0] < left_eye[0] < left_ear[0]
    assert left < right_eye[0] and left_eye[0] < right and top < left_eye[1] and mouth[1] < bottom
    assert right - left < 0.5 and bottom - top < 0.45


def test_blazeface_finds_the_two_in_front(assets: Path, faces: Any) -> None:
    right, left = faces("letterbox")(picture(assets, "face.jpg"))
    assert right.box == pytest.approx((0.49, 0.19, 0.70, 0.48), abs=0.05)
    assert left.box == pytest.approx((0.25, 0.28, 0.45, 0.57), abs=0.05)


# --- classifiers ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "label", "stored", "tolerance"),
    [
        ("fox.jpeg", "red fox", 145, 25),
        ("cat_720p.jpg", "Egyptian cat", 210, 25),
        ("grace_hopper.bmp", "military uniform", 236, 15),
        ("horse_cart.jpg", "horse cart", 254, 5),
    ],
)
def test_mobilenet(assets: Path, name: str, label: str, stored: int, tolerance: int) -> None:
    model = Model(
        assets / "models/mobilenet_v2_1.0_224_quant.tflite",
        InputSpec("image", "image", fit="stretch", resample="area"),
        OutputSpec("classify"),
        lines(assets, "imagenet_labels_1001_coral.txt"),
    )
    found = model(picture(assets, name))
    assert len(found) == 5
    assert label in found[0].label
    assert found[0].score * 256 == pytest.approx(stored, abs=tolerance)


@pytest.mark.parametrize(
    ("name", "person"),
    [
        ("squat.bmp", 0.977), ("street_people_dog_cars.jpg", 0.977), ("face.jpg", 0.977),
        ("grace_hopper.bmp", 0.894), ("cat_720p.jpg", 0.047), ("table.jpg", 0.066),
    ],
)  # fmt: skip
def test_visual_wake_words(assets: Path, name: str, person: float) -> None:
    """int8 with scale 1/255: the pixel − 128."""
    model = Model(
        assets / "models/vww_96_int8.tflite",
        InputSpec("image", "image", fit="stretch", resample="area", scale=[255]),
        OutputSpec("classify"),
        ("no_person", "person"),
    )
    found = {one.label: one.score for one in model(picture(assets, name))}
    assert found["person"] == pytest.approx(person, abs=0.06)


def test_lstm_reads_a_nine(assets: Path) -> None:
    model = Model(
        assets / "models/keras_lstm_mnist_ptq.tflite",
        InputSpec("image", "image", colour="gray", fit="stretch"),
        OutputSpec("classify"),
        tuple("0123456789"),
    )
    pixels = cv2.imread(str(assets / "images/mnist_nine.bmp"), cv2.IMREAD_GRAYSCALE)
    found = model(Frame("files", 1, pixels, 0, 0.0))
    assert found[0] == Label("9", 255 / 256)
    assert all(one.score == 0 for one in found[1:])


# --- sound and sensors ---------------------------------------------------------------------


def test_keywords_equal_the_bare_runtime_sample_by_sample(assets: Path) -> None:
    stored = np.fromfile(assets / "audio/kws01_mfcc_int8_1000x490.bin", np.int8)
    stored = stored.reshape(1000, 1, 49, 10, 1)
    model = Model(
        assets / "models/kws_ref_model.tflite",
        InputSpec("mfcc", "window", length=49),
        OutputSpec("classify", top=12),
        lines(assets, "kws_labels.txt"),
    )
    truth = [
        int(line.split(",")[2]) for line in lines(assets, "kws01_y_labels.csv") if line.strip()
    ]
    names = lines(assets, "kws_labels.txt")
    right = 0
    for row, number in zip(stored, truth, strict=True):
        real = (row.reshape(49, 10).astype(np.float32) - 83) * np.float32(0.5847029089927673)
        found = model(window(real))
        bare = model.raw(row)[0]
        told = {one.label: one.score for one in found}
        assert [told[name] for name in names] == [(int(q) + 128) / 256 for q in bare]
        right += found[0].label == names[number]
    assert abs(right - 902) <= 5


def read_wav(file: Path) -> Any:
    with wave.open(str(file)) as sound:
        raw = np.frombuffer(sound.readframes(sound.getnframes()), np.int16)
        return raw.reshape(-1, sound.getnchannels())[:, :1].astype(np.float32) / 32768


def test_keywords_from_sound(assets: Path) -> None:
    model = Model(
        assets / "models/kws_ref_model.tflite",
        InputSpec("sound", "audio", rate_hz=16000, window_ms=1000, frontend="mfcc"),
        OutputSpec("classify"),
        lines(assets, "kws_labels.txt"),
    )
    assert model(window(read_wav(assets / "audio/yes_1000ms.wav"), 16000))[0] == Label(
        "yes", pytest.approx(0.996, abs=0.02)
    )
    files = sorted((assets / "audio/kws_wav").glob("tst_*.wav"))
    names = lines(assets, "kws_labels.txt")
    right = sum(
        model(window(read_wav(file), 16000))[0].label == names[int(file.stem.rsplit("_", 1)[1])]
        for file in files
    )
    assert right == 34 and len(files) == 36


def test_wake_word_three_times(assets: Path) -> None:
    model = Model(
        assets / "models/sww_marvin_int8.tflite",
        InputSpec("sound", "audio", rate_hz=16000, length=1024 + 29 * 512, frontend="lfbe"),
        OutputSpec("classify"),
        ("marvin", "silence", "unknown"),
    )
    sound = read_wav(assets / "audio/sww_short_wav_easy10s.wav")
    ends, length = [], 1024 + 29 * 512
    for start in range(0, len(sound) - length + 1, 512):
        best = model(window(sound[start : start + length], 16000))[0]
        if best.label == "marvin" and best.score > 0.5:
            ends.append((start + length) / 16000)
    events = [end for k, end in enumerate(ends) if k == 0 or end - ends[k - 1] > 0.5]
    assert len(events) == 3
    for spoken, end in zip((1.0, 4.0, 7.0), events, strict=True):
        assert spoken < end < spoken + 1.2


@pytest.mark.parametrize(
    ("file", "first", "mean"),
    [("ad01_int8.tflite", 11.648, 10.265), ("ad01_fp32.tflite", 11.094, 9.707)],
)
def test_anomaly_scores(assets: Path, file: str, first: float, mean: float) -> None:
    frames = np.fromfile(
        assets / "sensor/ad01_normal_id_01_00000000_hist_librosa.bin", np.float32
    ).reshape(200, 128)
    model = Model(
        assets / "models" / file,
        InputSpec("mel", "window", length=5),
        OutputSpec("autoencoder", threshold=15.0),
    )
    scores = []
    for start in range(196):
        (found,) = model(window(frames[start : start + 5]))
        assert isinstance(found, Anomaly) and found.threshold == 15.0
        scores.append(found.score)
    # Kernels of different libraries differ by this much.
    assert scores[0] == pytest.approx(first, abs=0.05)
    assert np.mean(scores) == pytest.approx(mean, abs=0.05)


def test_regression_of_a_sine(assets: Path) -> None:
    model = Model(
        assets / "models/hello_world_int8.tflite",
        InputSpec("x", "tensor"),
        OutputSpec("regress", name="sine"),
    )
    worst = 0.0
    for x in np.linspace(0, 6.28, 100):
        (found,) = model(window([[x]]))
        worst = max(worst, abs(found.value - math.sin(x)))
    assert worst == pytest.approx(0.113, abs=0.01)
