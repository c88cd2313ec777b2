"""What is measured, opened: a package with all that a pipeline does around its model, or a bare
model file. Lives in the child process of `worker`.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeagent.config.model import Runtime
from edgeagent.errors import EdgeAgentError
from edgeagent.infer import Receipt, Session, open_package
from edgeagent.manifest import Manifest, OutputSpec, Package, Variant, load_package
from edgeagent.prove.batch import Batch
from edgeagent.prove.init import RUNTIMES, propose
from edgeagent.prove.predict import Predictor
from edgeagent.prove.samples import first_sample, made_up, readable
from edgeagent.types import Joint, Prepared, Sample

if TYPE_CHECKING:
    from numpy.typing import NDArray

_HELD = 64
_HELD_BYTES = 48 << 20
"""Samples that are read before anything is timed, and how large they may be together."""

Stages = tuple[float, float, float]
"""Seconds of prepare, infer and interpret."""


class Subject(ABC):
    """An opened model with its samples. One thread at a time; close it."""

    name: str
    receipt: Receipt
    session: Session
    file: Path
    """The model file that runs."""
    samples: int
    """How many it holds; they are used again and again."""
    made_up: bool
    """They are noise: nothing else was there."""
    together = 1
    """Samples that are one run."""
    predictor: Predictor | None = None
    """Of a package: all stages."""

    @abstractmethod
    def step(self, number: int) -> Stages:
        """One sample through all stages. Raises InferenceError, InputError."""

    def batch(self, numbers: Sequence[int]) -> float:
        """Several samples, `together` at a time; seconds."""
        return sum(sum(self.step(number)) for number in numbers)

    @abstractmethod
    def tensors(self, number: int) -> list[NDArray[Any]]:
        """What a sample is for the model itself."""

    def outputs(self, number: int) -> list[NDArray[Any]]:
        """What the model itself answers to a sample, afresh."""
        self.session.reset()
        return self.session.run(self.tensors(number))

    def close(self) -> None:
        self.session.close()


def open_subject(
    what: Path, runtime: Runtime, samples: Sequence[Path] = (), batch: int = 1
) -> Subject:
    """Open a package's folder or a model file.

    Args:
        what: the folder, or a ``.tflite`` or ``.onnx`` file.
        runtime: which variant, delegate, provider and options, and how many threads.
        samples: files to measure on; empty = the package's golden ones, else noise.
        batch: samples that go together, where the model allows it.

    Raises:
        ModelError, NotFound, PackageError, UsageError: it can't be opened.
    """
    if what.is_dir():
        return _Whole(load_package(what), runtime, samples, batch)
    return _Bare(what, runtime, batch)


class _Whole(Subject):
    """A package: prepare, infer, interpret."""

    def __init__(
        self, package: Package, runtime: Runtime, samples: Sequence[Path], batch: int
    ) -> None:
        self._model = self.predictor = Predictor(package, runtime)
        self.session = self._model.session
        self.name, self.receipt = self._model.model, self._model.receipt
        self.file = package.path(self._model.variant.file)
        self.files, self._held = _held(package, samples)
        self.made_up = not self._held
        self._held = self._held or [made_up(package)]
        self.samples = len(self._held)
        self._batch = Batch(self._model)
        if self._batch.together and batch > 1:
            self.together = batch

    def step(self, number: int) -> Stages:
        answer = self._model(self._held[number])
        return answer.prepare_ms / 1e3, answer.infer_ms / 1e3, answer.interpret_ms / 1e3

    def batch(self, numbers: Sequence[int]) -> float:
        began = time.perf_counter()
        for at in range(0, len(numbers), self.together):
            self._batch([self._sample(number) for number in numbers[at : at + self.together]])
        return time.perf_counter() - began

    def tensors(self, number: int) -> list[NDArray[Any]]:
        return list(self._model.prepare(self._held[number]).tensors)

    def _sample(self, number: int) -> Sample:
        sample = self._held[number]
        return sample.lead if isinstance(sample, Joint) else sample


class _Bare(Subject):
    """A model file: nothing is known of what comes before and after it, so only it is timed."""

    samples = 1
    made_up = True

    def __init__(self, file: Path, runtime: Runtime, batch: int) -> None:
        proposal = None
        try:
            proposal = propose(file)
            prepared = _prepared(proposal.package, runtime)
        except EdgeAgentError:
            if proposal is None:
                raise
            prepared = None  # its inputs are of a sort that no sample can be made up for
        self.file = file
        self.session, _ = open_package(_stub(file), runtime)
        self.name, self.receipt = file.name, self.session.receipt
        self._tensors = prepared.tensors if prepared else _noise(self.session)
        if batch > 1 and all(spec.shape[:1] == (-1,) for spec in self.session.inputs):
            self._many = _repeated(self._tensors, batch)
            self.together = batch

    def step(self, number: int) -> Stages:
        del number  # there is one sample
        began = time.perf_counter()
        self.session.run(self._tensors)
        return 0.0, time.perf_counter() - began, 0.0

    def batch(self, numbers: Sequence[int]) -> float:
        if self.together == 1:
            return super().batch(numbers)
        began = time.perf_counter()
        for _ in range(0, len(numbers), self.together):
            self.session.run(self._many)
        return time.perf_counter() - began

    def tensors(self, number: int) -> list[NDArray[Any]]:
        del number
        return self._tensors


def _stub(file: Path) -> Package:
    variant = Variant(file=file.name, runtime=RUNTIMES[file.suffix.lower()])
    output = OutputSpec(decoder="none")
    return Package(file.parent, Manifest("bare", "0.0.0", "embed", output, [], [variant]), ())


def _prepared(package: Package, runtime: Runtime) -> Prepared:
    """Tensors of the sizes that a model with open ones probably means."""
    with Predictor(package, Runtime(threads=runtime.threads)) as predictor:
        prepared = predictor.prepare(made_up(package))
        predictor.session.run(prepared.tensors)
        tensors = [tensor.copy() for tensor in prepared.tensors]
        return Prepared(tensors, prepared.placement, prepared.features)


def _noise(session: Session) -> list[NDArray[Any]]:
    import numpy as np

    rng = np.random.default_rng(7)
    made: list[NDArray[Any]] = []
    for spec in session.inputs:
        shape = tuple(max(length, 1) for length in spec.shape)
        kind = np.dtype(spec.dtype)
        if kind.kind == "f":
            made.append(rng.standard_normal(shape).astype(kind))
        elif kind.kind in "iu" and kind.itemsize == 1:
            limits = np.iinfo(kind)
            made.append(rng.integers(limits.min, limits.max + 1, shape).astype(kind))
        else:
            made.append(np.ones(shape, kind))
    return made


def _repeated(tensors: Sequence[NDArray[Any]], count: int) -> list[NDArray[Any]]:
    import numpy as np

    return [np.repeat(tensor, count, axis=0) for tensor in tensors]


def _held(package: Package, given: Sequence[Path]) -> tuple[list[Path], list[Sample | Joint]]:
    """Samples in memory, with their files: reading them is not what is timed."""
    files = list(given)
    golden = package.folder / "golden"
    if not files and golden.is_dir():
        files = sorted(its for its in golden.iterdir() if its.is_file() and readable(its))
    kept: list[Path] = []
    held: list[Sample | Joint] = []
    room = _HELD_BYTES
    for file in files[:_HELD]:
        try:
            sample = first_sample(file, package)
        except EdgeAgentError:
            if given:
                raise  # somebody named it
            continue
        values = getattr(sample, "pixels", None)
        room -= int((values if values is not None else sample.values).nbytes)  # type: ignore[union-attr]
        if held and room < 0:
            break
        kept.append(file)
        held.append(sample)
    return kept, held
