"""Every example is sound, and runs: with the models that are shipped or those of the assets."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import wave
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeagent.manifest import OutputSpec, load_package
from edgeagent.prove.init import Proposal, propose, write_package
from edgeagent.prove.lint import write_files
from edgeagent.store.export import jsonl
from edgeagent.testing.agent import AgentProcess

ROOT = Path(__file__).resolve().parents[3]
EXAMPLES = sorted((ROOT / "examples").glob("*.toml"))

Records = list[dict[str, Any]]


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda file: file.stem)
def test_config_check_finds_no_fault(example: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "edgeagent.cli", "config", "check", "--config", str(example),
         "--data-dir", str(tmp_path)],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "no faults" in done.stdout


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., Records]:
    """An example to its end, with other input and without a broker; the records it left."""

    def it(name: str, *settings: str) -> Records:
        flags = [word for setting in ('mqtt.host=""', *settings) for word in ("--set", setting)]
        agent = AgentProcess(
            ROOT / "examples" / f"{name}.toml", tmp_path, "--until-done", "--strict", *flags
        )
        with agent:
            assert agent.wait(90) == 0, agent.log
        assert "ERROR" not in agent.log, agent.log
        return [json.loads(line) for line in jsonl(tmp_path / "data")]

    return it


@pytest.fixture
def models(tmp_path: Path) -> Path:
    folder = tmp_path / "data" / "models"
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
def package(assets: Path, models: Path) -> Callable[..., None]:
    """A package of an asset's file, as ``models init`` proposes it, with its labels."""

    def make(file: str, name: str, labels: tuple[str, ...] = ()) -> None:
        proposal: Proposal = propose(assets / "models" / file, name, licence="test")
        if labels:
            proposal.package.labels = labels
        write_package(proposal, models)

    return make


def lines(file: Path) -> tuple[str, ...]:
    return tuple(file.read_text(encoding="utf-8").splitlines())


def events(records: Records) -> set[str]:
    return {its["data"]["label"] for its in records if its["kind"] == "event"}


def sound(file: Path, values: np.ndarray[Any, Any], rate: int = 16000) -> Path:
    with wave.open(str(file), "wb") as written:
        written.setnchannels(1)
        written.setsampwidth(2)
        written.setframerate(rate)
        written.writeframes(np.asarray(values, np.int16).tobytes())
    return file


def test_classify(run: Any) -> None:
    records = run("digits")
    assert len([its for its in records if its["kind"] == "result"]) == 8


def test_detect(run: Any) -> None:
    records = run("belt", "sources.belt.count=80", 'sources.belt.pace="max"')
    assert events(records) & {"cracked", "missing"}


def test_anomaly_on_windows(run: Any) -> None:
    records = run("recording")
    assert any(its["data"]["alarming"] for its in records if its["kind"] == "anomaly")


