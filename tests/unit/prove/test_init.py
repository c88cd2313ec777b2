"""Bare model files, told by their tensors; and what is written is read again."""

from __future__ import annotations

import wave
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeagent.config.toml import parse_toml
from edgeagent.errors import ModelError, UsageError
from edgeagent.manifest import Manifest, Package, Variant, load_package
from edgeagent.prove.families import recognise
from edgeagent.prove.guess import Guess
from edgeagent.prove.init import manifest_text, propose, write_package
from edgeagent.prove.lint import lint
from edgeagent.prove.predict import Predictor
from edgeagent.prove.probe import settle
from edgeagent.prove.tomltext import table_text
from edgeagent.types import Frame, Quantization, TensorSpec, Window


@pytest.mark.assets
@pytest.mark.parametrize(
    ("name", "family", "confidence", "size", "scaling"),
    [
        ("coco_ssd_mobilenet_v1_quant.tflite", "ssd", "sure", (300, 300), ([], [])),
        ("face_detection_short_range.tflite", "blazeface", "sure", (128, 128), ([127.5], [127.5])),
        ("mobilenet_v2_1.0_224_quant.tflite", "classify", "likely", (224, 224), ([], [])),
        ("vww_96_int8.tflite", "classify", "likely", (96, 96), ([0], [255])),
        ("ic_resnet8_int8.tflite", "classify", "likely", (32, 32), ([0], [1])),
        ("keras_lstm_mnist_ptq.tflite", "classify", "likely", (28, 28), ([], [])),
        ("hello_world_int8.tflite", "regress", "guess", None, ([], [])),
        ("deeplabv3_257_mv_float.tflite", "mask", "likely", (257, 257), ([127.5], [127.5])),
        ("deeplabv3_mnv2_dm05_pascal_quant.tflite", "mask", "likely", (513, 513), ([], [])),
        ("movenet_single_pose_lightning_ptq.tflite", "movenet", "sure", (192, 192), ([], [])),
        ("FastestDet.onnx", "fastestdet", "likely", (352, 352), ([0], [255])),
        ("face_detection_yunet_2023mar.onnx", "yunet", "sure", (640, 640), ([0], [1])),
        ("yunet_n_320_320.onnx", "yunet", "sure", (320, 320), ([0], [1])),
        ("yunet_n_dynamic.onnx", "yunet", "sure", (320, 320), ([0], [1])),
        (
            "mobilenetv2-12-int8.onnx",
            "classify",
            "likely",
            (224, 224),
            ([123.675, 116.28, 103.53], [58.395, 57.12, 57.375]),
        ),
        ("ultraface_rfb_320.onnx", "ssd", "sure", (320, 240), ([127], [128])),
        ("mobilenet_v1_0.25_128_quant.tflite", "classify", "likely", (128, 128), ([], [])),
        ("vww_96_float.tflite", "classify", "likely", (96, 96), None),
        ("ic_resnet8_float.tflite", "classify", "likely", (32, 32), None),
        ("hello_world_float.tflite", "regress", "guess", None, ([], [])),
    ],
)
def test_families_of_real_models(
    assets: Path,
    name: str,
    family: str,
    confidence: str,
    size: tuple[int, int] | None,
    scaling: tuple[list[float], list[float]] | None,
) -> None:
    proposal = propose(assets / "models" / name)
    assert (proposal.family, proposal.confidence) == (family, confidence)
    assert proposal.package.manifest.output.decoder == family
    assert proposal.reasons
    spec = proposal.package.manifest.input[0]
    assert spec.size == size
    assert spec.kind == ("image" if size else "tensor")
    if scaling:
        assert (spec.mean, spec.scale) == scaling


@pytest.mark.assets
@pytest.mark.parametrize(
    ("name", "picture", "least"),
    [
        ("FastestDet.onnx", "street_people_dog_cars.jpg", {"class 0": 2, "class 2": 2}),
        ("yunet_n_dynamic.onnx", "face.jpg", {"face": 4}),
        ("face_detection_yunet_2023mar.onnx", "grace_hopper.bmp", {"face": 1}),
        ("ultraface_rfb_320.onnx", "face.jpg", {"face": 4}),
        ("movenet_single_pose_lightning_ptq.tflite", "squat.bmp", {"person": 1}),
        ("deeplabv3_257_mv_float.tflite", "cat_720p.jpg", {"class 0": 1, "class 8": 1}),
        ("coco_ssd_mobilenet_v1_quant.tflite", "pets.jpg", {"class 17": 2}),
        ("face_detection_short_range.tflite", "grace_hopper.bmp", {"face": 1}),
    ],
)
def test_a_proposal_already_sees(
    assets: Path, name: str, picture: str, least: dict[str, int]
) -> None:
    """Before anybody has written labels or corrected a key."""
    cv2 = pytest.importorskip("cv2")
    frame = Frame("files", 1, cv2.imread(str(assets / "images" / picture)), 0, 0.0)
    with Predictor(propose(assets / "models" / name).package) as model:
        found = Counter(getattr(one, "label", "") for one in model(frame).predictions)
    assert all(found[label] >= count for label, count in least.items()), found


