"""What is usual for a model, from a folder of the data that it was made with: sketches that travel
with its package, by which devices find drift from their first hour."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from msgspec import Struct, field

from edgeagent import durable
from edgeagent.drift.chapter import Chapter
from edgeagent.drift.look import form, look, of_form
from edgeagent.drift.outputs import measured
from edgeagent.drift.reference import MOST, Reference, encoded
from edgeagent.errors import InputError, NotFound
from edgeagent.manifest import Package
from edgeagent.prove.lint import write_files
from edgeagent.prove.predict import Predictor
from edgeagent.prove.samples import read_samples
from edgeagent.prove.tomltext import with_key

FILE = "reference.sketches"
LEAST = 100
"""Samples below which nothing can be said about what is usual."""


class Usual(Struct):
    """What came of it."""

    file: Path
    samples: int
    chapters: int
    bytes: int
    figures: dict[str, list[float]] = field(default_factory=dict)
    """Feature → values below which 5, 50 and 95 % of the samples lie."""
    labels: dict[str, float] = field(default_factory=dict)
    """Label → its share of the answers."""
    skipped: list[str] = field(default_factory=list)


def write_usual(
    package: Package, files: Sequence[Path], tell: Callable[[str], None] = lambda _name: None
) -> Usual:
    """Ask the model about samples, write sketches of them and of its answers into the package and
    name them in its model.toml.

    Args:
        files: pictures or recordings; those next to each other are taken to be alike.
        tell: told of each file.

    Raises:
        InputError: fewer than `LEAST` samples can be used.
        ModelError: the model can't be run.
        EdgeAgentError: the package can't be written.
    """
    chapters, first, skipped = _chapters(package, files, tell)
    samples = sum(its.n for its in chapters)
    if samples < LEAST:
        raise InputError(
            f"{samples} samples are too few to say what is usual",
            remedy=f"Name a folder with {LEAST} at least, such as a part of the training data.",
        )
    reference = Reference(
        f"{package.name}@{package.version}", package.manifest.output.threshold, first, "package",
        chapters, learned=True,
    )  # fmt: skip
    data = encoded(reference, None, None)
    durable.replace(package.folder / FILE, data)
    manifest = package.folder / "model.toml"
    text = manifest.read_text(encoding="utf-8")
    durable.replace(manifest, with_key(text, "reference", FILE).encode())
    if package.manifest.files:
        write_files(package)
    whole = reference.whole()
    return Usual(
        package.folder / FILE, samples, len(chapters), len(data),
        {name: its.quantiles((0.05, 0.5, 0.95)) for name, its in sorted(whole.numbers.items())},
        {label: count / whole.labels.n for label, count in whole.labels.counts.items()}, skipped,
    )  # fmt: skip


def _chapters(
    package: Package, files: Sequence[Path], tell: Callable[[str], None]
) -> tuple[list[Chapter], str, list[str]]:
    """A chapter for each stretch of files, the form of the first sample, what can't be used."""
    if not files:
        raise NotFound("there are no samples", remedy="Name a folder of pictures or recordings.")
    each = max(1, -(-len(files) // MOST))
    chapters: list[Chapter] = []
    first, skipped = "", []
    threshold = package.manifest.output.threshold
    with Predictor(package) as predictor:
        for place, file in enumerate(files):
            tell(file.name)
            if place % each == 0:
                chapters.append(Chapter())
            try:
                for sample in read_samples(file, package):
                    features, label = measured(predictor(sample).predictions, threshold)
                    seen = look(sample)
                    first = first or form(sample)
                    if form(sample) != first:
                        seen = {name: its for name, its in seen.items() if not of_form(name)}
                    chapters[-1].add(features | seen, label)
            except InputError as error:
                skipped.append(str(error))
    return [its for its in chapters if its.n], first, skipped
