"""Samples as a model sees them: what a quantizer learns the ranges of activations from."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from edgeagent.config.model import Runtime
from edgeagent.errors import EdgeAgentError, InputError, PackageError
from edgeagent.manifest import Package, Variant
from edgeagent.prove.predict import Predictor
from edgeagent.prove.samples import read_samples

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Feed = dict[str, NDArray[np.generic]]

MOST = 200
"""Samples; more change the ranges hardly any more."""
ENOUGH = 16
"""With fewer the ranges are those of these very samples."""


def feeds(package: Package, variant: Variant, files: Sequence[Path]) -> list[Feed]:
    """Inputs by tensor name, one for each sample of the files.

    Raises:
        InputError: none of the files can be used.
        PackageError: the model carries state or is not float.
        ModelError: it can't be opened.
    """
    if package.manifest.state:
        raise PackageError(f"{package.name}: models that carry state are not quantized here")
    told: list[Feed] = []
    why = ""
    with Predictor(package, Runtime(variant=variant.file)) as predictor:
        specs = predictor.session.inputs
        if any(spec.dtype != "float32" for spec in specs):
            raise PackageError(
                f"{variant.file}: its inputs are not float32, so it is no float model"
            )
        for file in files:
            try:
                for sample in read_samples(file, package):
                    tensors = predictor.prepare(sample).tensors
                    names = (spec.name for spec in specs)
                    told.append({n: t.copy() for n, t in zip(names, tensors, strict=True)})
                    if len(told) == MOST:
                        return told
            except EdgeAgentError as error:
                why = str(error)
    if not told:
        raise InputError(
            f"no sample to calibrate {package.name} with{': ' if why else ''}{why}",
            remedy="Name some of the sort that the model sees in use: --samples DIR",
        )
    return told
