"""``edgeagent explain``: which parts of a picture or a recording an answer depends on."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgeagent.cli import options, render
from edgeagent.cli.options import AsJson, ConfigFile, DataDir
from edgeagent.errors import NotFound, UsageError

if TYPE_CHECKING:
    from edgeagent.explain.pictures import Explained
    from edgeagent.explain.windows import Attributed
    from edgeagent.prove.predict import Predictor
    from edgeagent.types import Frame, Window

_LOW = 0.2
"""Part of the threshold from which on an answer still counts as a weaker one."""


class Method(str, Enum):
    """See `explain.pictures.explain_picture`."""

    auto = "auto"
    hide = "hide"
    masks = "masks"


def explain(
    model: Annotated[str, typer.Argument(help="Name, name@version, or a package's folder.")],
    given: Annotated[
        Path | None, typer.Argument(metavar="INPUT", help="A picture or a recording.")
    ] = None,
    record: Annotated[
        str, typer.Option(metavar="ID", help="Of an event (e-1041) or its number: its picture.")
    ] = "",
    label: Annotated[str, typer.Option(help="Explain this label, not the best answer.")] = "",
    sample: Annotated[int, typer.Option(min=0, help="Which sample of a recording.")] = 0,
    save: Annotated[
        Path | None, typer.Option("--save", metavar="FILE", help="Write the picture with the map.")
    ] = None,
    method: Annotated[Method, typer.Option(help="How parts are hidden.")] = Method.auto,
    runs: Annotated[int, typer.Option(min=20, max=20_000, help="How many masks.")] = 600,
    threshold: Annotated[
        float | None, typer.Option(min=0.0, help="In place of the model's own.")
    ] = None,
    config: ConfigFile = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:  # fmt: skip
    """Hide parts of a picture, or stretches of a recording, and see what it does to the answer."""
    from edgeagent.prove.predict import Predictor
    from edgeagent.types import Frame

    package = options.library(config, data_dir).find(model)
    lowest = (package.manifest.output.threshold if threshold is None else threshold) * _LOW
    with Predictor(package, threshold=lowest) as predictor:
        chosen = _sample(predictor, given, record, sample, options.data_folder(config, data_dir))
        if isinstance(chosen, Frame):
            _picture(predictor, chosen, label, method, runs, save, as_json)
        else:
            _window(predictor, chosen, label, save, as_json)


def _sample(
    predictor: Predictor, given: Path | None, record: str, number: int, folder: Path
) -> Frame | Window:
    from itertools import islice

    from edgeagent.prove.samples import read_samples

    if (given is None) == (not record):
        raise UsageError("give either a file or --record ID")
    if given is None:
        return _recorded(folder, record)
    found = next(islice(read_samples(given, predictor.package), number, None), None)
    if found is None:
        raise NotFound(f"{given}: has no sample {number}")
    return found


def _recorded(folder: Path, wanted: str) -> Frame:
    """The picture that is kept with a record, or with a later one of its event. It is redacted, as
    it left the pipeline."""
    from itertools import chain

    from edgeagent.capture.pictures import decode_picture
    from edgeagent.store.export import evidence_file, one, records
    from edgeagent.types import Frame

    name = wanted.removeprefix("e-")
    itself = one(folder, int(name)) if name.isdigit() else None
    later = (its for its, _ in records(folder) if (its.get("data") or {}).get("id") == f"e-{name}")
    for its in chain([itself] if itself else [], later):
        for blob in its.get("blobs", ()):
            file = evidence_file(folder, blob["sha256"])
            if blob["type"] == "image/jpeg" and file.is_file():
                pixels = decode_picture(file.read_bytes(), wanted)
                return Frame(its.get("source", ""), its.get("frame", 0), pixels, 0, 0.0, wanted)
    raise NotFound(
        f"{folder}: no picture is kept of record {wanted!r}",
        remedy="See which there are with: edgeagent outbox peek",
    )


def _picture(
    predictor: Predictor, frame: Frame, label: str, method: Method, runs: int,
    save: Path | None, as_json: bool,
) -> None:  # fmt: skip
    from edgeagent.explain.pictures import explain_picture

    with render.progress(predictor.model, None, quiet=as_json) as tell:
        found = explain_picture(
            predictor, frame, label=label, method=method.value, runs=runs, tell=tell
        )
    if save is not None:
        _draw(frame, found, save)
    told = {
        "model": predictor.model, "label": found.target.label,
        "score": round(found.target.score, 4), "box": found.target.box, "method": found.method,
        "runs": found.runs,
        "inside": found.inside, "area": found.area, "heat": found.heat.round(4).tolist(),
    }  # fmt: skip
    render.show(told, as_json, lambda: render.plain(_sentence(found)))
    if save is not None:
        render.note(f"Picture: {save}")


def _sentence(found: Explained) -> str:
    said = f"{found.target.label} {found.target.score:.2f}"
    if found.inside is not None and found.area is not None:
        said += (f": {found.inside:.0%} of what matters lies inside its box, which takes "
                 f"{found.area:.0%} of the picture")  # fmt: skip
    rows, columns = found.heat.shape
    row, column = divmod(int(found.heat.argmax()), columns)
    where = f"{(column + 0.5) / columns:.0%} from the left, {(row + 0.5) / rows:.0%} from the top"
    return f"{said}; most at {where} ({found.runs} runs)."


def _draw(frame: Frame, found: Explained, save: Path) -> None:
    from edgeagent.cli.inputs import write_picture
    from edgeagent.decide.picture import warmed
    from edgeagent.types import Detection, Label

    its = found.target
    drawn = Detection(its.label, its.score, its.box) if its.box else Label(its.label, its.score)
    write_picture(warmed(frame.pixels, found.heat), [drawn], save)


def _window(
    predictor: Predictor, window: Window, label: str, save: Path | None, as_json: bool
) -> None:
    from edgeagent.explain.windows import explain_window

    if save is not None:
        raise UsageError("--save is for pictures; of a recording --json has all numbers")
    with render.progress(predictor.model, None, quiet=as_json) as tell:
        found = explain_window(predictor, window, label=label, tell=tell)
    channel, begin, end = found.strongest()
    told = {
        "model": predictor.model, "label": found.target.label, "score": found.target.score,
        "channels": found.by_channel(), "strongest": {"channel": channel, "from_s": begin,
        "to_s": end}, "lost": found.lost.tolist(), "span_s": found.span_s, "runs": found.runs,
    }  # fmt: skip
    render.show(told, as_json, lambda: _show(found))


def _show(found: Attributed) -> None:
    channel, begin, end = found.strongest()
    render.plain(f"{found.target.label} {found.target.score:.4g}: most of it by {channel} from "
                 f"{begin:.3g} s to {end:.3g} s of {found.span_s:.3g} s.")  # fmt: skip
    if len(found.channels) == 1:
        return
    shares = sorted(found.by_channel().items(), key=lambda its: -its[1])
    render.table(["channel", ">share"], [(name, f"{share:.0%}") for name, share in shares])
