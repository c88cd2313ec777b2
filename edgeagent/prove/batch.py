"""Several samples through one model, at once where it leaves the size of a batch open."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from edgeagent.prove.predict import Predictor
from edgeagent.types import Prepared

if TYPE_CHECKING:
    from edgeagent.types import Prediction, Sample


class Batch:
    """A predictor for many samples that have nothing to do with one another.

    Only ONNX models go together: LiteRT plans its memory anew for every other size of a batch,
    which takes longer than running small models one by one.
    """

    def __init__(self, predictor: Predictor) -> None:
        self._predictor = predictor
        session = predictor.session
        specs = (*session.inputs, *session.outputs)
        self.together = (
            predictor.variant.runtime == "onnx"
            and not predictor.package.manifest.state
            and all(spec.shape[:1] == (-1,) for spec in specs)
        )
        """Whether several samples are one run."""

    def __call__(self, samples: Sequence[Sample]) -> list[list[Prediction]]:
        """Predictions of each sample. Raises as `Predictor`."""
        if self.together and len(samples) > 1:
            told = self._at_once(samples)
            if told is not None:
                return told
        return [self._predictor(sample).predictions for sample in samples]

    def _at_once(self, samples: Sequence[Sample]) -> list[list[Prediction]] | None:
        """None where the outputs are not one row a sample (a batch that is flattened)."""
        model = self._predictor
        many = []
        for sample in samples:
            one = model.prepare(sample)
            tensors = [tensor.copy() for tensor in one.tensors]  # written anew by the next
            many.append(Prepared(tensors, one.placement, one.features))
        outputs = model.session.run(model.prepare.join(many))
        if any(len(output) != len(samples) for output in outputs):
            self.together = False
            return None
        return [
            model.decoder([output[place : place + 1] for output in outputs], prepared)
            for place, prepared in enumerate(many)
        ]
