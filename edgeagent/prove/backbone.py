"""A model's inner feature maps, for whoever describes pictures by them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from msgspec import Struct

from edgeagent.config.model import Runtime
from edgeagent.errors import ModelError, NotPermitted, StoreFull
from edgeagent.infer import open_package
from edgeagent.manifest import InputSpec, Manifest, OutputSpec, Package, Variant
from edgeagent.prepare.image import form
from edgeagent.prepare.paint import table
from edgeagent.prove.cut import ending_at, inner
from edgeagent.types import TensorSpec

if TYPE_CHECKING:
    from numpy.typing import NDArray

_FINEST, _COARSEST = 32, 6
"""Cells along the longer side of a grid: finer ones describe grain, coarser ones no place."""
_FEATURES = range(8, 513)
_MAPS = 2


class Backbone(Struct, frozen=True):
    """A model file that was cut, and how pictures go into it."""

    file: str
    variant: Variant
    input: InputSpec
    planar: bool
    pixels: NDArray[np.float32]
    """(2, channels): factor and offset from the input tensor to grey levels 0..255."""
    origin: str
    """``parts@1.0.0, parts-int8.tflite``"""
    maps: tuple[str, ...]
    """``24 × 24 × 20``, the finest first."""


def cut_backbone(package: Package, folder: Path) -> Backbone:
    """Write the part of a model that ends at its feature maps into ``folder``.

    The last map of each of the two finest grids is taken that have at most 32 cells along
    their longer side.

    Raises:
        ModelError: it takes no picture, has no such maps, or can't be opened.
        NotPermitted, StoreFull: the folder can't be written.
    """
    specs = package.manifest.input
    if len(specs) != 1 or specs[0].kind != "image":
        raise ModelError(
            f"{package.name}: a backbone has one input, a picture",
            remedy="Name another model with --backbone.",
        )
    session, variant = open_package(package, Runtime())
    try:
        picture = form(specs[0], session.inputs[0])
        width, height = picture.width, picture.height
        pixels = _pixels(table(specs[0], session.inputs[0], picture.channels))
    finally:
        session.close()
    source = package.path(variant.file)
    suffix = source.suffix.lower()
    file = folder / f"backbone{suffix}"
    cut = Variant(file=file.name, runtime=variant.runtime, precision=variant.precision)
    names = inner(source)
    everything = _opened(source, names, file, cut)
    chosen = _maps(everything, width, height, planar=suffix == ".onnx")
    if not chosen:
        raise ModelError(
            f"{source}: none of its layers gives a map of the picture with {_COARSEST} to "
            f"{_FINEST} cells along a side",
            remedy="Name another model with --backbone: a detector or a classifier.",
        )
    _opened(source, [names[at] for at in chosen], file, cut)
    return Backbone(
        file.name,
        cut,
        msgspec.structs.replace(specs[0], size=(width, height)),
        suffix == ".onnx",
        pixels,
        f"{package.name}@{package.version}, {variant.file}",
        tuple(_text(everything[at], suffix == ".onnx") for at in chosen),
    )


def _opened(source: Path, names: Sequence[str], file: Path, cut: Variant) -> list[TensorSpec]:
    """Write the cut model; its outputs, as the runtime tells them."""
    try:
        file.write_bytes(ending_at(source, names))
    except PermissionError as error:
        raise NotPermitted(f"{file}: may not be written") from error
    except OSError as error:
        raise StoreFull(f"{file}: can't be written: {error.strerror}") from error
    described = Manifest(
        name="backbone", version="0.1.0", task="embed", output=OutputSpec(decoder="none"),
        input=[], variant=[cut],
    )  # fmt: skip
    session, _ = open_package(Package(file.parent, described, ()), Runtime())
    try:
        return list(session.outputs)
    finally:
        session.close()


def _maps(tensors: Sequence[TensorSpec], width: int, height: int, *, planar: bool) -> list[int]:
    """Places of the maps to take, the finest first."""
    last: dict[tuple[int, int], int] = {}
    for at, tensor in enumerate(tensors):
        if len(tensor.shape) != 4 or tensor.shape[0] not in (1, -1) or tensor.dtype == "bool":
            continue
        _, *axes = tensor.shape
        features, rows, columns = axes if planar else (axes[2], *axes[:2])
        if features not in _FEATURES or not _COARSEST <= max(rows, columns) <= _FINEST:
            continue
        # One stride for both sides, up to a cell at the edge.
        if abs(rows * width - columns * height) <= max(width, height):
            last[rows, columns] = at
    return [last[grid] for grid in sorted(last, reverse=True)[:_MAPS]]


def _pixels(stored: NDArray[Any]) -> NDArray[np.float32]:
    """The straight lines that lead back from what a tensor stores for 0..255, (channels, 256)."""
    levels = np.arange(256.0)
    lines = [np.polyfit(one.astype(np.float64), levels, 1) for one in stored]
    return np.ascontiguousarray(np.transpose(lines), np.float32)


def _text(tensor: TensorSpec, planar: bool) -> str:
    axes = tensor.shape[1:]
    rows, columns, features = (axes[1], axes[2], axes[0]) if planar else axes
    return f"{columns} × {rows} × {features}"
