"""Bad input of every sort through the command line: a clear message, the right exit code, no
traceback, and the good inputs beside it are still worked on.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[3]
PARTS = ROOT / "models" / "parts" / "1.0.0"


def edgeagent(*arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    """The command as a person types it."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "NO_COLOR": "1", "COLUMNS": "200"}
    return subprocess.run(
        [sys.executable, "-m", "edgeagent.cli", *map(str, arguments)],
        cwd=cwd, env=environment, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def clear(done: subprocess.CompletedProcess[str], code: int, *said: str) -> None:
    """Exit code, words, and no traceback."""
    text = done.stdout + done.stderr
    assert "Traceback" not in text, text
    assert done.returncode == code, text
    for word in said:
        assert word in text, text


# --- models --------------------------------------------------------------------------------


def package(folder: Path, change: Callable[[Path], None], file: str = "parts-int8.tflite") -> Path:
    """A copy of `parts` with one variant, whose file `change` has spoilt, hash and all."""
    target = folder / "parts"
    shutil.copytree(PARTS, target)
    manifest = (target / "model.toml").read_text()
    head, _, rest = manifest.partition("[files]")
    after = rest.partition("\n[")[2]
    kept = head + (f"[{after}" if after else "")
    blocks = kept.split("[[variant]]")
    chosen = [block for block in blocks[1:] if f'"{file}"' in block]
    assert chosen, manifest
    # Tables that stood behind the last variant belong to the package, not to the variant.
    tail = ""
    for block in blocks[1:]:
        if "\n[" in block:
            tail = "\n[" + block.split("\n[", 1)[1]
    text = blocks[0] + "[[variant]]" + chosen[0].split("\n[", 1)[0] + tail
    (target / "model.toml").write_text(text)
    change(target / file)
    return target


def _mutate(file: Path) -> None:
    data = bytearray(file.read_bytes())
    chance = random.Random(4)
    for _ in range(64):
        data[chance.randrange(64)] = chance.randrange(256)
    file.write_bytes(bytes(data))


SPOILT: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (lambda file: file.unlink(), "parts-int8.tflite"),
    "empty": (lambda file: file.write_bytes(b""), "empty"),
    "truncated": (lambda file: file.write_bytes(file.read_bytes()[:5000]), "parts-int8.tflite"),
    "random": (lambda file: file.write_bytes(random.Random(1).randbytes(5000)), "parts-int8"),
    "mutated": (_mutate, "parts-int8.tflite"),
}


@pytest.mark.parametrize("how", SPOILT)
def test_a_spoilt_model_is_refused(tmp_path: Path, how: str) -> None:
    change, said = SPOILT[how]
    folder = package(tmp_path, lambda file: change(file) and None)
    done = edgeagent("infer", folder, PARTS / "golden" / "1.png", cwd=tmp_path)
    clear(done, 1, said)


def test_a_tflite_file_named_onnx(tmp_path: Path) -> None:
    source = PARTS / "parts-int8.tflite"
    folder = package(
        tmp_path, lambda file: shutil.copyfile(source, file) and None, "parts-int8.onnx"
    )
    done = edgeagent("infer", folder, PARTS / "golden" / "1.png", cwd=tmp_path)
    clear(done, 1, "parts-int8.onnx", "TFLite")


def test_a_changed_file_is_found_by_its_hash(tmp_path: Path) -> None:
    target = tmp_path / "parts"
    shutil.copytree(PARTS, target)
    for file in target.glob("*.tflite"):
        data = bytearray(file.read_bytes())
        data[-200] ^= 1
        file.write_bytes(bytes(data))
    (target / "parts-int8.onnx").unlink()
    done = edgeagent("infer", target, PARTS / "golden" / "1.png", cwd=tmp_path)
    clear(done, 1, "sha256")


def test_a_wrong_label_count(tmp_path: Path) -> None:
    target = tmp_path / "parts"
    shutil.copytree(PARTS, target)
    (target / "labels.txt").write_text("whole\ncracked\n")
    done = edgeagent("infer", target, PARTS / "golden" / "1.png", cwd=tmp_path)
    clear(done, 1, "model.toml: labels: 2 classes")


def test_an_input_of_the_wrong_kind(tmp_path: Path) -> None:
    target = tmp_path / "parts"
    shutil.copytree(PARTS, target)
    manifest = target / "model.toml"
    manifest.write_text(manifest.read_text().replace('kind = "image"', 'kind = "window"'))
    done = edgeagent("infer", target, PARTS / "golden" / "1.png", cwd=tmp_path)
    clear(done, 1, "input")


