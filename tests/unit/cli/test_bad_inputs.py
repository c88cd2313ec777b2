"""Every sort of bad input, a row each: the exit code, the file's name, what is wrong with it."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[3]
PARTS = ROOT / "models" / "parts" / "1.0.0"
BEARING = ROOT / "models" / "bearing" / "1.0.0"
GOOD = PARTS / "golden" / "1.png"
ROWS = (BEARING / "golden" / "sound-1.csv").read_text().split()[1:]
Make = Callable[[Path], None]


def written(content: str | bytes) -> Make:
    data = content.encode() if isinstance(content, str) else content
    return lambda file: file.write_bytes(data) and None


def picture(change: Callable[[Any], Any]) -> Make:
    """The good picture, changed and written as the file's ending says."""
    return lambda file: cv2.imwrite(str(file), change(cv2.imread(str(GOOD)))) and None


def pillow(mode: str) -> Make:
    def make(file: Path) -> None:
        image = pytest.importorskip("PIL.Image", reason="Pillow makes pictures of this mode")
        image.open(GOOD).convert(mode).save(file)

    return make


def header_of(width: int, height: int) -> bytes:
    """A PNG that says how large it is, over no pixels: making them would fill the memory."""
    small = cv2.imencode(".png", np.zeros((8, 8), np.uint8))[1].tobytes()
    size = width.to_bytes(4, "big") + height.to_bytes(4, "big")
    import zlib

    head = small[12:16] + size + small[24:29]
    return small[:12] + head + zlib.crc32(head).to_bytes(4, "big") + small[33:]


def column(*first: str) -> str:
    """A good recording whose first values are these."""
    return "x\n" + "\n".join([*first, *ROWS[len(first) :]]) + "\n"


def lines(*first: str) -> str:
    return "\n".join([*first, *(f'{{"x": {value}}}' for value in ROWS[len(first) :])]) + "\n"


NO_PICTURE = "Give a JPEG, PNG, BMP, WebP, TIFF or PNM file"
BAD_PICTURES: dict[str, tuple[Make, str]] = {
    "text.jpg": (written("this is a text\n" * 99), f"is a text file, not a picture\n{NO_PICTURE}"),
    "page.png": (written("<html>404</html>"), f"is a text file, not a picture\n{NO_PICTURE}"),
    "empty.png": (written(b""), "the file is empty (0 bytes)\nCopy it again"),
    "noise.png": (written(random.Random(1).randbytes(9000)), f"is no picture\n{NO_PICTURE}"),
    "cut.png": (written(GOOD.read_bytes()[:700]), "cut off (700 bytes; its last chunk is missing)"),
    "cut.jpg": (
        lambda file: written(cv2.imencode(".jpg", cv2.imread(str(GOOD)))[1].tobytes()[:900])(file),
        "cut off (900 bytes; its end marker is missing)",
    ),
    "huge.png": (
        written(header_of(20_000, 20_000)),
        "20000x20000 pixels are more than the 64 megapixels that are allowed\nScale it down",
    ),
    "zero.mp4": (written(b""), "the file is empty (0 bytes)\nCopy it again"),
    "noise.mp4": (written(random.Random(2).randbytes(9000)), "is no video that can be read"),
    "anim.gif": (written(b"GIF89a"), "files ending in .gif are no samples\nGive pictures"),
    "sound.wav": (written("hello"), "is no WAV file\nConvert it: ffmpeg"),
    "empty.wav": (written(b""), "the file is empty (0 bytes)\nCopy it again"),
}


@pytest.mark.parametrize("name", BAD_PICTURES)
def test_what_is_no_picture_is_listed_and_the_rest_is_done(
    invoke: Any, tmp_path: Path, name: str
) -> None:
    make, said = BAD_PICTURES[name]
    make(tmp_path / name)
    done = invoke("infer", "parts", tmp_path / name, GOOD)
    assert done.exit_code == 1, done.output
    assert f"skipped: {tmp_path / name}: " in done.stderr
    for sentence in said.split("\n"):
        assert sentence in done.stderr
    assert "cracked" in done.stdout


ODD_PICTURES: dict[str, Make] = {
    "deep.png": picture(lambda pixels: pixels.astype(np.uint16) * 257),
    "deep.tiff": picture(lambda pixels: pixels.astype(np.uint16) * 257),
    "alpha.png": picture(lambda pixels: cv2.cvtColor(pixels, cv2.COLOR_BGR2BGRA)),
    "grey.png": picture(lambda pixels: cv2.cvtColor(pixels, cv2.COLOR_BGR2GRAY)),
    "cmyk.jpg": pillow("CMYK"),
    "palette.png": pillow("P"),
    "grey-alpha.png": pillow("LA"),
}


