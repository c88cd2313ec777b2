"""Bad input of every sort through the command line: a clear message, the right exit code, no
traceback, and the good inputs beside it are still worked on.
"""

from __future__ import annotations

import os
import random
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edgeagent.testing.agent import AgentProcess

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


def test_a_model_with_an_operator_that_nobody_has(tmp_path: Path, assets: Path) -> None:
    model = assets / "models" / "audio_preprocessor_int8.tflite"
    sound = assets / "audio" / "yes_1000ms.wav"
    for command in (["infer", model, sound], ["models", "init", model], ["models", "lint", model]):
        done = edgeagent(*command, cwd=tmp_path)
        clear(done, 1, "audio_preprocessor_int8.tflite", "custom operator SignalWindow")


@pytest.mark.parametrize("how", ["missing", "mutated"])
def test_an_agent_with_a_spoilt_model_ends_with_1(tmp_path: Path, how: str) -> None:
    folder = package(tmp_path, lambda file: SPOILT[how][0](file) and None)
    library = tmp_path / "library" / "parts" / "1.0.0"
    library.parent.mkdir(parents=True)
    folder.rename(library)
    (tmp_path / "agent.toml").write_text(
        '[sources.belt]\nkind = "synthetic"\ncount = 3\n[pipelines.belt]\nsource = "belt"\n'
        'model = "parts"\n[models]\npath = ["library"]\n'
    )
    done = edgeagent("run", "-c", "agent.toml", "-d", "data", "--until-done", cwd=tmp_path)
    clear(done, 1, "belt can't run", "parts-int8.tflite")


def test_no_mutation_of_a_model_ends_the_process(tmp_path: Path) -> None:
    """Both runtimes crash in native code for files that their own checks let pass."""
    program = f"""
import os, random, shutil, sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from pathlib import Path
from test_bad_input import package
from edgeagent.errors import EdgeAgentError
from edgeagent.manifest import load_package
from edgeagent.prove.predict import Predictor
from edgeagent.prove.samples import read_samples

for seed in range({10 if os.environ.get("EDGEAGENT_TESTS") != "full" else 300}):
    def change(file):
        data, chance = bytearray(file.read_bytes()), random.Random(seed)
        for _ in range(chance.choice([1, 8, 64])):
            data[chance.randrange(len(data))] = chance.randrange(256)
        file.write_bytes(data)
    suffix = ("tflite", "onnx")[seed % 2]
    folder = package(Path(str(seed)), change, "parts-int8." + suffix)
    if os.fork() == 0:
        try:
            made = load_package(folder)
            with Predictor(made) as predictor:
                list(map(predictor, read_samples(folder / "golden" / "1.png", made)))
        except EdgeAgentError as error:
            assert error.exit_code == 1, error
        os._exit(0)
    status = os.wait()[1]
    assert status == 0, (seed, status)
    shutil.rmtree(folder)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True,
        timeout=600, check=False, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]


# --- recordings ----------------------------------------------------------------------------


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


# --- configuration -------------------------------------------------------------------------


def test_an_unreadable_configuration(tmp_path: Path) -> None:
    (tmp_path / "agent.toml").mkdir()
    clear(edgeagent("config", "check", "agent.toml", cwd=tmp_path), 78, "agent.toml")
    (tmp_path / "latin.toml").write_bytes(b'[device]\nname = "T\xfcr"\n')
    clear(edgeagent("config", "check", "latin.toml", cwd=tmp_path), 78, "latin.toml", "UTF-8")
    clear(edgeagent("config", "check", "none.toml", cwd=tmp_path), 78, "none.toml")


# --- disks and peers -----------------------------------------------------------------------

BELT = """
[sources.belt]
kind = "synthetic"
[pipelines.belt]
source = "belt"
model = "parts"
"""


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Mounts a file system of 1 MiB with these options."""
    folder = tmp_path / "disk"
    folder.mkdir()
    (tmp_path / "agent.toml").write_text(BELT)
    mounted = []

    def mount(options: str) -> Path:
        command = ["mount", "-t", "tmpfs", "-o", f"size=1m{options}", "tmpfs", str(folder)]
        if (
            os.geteuid() != 0
            or subprocess.run(command, capture_output=True, check=False).returncode
        ):
            pytest.skip("a file system can't be mounted here")
        mounted.append(folder)
        return folder

    yield mount
    for its in mounted:
        subprocess.run(["umount", str(its)], check=True)


def test_a_full_disk(tmp_path: Path, disk: Callable[[str], Path]) -> None:
    full = disk("")
    with (full / "everything").open("wb") as file, pytest.raises(OSError, match="No space"):
        while True:
            file.write(bytes(65536))
            file.flush()
    run = edgeagent("run", "-c", "agent.toml", "-d", full / "data", cwd=tmp_path)
    clear(run, 70, str(full / "data"), "full", "Free space on the disk")
    save = ["infer", "parts", PARTS / "golden" / "1.png", "--save", full / "seen"]
    clear(edgeagent(*save, cwd=tmp_path), 70, "No space left", "Free space on the disk")
    doctor = edgeagent("doctor", "-c", "agent.toml", "-d", full, cwd=tmp_path)
    clear(doctor, 1, f"{full} can't be written to: No space left", "Free some space")


def test_a_disk_that_is_read_only(tmp_path: Path, disk: Callable[[str], Path]) -> None:
    still = disk(",ro")
    for data in (still, still / "data"):
        run = edgeagent("run", "-c", "agent.toml", "-d", data, cwd=tmp_path)
        clear(run, 77, str(data), "Read-only file system", "--data-dir")
    save = ["infer", "parts", PARTS / "golden" / "1.png", "--save", still / "seen"]
    clear(edgeagent(*save, cwd=tmp_path), 77, "Read-only file system", "may write to")
    doctor = edgeagent("doctor", "-c", "agent.toml", "-d", still, cwd=tmp_path)
    clear(doctor, 1, f"{still} can't be written to: Read-only file system")


def test_a_broker_that_is_not_there(tmp_path: Path) -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        port = held.getsockname()[1]
        broker = f'[mqtt]\nhost = "127.0.0.1"\nport = {port}\n'
        with AgentProcess(broker + BELT, tmp_path) as agent:
            agent.until(lambda status: status["reasons"] and status["pipelines"]["belt"]["steps"])
            status = edgeagent("status", "-d", agent.data, cwd=tmp_path)
            clear(status, 1, f"127.0.0.1:{port}: connection refused", "Does the broker run there?")
            second = edgeagent("run", "-c", "agent.toml", "-d", agent.data, cwd=tmp_path)
            clear(second, 75, str(agent.data), "edgeagent status", "--data-dir")
        doctor = edgeagent("doctor", "-c", "agent.toml", "-d", agent.data, cwd=tmp_path)
        clear(doctor, 1, f"127.0.0.1:{port}")
