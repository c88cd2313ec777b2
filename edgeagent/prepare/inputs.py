"""All inputs of a model: which ``[[input]]`` feeds which tensor."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeagent import plugins
from edgeagent.errors import InputError, PackageError
from edgeagent.prepare.quantize import Quantize
from edgeagent.types import WHOLE, Joint, Placement, Prepared

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgeagent.manifest import InputSpec, Package
    from edgeagent.types import Sample, TensorSpec

    Preparer = Callable[[Sample], tuple[NDArray[Any], Placement, NDArray[np.float32] | None]]


_NO_NUMBERS = {"bool": "truth values", "object": "texts"}
"""dtype → what such tensors hold: only requests bring them."""


class Prepare:
    """A sample as the tensors of one model.

    Args:
        package: its ``[[input]]`` tables describe the tensors.
        inputs: the session's inputs. State tensors (``[[state]]``) are left out: the session
            carries them itself.

    Raises:
        PackageError: the description and the model do not fit; names key and remedy.
    """

    def __init__(self, package: Package, inputs: tuple[TensorSpec, ...]) -> None:
        state = {carried.input for carried in package.manifest.state}
        tensors = tuple(tensor for tensor in inputs if tensor.name not in state)
        self._tensors: list[NDArray[Any] | None] = []
        self._preparers: list[tuple[int, Preparer]] = []
        self._names: list[str] = []
        """Of the inputs that the preparers are for."""
        try:
            for place, (spec, tensor) in enumerate(_match(package.manifest.input, tensors)):
                if spec.kind == "tensor" and spec.value is not None:
                    self._tensors.append(_constant(spec, tensor))
                    continue
                self._tensors.append(None)
                self._names.append(spec.name)
                if spec.kind == "tensor" and tensor.dtype in _NO_NUMBERS:
                    self._preparers.append((place, _unfed(tensor)))
                    continue
                kind: str = "window" if spec.kind == "tensor" else spec.kind
                kind = "line" if kind == "image" and spec.fit == "line" else kind
                self._preparers.append((place, plugins.find("preparer", kind)(spec, tensor)))
        except PackageError as error:
            raise PackageError(
                f"{package.folder / 'model.toml'}: {error}", remedy=error.remedy
            ) from error
        if not self._preparers:
            raise PackageError(
                f"{package.folder / 'model.toml'}: every [[input]] is constant: nothing is fed",
                remedy="Take value out of the input that samples go into.",
            )

    def join(self, many: Sequence[Prepared]) -> list[NDArray[Any]]:
        """Copies of prepared tensors, put together along the batch; lines are made as wide as the
        widest. The model must leave the batch (and that width) open."""
        joiners = {place: getattr(prepare, "join", np.concatenate)
                   for place, prepare in self._preparers}  # fmt: skip
        return [
            joiners.get(place, np.concatenate)([one.tensors[place] for one in many])
            for place in range(len(self._tensors))
        ]

    def __call__(self, sample: Sample | Joint) -> Prepared:
        """Tensors in the order of the session's inputs (without state). Of joint samples each
        input takes its own.

        The arrays are written anew by the next call. Raises InputError.
        """
        if isinstance(sample, Joint):
            if sample.missing:
                raise InputError(sample.missing)
            return self._prepared([sample.parts[name] for name in self._names])
        return self._prepared([sample] * len(self._names))

    def _prepared(self, samples: Sequence[Sample]) -> Prepared:
        tensors: list[Any] = list(self._tensors)
        placement: Placement = WHOLE
        features = None
        for (place, prepare), sample in zip(self._preparers, samples, strict=True):
            tensors[place], where, values = prepare(sample)
            placement = placement if placement is not WHOLE else where
            features = values if features is None else features
        return Prepared(tensors, placement, features)


def _match(
    specs: list[InputSpec], tensors: tuple[TensorSpec, ...]
) -> list[tuple[InputSpec, TensorSpec]]:
    """Pairs in the order of the tensors: by tensor name, by input name, then by position."""
    names = ", ".join(tensor.name for tensor in tensors)
    if len(specs) != len(tensors):
        raise PackageError(
            f"{len(specs)} [[input]] for a model with {len(tensors)} inputs ({names})",
            remedy='Describe each input; give constant ones kind = "tensor" and a value.',
        )
    by_name = {tensor.name: tensor for tensor in tensors}
    chosen: dict[str, InputSpec] = {}
    for spec in specs:
        if spec.tensor and spec.tensor not in by_name:
            raise PackageError(
                f"input.{spec.name}.tensor = {spec.tensor!r} is no input of the model",
                remedy=f"Its inputs: {names}.",
            )
        name = spec.tensor or spec.name
        if name in by_name:
            if name in chosen:
                raise PackageError(
                    f"input.{spec.name}: {chosen[name].name!r} already feeds tensor {name!r}",
                    remedy=f"Its inputs: {names}.",
                )
            chosen[name] = spec
    taken = {id(spec) for spec in chosen.values()}
    rest = iter([spec for spec in specs if id(spec) not in taken])
    return [(chosen.get(tensor.name) or next(rest), tensor) for tensor in tensors]


def _unfed(tensor: TensorSpec) -> Preparer:
    """Stands for the preparer of an input that no sample can feed."""

    def refuse(_sample: Sample) -> tuple[NDArray[Any], Placement, NDArray[np.float32] | None]:
        raise InputError(
            f"input {tensor.name!r} takes {_NO_NUMBERS[tensor.dtype]}, and samples are numbers",
            remedy="Ask the model with tensors, by HTTP: docs/serving.md.",
        )

    return refuse


def _constant(spec: InputSpec, tensor: TensorSpec) -> NDArray[Any]:
    shape = tuple(1 if axis == -1 else axis for axis in tensor.shape)
    if tensor.dtype == "bool":
        return np.full(shape, bool(spec.value))
    out = np.zeros(shape, tensor.dtype)
    assert spec.value is not None
    Quantize(tensor)(np.full(shape, spec.value, np.float64), out)
    return out