@pytest.mark.assets
@pytest.mark.parametrize(
    ("name", "family", "task", "confidence", "kind", "labels"),
    [
        ("kws_ref_model.tflite", "classify", "keyword", "likely", "audio", 12),
        ("kws_ref_model_float32.tflite", "classify", "keyword", "likely", "audio", 12),
        ("sww_marvin_int8.tflite", "classify", "keyword", "likely", "audio", 3),
        ("okay_nabu.tflite", "classify", "keyword", "likely", "window", 1),
        ("micro_speech_quantized.tflite", "classify", "keyword", "likely", "window", 4),
        ("yamnet.tflite", "classify", "classify", "sure", "audio", 0),
        ("silero_vad.onnx", "classify", "classify", "sure", "audio", 1),
        ("swift_f0.onnx", "regress", "regress", "likely", "audio", 0),
        ("ad01_int8.tflite", "autoencoder", "anomaly", "likely", "window", 0),
        ("ad01_fp32.tflite", "autoencoder", "anomaly", "likely", "window", 0),
    ],
)
def test_families_that_hear(
    assets: Path, name: str, family: str, task: str, confidence: str, kind: str, labels: int
) -> None:
    proposal = propose(assets / "models" / name)
    manifest = proposal.package.manifest
    assert (proposal.family, manifest.task, proposal.confidence) == (family, task, confidence)
    assert manifest.input[0].kind == kind and len(proposal.package.labels) == labels


@pytest.mark.assets
def test_every_model_of_the_assets_is_described_and_sound(assets: Path, tmp_path: Path) -> None:
    """Whatever opens becomes a package that lint finds no error in, and no decoder is missing."""
    refused = {}
    for file in sorted((assets / "models").iterdir()):
        try:
            proposal = propose(file, licence="Apache-2.0")
        except ModelError as error:
            refused[file.name] = str(error)
            continue
        package = write_package(proposal, tmp_path / file.suffix[1:])
        assert [one for one in lint(package.folder) if one.level == "error"] == [], file.name
        assert package.manifest.output.decoder != "none", file.name
    assert set(refused) == {"audio_preprocessor_int8.tflite", "logreg_iris.onnx"}
    assert "SignalWindow" in refused["audio_preprocessor_int8.tflite"]


@pytest.mark.assets
@pytest.mark.parametrize(
    ("name", "recording", "label", "score"),
    [
        ("kws_ref_model.tflite", "yes_1000ms.wav", "yes", 0.996),
        ("kws_ref_model_float32.tflite", "yes_1000ms.wav", "yes", 0.99),
        ("sww_marvin_int8.tflite", "marvin_617de221_0.wav", "wake-word", 0.996),
        ("silero_vad.onnx", "yes_1000ms.wav", "speech", 1.0),
        ("yamnet.tflite", "yes_1000ms.wav", "class 0", 0.95),
    ],
)
def test_a_proposal_already_hears(
    assets: Path, tmp_path: Path, name: str, recording: str, label: str, score: float
) -> None:
    from edgeagent.prove.samples import read_samples

    package = write_package(propose(assets / "models" / name), tmp_path)
    file = assets / "audio" / recording
    with wave.open(str(file)) as stored:
        rate, channels = stored.getframerate(), stored.getnchannels()
        values = np.frombuffer(stored.readframes(stored.getnframes()), np.int16)
    mono = tmp_path / "mono.wav"
    with wave.open(str(mono), "wb") as written:
        written.setnchannels(1)
        written.setsampwidth(2)
        written.setframerate(rate)
        written.writeframes(values[::channels].tobytes())
    with Predictor(package) as model:
        said = [one for sample in read_samples(mono, package) for one in model(sample).predictions]
    best = max(said, key=lambda one: getattr(one, "score", 0.0))
    assert getattr(best, "label", "") == label
    assert getattr(best, "score", 0.0) == pytest.approx(score, abs=0.05)


