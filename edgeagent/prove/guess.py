"""What a bare model file may be, and what its tensors look like."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from msgspec import Struct, field
from msgspec.structs import replace

from edgeagent.manifest import InputSpec, OutputSpec, StateSpec, Task
from edgeagent.types import TensorSpec

Specs = Sequence[TensorSpec]


class Guess(Struct):
    """What a model probably is."""

    family: str
    confidence: Literal["sure", "likely", "guess"]
    task: Task
    output: OutputSpec
    reasons: list[str]
    inputs: list[InputSpec] = field(default_factory=list)
    states: list[StateSpec] = field(default_factory=list)
    labels: tuple[str, ...] = ()


class Picture(Struct, frozen=True):
    """An input tensor that looks like a picture."""

    width: int
    height: int
    channels: int
    planar: bool


def picture_of(spec: TensorSpec) -> Picture | None:
    """The tensor as a picture (1, h, w, 3), (1, 3, h, w) or grey and near square."""
    if len(spec.shape) == 3 and spec.dtype == "uint8" and spec.shape[0] in (1, -1):
        # (1, h, w) of stored bytes: how sequence models take a grey picture.
        spec = replace(spec, shape=(*spec.shape, 1))
    if len(spec.shape) != 4 or spec.shape[0] not in (1, -1):
        return None
    _, *axes = spec.shape
    for planar, channels, height, width in (
        (False, axes[2], axes[0], axes[1]),
        (True, axes[0], axes[1], axes[2]),
    ):
        open_size = -1 in (height, width)
        near_square = not open_size and min(height, width) >= 8 and _ratio(height, width) <= 2.5
        if channels == 3 and (open_size or min(height, width) >= 16):
            return Picture(width, height, 3, planar)
        if channels == 1 and near_square:
            return Picture(width, height, 1, planar)
    return None


def _ratio(one: int, other: int) -> float:
    return max(one, other) / min(one, other)
