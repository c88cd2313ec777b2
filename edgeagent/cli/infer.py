"""``edgeagent infer``: a model on files, as the pipeline would run it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgeagent.cli import options, render, views
from edgeagent.cli.options import AsJson, ConfigFile, DataDir
from edgeagent.errors import EdgeAgentError, InputError

if TYPE_CHECKING:
    from edgeagent.cli.inputs import Input
    from edgeagent.prove.predict import Predictor


def infer(
    model: Annotated[str, typer.Argument(help="Name, name@version, or a package's folder.")],
    inputs: Annotated[
        list[str],
        typer.Argument(help="Pictures, folders, globs, video, WAV, CSV, JSON lines, or - (stdin)."),
    ],
    save: Annotated[
        Path | None, typer.Option("--save", metavar="DIR", help="Write annotated pictures there.")
    ] = None,
    threshold: Annotated[
        float | None, typer.Option(min=0.0, help="In place of the model's own.")
    ] = None,
    config: ConfigFile = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Run a model on pictures or recordings. Exit 1 if an input could not be used."""
    from edgeagent.cli.inputs import find_inputs
    from edgeagent.prove.predict import Predictor

    package = options.library(config, data_dir).find(model)
    run = Run(save)
    with find_inputs(inputs) as found, Predictor(package, threshold=threshold) as predictor:
        with render.progress(f"{package.name}:", len(found), quiet=as_json) as tell:
            for line in run.over(predictor, found, tell):
                if as_json:
                    render.json_line(line)
                else:
                    run.rows.append(line)
        if run.rows:
            views.inference(run.rows)
        views.skipped(run.bad)
        render.note(run.summary(predictor))
    raise typer.Exit(1 if run.bad else 0)


class Run:
    """One model over many inputs; what can't be used is listed and left out."""

    def __init__(self, save: Path | None) -> None:
        self.save = save
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
        from edgeagent.prove.samples import read_samples

        for number, sample in enumerate(read_samples(its.path, predictor.package)):
            answer = predictor(sample)
            self._took_ms.append(answer.total_ms)
            line: dict[str, Any] = {
                "input": its.name, "sample": number, "model": predictor.model,
                "predictions": [as_data(prediction) for prediction in answer.predictions],
                "ms": {
                    "prepare": round(answer.prepare_ms, 3), "infer": round(answer.infer_ms, 3),
                    "interpret": round(answer.interpret_ms, 3),
                },
            }  # fmt: skip
            if self.save is not None:
                line["saved"] = self._save(sample, answer.predictions, its, number)
            yield line

    def _save(self, sample: Any, predictions: Any, its: Input, number: int) -> str | None:
        """Path of the annotated picture; None where the sample is no picture."""
        from edgeagent.cli.inputs import write_picture
        from edgeagent.types import Frame

        if self.save is None or not isinstance(sample, Frame):
            return None
        stem = "stdin" if its.name == "-" else its.path.stem
        file = self.save / f"{stem}{f'-{number:05d}' if number else ''}.jpg"
        write_picture(sample.pixels, predictions, file)
        return str(file)

    def summary(self, predictor: Predictor) -> str:
        """One line: how many, how fast, on what."""
        count = len(self._took_ms)
        if not count:
            return f"no samples; {predictor.receipt.sentence()}"
        samples = f"{count:,} sample{'s' if count != 1 else ''}"
        return f"{samples}, median {median(self._took_ms):.1f} ms; {predictor.receipt.sentence()}"
