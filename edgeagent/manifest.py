"""`model.toml`: what a model package says about itself (contract §5).

Only the description is here: reading tensors is `infer`'s work, versions on disk and trust
belong to `update`. Unknown keys are refused with "did you mean", as in the configuration.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, Literal

import msgspec

from edgeagent.config.check import Fault, check_table, faults_text
from edgeagent.errors import NotFound, PackageError

Task = Literal["classify", "detect", "segment", "pose", "anomaly", "regress", "keyword", "embed"]
DECODERS = (
    "classify", "ssd", "yolo", "yolox", "fastestdet", "yunet", "blazeface",
    "movenet", "heatmap", "mask", "embed", "db", "ctc", "autoencoder", "patches", "regress", "none",
    "plugin", "handler",
)  # fmt: skip
Decoder = Literal[
    "classify", "ssd", "yolo", "yolox", "fastestdet", "yunet", "blazeface",
    "movenet", "heatmap", "mask", "embed", "db", "ctc", "autoencoder", "patches", "regress", "none",
    "plugin", "handler",
]  # fmt: skip
HANDLER = "handler.py"
"""Code that a package may bring (`packaged`)."""


class InputSpec(msgspec.Struct, forbid_unknown_fields=True):
    """One model input and how a sample becomes its tensor."""

    name: str
    kind: Literal["image", "window", "audio", "tensor"]
    tensor: str = ""
    """The model's own tensor name where it differs from ``name``; empty = by position."""
    # image
    size: tuple[int, int] | None = None
    """width, height; absent = the tensor's own."""
    colour: Literal["rgb", "bgr", "gray"] = "rgb"
    fit: Literal["letterbox", "stretch", "crop", "whole", "line"] = "letterbox"
    """``whole``: at its own size, but no side below the shorter one of ``size``, in steps of 32
    pixels (for a model whose width and height are open). ``line``: as high as the tensor, as wide
    as its aspect asks, at least ``size`` wide (a line of text for a model whose width is open)."""
    resample: Literal["linear", "area", "nearest"] = "linear"
    layout: Literal["auto", "nhwc", "nchw"] = "auto"
    mean: list[float] = msgspec.field(default_factory=list)
    scale: list[float] = msgspec.field(default_factory=list)
    """(x − mean) / scale on values 0..255, then the tensor's own quantization.
    Both empty: the stored pixel values are fed as they are where the tensor is uint8."""
    pad: list[float] = msgspec.field(default_factory=list)
    """letterbox, line: what stands around the picture, as values 0..255, one or one per channel in
    the order of ``colour``; empty = black."""
    # window and audio
    channels: list[str] = msgspec.field(default_factory=list)
    rate_hz: float = 0.0
    length: int = 0
    hop: int = 0
    window_ms: float = 0.0
    hop_ms: float = 0.0
    frontend: dict[str, Any] | str = ""
    """Name of a front end, or a table ``{kind = "mfcc" | "log-mel" | "log-spectrum", …}``."""
    value: float | int | None = None
    """For a constant input such as a sample rate (kind = tensor)."""

    @property
    def rows(self) -> int:
        """Values a channel in one window, by ``length`` or ``window_ms``; 0 = whatever comes."""
        return self.length or round(self.window_ms * self.rate_hz / 1000)

    @property
    def step(self) -> int:
        """Values from one window to the next, by ``hop`` or ``hop_ms``; 0 = a whole window."""
        return self.hop or round(self.hop_ms * self.rate_hz / 1000)


class StateSpec(
    msgspec.Struct, forbid_unknown_fields=True, rename={"input": "in", "output": "out"}
):
    """A tensor carried from one sample to the next (zeros at first)."""

    input: str
    output: str