@pytest.mark.parametrize("suffix", ["tflite", "onnx"])
def test_our_own_models(repository: Path, tmp_path: Path, suffix: str) -> None:
    cv2 = pytest.importorskip("cv2")
    source = repository / "models/parts/1.0.0"
    parts = propose(source / f"parts-int8.{suffix}")
    assert parts.package.manifest.name == "parts-int8"
    assert (parts.family, parts.confidence) == ("yolo", "likely")
    assert parts.package.manifest.output.units == "normalized"
    frame = Frame("files", 1, cv2.imread(str(source / "golden/1.png")), 0, 0.0)
    with (
        Predictor(write_package(parts, tmp_path)) as guessed,
        Predictor(load_package(source)) as described,
    ):
        found, wanted = guessed(frame).predictions, described(frame).predictions
    assert [one.box for one in found] == [
        pytest.approx(one.box, abs=0.03) for one in wanted
    ] and wanted
    bearing = propose(next((repository / "models/bearing").rglob(f"*.{suffix}")))
    assert bearing.family == "autoencoder"


class Answers:
    """A session that gives one answer: what an exporter's graph would."""

    def __init__(self, picture: TensorSpec, answer: np.ndarray[Any, Any]) -> None:
        self.inputs = (picture,)
        self.outputs = (TensorSpec("output0", answer.shape, "float32"),)
        self._answer = answer.astype(np.float32)

    def run(self, tensors: Any) -> list[Any]:
        return [self._answer]


