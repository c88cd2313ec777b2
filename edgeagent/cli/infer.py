"""``edgeagent infer``: a model on files, as the pipeline would run it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgeagent.cli import options, render, views
from edgeagent.cli.asked import Asked, Record, Source
from edgeagent.cli.options import AsJson, ConfigFile, DataDir
from edgeagent.errors import EdgeAgentError, InputError, UsageError

if TYPE_CHECKING:
    from edgeagent.agent.cascade import Cascade
    from edgeagent.cli.inputs import Input
    from edgeagent.cli.overlay import Overlay
    from edgeagent.config.model import Refine
    from edgeagent.prove.predict import Predictor


def infer(
    model: Annotated[str, typer.Argument(help="Name, name@version, or a package's folder.")],
    inputs: Annotated[
        list[str] | None,
        typer.Argument(help="Pictures, folders, globs, video, WAV, CSV, JSON lines, or - (stdin)."),
    ] = None,
    source: Source = "",
    record: Record = "",
    save: Annotated[
        Path | None,
        typer.Option(
            "--save",
            metavar="DIR",
            help="Write annotated pictures there (of --source and --record: a file).",
        ),
    ] = None,
    threshold: Annotated[
        float | None, typer.Option(min=0.0, help="In place of the model's own.")
    ] = None,
    refine: Annotated[
        list[str] | None,
        typer.Option(
            metavar="MODEL[=LABEL,…]", help="Ask it about what the first one found (of LABEL)."
        ),
    ] = None,
    gallery: Annotated[
        Path | None, typer.Option(metavar="FILE", help="What a model that embeds compares with.")
    ] = None,
    pipeline: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Show the zones and lines of this pipeline, too."),
    ] = None,
    config: ConfigFile = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Run a model on pictures or recordings; what is in a video is followed from frame to frame.
    Nothing is redacted. Exit 1 if an input could not be used."""
    if source or record:
        asked = Asked(model, inputs or refine or gallery, source, record, threshold, save)
        told = asked.of_agent("infer", config, data_dir, pipeline=pipeline or "")
        return render.show(told, as_json, lambda: views.inference([told]))
    bad = _on_files(_named(inputs), model, save, threshold, refine or [], gallery,
                    pipeline, config, data_dir, as_json)  # fmt: skip
    raise typer.Exit(1 if bad else 0)


def _on_files(
    inputs: list[str], model: str, save: Path | None, threshold: float | None, refine: list[str],
    gallery: Path | None, pipeline: str | None, config: Path | None, data_dir: Path | None,
    as_json: bool,
) -> bool:  # fmt: skip
    """Whether some could not be used."""
    from edgeagent.cli.inputs import find_inputs
    from edgeagent.cli.overlay import Overlay
    from edgeagent.prove.predict import Predictor

    library = options.library(config, data_dir)
    package = library.find(model)
    shown = options.pipeline(pipeline, config, data_dir) if pipeline else None
    overlay = Overlay(shown, package, threshold)
    runtime = options.runtime(package, config, data_dir)
    with find_inputs(inputs) as found, Predictor(package, runtime, overlay.lowest) as predictor:
        cascade = _cascade(refine, gallery, library.find, predictor)
        run = Run(save, overlay, cascade)
        with render.progress(f"{package.name}:", len(found), quiet=as_json) as tell:
            for line in run.over(predictor, found, tell):
                if as_json:
                    render.json_line(line)
                else:
                    run.rows.append(line)
        if run.rows:
            views.inference(run.rows)
        views.skipped(run.bad)
        _end(cascade)
        render.note(run.summary(predictor))
    return bool(run.bad)


def _named(inputs: list[str] | None) -> list[str]:
    """Raises UsageError without any."""
    if not inputs:
        raise UsageError("name a file, a folder, - (stdin), --source or --record")
    return inputs


