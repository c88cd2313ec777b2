"""What can be said about a model file before a runtime sees it.

Runtimes answer a wrong file with a parser's words ("Protobuf parsing failed"), and
tflite-runtime with a segmentation fault. The first bytes tell most of it in plain words.
"""

from __future__ import annotations

from pathlib import Path

from edgeagent.errors import ModelError

TFLITE = "TFLite"
ONNX = "ONNX"
_RUNTIME = {TFLITE: "litert", ONNX: "onnx"}
_SUFFIX = {TFLITE: ".tflite", ONNX: ".onnx"}


def read_head(path: Path, wanted: str) -> bytes:
    """The first 64 bytes of a model file that may be of the format ``wanted``.

    Raises:
        ModelError: it is missing, unreadable, empty, a folder, or plainly something else.
    """
    try:
        if path.is_dir():
            raise ModelError(f"{path} is a folder, not a {wanted} model")
        with path.open("rb") as stream:
            head = stream.read(64)
    except FileNotFoundError as error:
        raise ModelError(
            f"{path}: the model file is missing",
            remedy="Put the file there, or name it rightly in model.toml, [[variant]] file.",
        ) from error
    except OSError as error:
        raise ModelError(f"{path}: can't be read: {error.strerror}") from error
    if not head:
        raise ModelError(f"{path}: the file is empty", remedy="Copy or download it again.")
    found = kind_of(head)
    if found != wanted and (found or wanted == TFLITE):
        raise _wrong(path, wanted, found)
    return head


def kind_of(head: bytes) -> str:
    """``TFLite``, ``ONNX``, another thing that models are mistaken for, or "" = unknown.

    ONNX has no magic number: a ModelProto starts with field 1, its IR version, a small
    number (onnx.proto); files written by other orders are left to the runtime to judge.
    """
    if head[4:8] == b"TFL3":
        return TFLITE
    if head[:1] == b"\x08" and len(head) > 2 and 1 <= head[1] <= 20:
        return ONNX
    if head.startswith(b"version https://git-lfs"):
        return "a Git LFS pointer"
    if head.lstrip()[:5].lower() in (b"<!doc", b"<html"):
        return "a web page"
    if head.startswith(b"PK\x03\x04"):
        return "a ZIP archive"
    if head.startswith(b"\x89HDF"):
        return "a Keras HDF5 file"
    return ""


def damaged(path: Path, wanted: str, detail: str) -> ModelError:
    """The error for a file that looked right and does not parse."""
    return ModelError(
        f"{path}: not a whole {wanted} model: {first_line(detail)}",
        remedy="The file is damaged or cut short: copy it again and compare its sha256.",
    )


def first_line(text: str) -> str:
    """The first sentence of a runtime's message, without its line breaks and tail."""
    line = " ".join(text.split())
    return line if len(line) <= 240 else line[:237] + "…"


def _wrong(path: Path, wanted: str, found: str) -> ModelError:
    if found in _RUNTIME:
        return ModelError(
            f"{path}: this is {found}, not {wanted}",
            remedy=f"Name it {path.stem}{_SUFFIX[found]} and set "
            f'runtime = "{_RUNTIME[found]}" in model.toml, [[variant]].',
        )
    return ModelError(
        f"{path}: this is {found or 'no model of a known format'}, not {wanted}",
        remedy="Fetch the model file itself and compare its sha256.",
    )
