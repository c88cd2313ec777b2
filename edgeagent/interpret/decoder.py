"""The port that every decoder implements, and how one is chosen.

What a decoder does about values that are not numbers: one that has a single answer to give
(classify, autoencoder, regress) raises `InferenceError`, because the answer is worthless. One
that reads candidates (ssd, yolo, blazeface) leaves out those with NaN or infinity, counts them
in ``dropped``, and raises only when not one candidate is a number.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from edgeagent import plugins
from edgeagent.errors import PackageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from edgeagent.manifest import Package
    from edgeagent.types import Prediction, Prepared, TensorSpec


class Decoder(Protocol):
    """Made by ``Class(package, outputs, threshold)``; raises PackageError if they don't fit."""

    labels: tuple[str, ...]
    """All labels that it can give; empty where nobody knows."""

    @property
    def dropped(self) -> int:
        """Candidates left out so far because they were NaN or infinite."""

    def __call__(self, outputs: Sequence[NDArray[Any]], prepared: Prepared, /) -> list[Prediction]:
        """Predictions, best score first.

        Args:
            outputs: arrays in the order and dtypes of the session's outputs.
            prepared: what went in; its placement leads from the tensor back to the frame.

        Raises:
            InferenceError: the outputs are not numbers, or not of the described shape.
        """


def open_decoder(
    package: Package, outputs: tuple[TensorSpec, ...], threshold: float | None = None
) -> Decoder:
    """The decoder that a package names.

    Args:
        package: read by `load_package`.
        outputs: the session's outputs; tensors of ``[[state]]`` do not count.
        threshold: a site's own; None = the package's.

    Raises:
        PackageError: outputs or labels do not fit the decoder.
        NotFound: no such decoder.
    """
    output = package.manifest.output
    name = output.plugin if output.decoder == "plugin" else output.decoder
    make = plugins.find("postprocessor", name)
    try:
        _refuse_texts(package, outputs)
        decoder: Decoder = make(
            package, outputs, output.threshold if threshold is None else threshold
        )
    except PackageError as error:
        raise PackageError(
            f"{package.folder / 'model.toml'}: {error}", remedy=error.remedy
        ) from error
    return decoder


def _refuse_texts(package: Package, outputs: tuple[TensorSpec, ...]) -> None:
    """Raises PackageError where a decoder would take texts for numbers."""
    output = package.manifest.output
    texts = [its.name for its in outputs if its.dtype == "object"]
    if texts and not output.tensors and output.decoder not in ("none", "plugin", "handler"):
        raise PackageError(
            f"output.decoder: output {texts[0]!r} is text, and {output.decoder} reads numbers",
            remedy='Say in output.tensors which outputs it reads, or use decoder = "none".',
        )