def _cascade(
    refine: list[str], gallery: Path | None, find: Any, predictor: Predictor
) -> Cascade | None:
    """Second models, as ``--refine`` names them. Without any, a gallery is the first one's."""
    from edgeagent.agent.cascade import know, open_cascade

    if gallery is not None and not refine:
        know("--gallery", str(gallery), predictor)
    if not refine:
        return None
    cascade = open_cascade(
        "infer", _asked(refine, gallery), find, predictor.labels,
        threshold=predictor.threshold, forever=True,
    )  # fmt: skip
    if cascade.loss():
        cascade.close()
        raise UsageError(f"--refine: {cascade.loss()}")
    return cascade


def _end(cascade: Cascade | None) -> None:
    """Tell why answers are missing, and close."""
    if cascade is None:
        return
    if cascade.loss():
        render.note(cascade.loss())
    cascade.close()


def _asked(refine: list[str], gallery: Path | None) -> dict[str, Refine]:
    """``MODEL`` or ``MODEL=LABEL,…`` by the model's name."""
    from edgeagent.config.model import Refine

    if gallery is not None and len(refine) > 1:
        raise UsageError("--gallery goes with one --refine")
    asked = {}
    for text in refine:
        model, _, labels = text.partition("=")
        name = model.split("@")[0].rstrip("/").rsplit("/", 1)[-1]
        wanted = [label.strip() for label in labels.split(",") if label.strip()]
        asked[name] = Refine(model, labels=wanted, gallery=str(gallery or ""), at_most=256)
    return asked


class Run:
    """One model over many inputs; what can't be used is listed and left out."""

    def __init__(self, save: Path | None, overlay: Overlay, cascade: Cascade | None = None) -> None:
        self.save = save
        self._overlay = overlay
        self._cascade = cascade
        self.rows: list[dict[str, Any]] = []
        self.bad: list[EdgeAgentError] = []
        self._took_ms: list[float] = []

    def over(self, predictor: Predictor, found: list[Input], tell: Any) -> Iterator[dict[str, Any]]:
        """One line per sample, as it comes."""
        for its in found:
            tell(its.name)
            predictor.reset()
            try:
                yield from self._file(predictor, its)
            except InputError as problem:
                self.bad.append(problem)

    def _file(self, predictor: Predictor, its: Input) -> Iterator[dict[str, Any]]:
        from edgeagent.decide.data import as_data
        from edgeagent.prove.samples import is_video, read_samples

        self._overlay.begin(video=is_video(its.path))
        for number, sample in enumerate(read_samples(its.path, predictor.package)):
            answer = predictor(sample)
            predictions, refine_ms = self._overlay(sample, answer.predictions), 0.0
            if self._cascade is not None:
                began = time.perf_counter()
                predictions = self._cascade(sample, predictions)
                refine_ms = (time.perf_counter() - began) * 1e3
            self._took_ms.append(answer.total_ms + refine_ms)
            line: dict[str, Any] = {
                "input": its.name, "sample": number, "model": predictor.model,
                "predictions": [as_data(prediction) for prediction in predictions],
                "ms": {
                    "prepare": round(answer.prepare_ms, 3), "infer": round(answer.infer_ms, 3),
                    "interpret": round(answer.interpret_ms, 3),
                },
            }  # fmt: skip
            if self._cascade is not None:
                line["ms"]["refine"] = round(refine_ms, 3)
            if self.save is not None:
                line["saved"] = self._save(sample, predictions, its, number)
            yield line

    def _save(self, sample: Any, predictions: Any, its: Input, number: int) -> str | None:
        """Path of the annotated picture; None where the sample is no picture."""
        from edgeagent.cli.inputs import write_picture
        from edgeagent.types import Frame

        if self.save is None or not isinstance(sample, Frame):
            return None
        stem = "stdin" if its.name == "-" else its.path.stem
        file = self.save / f"{stem}{f'-{number:05d}' if number else ''}.jpg"
        write_picture(sample.pixels, predictions, file, self._overlay.scenery())
        return str(file)

    def summary(self, predictor: Predictor) -> str:
        """One line: how many, how fast, on what."""
        count = len(self._took_ms)
        if not count:
            return f"no samples; {predictor.receipt.sentence()}"
        samples = f"{count:,} sample{'s' if count != 1 else ''}"
        return f"{samples}, median {median(self._took_ms):.1f} ms; {predictor.receipt.sentence()}"
