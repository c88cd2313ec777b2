"""``edgeagent infer`` on real files, with the models that are shipped."""

from __future__ import annotations

import json
import wave
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from edgeagent.capture.synthetic import BeltScene


@pytest.fixture
def belt(tmp_path: Path) -> Path:
    """A folder with pictures of a belt."""
    folder = tmp_path / "belt"
    folder.mkdir()
    scene = BeltScene(5, (320, 240), fault_rate=0.5)
    for number in range(3):
        cv2.imwrite(str(folder / f"{number}.png"), scene.render(number * 40)[0])
    return folder


def lines_of(done: Any) -> list[dict[str, Any]]:
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_a_folder_gives_a_line_per_picture_in_natural_order(invoke: Any, belt: Path) -> None:
    (belt / "2.png").rename(belt / "10.png")
    done = invoke("infer", "parts", belt, "--json")
    assert done.exit_code == 0, done.stderr
    lines = lines_of(done)
    assert [Path(line["input"]).name for line in lines] == ["0.png", "1.png", "10.png"]
    found = [its["label"] for line in lines for its in line["predictions"]]
    assert found and set(found) <= {"whole", "cracked", "missing"}
    assert all(line["model"].startswith("parts@") for line in lines)


def test_a_glob_and_a_table_for_people(invoke: Any, belt: Path) -> None:
    done = invoke("infer", "parts", f"{belt}/[01].png")
    assert done.exit_code == 0
    assert done.stdout.startswith("INPUT")
    assert "2 samples, median" in done.stderr
    assert "operators on" in done.stderr


def test_threshold_takes_the_place_of_the_models_own(invoke: Any, belt: Path) -> None:
    done = invoke("infer", "parts", belt, "--json", "--threshold", "1.0")
    assert [line["predictions"] for line in lines_of(done)] == [[], [], []]


def test_annotated_pictures_differ_and_have_the_same_size(
    invoke: Any, belt: Path, tmp_path: Path
) -> None:
    done = invoke("infer", "parts", belt, "--json", "--save", tmp_path / "out")
    for line in lines_of(done):
        saved, original = cv2.imread(line["saved"]), cv2.imread(line["input"])
        assert saved.shape == original.shape
        if line["predictions"]:
            x1, y1, *_ = line["predictions"][0]["box"]
            height, width = original.shape[:2]
            y, x = int(max(y1, 0) * height), int(max(x1, 0) * width)
            patch = np.s_[max(0, y - 3) : y + 4, max(0, x - 3) : x + 20]
            assert np.abs(saved[patch].astype(int) - original[patch]).max() > 60


def test_bad_inputs_are_listed_and_the_rest_is_done(
    invoke: Any, belt: Path, tmp_path: Path
) -> None:
    text, empty = tmp_path / "text.png", tmp_path / "empty.jpg"
    text.write_text("no picture")
    empty.touch()
    done = invoke("infer", "parts", text, belt / "0.png", empty, "--json")
    assert done.exit_code == 1
    assert [Path(line["input"]).name for line in lines_of(done)] == ["0.png"]
    assert "text.png" in done.stderr and "empty.jpg" in done.stderr
    assert done.stderr.count("skipped:") == 2


def test_a_picture_from_standard_input(shell: Any, belt: Path) -> None:
    data = (belt / "0.png").read_bytes()
    done = shell("infer", "parts", "-", "--json", stdin=data)
    assert done.returncode == 0, done.stderr
    line = json.loads(done.stdout)
    assert line["input"] == "-" and line["predictions"]


def test_empty_standard_input_is_said(shell: Any) -> None:
    done = shell("infer", "parts", "-", stdin=b"")
    assert done.returncode == 1
    assert "standard input is empty" in done.stderr


def test_a_video_gives_a_line_per_frame(invoke: Any, tmp_path: Path) -> None:
    file = tmp_path / "belt.avi"
    film = cv2.VideoWriter(str(file), cv2.VideoWriter.fourcc(*"MJPG"), 15, (320, 240))
    scene = BeltScene(5, (320, 240))
    for number in range(6):
        film.write(scene.render(number)[0])
    film.release()
    done = invoke("infer", "parts", file, "--json")
    assert [line["sample"] for line in lines_of(done)] == [0, 1, 2, 3, 4, 5]


def test_what_is_in_a_video_is_followed_over_the_lines_of_a_pipeline(
    invoke: Any, tmp_path: Path
) -> None:
    file = tmp_path / "belt.avi"
    film = cv2.VideoWriter(str(file), cv2.VideoWriter.fourcc(*"MJPG"), 15, (320, 240))
    scene = BeltScene(3, (320, 240))
    for number in range(45):
        film.write(scene.render(number)[0])
    film.release()
    config = tmp_path / "agent.toml"
    config.write_text(
        '[sources.a]\nkind = "synthetic"\n[pipelines.belt]\nsource = "a"\nmodel = "parts"\n'
        "[pipelines.belt.lines.gate]\npoints = [[0.5, 0], [0.5, 1]]\n"
    )
    keys = ("--json", "--save", tmp_path / "out", "--config", config)
    plain = lines_of(invoke("infer", "parts", file, *keys))
    tracks = [its.get("track") for line in plain for its in line["predictions"]]
    assert all(tracks) and 3 <= len(set(tracks)) <= 9
    before = cv2.imread(plain[30]["saved"])
    shown = lines_of(invoke("infer", "parts", file, *keys, "--pipeline", "belt"))
    after = cv2.imread(shown[30]["saved"])
    assert [line["predictions"] for line in plain] == [line["predictions"] for line in shown]
    differs = (before != after).any(axis=2)
    assert differs[:, 155:165].any(axis=1).mean() > 0.9  # the line
    done = invoke("infer", "parts", file, *keys, "--pipeline", "bel")
    assert done.exit_code == 3 and "belt" in done.stderr


def test_json_lines_from_standard_input_reach_the_autoencoder(shell: Any) -> None:
    from edgeagent.capture.synthetic import VibrationScene
    from edgeagent.manifest import load_package

    spec = load_package(_shipped("bearing")).manifest.input[0]
    values = VibrationScene(3, rate_hz=spec.rate_hz).block(0, int(spec.length * 2.2))[:, 0]
    name = spec.channels[0] if spec.channels else "x"
    rows = "".join(json.dumps({name: float(value)}) + "\n" for value in values)
    done = shell("infer", "bearing", "-", "--json", stdin=rows.encode())
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert lines and all(line["predictions"][0]["label"] == "anomaly" for line in lines)


def test_sound_for_a_model_of_pictures_is_refused(invoke: Any, tmp_path: Path) -> None:
    file = tmp_path / "tone.wav"
    with wave.open(str(file), "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(16000)
        out.writeframes(bytes(32000))
    done = invoke("infer", "parts", file)
    assert done.exit_code == 1
    assert "Traceback" not in done.output


def test_a_folder_that_can_not_be_written_to(invoke: Any, belt: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = invoke("infer", "parts", belt, "--save", tmp_path / "file" / "below")
    # Not a question of rights: a file stands where the folder would have to be.
    assert done.exit_code == 2
    assert "can't be written: Not a directory" in done.stderr
    assert "Name another place" in done.stderr


def _shipped(name: str) -> Path:
    from edgeagent.update.library import Library, default_folders

    return Library(default_folders()).find(name).folder