def test_a_model_with_an_operator_that_nobody_has(tmp_path: Path, assets: Path) -> None:
    done = edgeagent(
        "infer", assets / "models" / "audio_preprocessor_int8.tflite", "x.csv", cwd=tmp_path
    )
    assert done.returncode in (1, 3)
    assert "Traceback" not in done.stdout + done.stderr


# --- pictures and recordings ---------------------------------------------------------------


def _pictures(folder: Path) -> dict[str, Path]:
    """One file for each way a picture can be odd or bad."""
    good = cv2.imread(str(PARTS / "golden" / "1.png"))
    made = {
        "text.jpg": b"this is a text\n" * 100,
        "empty.png": b"",
        "zero.mp4": b"",
    }
    for name, data in made.items():
        (folder / name).write_bytes(data)
    cv2.imwrite(str(folder / "deep.png"), good.astype(np.uint16) * 257)
    cv2.imwrite(str(folder / "alpha.png"), cv2.cvtColor(good, cv2.COLOR_BGR2BGRA))
    cv2.imwrite(str(folder / "dot.png"), good[:1, :1])
    (folder / "cut.png").write_bytes((PARTS / "golden" / "1.png").read_bytes()[:700])
    return {path.name: path for path in folder.iterdir()}


@pytest.mark.parametrize("name", ["text.jpg", "empty.png", "zero.mp4", "cut.png"])
def test_what_is_no_picture_is_listed_and_the_rest_is_done(tmp_path: Path, name: str) -> None:
    bad = _pictures(tmp_path)[name]
    done = edgeagent("infer", "parts", bad, PARTS / "golden" / "1.png", "--json", cwd=tmp_path)
    clear(done, 1, name)
    assert '"predictions"' in done.stdout


@pytest.mark.parametrize("name", ["deep.png", "alpha.png", "dot.png"])
def test_odd_pictures_are_read(tmp_path: Path, name: str) -> None:
    clear(edgeagent("infer", "parts", _pictures(tmp_path)[name], cwd=tmp_path), 0)


def test_a_picture_that_would_fill_the_memory_is_refused(tmp_path: Path) -> None:
    # 20,000 × 20,000 pixels compress to next to nothing: the header must be enough.
    huge = np.zeros((20_000, 20_000), np.uint8)
    file = tmp_path / "huge.png"
    cv2.imwrite(str(file), huge)
    del huge
    clear(edgeagent("infer", "parts", file, cwd=tmp_path), 1, "huge.png", "20000")


def test_a_cmyk_picture(tmp_path: Path) -> None:
    pillow = pytest.importorskip("PIL.Image", reason="Pillow makes the CMYK picture")
    pillow.open(PARTS / "golden" / "1.png").convert("CMYK").save(tmp_path / "cmyk.jpg")
    clear(edgeagent("infer", "parts", tmp_path / "cmyk.jpg", cwd=tmp_path), 0)


def test_a_video_broken_in_the_middle_gives_what_can_be_read(tmp_path: Path) -> None:
    if shutil.which("ffmpeg") is None:
        pytest.skip("ffmpeg makes the clip and is not installed")
    clip = tmp_path / "clip.avi"
    subprocess.run(
        ["ffmpeg", "-v", "error", "-f", "lavfi", "-i", "testsrc2=size=160x120:rate=10",
         "-t", "6", "-c:v", "mjpeg", str(clip)], check=True,
    )  # fmt: skip
    data = bytearray(clip.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 4000] = bytes(4000)
    clip.write_bytes(bytes(data))
    done = edgeagent("infer", "parts", clip, "--json", cwd=tmp_path)
    assert "Traceback" not in done.stderr
    assert done.stdout.count('"predictions"') >= 20


@pytest.mark.parametrize(
    "rows", ["", "x\n", "x\nnan\n" * 3, "x\n" + "inf\n" * 2000, "x\n1\n2\n3\n", "a,b\n1,2\n" * 9]
)
def test_unusable_rows(tmp_path: Path, rows: str) -> None:
    file = tmp_path / "motor.csv"
    file.write_text(rows)
    clear(edgeagent("infer", "bearing", file, cwd=tmp_path), 1, "motor.csv")


# --- configuration -------------------------------------------------------------------------


def test_an_unreadable_configuration(tmp_path: Path) -> None:
    (tmp_path / "agent.toml").mkdir()
    clear(edgeagent("config", "check", "agent.toml", cwd=tmp_path), 78, "agent.toml")
    (tmp_path / "latin.toml").write_bytes(b'[device]\nname = "T\xfcr"\n')
    clear(edgeagent("config", "check", "latin.toml", cwd=tmp_path), 78, "latin.toml", "UTF-8")
    clear(edgeagent("config", "check", "none.toml", cwd=tmp_path), 78, "none.toml")