class OutputSpec(msgspec.Struct, forbid_unknown_fields=True):
    """How tensors become predictions."""

    decoder: Decoder
    threshold: float = 0.5
    tensors: dict[str, str] = msgspec.field(default_factory=dict)
    """Which output is which, where shapes don't tell: ``{scores = "StatefulPartitionedCall:1"}``.
    Roles by decoder: boxes, scores, classes, count (ssd, yolo), scores (classify), mask (mask),
    points (movenet), heatmaps, offsets (heatmap), vector (embed), values (regress)."""
    nms: Literal["class", "any", "graph"] = "class"
    """What a better candidate suppresses: those of its class, any; or the graph has done it."""
    nms_iou: float = 0.45
    max_detections: int = 100
    row: list[str] = msgspec.field(default_factory=list)
    """yolo with ``nms = "graph"`` and one output: what the values of a row are. Absent: 6 are
    ``x1 y1 x2 y2 score class``, 7 are ``batch x1 y1 x2 y2 class score``."""
    layout: Literal["auto", "rows", "columns"] = "auto"
    """yolo: one row per candidate, or one column (transposed). Maps (ssd, mask, heatmap,
    patches): columns = channels before rows and columns of the picture."""
    boxes: Literal["cxcywh", "xyxy", "yxyx"] = "cxcywh"
    units: Literal["normalized", "pixels"] = "normalized"
    objectness: bool = False
    """yolo: the fifth value is an objectness to multiply with (v5), absent in v8 and later."""
    activation: Literal["none", "sigmoid", "softmax"] = "none"
    """Applied to scores before anything else; `none` when the graph already does."""
    top: int = 5
    label_offset: int = 0
    """Added to a class number before it is looked up in the labels."""
    background: bool = False
    """ssd, mask: class 0 means "nothing of these" and is never told. Where the labels have no
    line for it, ``label_offset`` is −1."""
    smooth: int = 1
    """classify: scores are the mean over so many samples (a wake word's sliding window)."""
    min_area: float = 0.0005
    """mask: smallest patch that is told, as a share of the frame."""
    reduce: Literal["none", "mean", "median", "max", "last"] = "none"
    """regress: one value out of a series over the window."""
    gallery: str = ""
    """embed: a file of the package with known vectors; the nearest are told as labels, "unknown"
    where none reaches the threshold.
    patches: what the patches of good pictures look like (``models init --anomaly`` writes it)."""
    binary: float = 0.3
    """db: pixels of the probability map from this value on belong to a text."""
    unclip: float = 1.6
    """db: how much larger a text is than the patch that the map shows of it."""
    name: str = ""
    unit: str = ""
    anchors: dict[str, Any] = msgspec.field(default_factory=dict)
    """blazeface, ssd, yolox, yunet: the grid that candidates are relative to."""
    plugin: str = ""


class Variant(msgspec.Struct, forbid_unknown_fields=True):
    """One file of the version. The first that proves itself runs, unless tuned otherwise."""

    file: str
    runtime: Literal["litert", "onnx", "plugin"]
    precision: str = "fp32"
    requires: dict[str, str] = msgspec.field(default_factory=dict)
    signature: str = ""


class Golden(msgspec.Struct, forbid_unknown_fields=True):
    expected: str = "golden/expected.json"
    tolerance: dict[str, float] = msgspec.field(default_factory=dict)
    reference: str = ""


class FileEntry(msgspec.Struct, forbid_unknown_fields=True):
    bytes: int
    sha256: str


class Manifest(msgspec.Struct, forbid_unknown_fields=True):
    """The whole of `model.toml`."""

    name: str
    version: str
    task: Task
    output: OutputSpec
    input: list[InputSpec]
    variant: list[Variant]
    licence: str = ""
    license: str = ""
    min_agent: str = ""
    labels: str | list[str] = ""
    state: list[StateSpec] = msgspec.field(default_factory=list)
    golden: Golden | None = None
    reference: str = ""
    """A file of the package with sketches of the data that it was made with, by which drift is
    found on devices (``models reference`` writes it)."""
    budget: dict[str, dict[str, float]] = msgspec.field(default_factory=dict)
    files: dict[str, FileEntry] = msgspec.field(default_factory=dict)
    provenance: dict[str, Any] = msgspec.field(default_factory=dict)
    description: str = ""


