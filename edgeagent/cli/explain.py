"""``edgeagent explain``: which parts of a picture or a recording an answer depends on."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgeagent.cli import options, render
from edgeagent.cli.asked import Asked, Record, Source
from edgeagent.cli.options import AsJson, ConfigFile, DataDir
from edgeagent.errors import NotFound, UsageError

if TYPE_CHECKING:
    from edgeagent.explain.pictures import Explained
    from edgeagent.explain.windows import Attributed
    from edgeagent.prove.predict import Predictor
    from edgeagent.types import Frame, Window


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
    source: Source = "",
    record: Record = "",
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
    if source:
        asked = Asked(model, given or record, source, "", threshold, save)
        further = {"label": label, "method": method.value, "runs": min(runs, 2000)}
        _show(asked.of_agent("explain", config, data_dir, **further), as_json)
        return
    from edgeagent.explain.child import LOW
    from edgeagent.prove.predict import Predictor
    from edgeagent.types import Frame

    package = options.library(config, data_dir).find(model)
    lowest = (package.manifest.output.threshold if threshold is None else threshold) * LOW
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
    """As it left the pipeline: redacted."""
    from edgeagent.capture.pictures import decode_picture
    from edgeagent.explain.kept import kept
    from edgeagent.types import Frame

    its = kept(folder, wanted)
    pixels = decode_picture(its.data, wanted)
    return Frame(its.record.get("source", ""), its.record.get("frame", 0), pixels, 0, 0.0, wanted)


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
    _show(found.told(predictor.model), as_json)
    if save is not None:
        render.note(f"Picture: {save}")


def _show(told: dict[str, Any], as_json: bool) -> None:
    def drawn() -> None:
        if "heat" in told:
            render.plain(_of_picture(told))
        else:
            _of_window(told)

    render.show(told, as_json, drawn)


def _of_picture(told: dict[str, Any]) -> str:
    said = f"{told['label']} {told['score']:.2f}"
    if told["inside"] is not None and told["area"] is not None:
        said += (f": {told['inside']:.0%} of what matters lies inside its box, which takes "
                 f"{told['area']:.0%} of the picture")  # fmt: skip
    heat = told["heat"]
    row, column = max(
        ((row, column) for row, line in enumerate(heat) for column in range(len(line))),
        key=lambda its: heat[its[0]][its[1]],
    )
    across, down = (column + 0.5) / len(heat[0]), (row + 0.5) / len(heat)
    where = f"{across:.0%} from the left, {down:.0%} from the top"
    return f"{said}; most at {where} ({told['runs']} runs)."


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

    if save is not None and save.suffix.lower() != ".svg":
        raise UsageError(
            f"{save}: of a recording the picture is an SVG", remedy="Name a file that ends in .svg."
        )
    with render.progress(predictor.model, None, quiet=as_json) as tell:
        found = explain_window(predictor, window, label=label, tell=tell)
    if save is not None:
        _chart(window, found, save)
    _show(found.told(predictor.model), as_json)
    if save is not None:
        render.note(f"Picture: {save}")


def _chart(window: Window, found: Attributed, save: Path) -> None:
    from edgeagent.durable import put
    from edgeagent.errors import unwritable
    from edgeagent.explain.chart import chart

    try:
        put(save, chart(window, found).encode())
    except OSError as error:
        raise unwritable(save, error) from error


def _of_window(told: dict[str, Any]) -> None:
    its = told["strongest"]
    when = f"{its['from_s']:.3g} s to {its['to_s']:.3g} s of {told['span_s']:.3g} s"
    render.plain(
        f"{told['label']} {told['score']:.4g}: most of it by {its['channel']} from {when}."
    )
    if len(told["channels"]) == 1:
        return
    shares = sorted(told["channels"].items(), key=lambda its: -its[1])
    render.table(["channel", ">share"], [(name, f"{share:.0%}") for name, share in shares])
