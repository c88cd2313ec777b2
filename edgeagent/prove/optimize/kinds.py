"""What is made of a float model."""

from __future__ import annotations

from msgspec import Struct


class Kind(Struct, frozen=True):
    """One way to make a model smaller."""

    name: str
    title: str
    calibrated: bool
    """It needs samples."""


class Kept(Struct, frozen=True):
    """How many of a graph's convolutions and matrix products really run on integers: what a
    runtime can't run so it turns back to float, and is then slower than before."""

    whole: int
    """On integers: weights and activations."""
    weights: int
    """Only their weights are integers; activations are float, or made integers at run time."""
    floats: int

    def sentence(self) -> str:
        total = self.whole + self.weights + self.floats
        return f"{self.whole} of {total} int8" + (
            f", {self.weights} with int8 weights" if self.weights else ""
        )


KINDS = (
    Kind("dynamic", "int8 weights, activations made int8 at run time", calibrated=False),
    Kind("int8", "int8 weights per channel and int8 activations", calibrated=True),
    Kind("int16x8", "int8 weights and int16 activations", calibrated=True),
    Kind("fp16", "half-precision weights", calibrated=False),
)
BY_NAME = {kind.name: kind for kind in KINDS}
