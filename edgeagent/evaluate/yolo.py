"""Labelled boxes as YOLO's tools write them: ``images/``, ``labels/`` with a text file for each
picture, and the labels in ``classes.txt``.

A line is ``class middle-x middle-y width height``, all but the class in 0..1 of the picture
(https://docs.ultralytics.com/datasets/detect/).
"""

from __future__ import annotations

from pathlib import Path

from edgeagent.capture.files import natural
from edgeagent.errors import InputError, NotFound
from edgeagent.evaluate.data import Case, Data, Thing
from edgeagent.prove.samples import readable

_NAMES = ("classes.txt", "labels.txt", "obj.names")


def read_yolo(place: Path) -> Data:
    """All pictures below ``images/`` (or beside ``labels/``); one without a text file shows
    nothing. Raises NotFound, InputError with file and line."""
    labels = _labels(place)
    root = place / "images" if (place / "images").is_dir() else place
    cases = []
    for file in sorted((its for its in root.rglob("*") if readable(its)), key=natural):
        name = file.relative_to(root)
        notes = (place / "labels" / name).with_suffix(".txt")
        cases.append(Case(file, str(name), things=_things(notes, labels)))
    if not cases:
        raise NotFound(f"{root}: there are no pictures")
    return Data(str(place), cases)


def _labels(place: Path) -> list[str]:
    for name in _NAMES:
        file = place / name
        if file.is_file():
            return [line.strip() for line in file.read_text(encoding="utf-8").splitlines()]
    raise NotFound(
        f"{place}: no file says what the class numbers mean",
        remedy="Write classes.txt, one label a line in the order of the numbers.",
    )


def _things(notes: Path, labels: list[str]) -> list[Thing]:
    if not notes.is_file():
        return []
    found = []
    for number, line in enumerate(notes.read_text(encoding="utf-8").splitlines(), 1):
        words = line.split()
        if not words:
            continue
        try:
            kind, x, y, width, height = int(words[0]), *map(float, words[1:5])
            label = labels[kind]
        except (ValueError, IndexError) as error:
            raise InputError(
                f"{notes}:{number}: {line[:60]!r} is no line of class, x, y, width, height"
            ) from error
        box = (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
        found.append(Thing(label, box))
    return found