def candidates(side: int, classes: int, each: int = 1) -> np.ndarray[Any, Any]:
    """Decoded rows as a YOLO gives them: middles near their cells, in pixels."""
    rng = np.random.default_rng(3)
    rows = []
    for stride in (8, 16, 32):
        y, x = np.mgrid[0 : side // stride, 0 : side // stride].reshape(2, -1)
        for _ in range(each):
            middle = (np.stack([x, y], 1) + 0.5 + rng.normal(0, 0.4, (len(x), 2))) * stride
            size = rng.uniform(0.5, 4, (len(x), 2)) * stride
            rest = rng.uniform(0, 1, (len(x), classes + (each == 3)))
            rows.append(np.concatenate([middle, size, rest], axis=1))
    return np.concatenate(rows)


@pytest.mark.parametrize(
    ("kind", "decoder", "units", "layout", "objectness"),
    [
        ("v5", "yolo", "pixels", "rows", True),
        ("v5 tflite", "yolo", "normalized", "rows", True),
        ("v8", "yolo", "pixels", "columns", False),
        ("v11 normalised", "yolo", "normalized", "columns", False),
        ("x", "yolox", "normalized", "auto", False),
    ],
)
def test_a_trial_run_tells_units_and_yolox(
    kind: str, decoder: str, units: str, layout: str, objectness: bool
) -> None:
    rows = candidates(160, 80, 3 if objectness else 1)
    if units == "normalized":
        rows[:, :4] /= 160
    if kind == "x":
        rng = np.random.default_rng(5)
        rows = np.concatenate([rng.normal(0, 1, (len(rows), 4)), rows[:, 3:]], axis=1)
    picture = image(160, 160)
    session = Answers(picture, (rows.T if layout == "columns" else rows)[None])
    guess = recognise(session.inputs, session.outputs)
    variant = [Variant("m.onnx", "onnx")]
    manifest = Manifest("m", "1.0.0", "detect", guess.output, guess.inputs, variant)
    settle(guess, session, Package(Path(), manifest, ()))  # type: ignore[arg-type]
    told = guess.output
    assert (told.decoder, told.units, told.layout, told.objectness) == (
        decoder, units, layout, objectness,
    )  # fmt: skip
    assert "80 classes" in guess.reasons[0] and any("trial run" in one for one in guess.reasons)


@pytest.mark.parametrize(
    ("values", "activation", "told"),
    [
        ([-3.0, 5.0, 0.2], "softmax", "logits"),
        ([0.1, 0.7, 0.2], "none", "add up to 1"),
        ([0.9, 0.8, 0.0], "none", "each for itself"),
    ],
)
def test_a_trial_run_tells_logits(values: list[float], activation: str, told: str) -> None:
    session = Answers(image(64, 64), np.array([values]))
    guess = recognise(session.inputs, session.outputs)
    manifest = Manifest(
        "m", "1.0.0", "classify", guess.output, guess.inputs, [Variant("m.onnx", "onnx")]
    )
    settle(guess, session, Package(Path(), manifest, ()))  # type: ignore[arg-type]
    assert guess.output.activation == activation
    assert any(told in reason for reason in guess.reasons)


def image(width: int, height: int, dtype: str = "float32") -> TensorSpec:
    return TensorSpec("images", (1, 3, height, width), dtype)


@pytest.mark.parametrize(
    ("picture", "shape", "classes", "layout", "objectness"),
    [
        (image(640, 640), (1, 84, 8400), 80, "columns", False),
        (image(320, 320), (1, 2100, 7), 3, "rows", False),
        (image(640, 640), (1, 25200, 85), 80, "rows", True),
        (image(416, 320), (1, 6, 2730), 2, "columns", False),
    ],
)
def test_yolos(
    picture: TensorSpec, shape: tuple[int, ...], classes: int, layout: str, objectness: bool
) -> None:
    guess = recognise([picture], [TensorSpec("output0", shape, "float32")])
    assert guess.family == "yolo"
    assert (guess.output.layout, guess.output.objectness) == (layout, objectness)
    assert f"{classes} classes" in guess.reasons[0]
    assert guess.inputs[0].fit == "letterbox"
    assert guess.inputs[0].scale == [255.0]


@pytest.mark.parametrize(
    ("inputs", "outputs", "family"),
    [
        ([image(640, 640)], [TensorSpec("o", (1, 84, 8401), "float32")], "none"),
        ([], [TensorSpec("o", (1, 10), "float32")], "none"),
        ([TensorSpec("x", (1, 3), "float32")], [TensorSpec("o", (1, 3), "float32")], "classify"),
        ([TensorSpec("x", (-1, -1), "float32")], [TensorSpec("o", (-1, 5), "float32")], "classify"),
        ([TensorSpec("x", (), "float32")], [TensorSpec("o", (), "float32")], "regress"),
        ([TensorSpec("x", (1, 4), "float32")], [], "none"),
        ([image(640, 640)], [TensorSpec("o", (1, 300, 6), "float32")], "yolo"),
        ([image(640, 640)], [TensorSpec("o", (-1, 7), "float32")], "yolo"),
        ([image(512, 256)], [TensorSpec("o", (1, 5, 64, 128), "float32")], "mask"),
        ([image(512, 256)], [TensorSpec("o", (1, 256, 512), "int64")], "mask"),
        ([image(512, 256)], [TensorSpec("o", (1, 60, 100), "int64")], "none"),
        ([image(192, 192)], [TensorSpec("o", (1, 6, 56), "float32")], "movenet"),
    ],
)
def test_odd_shapes(inputs: list[TensorSpec], outputs: list[TensorSpec], family: str) -> None:
    assert recognise(inputs, outputs).family == family


def test_state_by_names() -> None:
    inputs = [
        TensorSpec("x", (1, 16), "float32"),
        TensorSpec("h", (1, 1, 8), "float32"),
        TensorSpec("c_in", (1, 1, 8), "float32"),
    ]
    outputs = [
        TensorSpec("y", (1, 4), "float32"),
        TensorSpec("hn", (1, 1, 8), "float32"),
        TensorSpec("c_out", (1, 1, 8), "float32"),
    ]
    guess = recognise(inputs, outputs)
    assert [(state.input, state.output) for state in guess.states] == [
        ("h", "hn"),
        ("c_in", "c_out"),
    ]
    assert guess.family == "classify"
    assert [spec.name for spec in guess.inputs] == ["x"]
    assert any("hn → h" in reason for reason in guess.reasons)


def test_the_range_of_a_quantized_input() -> None:
    def scaling(scale: float, zero_point: int) -> tuple[list[float], list[float]]:
        spec = TensorSpec("x", (1, 32, 32, 3), "int8", Quantization(scale, zero_point))
        guess = recognise([spec], [TensorSpec("y", (1, 5), "float32")])
        return guess.inputs[0].mean, guess.inputs[0].scale

    assert scaling(1 / 255, -128) == ([0.0], [255.0])
    assert scaling(1.0, -128) == ([0.0], [1.0])
    assert scaling(1 / 127.5, 0) == ([127.5], [127.5])


@pytest.mark.assets
def test_what_is_written_is_a_package_that_runs(assets: Path, tmp_path: Path) -> None:
    proposal = propose(assets / "models/face_detection_short_range.tflite", name="faces")
    package = write_package(proposal, tmp_path)
    assert package.folder == tmp_path / "faces" / "0.1.0"
    assert package.labels == ("face",)
    text = (package.folder / "model.toml").read_text()
    assert "# Proposed from face_detection_short_range.tflite: blazeface (sure)." in text
    left = [one.problem for one in lint(package.folder)]
    assert left == [
        "nothing says under which licence the model may be used",
        "there are no golden answers",
    ]
    with Predictor(package) as predictor:
        answer = predictor(Frame("t", 1, np.full((200, 300, 3), 90, np.uint8), 0, 0.0))
    assert answer.predictions == []
    with pytest.raises(UsageError, match="exists already"):
        write_package(proposal, tmp_path)


@pytest.mark.assets
@pytest.mark.parametrize(
    "name",
    ["swift_f0.onnx", "silero_vad.onnx", "ad01_int8.tflite", "coco_ssd_mobilenet_v1_quant.tflite"],
)
def test_every_proposal_is_a_valid_manifest(assets: Path, tmp_path: Path, name: str) -> None:
    proposal = propose(assets / "models" / name)
    package = write_package(proposal, tmp_path)
    assert package.manifest.output == proposal.package.manifest.output
    assert package.manifest.input == proposal.package.manifest.input
    assert package.manifest.state == proposal.package.manifest.state
    table, _ = parse_toml(package.folder / "model.toml")
    assert manifest_text(proposal).splitlines()[0].startswith("# Proposed")
    assert table["variant"][0]["file"] == name


@pytest.mark.assets
def test_a_proposed_autoencoder_runs_on_a_window(assets: Path) -> None:
    proposal = propose(assets / "models/ad01_int8.tflite")
    with Predictor(proposal.package) as predictor:
        values = np.full((5, 128), -20, np.float32)
        (anomaly,) = predictor(
            Window("t", 1, values, 1.0, tuple(map(str, range(128))), 0, 0.0)
        ).predictions
    assert anomaly.score > 0


def test_files_that_are_no_models(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"ends in \.tflite or \.onnx"):
        propose(tmp_path / "model.pt")
    with pytest.raises(ModelError, match="missing"):
        propose(tmp_path / "model.tflite")
    broken = tmp_path / "model.onnx"
    broken.write_bytes(b"\x08\x07 nothing more")
    with pytest.raises(ModelError, match="not a whole ONNX model"):
        propose(broken)


@pytest.mark.parametrize(
    ("file", "name"), [("My Model (v2).tflite", "my-model-v2"), ("ÄÖ.tflite", "model")]
)
def test_names_from_file_names(repository: Path, tmp_path: Path, file: str, name: str) -> None:
    source = next((repository / "models/digits").rglob("*.tflite"))
    (tmp_path / file).write_bytes(source.read_bytes())
    assert propose(tmp_path / file).package.manifest.name == name


@pytest.mark.parametrize(
    ("name", "version"), [("Bad Name", "1.0.0"), ("good", "1.0"), ("..", "1.0.0")]
)
def test_names_that_no_folder_can_have(
    repository: Path, tmp_path: Path, name: str, version: str
) -> None:
    source = next((repository / "models/digits").rglob("*.tflite"))
    with pytest.raises(UsageError, match="a version like"):
        write_package(propose(source, name=name, version=version), tmp_path)


def test_models_of_texts_and_their_inputs() -> None:
    """The tensors of PP-OCRv4's exports."""
    picture = TensorSpec("x", (-1, 3, -1, -1), "float32")
    found = recognise([picture], [TensorSpec("sigmoid_0.tmp_0", (-1, 1, -1, -1), "float32")])
    assert (found.family, found.output.decoder, found.task) == ("db", "db", "detect")
    (spec,) = found.inputs
    assert (spec.fit, spec.colour, spec.size, spec.mean) == ("whole", "bgr", (736, 736), [127.5])
    read = recognise([picture], [TensorSpec("softmax_11.tmp_0", (-1, -1, 6625), "float32")])
    assert (read.family, read.output.decoder) == ("ctc", "ctc")
    (spec,) = read.inputs
    assert (spec.fit, spec.size, spec.pad) == ("line", (320, 48), [127.5])
    assert any("6624 letters" in reason for reason in read.reasons)


def test_what_stands_around_a_yolos_picture() -> None:
    found = recognise(
        [TensorSpec("images", (1, 3, 320, 320), "float32")],
        [TensorSpec("output0", (1, 84, 2100), "float32")],
    )
    assert found.family == "yolo" and found.inputs[0].pad == [114.0]
    assert "pad = [114.0]" in manifest_text_of(found)


def manifest_text_of(guess: Guess) -> str:
    manifest = Manifest("m", "1.0.0", guess.task, guess.output, guess.inputs, [])
    return table_text(manifest)
