"""State that a model hands out and wants back with its next sample.

Silero's voice detector, say, gives ``stateN`` beside its answer and takes it as ``state``
with the next window. `Carrying` makes such a model look stateless to the pipeline.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeagent.errors import InferenceError, ModelError
from edgeagent.infer.session import Receipt, Session
from edgeagent.manifest import StateSpec
from edgeagent.types import TensorSpec

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Carrying:
    """A session without its state tensors: they start at zero and come back by themselves."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]

    def __init__(self, session: Session, states: Sequence[StateSpec]) -> None:
        """Hide the tensors that ``states`` name. Raises ModelError where one isn't there."""
        self._session = session
        ins = _places(session.inputs, [state.input for state in states], "in")
        outs = _places(session.outputs, [state.output for state in states], "out")
        for into, out in zip(ins, outs, strict=True):
            _agree(session.inputs[into], session.outputs[out])
        self._links = list(zip(ins, outs, strict=True))
        self._shown_in = [n for n in range(len(session.inputs)) if n not in ins]
        self._shown_out = [n for n in range(len(session.outputs)) if n not in outs]
        self.inputs = tuple(session.inputs[n] for n in self._shown_in)
        self.outputs = tuple(session.outputs[n] for n in self._shown_out)
        self._feed: list[Any] = [None] * len(session.inputs)
        self._zero()

    @property
    def receipt(self) -> Receipt:
        """The inner session's."""
        return self._session.receipt

    @receipt.setter
    def receipt(self, receipt: Receipt) -> None:
        self._session.receipt = receipt

    def run(self, tensors: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
        """See `Session.run`. A call that fails leaves the state as it was."""
        if len(tensors) != len(self._shown_in):
            # The inner session would count the state tensors too.
            names = ", ".join(spec.name for spec in self.inputs)
            raise InferenceError(
                f"the model takes {len(self._shown_in)} inputs besides its state ({names}),"
                f" got {len(tensors)}"
            )
        feed = self._feed
        for place, tensor in zip(self._shown_in, tensors, strict=True):
            feed[place] = tensor
        outputs = self._session.run(feed)
        for into, out in self._links:
            feed[into] = outputs[out]
        return [outputs[n] for n in self._shown_out]

    def reset(self) -> None:
        """Back to zero, inside the runtime as well."""
        self._zero()
        self._session.reset()

    def hand_over(self) -> None:
        """See `Session.hand_over`."""
        self._session.hand_over()

    def close(self) -> None:
        """See `Session.close`."""
        self._session.close()

    def _zero(self) -> None:
        for into, _ in self._links:
            self._feed[into] = _zeros(self._session.inputs[into])


def _zeros(spec: TensorSpec) -> NDArray[Any]:
    """Zero as the tensor stores it; a dimension of any length (a batch) is 1."""
    shape = tuple(1 if length < 0 else length for length in spec.shape)
    zero = spec.quantization.zero_point if spec.quantization else 0
    return np.full(shape, zero, dtype=spec.dtype)


def _places(specs: Sequence[TensorSpec], names: Sequence[str], key: str) -> list[int]:
    known = [spec.name for spec in specs]
    for name in names:
        if name not in known:
            raise ModelError(
                f"[[state]] {key} = {name!r}: the model has no such tensor; it has: "
                f"{', '.join(known)}"
            )
    return [known.index(name) for name in names]


def _agree(into: TensorSpec, out: TensorSpec) -> None:
    same = into.dtype == out.dtype and into.quantization == out.quantization
    if not same or len(into.shape) != len(out.shape):
        raise ModelError(
            f"[[state]] {out.name!r} ({out.dtype}, {len(out.shape)} dimensions, "
            f"{out.quantization}) can't be fed to {into.name!r} ({into.dtype}, "
            f"{len(into.shape)} dimensions, {into.quantization})"
        )
