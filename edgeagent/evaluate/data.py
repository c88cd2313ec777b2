"""Labelled data: folders with a label each, COCO, or a CSV table."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct, field

from edgeagent.capture.files import natural
from edgeagent.errors import InputError, NotFound, UsageError
from edgeagent.prove.samples import readable
from edgeagent.types import Box

_FILE = ("file", "path", "input", "image", "filename")
_LABEL = ("label", "class", "target")
_VALUE = ("value", "target", "label")


class Thing(Struct, frozen=True):
    """Something that is really there."""

    label: str
    box: Box
    crowd: bool = False
    """A group that is not marked one by one: to find it is neither right nor wrong."""
    points: tuple[tuple[float, float, int], ...] = ()
    """Of a pose: x and y in 0..1, and 0 = not marked, 1 = hidden, 2 = seen."""
    share: float = 0.0
    """Of the picture that it covers, where that is known better than by its box."""


class Case(Struct):
    """One input and the truth about it."""

    path: Path
    name: str
    label: str = ""
    value: float | None = None
    things: list[Thing] = field(default_factory=list)
    mask: Path | None = None
    """Picture of class numbers, one for each pixel."""
    slices: dict[str, str] = field(default_factory=dict)
    """What is known of it besides: place, camera, time of day."""


class Data(Struct):
    """All cases, and what to know of them."""

    name: str
    cases: list[Case]
    notes: list[str] = field(default_factory=list)
    """What was left out, in words."""


def read_data(place: Path, task: str, *, images: Path | None = None) -> Data:
    """The data at ``place``: a folder of folders, a ``.json`` (COCO) or a ``.csv``.

    Args:
        place: folder or file.
        task: of the model: what the truth is.
        images: where COCO's and CSV's files lie; None = beside the file, or in ``images``.

    Raises:
        NotFound: there is nothing.
        InputError: the file can't be read as what it should be; names line or key.
        UsageError: such data does not fit such a model.
    """
    if place.is_dir():
        data = _folders(place, task)
    elif not place.exists():
        raise NotFound(f"{place}: there is no such file or folder")
    elif place.suffix.lower() == ".json":
        data = _coco(place, task, images)
    elif place.suffix.lower() == ".csv":
        data = _table(place, task, images)
    else:
        raise UsageError(
            f"{place}: is no labelled data",
            remedy="Give a folder with a folder for each label, a COCO .json, or a .csv.",
        )
    if not data.cases:
        raise NotFound(f"{place}: holds no labelled inputs")
    return data


def add_slices(data: Data, table: Path) -> None:
    """Add the columns of a CSV by file name, for folders and COCO. Raises as `read_data`."""
    by_name = {case.name: case for case in data.cases} | {c.path.name: c for c in data.cases}
    missing = 0
    for _, row in _rows(table):
        column = _column(table, row, _FILE, "a file")
        case = by_name.get(row[column])
        missing += case is None
        if case is not None:
            case.slices |= {key: its for key, its in row.items() if key != column and its}
    if missing:
        data.notes.append(f"{missing:,} rows of {table} name no input of the data")


def _folders(place: Path, task: str) -> Data:
    if task == "segment":
        return _masked(place)
    if task in ("detect", "pose"):
        if task == "detect" and (place / "labels").is_dir():
            from edgeagent.evaluate.yolo import read_yolo

            return read_yolo(place)
        raise UsageError(
            f"{place}: a folder says which label, not where",
            remedy="Give a COCO .json file, or YOLO's: images/, labels/ and classes.txt.",
        )
    cases = []
    for folder in sorted((its for its in place.iterdir() if its.is_dir()), key=natural):
        files = sorted((its for its in folder.rglob("*") if readable(its)), key=natural)
        cases += [Case(file, str(file.relative_to(place)), folder.name) for file in files]
    if not cases:
        raise NotFound(
            f"{place}: there are no folders with readable files in them",
            remedy="Make a folder for each label, with its files in it.",
        )
    return Data(str(place), cases)


def _masked(place: Path) -> Data:
    """``images/`` and ``masks/`` with the same names."""
    masks = {file.relative_to(place / "masks").with_suffix(""): file
             for file in (place / "masks").rglob("*") if readable(file)}  # fmt: skip
    root = place / "images"
    files = sorted((its for its in root.rglob("*") if readable(its)), key=natural)
    if not files or not masks:
        raise NotFound(
            f"{place}: there are no images/ and masks/ in it",
            remedy="Put pictures into images/, and a picture of class numbers with the same name "
            "into masks/ for each.",
        )
    names = [file.relative_to(root) for file in files]
    return Data(str(place), [
        Case(file, str(name), mask=masks.get(name.with_suffix("")))
        for file, name in zip(files, names, strict=True)
    ])  # fmt: skip


def _table(place: Path, task: str, images: Path | None) -> Data:
    root = images or place.parent
    cases = []
    for number, row in _rows(place):
        file = _column(place, row, _FILE, "a file")
        wanted = {"regress": _VALUE, "segment": ("mask",)}.get(task, _LABEL)
        truth = _column(place, row, tuple(its for its in wanted if its != file), "the truth")
        case = Case(root / row[file], row[file])
        case.slices = {key: its for key, its in row.items() if key not in (file, truth) and its}
        if task == "regress":
            try:
                case.value = float(row[truth])
            except ValueError as error:
                said = f"{place}:{number}: {truth}: {row[truth]!r} is no number"
                raise InputError(said) from error
        elif task == "segment":
            case.mask = root / row[truth]
        else:
            case.label = row[truth]
        cases.append(case)
    return Data(str(place), cases)


def _rows(place: Path) -> list[tuple[int, dict[str, str]]]:
    """Rows with their line numbers. Raises InputError, NotFound."""
    try:
        with place.open(newline="", encoding="utf-8-sig") as file:
            table = csv.DictReader(file, strict=True)
            return [
                (table.line_num, {str(key): (its or "").strip() for key, its in row.items()})
                for row in table
            ]
    except FileNotFoundError as error:
        raise NotFound(f"{place}: there is no such file") from error
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{place}: can't be read as CSV: {error}") from error


def _column(place: Path, row: dict[str, str], names: tuple[str, ...], what: str) -> str:
    for name in row:
        if name.strip().lower() in names:
            return name
    raise InputError(
        f"{place}: no column says {what}; it has: {', '.join(row)}",
        remedy=f"Call it one of: {', '.join(names)}.",
    )


# --- COCO ----------------------------------------------------------------------------------


class _Image(Struct):
    id: int | str
    file_name: str
    width: int = 0
    height: int = 0


class _Note(Struct):
    image_id: int | str
    category_id: int
    bbox: tuple[float, float, float, float]
    iscrowd: int = 0
    area: float = 0.0
    keypoints: list[float] = field(default_factory=list)


class _Category(Struct):
    id: int
    name: str


class _Coco(Struct):
    images: list[_Image]
    annotations: list[_Note]
    categories: list[_Category]


def _coco(place: Path, task: str, images: Path | None) -> Data:
    if task not in ("detect", "pose"):
        raise UsageError(
            f"{place}: COCO says where things are, and a model that does {task} does not",
            remedy="Give a folder with a folder for each label, or a .csv.",
        )
    try:
        told = msgspec.json.decode(place.read_bytes(), type=_Coco)
    except (OSError, msgspec.DecodeError) as error:
        raise InputError(f"{place}: can't be read as COCO: {error}") from error
    names = {its.id: its.name for its in told.categories}
    cases: dict[Any, Case] = {}
    sizes = {its.id: (its.width, its.height) for its in told.images}
    for image in told.images:
        cases[image.id] = Case(_find(place, images, image.file_name), image.file_name)
    for number, note in enumerate(told.annotations):
        if note.image_id not in cases or note.category_id not in names:
            raise InputError(
                f"{place}: annotations[{number}] is of a picture or a category that is not there"
            )
        width, height = sizes[note.image_id]
        if not width or not height:
            raise InputError(f"{place}: image {note.image_id} has no width and height")
        x, y, wide, high = note.bbox
        box = (x / width, y / height, (x + wide) / width, (y + high) / height)
        points = tuple(
            (note.keypoints[at] / width, note.keypoints[at + 1] / height, int(its))
            for at, its in zip(range(0, len(note.keypoints), 3), note.keypoints[2::3], strict=False)
        )
        thing = Thing(names[note.category_id], box, bool(note.iscrowd), points,
                      note.area / (width * height))  # fmt: skip
        cases[note.image_id].things.append(thing)
    return Data(str(place), list(cases.values()))


def _find(place: Path, images: Path | None, name: str) -> Path:
    if images is not None:
        return images / name
    beside = place.parent / name
    return beside if beside.exists() else place.parent / "images" / name