@pytest.mark.parametrize("name", ODD_PICTURES)
def test_odd_pictures_are_seen_as_the_plain_one(invoke: Any, tmp_path: Path, name: str) -> None:
    ODD_PICTURES[name](tmp_path / name)
    done = invoke("infer", "parts", tmp_path / name)
    assert done.exit_code == 0, done.output
    for label in ("whole", "cracked", "missing"):
        assert label in done.stdout


SLIM_PICTURES: dict[str, Make] = {
    "dot.png": picture(lambda pixels: pixels[:1, :1]),
    "column.png": picture(lambda pixels: pixels[:, :1]),
    "wide.png": picture(lambda pixels: np.zeros((20, 20_000, 3), np.uint8)),
}


@pytest.mark.parametrize("name", SLIM_PICTURES)
def test_pictures_of_an_odd_shape_are_read(invoke: Any, tmp_path: Path, name: str) -> None:
    SLIM_PICTURES[name](tmp_path / name)
    assert invoke("infer", "parts", tmp_path / name).exit_code == 0


BAD_ROWS: dict[str, tuple[str | bytes, str]] = {
    "empty.csv": ("", ": the file is empty; a header with names is needed"),
    "header.csv": ("x\n", ": 0 usable rows are too few: a window needs 1024"),
    "short.csv": ("x\n1\n2\n3\n", ": 3 usable rows are too few"),
    "nan.csv": (column("1", "nan"), ":3: x is nan, not a finite number"),
    "inf.csv": (column("inf"), ":2: x is inf, not a finite number"),
    "large.csv": (column("1e400"), ":2: x is inf, not a finite number"),
    "word.csv": (column("1", "2", "abc"), ":4: x is 'abc', not a number"),
    "decimal-comma.csv": ("x;y\n0,4;1\n", ":2: x is '0,4', not a number (a decimal comma?)"),
    "ragged.csv": ("x,y\n1\n", ":2: 1 values instead of 2"),
    "other.csv": ("a,b\n1,2\n", ": has no column 'x'; its header says a, b"),
    "no-header.csv": ("\n".join(ROWS), ": line 1 holds numbers instead of names\nAdd a header"),
    "latin.csv": (column("1").encode() + b"\xfc\n", ":1026: x is '\ufffd', not a number"),
    "binary.csv": (bytes(range(1, 256)) * 9, ": has no column 'x'"),
    "zeros.csv": (b"\0" * 99, ": "),
    "empty.jsonl": ("", ": 0 usable rows are too few"),
    "nan.jsonl": (lines('{"x": NaN}'), ":1: x is nan, not a finite number"),
    "inf.jsonl": (lines('{"x": 1}', '{"x": -1e999}'), ":2: x is -inf, not a finite number"),
    "word.jsonl": (lines('{"x": "a"}'), ":1: x is 'a', not a number"),
    "null.jsonl": (lines('{"x": null}'), ":1: x is missing or null"),
    "list.jsonl": (lines("[1, 2]"), ":1: is no JSON object"),
    "cut.jsonl": (lines() + '{"x": 0.', ":1025: is no JSON"),
    "deep.jsonl": ("[" * 100_000, ":1: is no JSON"),
}


@pytest.mark.parametrize("name", BAD_ROWS)
def test_unusable_rows_are_named_by_line_and_column(invoke: Any, tmp_path: Path, name: str) -> None:
    content, said = BAD_ROWS[name]
    written(content)(tmp_path / name)
    done = invoke("infer", "bearing", tmp_path / name, BEARING / "golden" / "sound-2.csv")
    assert done.exit_code == 1, done.output
    for sentence in f"skipped: {tmp_path / name}{said}".split("\n"):
        assert sentence in done.stderr
    assert "usual" in done.stdout


def spoilt(folder: Path, change: Callable[[Path], object]) -> Path:
    """A copy of `parts`, changed."""
    target = folder / "parts"
    shutil.copytree(PARTS, target)
    change(target)
    return target


def manifest(before: str, after: str) -> Callable[[Path], None]:
    def change(target: Path) -> None:
        text = (target / "model.toml").read_text()
        assert before in text
        (target / "model.toml").write_text(text.replace(before, after))

    return change