class Package:
    """A model package on disk: manifest, labels and the folder that holds its files."""

    def __init__(self, folder: Path, manifest: Manifest, labels: tuple[str, ...]) -> None:
        self.folder = folder
        self.manifest = manifest
        self.labels = labels

    @property
    def name(self) -> str:
        return self.manifest.name

    @property
    def version(self) -> str:
        return self.manifest.version

    @property
    def brings_code(self) -> bool:
        """Whether there is a `handler.py`."""
        return (self.folder / HANDLER).is_file()

    def path(self, file: str) -> Path:
        """A file of the package; names never leave its folder. Raises PackageError."""
        target = (self.folder / file).resolve()
        if not target.is_relative_to(self.folder.resolve()):
            raise PackageError(f"{self.folder}/model.toml: {file!r} lies outside the package")
        return target

    def label(self, index: int) -> str:
        """Label of a class number; numbers without a label get ``class <n>``."""
        index += self.manifest.output.label_offset
        if 0 <= index < len(self.labels) and self.labels[index]:
            return self.labels[index]
        return f"class {index}"


def load_package(folder: Path) -> Package:
    """Read `model.toml` and the labels of one package directory.

    Raises:
        NotFound: no `model.toml` there.
        PackageError: it can't be parsed or is wrong; the text names file, key and remedy.
    """
    manifest = read_manifest(folder)
    return Package(folder, manifest, _labels(folder, manifest))


def read_manifest(folder: Path) -> Manifest:
    """Read `model.toml` alone: the files that it names may not have come yet.

    Raises: as `load_package`.
    """
    from edgeagent.config.toml import parse_toml

    file = folder / "model.toml"
    if not file.is_file():
        raise NotFound(
            f"{folder} is no model package: it has no model.toml",
            remedy="Write one from a model file with: edgeagent models init FILE",
        )
    try:
        table, places = parse_toml(file)
    except OSError as error:
        raise PackageError(f"{file}: can't be read: {error.strerror}") from error
    except ValueError as error:
        raise PackageError(f"{file}: {error}") from error
    faults: list[Fault] = check_table(table, Manifest, file=str(file), places=places)
    if faults:
        raise PackageError(faults_text(faults))
    manifest = msgspec.convert(table, Manifest)
    _check_sense(file, manifest)
    return manifest


def _check_sense(file: Path, manifest: Manifest) -> None:
    if not manifest.variant:
        raise PackageError(f"{file}: [[variant]] is missing: name at least one model file")
    if not manifest.input:
        raise PackageError(f"{file}: [[input]] is missing: describe at least one input")
    for spec in manifest.input:
        if any(value == 0 for value in spec.scale):
            raise PackageError(f"{file}: input.{spec.name}.scale: 0 divides; use 1 for none")
        if any(not 0 <= value <= 255 for value in spec.pad):
            raise PackageError(f"{file}: input.{spec.name}.pad: values lie between 0 and 255")


def _labels(folder: Path, manifest: Manifest) -> tuple[str, ...]:
    if isinstance(manifest.labels, list):
        return tuple(manifest.labels)
    if not manifest.labels:
        return ()
    file = folder / manifest.labels
    if not file.resolve().is_relative_to(folder.resolve()):
        raise PackageError(f"{folder}/model.toml: labels {manifest.labels!r} lies outside it")
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise PackageError(
            f"{folder}/model.toml: labels = {manifest.labels!r} can't be read: {error}",
            remedy="Write one label a line, UTF-8, in the order of the model's classes.",
        ) from error
    # A blank line in the middle is a class without a name: leaving it out would shift the rest.
    return tuple(line.strip() for line in text.rstrip().splitlines())


def sha256_of(file: Path) -> str:
    """Hex digest of a file's content."""
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        for chunk in iter(lambda: stream.read(1 << 20), b""):
            digest.update(chunk)
    return digest.hexdigest()
