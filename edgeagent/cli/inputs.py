"""What ``edgeagent infer`` is given: files, folders, globs, or standard input."""

from __future__ import annotations

import glob
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from edgeagent.capture.files import natural
from edgeagent.errors import InputError, NotFound, NotPermitted, unwritable
from edgeagent.prove.samples import readable

if TYPE_CHECKING:
    from edgeagent.decide.picture import Scenery
    from edgeagent.types import Prediction

STDIN = "-"


class Input(Struct, frozen=True):
    """One file, and what people call it."""

    path: Path
    name: str


@contextmanager
def find_inputs(given: Sequence[str]) -> Iterator[list[Input]]:
    """All files that are meant, in natural order within a folder; standard input as a file.

    Raises:
        NotFound: something named does not exist, or a folder has nothing to read.
        InputError: standard input is empty.
    """
    with tempfile.TemporaryDirectory(prefix="edgeagent-infer-") as scratch:
        found: list[Input] = []
        for text in given:
            if text == STDIN:
                found.append(_from_stdin(Path(scratch)))
            else:
                found += [Input(path, str(path)) for path in _expand(text)]
        yield found


def find_all(given: Sequence[str]) -> list[Path]:
    """All files that are meant, each once: those in folders and below them, those that match,
    and those of lists (``@FILE``, one a line; ``@-`` = standard input).

    Raises:
        NotFound: something named does not exist, or a folder has nothing to read.
    """
    found: list[Path] = []
    for text in given:
        if text.startswith("@"):
            found += [Path(line).expanduser() for line in _listed(text[1:])]
        else:
            found += _expand(text, below=True)
    return list(dict.fromkeys(found))


def _listed(name: str) -> list[str]:
    try:
        text = sys.stdin.read() if name == STDIN else Path(name).expanduser().read_text("utf-8")
    except FileNotFoundError as error:
        raise NotFound(f"{name}: there is no such list") from error
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{name}: can't be read as a list of files: {error}") from error
    return [line for line in text.splitlines() if line.strip()]


def _expand(text: str, below: bool = False) -> list[Path]:
    place = Path(text).expanduser()
    if place.is_dir():
        inside = place.rglob("*") if below else place.iterdir()
        try:
            files = [file for file in inside if readable(file) and file.is_file()]
        except OSError as error:
            raise NotPermitted(f"{text}: {error.strerror}") from error
        if not files:
            raise NotFound(f"{text}: the folder has no pictures, videos or recordings")
        return sorted(files, key=natural)
    if place.exists():
        return [place]
    files = [Path(name) for name in glob.glob(str(place), recursive=True)]  # noqa: PTH207
    if not files:
        said = "no file matches" if glob.has_magic(text) else "there is no such file or folder"
        raise NotFound(f"{text}: {said}")
    return sorted((file for file in files if file.is_file()), key=natural)


def _from_stdin(scratch: Path) -> Input:
    data = sys.stdin.buffer.read()
    if not data.strip():
        raise InputError(
            "standard input is empty", remedy="Pipe a picture, a WAV file or JSON lines into it."
        )
    file = scratch / f"stdin{_suffix(data)}"
    file.write_bytes(data)
    return Input(file, STDIN)


def _suffix(data: bytes) -> str:
    """By the first bytes: JSON lines, sound, or else a picture (which says itself what it is)."""
    if data.lstrip()[:1] in (b"{", b"["):
        return ".jsonl"
    if data[:4] == b"RIFF" and data[8:12] == b"WAVE":
        return ".wav"
    return ".png"


def write_picture(
    pixels: Any, predictions: Sequence[Prediction], file: Path, scenery: Scenery | None = None
) -> None:
    """A frame with everything that was said about it, as JPEG. Raises as `unwritable`."""
    from edgeagent.decide.picture import draw, jpeg

    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(jpeg(draw(pixels, predictions, scenery)))
    except OSError as error:
        raise unwritable(file, error) from error