def test_anomaly_on_pictures(run: Any, models: Path, tmp_path: Path) -> None:
    cv2 = pytest.importorskip("cv2")
    from edgeagent.capture.synthetic import BeltScene

    good = tmp_path / "good"
    good.mkdir()
    scene = BeltScene(7, fault_rate=0.0)
    for number in range(30):
        cv2.imwrite(str(good / f"{number}.png"), scene.render(61 * number)[0])
    done = subprocess.run(
        [sys.executable, "-m", "edgeagent.cli", "models", "init", "--anomaly", str(good),
         "--name", "belt-good", "--into", str(models), "--json"],
        capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    made = json.loads(done.stdout)
    assert made["pictures"] == 30 and "parts@1.0.0" in made["backbone"]
    out = tmp_path / "out"
    torn = models / "belt-good" / "0.1.0" / "golden" / "torn.jpg"
    shown = subprocess.run(
        [sys.executable, "-m", "edgeagent.cli", "infer", made["folder"], str(torn), "--json",
         "--save", str(out)],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    (said,) = json.loads(shown.stdout)["predictions"]
    assert said["alarming"] and said["regions"][0]["score"] > said["threshold"]
    before, after = cv2.imread(str(torn)).astype(int), cv2.imread(str(out / "torn.jpg")).astype(int)
    height, width = before.shape[:2]
    middle = np.s_[height * 2 // 5 : height * 3 // 5, width * 2 // 5 : width * 3 // 5]
    changed = np.abs(after - before).mean(axis=2)
    assert changed[middle].mean() > 4 * changed[height * 4 // 5 :].mean()

    records = run("unusual", "sources.belt.count=80", 'sources.belt.pace="max"')
    told = [its for its in records if its["kind"] == "anomaly"]
    assert len(told) == 8 and all(its["data"]["threshold"] > 1 for its in told)
    assert events(records) == {"anomaly"}
    new = [its for its in records if its["data"].get("phase") == "new"]
    assert all(blob["type"] == "image/jpeg" for its in new for blob in its["blobs"])


@pytest.mark.assets
def test_segment(run: Any, package: Any, assets: Path) -> None:
    labels = lines(assets / "labels/deeplabv3_voc_labels.txt")
    package("deeplabv3_257_mv_float.tflite", "segments", labels)
    records = run("segment", f'sources.yard.path="{assets}/images/cat_720p.jpg"')
    (result,) = [its for its in records if its["kind"] == "result"]
    shares = {its["label"]: its["share"] for its in result["data"]["predictions"]}
    assert shares["cat"] == pytest.approx(0.36, abs=0.05)
    assert events(records) == {"cat"}


@pytest.mark.assets
def test_pose(run: Any, package: Any, assets: Path) -> None:
    package("movenet_single_pose_lightning_ptq.tflite", "poses")
    records = run("pose", f'sources.gym.path="{assets}/images/squat.bmp"')
    (result,) = [its for its in records if its["kind"] == "result"]
    points = result["data"]["predictions"][0]["points"]
    assert len(points) == 17 and points[0][:2] == pytest.approx([0.578, 0.336], abs=0.03)
    assert events(records) == {"person"}


@pytest.mark.assets
def test_keyword(run: Any, package: Any, assets: Path) -> None:
    package("kws_ref_model.tflite", "keywords")
    records = run("keyword", f'sources.microphone.path="{assets}/audio/yes_1000ms.wav"')
    assert events(records) == {"yes"}


@pytest.mark.assets
def test_audio_events(run: Any, package: Any, assets: Path) -> None:
    rows = lines(assets / "labels/yamnet_class_map.csv")[1:]
    package(
        "yamnet.tflite", "sounds", tuple(row.split(",", 2)[2].strip('"') for row in rows)
    )  # fmt: skip
    records = run("sounds", f'sources.microphone.path="{assets}/audio/meow_16k.wav"')
    assert "Cat" in events(records)


@pytest.mark.assets
def test_regress(run: Any, package: Any, tmp_path: Path) -> None:
    package("swift_f0.onnx", "pitch")
    times = np.arange(3 * 16000) / 16000
    heights = np.where(times < 1.5, 220.0, 440.0)
    whine = sound(tmp_path / "whine.wav", 9000 * np.sin(2 * np.pi * np.cumsum(heights) / 16000))
    records = run("regress", f'sources.microphone.path="{whine}"')
    values = [its["data"]["predictions"][0]["value"] for its in records if its["kind"] == "result"]
    assert values[0] == pytest.approx(220, abs=2) and values[-1] == pytest.approx(440, abs=3)
    assert events(records) == {"pitch"}


@pytest.mark.assets
def test_gallery(run: Any, assets: Path, models: Path, tmp_path: Path) -> None:
    """The scores of a classifier serve as vectors; one picture of each thing is known."""
    from edgeagent.interpret.embed import Known, gallery_text
    from edgeagent.prove.predict import Predictor
    from edgeagent.prove.samples import first_sample

    proposal = propose(assets / "models/mobilenetv2-12-int8.onnx", "things", licence="test")
    proposal.package.manifest.output = OutputSpec(decoder="embed")
    proposal.package.manifest.task = "embed"
    folder = write_package(proposal, models).folder
    known = []
    with Predictor(load_package(folder)) as model:
        for label, file in (("fox", "fox.jpeg"), ("cart", "horse_cart.jpg")):
            sample = first_sample(assets / "images" / file, model.package)
            vector: Any = model(sample).predictions[0]
            known.append(Known(label, list(vector.vector)))
    (folder / "gallery.jsonl").write_bytes(gallery_text(known))
    described = (folder / "model.toml").read_text()
    told = described.replace('decoder = "embed"', 'decoder = "embed"\ngallery = "gallery.jsonl"')
    (folder / "model.toml").write_text(told)
    write_files(load_package(folder))
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    shutil.copy(assets / "images/fox.jpeg", pictures)
    records = run("gallery", f'sources.table.path="{pictures}"')
    assert events(records) == {"fox"}


@pytest.mark.assets
def test_redact(run: Any, package: Any, assets: Path, tmp_path: Path) -> None:
    cv2 = pytest.importorskip("cv2")
    package("face_detection_short_range.tflite", "faces")
    labels = lines(assets / "labels/coco_labels_coral.txt")
    package("coco_ssd_mobilenet_v1_quant.tflite", "things", labels)
    records = run("redact", f'sources.hall.path="{assets}/images/grace_hopper.bmp"')
    assert "person" in events(records)
    # The picture follows its event when it is known what must be hidden in it.
    blob = next(blob for its in records for blob in its.get("blobs", ()))
    kept = next((tmp_path / "data").rglob(f"*{blob['sha256']}*"))
    hidden = cv2.imdecode(np.frombuffer(kept.read_bytes(), np.uint8), cv2.IMREAD_COLOR)
    seen = cv2.imread(str(assets / "images/grace_hopper.bmp"))
    height, width = seen.shape[:2]
    face = np.s_[height // 5 : height * 2 // 5, width * 2 // 5 : width * 3 // 5]
    corner = np.s_[height * 4 // 5 :, : width // 5]

    def change(place: Any) -> float:
        return float(np.abs(hidden[place].astype(int) - seen[place].astype(int)).mean())

    assert change(face) > 3 * change(corner)
