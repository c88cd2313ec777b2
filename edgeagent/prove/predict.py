"""A model on one sample, as the pipeline would run it, with the time of each stage.

Golden samples, `edgeagent infer` and benchmarks all go through here, so what they prove is
the path that runs on the device, and not the model alone.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from msgspec import Struct
from msgspec.structs import replace

from edgeagent.config.model import Runtime
from edgeagent.infer import Receipt, Session, open_package
from edgeagent.interpret.decoder import open_decoder
from edgeagent.manifest import Package, Variant
from edgeagent.prepare.inputs import Prepare
from edgeagent.types import Joint, Prediction, Sample

Opens = Callable[[Package, Runtime], tuple[Session, Variant]]
"""As `open_package`."""


class Answer(Struct, frozen=True):
    """What a model said about one sample, and how long each stage took (milliseconds)."""

    predictions: list[Prediction]
    prepare_ms: float
    infer_ms: float
    interpret_ms: float

    @property
    def total_ms(self) -> float:
        return self.prepare_ms + self.infer_ms + self.interpret_ms


class Predictor:
    """One package, opened: prepare → session → interpret. Close it, or use it in a ``with``.

    The three stages are public (``prepare``, ``session``, ``decoder``): a pipeline takes them
    over one by one.
    """

    def __init__(
        self,
        package: Package,
        runtime: Runtime | None = None,
        threshold: float | None = None,
        opens: Opens = open_package,
    ) -> None:
        """Open the first variant that runs here.

        Args:
            package: read by `load_package`.
            runtime: which variant, how many threads, which delegate; None = defaults.
            threshold: a site's own; None = the package's.
            opens: what opens its session; another one where sessions are shared.

        Raises:
            ModelError: no variant runs, or the description and the model do not fit.
            NotFound: a variant or decoder of that name does not exist.
        """
        self.package = package
        self.threshold = package.manifest.output.threshold if threshold is None else threshold
        """Scores below it are not told."""
        self.session, self.variant = opens(package, runtime or Runtime())
        try:
            self.prepare = Prepare(package, self.session.inputs)
            self.decoder = open_decoder(package, self.session.outputs, self.threshold)
        except BaseException:
            self.session.close()
            raise

    @property
    def receipt(self) -> Receipt:
        """What runs where."""
        code: str = getattr(self.decoder, "receipt", "")  # of a package that brings its own
        receipt = self.session.receipt
        return replace(receipt, code=code) if code else receipt

    @property
    def labels(self) -> tuple[str, ...]:
        """All labels that can come; empty where nobody knows."""
        return self.decoder.labels

    @property
    def model(self) -> str:
        """``parts@1.2.0/int8``, as it stands in records."""
        return model_name(self.package, self.variant)

    def __call__(self, sample: Sample | Joint) -> Answer:
        """Predictions for one sample, or for one of each source.

        Raises:
            InputError: the sample does not fit the model.
            InferenceError: the runtime refused, or the outputs are not numbers.
        """
        started = time.perf_counter_ns()
        prepared = self.prepare(sample)
        ready = time.perf_counter_ns()
        outputs = self.session.run(prepared.tensors)
        inferred = time.perf_counter_ns()
        predictions = self.decoder(outputs, prepared)
        ended = time.perf_counter_ns()
        return Answer(
            predictions,
            prepare_ms=(ready - started) / 1e6,
            infer_ms=(inferred - ready) / 1e6,
            interpret_ms=(ended - inferred) / 1e6,
        )

    def reset(self) -> None:
        """Forget carried state: the next sample begins a new stream."""
        self.session.reset()
        forget = getattr(self.decoder, "reset", None)  # few decoders remember anything
        if forget is not None:
            forget()

    def hand_over(self) -> None:
        """Let go of the session: the next thread that runs it owns it."""
        self.session.hand_over()

    def close(self) -> None:
        """Release the session; a second call does nothing."""
        self.session.close()
        end = getattr(self.decoder, "close", None)
        if end is not None:
            end()

    def __enter__(self) -> Predictor:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def model_name(package: Package, variant: Variant) -> str:
    """Name, version and precision of what runs: ``parts@1.2.0/int8``."""
    return f"{package.name}@{package.version}/{variant.precision}"
