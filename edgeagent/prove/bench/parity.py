"""Whether what is fast is also right: answers beside those of the CPU's plain kernels.

Correct kernels differ by some steps of a quantized output, so a difference counts by its share of
what the output's values span, on average over the output.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from msgspec import Struct

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgeagent.types import TensorSpec

ALLOWED = 0.1
"""Share of the span by which an answer may be off on average before it is another one."""


class Parity(Struct, frozen=True):
    """How far a candidate's answers are from the reference's."""

    reference: str
    """What they were compared with: ``litert 2.3.0 builtin``."""
    samples: int
    worst: float
    """Largest difference, as a share of the span of the output's values."""
    mean: float
    """The output with the largest mean difference, likewise."""
    fault: str = ""
    """Why they can't even be compared."""

    @property
    def holds(self) -> bool:
        """Whether both mean the same."""
        return not self.fault and self.mean <= ALLOWED

    def sentence(self) -> str:
        if not self.samples:
            return "no answers to compare"
        if self.fault:
            return f"NOT like {self.reference}: {self.fault}"
        what = f"{self.worst:.2%} of the span at most, {self.mean:.2%} on average"
        return f"{'like' if self.holds else 'NOT like'} {self.reference}: off by {what}"


def packed(values: NDArray[Any], spec: TensorSpec) -> dict[str, Any]:
    """Real values of an output as JSON."""
    import numpy as np

    from edgeagent.interpret.outputs import real

    plain = np.ascontiguousarray(real(values, spec), np.float32)
    return {"shape": list(plain.shape), "f32": base64.b64encode(plain.tobytes()).decode()}


def compared(
    reference: str, expected: Sequence[Sequence[Any]], got: Sequence[Sequence[Any]]
) -> Parity:
    """Answers of `packed`, sample by sample and output by output."""
    import numpy as np

    worst, means = 0.0, 0.0
    pairs = list(zip(expected, got, strict=False))
    for ours, theirs in pairs:
        for one, other in zip(ours, theirs, strict=False):
            want, have = _unpacked(one), _unpacked(other)
            if want.shape != have.shape or not np.isfinite(have).all():
                fault = "other shapes, or values that are no numbers"
                return Parity(reference, len(pairs), 1.0, 1.0, fault)
            if not want.size:
                continue
            span = float(want.max() - want.min()) or float(np.abs(want).max()) or 1.0
            apart = np.abs(want - have) / span
            worst, means = max(worst, float(apart.max())), max(means, float(apart.mean()))
    return Parity(reference, len(pairs), round(worst, 6), round(means, 6))


def _unpacked(told: dict[str, Any]) -> NDArray[Any]:
    import numpy as np

    values = np.frombuffer(base64.b64decode(told["f32"]), np.float32)
    return values.reshape(told["shape"] or [1])
