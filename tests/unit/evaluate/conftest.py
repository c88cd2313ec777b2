"""Labelled data made of the scenes and samples that are shipped."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from edgeagent.capture.synthetic import BeltScene

SIZE = (160, 120)


@pytest.fixture(scope="session")
def belt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A COCO file of 45 pictures of a belt, pictures beside it; and their light in a table."""
    folder = tmp_path_factory.mktemp("belt")
    scene = BeltScene(9003, SIZE, fault_rate=0.4)
    labels = ["whole", "cracked", "missing"]
    notes: list[dict[str, Any]] = []
    images = []
    with (folder / "slices.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["file", "light"])
        for number in range(45):
            picture, truths = scene.render(number * 23)
            name = f"{number:03d}.jpg"
            if number % 3 == 0:
                picture = (picture * 0.12).astype(np.uint8)
            table.writerow([name, "dark" if number % 3 == 0 else "day"])
            cv2.imwrite(str(folder / name), picture)
            images.append({"id": number, "file_name": name, "width": SIZE[0], "height": SIZE[1]})
            for truth in truths:
                x1, y1, x2, y2 = (
                    min(1.0, max(0.0, edge)) * side
                    for edge, side in zip(truth.box, SIZE * 2, strict=True)
                )
                notes.append({
                    "id": len(notes) + 1, "image_id": number, "iscrowd": 0,
                    "category_id": labels.index(truth.label) + 1,
                    "bbox": [x1, y1, x2 - x1, y2 - y1], "area": (x2 - x1) * (y2 - y1),
                })  # fmt: skip
    categories = [{"id": place, "name": label} for place, label in enumerate(labels, 1)]
    (folder / "truth.json").write_text(
        json.dumps({"images": images, "annotations": notes, "categories": categories})
    )
    return folder


@pytest.fixture(scope="session")
def digits(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The golden digits under growing noise: a folder for each, and a table with the noise."""
    golden = sorted((repository / "models" / "digits").iterdir())[-1] / "golden"
    expected = json.loads((golden / "expected.json").read_text())
    folder = tmp_path_factory.mktemp("digits")
    rng = np.random.default_rng(3)
    rows = []
    for sample in expected["samples"]:
        clean = cv2.imread(str(golden / sample["file"])).astype(float)
        label = sample["predictions"][0]["label"]
        (folder / "data" / label).mkdir(parents=True, exist_ok=True)
        for noise in (5, 60, 140):
            for number in range(6):
                noisy = np.clip(clean + rng.normal(0, noise, clean.shape), 0, 255)
                name = f"{label}/{Path(sample['file']).stem}-{noise}-{number}.png"
                cv2.imwrite(str(folder / "data" / name), noisy.astype(np.uint8))
                rows.append((name, label, noise))
    with (folder / "data.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["file", "label", "noise"])
        table.writerows(rows)
    return folder


@pytest.fixture(scope="session")
def blind(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped detector with two labels in each other's place, as after sorting them anew."""
    shipped = sorted((repository / "models" / "parts").iterdir())[-1]
    folder = tmp_path_factory.mktemp("blind") / "parts" / "1.0.1"
    shutil.copytree(shipped, folder)
    text = (folder / "model.toml").read_text()
    (folder / "model.toml").write_text(text.replace('version = "1.0.0"', 'version = "1.0.1"'))
    first, *others, last = (folder / "labels.txt").read_text().split()
    (folder / "labels.txt").write_text("\n".join([last, *others, first]) + "\n")
    return folder


@pytest.fixture
def invoke(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """A command in this process, of a person without an agent."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "home"))

    def run(*arguments: object) -> Any:
        from edgeagent.cli.app import app

        return CliRunner().invoke(app, [str(argument) for argument in arguments])

    return run
