"""The port over model runtimes: open, specs, run, close.

A session belongs to one thread at a time. What it really runs on is told by its receipt,
because both runtimes fall back to the CPU in silence.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from msgspec import Struct, field

from edgeagent.types import TensorSpec

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Options(Struct, frozen=True):
    """How to open a model."""

    threads: int = 1
    delegate: str = ""
    """TFLite delegate: ``xnnpack`` (what LiteRT takes by itself), ``none``, a name that
    `delegates.LIBRARIES` knows (``edgetpu``), or the path of a vendor's library."""
    provider: str = ""
    """ONNX Runtime execution provider, e.g. ``OpenVINOExecutionProvider``."""
    require: bool = False
    """Refuse when the delegate or provider does not run at least one operator."""
    signature: str = ""
    """TFLite signature to run; empty = the model's plain inputs and outputs."""
    extra: dict[str, str] = field(default_factory=dict)
    """Options of the delegate or provider."""
    profile: str = ""
    """ONNX Runtime: beginning of the path of a file into which it writes, when it is closed, what
    each operator took."""


class Receipt(Struct, frozen=True):
    """What was asked for and what runs."""

    runtime: str
    """e.g. ``litert 2.3.0``"""
    asked: str
    """e.g. ``xnnpack``, ``CPUExecutionProvider``"""
    placement: dict[str, int]
    """Operators by place: ``{"XNNPACK": 11, "builtin": 2}``; empty = the runtime can't tell."""
    threads: int
    fallback: str = ""
    """Why something asked for is not used; empty = it is."""
    left: dict[str, int] = field(default_factory=dict)
    """Operators by type that the delegate or provider left to the CPU's plain kernels."""
    tuned: str = ""
    """That it runs as `tune` chose, or why not as chosen; empty = nothing was chosen."""
    skipped: tuple[str, ...] = ()
    """One sentence per variant of the package that was tried before this one, and why not."""
    code: str = ""
    """What runs the package's own code, and what keeps it in; empty = it brings none."""

    def sentence(self) -> str:
        """One line for people: ``litert 2.3.0, 11 of 13 operators on XNNPACK, 1 thread``."""
        total = sum(self.placement.values())
        place, count = max(self.placement.items(), key=lambda item: item[1], default=("?", 0))
        threads = f"{self.threads} thread{'s' if self.threads != 1 else ''}"
        where = f"{count} of {total} operators on {place}" if total else "operators unknown"
        text = f"{self.runtime}, {where}, {threads}{', ' if self.tuned else ''}{self.tuned}"
        text += f"; {self.code}" if self.code else ""
        return f"{text} (fell back: {self.fallback})" if self.fallback else text


class Session(Protocol):
    """An opened model."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    receipt: Receipt

    def run(self, tensors: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
        """Outputs in the order of ``outputs`` for inputs in the order of ``inputs``.

        Arrays hold the tensors' own dtype (quantized values stay quantized). The arrays that
        come back belong to the caller. Raises InferenceError.
        """

    def reset(self) -> None:
        """Forget carried state (state kept inside the runtime)."""

    def hand_over(self) -> None:
        """Let go of the session: the next thread that runs it owns it from then on."""

    def close(self) -> None:
        """Release the runtime's memory; a second call does nothing."""


class Opener(Protocol):
    """What a runtime registers: opens a file or raises ModelError (never a foreign error)."""

    def __call__(self, path: Path, options: Options) -> Session: ...
