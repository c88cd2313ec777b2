"""Making a gallery: pictures of known things become vectors with names."""

from __future__ import annotations

from pathlib import Path

from msgspec import Struct, field

from edgeagent.errors import EdgeAgentError, InferenceError, InputError, NotFound, UsageError
from edgeagent.interpret.embed import Known, gallery_text
from edgeagent.prove.predict import Predictor
from edgeagent.prove.samples import first_sample, readable
from edgeagent.types import Detection, Embedding, Frame, Sample


class Made(Struct):
    """A gallery, and what could not be used for it."""

    known: list[Known] = field(default_factory=list)
    skipped: list[EdgeAgentError] = field(default_factory=list)

    @property
    def labels(self) -> dict[str, int]:
        """Vectors by label."""
        counts: dict[str, int] = {}
        for one in self.known:
            counts[one.label] = counts.get(one.label, 0) + 1
        return counts


def make_gallery(
    model: Predictor, folder: Path, finder: Predictor | None = None, margin: float = 0.0
) -> Made:
    """A vector for each picture (or recording) below ``folder``.

    A folder inside is a name, with any number of pictures; a file right in ``folder`` has its
    own name without the ending. ``finder`` cuts out its best detection first, as a cascade
    does with its ``margin``.

    Raises:
        NotFound: there is no such folder, or nothing to read in it.
        UsageError: the model gives no vectors.
    """
    files = _named_files(folder)
    if not files:
        raise NotFound(
            f"{folder}: there are no pictures of known things",
            remedy="Make a folder for each name, with pictures in it.",
        )
    made = Made()
    for label, file in files:
        try:
            sample = first_sample(file, model.package)
            made.known.append(Known(label, _vector(model, _cut(sample, finder, margin, file))))
        except (InputError, InferenceError) as error:
            made.skipped.append(error)
    return made


def write_gallery(made: Made, file: Path) -> None:
    """One line a vector. Raises UsageError where it can't be written."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(gallery_text(made.known))
    except OSError as error:
        raise UsageError(f"{file}: can't be written: {error.strerror}") from error


def _named_files(folder: Path) -> list[tuple[str, Path]]:
    if not folder.is_dir():
        raise NotFound(f"{folder}: there is no such folder")
    found = []
    for entry in sorted(folder.iterdir()):
        if entry.is_dir():
            inside = sorted(file for file in entry.iterdir() if file.is_file() and readable(file))
            found += [(entry.name, file) for file in inside]
        elif readable(entry):
            found.append((entry.stem, entry))
    return found


def _cut(sample: Sample, finder: Predictor | None, margin: float, file: Path) -> Sample:
    if finder is None:
        return sample
    from edgeagent.prepare.crop import box_of

    found = [its for its in finder(sample).predictions if isinstance(its, Detection)]
    if not found or not isinstance(sample, Frame):
        raise InputError(f"{file}: {finder.model} finds nothing in it")
    part = box_of(sample.pixels, found[0].box, margin)
    if part is None:
        raise InputError(f"{file}: what {finder.model} finds lies outside of it")
    return Frame(sample.source, 1, part[0], sample.at_ns, sample.mono_ms, sample.origin)


def _vector(model: Predictor, sample: Sample) -> list[float]:
    for prediction in model(sample).predictions:
        if isinstance(prediction, Embedding):
            return list(prediction.vector)
    raise UsageError(
        f"{model.model} gives no vectors", remedy="Choose a model whose decoder is embed."
    )
