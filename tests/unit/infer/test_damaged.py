"""Files that are no whole models: a clear refusal, never a crash, never a foreign error."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from edgeagent.errors import ModelError
from edgeagent.infer.litert import open_litert
from edgeagent.infer.modelfile import kind_of
from edgeagent.infer.onnx import open_onnx
from edgeagent.infer.session import Options

RUNTIMES = ("litert", "onnx")
SUFFIX = {"litert": ".tflite", "onnx": ".onnx"}
Damage = Callable[[bytes, random.Random], bytes]
MUTATIONS = 60


def whole(repository: Path, runtime: str) -> bytes:
    name = f"digits-int8{SUFFIX[runtime]}"
    return (repository / "models" / "digits" / "1.0.0" / name).read_bytes()


def opened(runtime: str, path: Path) -> ModelError:
    with pytest.raises(ModelError) as caught:
        (open_litert if runtime == "litert" else open_onnx)(path, Options())
    assert str(path) in str(caught.value)
    assert caught.value.remedy, caught.value
    assert "\n" not in str(caught.value)
    return caught.value


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "the file is empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "a Git LFS pointer"),
        (b"<!DOCTYPE html><html>not found</html>", "a web page"),
        (b"PK\x03\x04" + bytes(60), "a ZIP archive"),
        (b"\x89HDF\r\n\x1a\n" + bytes(60), "a Keras HDF5 file"),
    ],
)
def test_things_that_models_are_mistaken_for(
    tmp_path: Path, runtime: str, content: bytes, words: str
) -> None:
    path = tmp_path / f"m{SUFFIX[runtime]}"
    path.write_bytes(content)
    assert words in str(opened(runtime, path))


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_missing_folder_unreadable(tmp_path: Path, runtime: str) -> None:
    path = tmp_path / f"m{SUFFIX[runtime]}"
    assert "missing" in str(opened(runtime, path))
    path.mkdir()
    with pytest.raises(ModelError, match="is a folder"):
        (open_litert if runtime == "litert" else open_onnx)(path, Options())
    if os.geteuid():
        path = tmp_path / "locked.tflite"
        path.write_bytes(b"x")
        path.chmod(0)
        with pytest.raises(ModelError, match="Permission denied"):
            open_litert(path, Options())


def test_named_for_the_other_runtime(repository: Path, tmp_path: Path) -> None:
    wrong = tmp_path / "digits.onnx"
    wrong.write_bytes(whole(repository, "litert"))
    error = opened("onnx", wrong)
    assert "this is TFLite, not ONNX" in str(error)
    assert 'runtime = "litert"' in error.remedy
    wrong = tmp_path / "digits.tflite"
    wrong.write_bytes(whole(repository, "onnx"))
    error = opened("litert", wrong)
    assert "this is ONNX, not TFLite" in str(error)
    assert 'runtime = "onnx"' in error.remedy


def test_kinds_of_real_files(assets: Path) -> None:
    for path in (assets / "models").iterdir():
        expected = {".tflite": "TFLite", ".onnx": "ONNX"}[path.suffix]
        with path.open("rb") as stream:
            assert kind_of(stream.read(64)) == expected


def flip(count: int) -> Damage:
    def damage(data: bytes, chance: random.Random) -> bytes:
        changed = bytearray(data)
        for _ in range(count):
            changed[chance.randrange(len(changed))] = chance.randrange(256)
        return bytes(changed)

    return damage


def cut(data: bytes, chance: random.Random) -> bytes:
    return data[: chance.randrange(9, len(data))]


def zero_page(data: bytes, chance: random.Random) -> bytes:
    at = chance.randrange(len(data))
    return data[:at] + bytes(min(4096, len(data) - at)) + data[at + 4096 :]


def noise(data: bytes, chance: random.Random) -> bytes:
    return chance.randbytes(len(data))


def headed_noise(data: bytes, chance: random.Random) -> bytes:
    """Random bytes under a valid beginning."""
    return data[:16] + chance.randbytes(len(data) - 16)


DAMAGES: tuple[Damage, ...] = (flip(1), flip(16), flip(64), cut, zero_page, noise, headed_noise)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_random_damage(repository: Path, tmp_path: Path, runtime: str) -> None:
    data = whole(repository, runtime)
    kinds = {}
    for seed in range(MUTATIONS):
        damage = DAMAGES[seed % len(DAMAGES)]
        path = tmp_path / f"{seed}{SUFFIX[runtime]}"
        path.write_bytes(damage(data, random.Random(seed)))
        kinds[str(path)] = getattr(damage, "__name__", "")
    command = [sys.executable, str(Path(__file__).with_name("open_in_child.py")), runtime]
    root = Path(__file__).resolve().parents[3]
    done = subprocess.run(
        [*command, *kinds],
        capture_output=True,
        text=True,
        timeout=110,
        check=True,
        env={**os.environ, "PYTHONPATH": str(root)},
    )
    outcomes = json.loads(done.stdout)
    for path, outcome in outcomes.items():
        assert outcome["kind"] in ("answer", "ModelError", "InferenceError"), (path, outcome)
        if outcome["kind"] != "answer":
            assert path in outcome["text"]
        if kinds[path] in ("cut", "noise", "headed_noise"):
            assert outcome["kind"] == "ModelError", (path, outcome)
    seen = Counter(outcome["kind"] for outcome in outcomes.values())
    assert seen["ModelError"] > MUTATIONS / 2, seen