def _swapped(target: Path) -> None:
    """The model of another package in place of this one's."""
    for suffix in ("tflite", "onnx"):
        shutil.copyfile(BEARING / f"bearing-int8.{suffix}", target / f"parts-int8.{suffix}")
    text = (target / "model.toml").read_text()
    head, _, rest = text.partition("[files]")
    (target / "model.toml").write_text(head + "[provenance" + rest.partition("\n[provenance")[2])


def _folder(target: Path) -> None:
    (target / "labels.txt").unlink()
    (target / "labels.txt").mkdir()


EVERYWHERE = ("infer", "models lint", "models show")
BAD_PACKAGES: dict[str, tuple[Callable[[Path], object], str, tuple[str, ...]]] = {
    # what is done to it, what is said about it, and which commands find it out
    "no labels": (lambda its: (its / "labels.txt").unlink(), "labels.txt", EVERYWHERE),
    "a folder in their place": (_folder, "labels.txt", EVERYWHERE),
    "labels of another model": (
        lambda its: (its / "labels.txt").write_text("whole\ncracked\n"),
        "labels: 2 classes", ("infer", "models lint"),
    ),
    "another rank": (_swapped, "input.image.size is [96, 96], tensor",
                     ("infer", "models lint")),
    "no such decoder": (
        manifest('decoder = "yolo"', 'decoder = "yoolo"'), 'did you mean "yolo"?', EVERYWHERE,
    ),
    "no such key": (manifest("licence = ", "lisence = "), 'did you mean "licence"?', EVERYWHERE),
    "no TOML": (manifest("[output]", "[output"), "model.toml:", EVERYWHERE),
    "of the future": (
        manifest('min_agent = "0.1"', 'min_agent = "99.0"'), "needs edgeagent 99.0",
        ("models lint",),
    ),
    "a file outside": (
        manifest('file = "parts-int8.tflite"', 'file = "../parts-int8.tflite"'),
        "../parts-int8.tflite", ("models lint",),
    ),
}  # fmt: skip


@pytest.mark.parametrize(
    ("what", "command"), [(what, its) for what, row in BAD_PACKAGES.items() for its in row[2]]
)
def test_a_package_that_is_wrong(invoke: Any, tmp_path: Path, what: str, command: str) -> None:
    change, said, _ = BAD_PACKAGES[what]
    folder = spoilt(tmp_path, change)
    done = invoke(*command.split(), folder, *([GOOD] if command == "infer" else []))
    assert done.exit_code == 1, done.output
    text = " ".join(done.output.split())
    assert said in text, done.output
    assert "model.toml: model.toml" not in text.replace(f"{folder}/", "")


GOOD_CONFIG = (ROOT / "examples" / "belt.toml").read_text()
MUTATIONS: tuple[Callable[[random.Random, str], str], ...] = (
    lambda chance, text: text[: chance.randrange(len(text))],
    lambda chance, text: text.replace("\n", "\n\n[mqtt]\n", chance.randrange(1, 4)),
    lambda chance, text: _at(chance, text, chance.choice('"[]{}=#\n\t,\0\u201c')),
    lambda chance, text: "".join(chance.sample(lines := text.splitlines(True), len(lines))),
    lambda chance, text: text.replace(chance.choice(text.split()), "nonsense", 1),
    lambda chance, text: text.replace("=", chance.choice([":", "==", "= -", "= nan #"]), 3),
)


def _at(chance: random.Random, text: str, what: str) -> str:
    position = chance.randrange(len(text))
    return text[:position] + what + text[position:]


def test_mutated_configurations(invoke: Any, tmp_path: Path, full: bool) -> None:
    chance, refused, count = random.Random(6), 0, 50 if full else 20
    file = tmp_path / "agent.toml"
    for number in range(count):
        text = GOOD_CONFIG
        for _ in range(chance.randrange(1, 4)):
            text = MUTATIONS[number % len(MUTATIONS)](chance, text) or GOOD_CONFIG
        file.write_text(text)
        done = invoke("config", "check", file, "-d", tmp_path / "data")
        assert done.exit_code in (0, 78), (text, done.output)
        assert "should not have happened" not in done.stderr
        if done.exit_code == 78:
            refused += 1
            for line in done.stderr.removeprefix("error: ").splitlines():
                assert line.startswith((f"{file}:", " ")), done.stderr
    assert refused >= count / 2
