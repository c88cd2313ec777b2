"""Pictures for the model that is shipped, and its order."""

from __future__ import annotations

from pathlib import Path

import cv2
import pytest

from edgeagent.batch.order import Job, Order, order_for
from edgeagent.capture.synthetic import BeltScene
from edgeagent.manifest import Package, load_package


@pytest.fixture(scope="session")
def parts(repository: Path) -> Package:
    return load_package(sorted((repository / "models" / "parts").iterdir())[-1])


@pytest.fixture(scope="session")
def order(parts: Package) -> Order:
    return order_for(parts)


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 pictures of a belt; number 7 is none, number 23 is cut off."""
    folder = tmp_path_factory.mktemp("batch") / "pictures"
    folder.mkdir()
    scene = BeltScene(5, (320, 240), fault_rate=0.5)
    for number in range(40):
        cv2.imwrite(str(folder / f"{number}.jpg"), scene.render(number * 7)[0])
    (folder / "7.jpg").write_text("no picture")
    whole = (folder / "23.jpg").read_bytes()
    (folder / "23.jpg").write_bytes(whole[: len(whole) // 2])
    return folder


@pytest.fixture(scope="session")
def jobs(pictures: Path) -> list[Job]:
    files = sorted(pictures.iterdir(), key=lambda file: int(file.stem))
    return [Job(number, str(file), file.name) for number, file in enumerate(files)]
