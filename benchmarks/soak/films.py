"""What the cameras of the soak show, as folders of JPEG pictures ``00000.jpg`` and on."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

BELT_S, BELT_FPS = 120, 10
DIGIT_S, DIGIT_FPS = 3, 5
_DIGIT_PX = 160


def belt(folder: Path) -> Path:
    """Parts on a belt, some of them cracked or with a piece missing."""
    from edgeagent.capture.synthetic import BeltScene

    scene = BeltScene(7, fault_rate=0.3)
    return _write(folder, (scene.render(number)[0] for number in range(BELT_S * BELT_FPS)))


def digits(folder: Path, pictures: Iterable[Path]) -> Path:
    """Each picture for some seconds."""
    import cv2

    def shown() -> Iterable[Any]:
        for file in pictures:
            picture = cv2.imread(str(file), cv2.IMREAD_GRAYSCALE)
            assert picture is not None
            large = cv2.resize(picture, (_DIGIT_PX, _DIGIT_PX), interpolation=cv2.INTER_AREA)
            for _ in range(DIGIT_S * DIGIT_FPS):
                yield cv2.cvtColor(large, cv2.COLOR_GRAY2BGR)

    return _write(folder, shown())


def _write(folder: Path, pictures: Iterable[Any]) -> Path:
    import cv2

    folder.mkdir(parents=True)
    for number, picture in enumerate(pictures):
        if not cv2.imwrite(str(folder / f"{number:05}.jpg"), picture):
            raise RuntimeError(f"{folder} can't be written to")
    return folder
