"""``edgeagent replay``: what a pipeline would have told of a recording, and what another model or
configuration would have told instead."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgeagent.cli import options, render
from edgeagent.cli.options import AsJson, ConfigFile, DataDir, Settings
from edgeagent.errors import InputError, NotFound, NotPermitted, UsageError

if TYPE_CHECKING:
    from edgeagent.agent.replay import Replayed
    from edgeagent.config.load import Loaded
    from edgeagent.decide.sheet import Shot
    from edgeagent.diagnose.episodes import Episode, Pair


def replay(
    recording: Annotated[
        str | None,
        typer.Argument(
            help="Picture folder, glob, video, WAV, CSV or JSON lines."
            " Default: the pipeline's own source."
        ),
    ] = None,
    pipeline: Annotated[
        str, typer.Option("--pipeline", "-p", help="Which one; needed where there are several.")
    ] = "",
    model: Annotated[
        str, typer.Option("--model", "-m", help="Compare with this model: NAME or NAME@VERSION.")
    ] = "",
    set_: Settings = None,
    against: Annotated[
        Path | None, typer.Option("--against", metavar="FILE", help="Compare with this config.")
    ] = None,
    expect: Annotated[
        Path | None,
        typer.Option(
            "--expect",
            metavar="FILE",
            help="Compare with what --json printed earlier; exit 1 if events differ.",
        ),
    ] = None,
    samples: Annotated[int | None, typer.Option(min=1, help="The most to take.")] = None,
    sheet: Annotated[
        Path | None,
        typer.Option("--sheet", metavar="FILE", help="Pictures of the events on one sheet (JPEG)."),
    ] = None,
    config: ConfigFile = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Run a recording through a configured pipeline, exactly as the agent would.

    With --model, --set or --against it runs twice, and what differs is shown; with --expect once,
    as these say. Exit 1 if an expectation does not hold.
    """  # fmt: skip
    loaded = options.load_config(config, data_dir)
    name = _pipeline(loaded, pipeline)
    folder = options.data_folder(config, data_dir)
    plan = _Plan(folder, recording, samples, quiet=as_json)
    if expect is not None:
        known = _expected(expect)
        run = plan.run(options.load_config(against or config, data_dir, set_), name, model)
        raise typer.Exit(_judge(known, run, as_json))
    first = plan.run(loaded, name, "")
    if not (model or set_ or against):
        _show(first, as_json)
        _write_sheet(sheet, _of_one(first))
        return
    other = options.load_config(against or config, data_dir, set_)
    second = plan.run(other, _pipeline(other, name), model)
    pairs = _pairs(first, second)
    _show_difference(first, second, pairs, as_json)
    _write_sheet(sheet, _of_two(first, second, pairs))


class _Plan:
    """What is replayed, whatever the configuration."""

    def __init__(
        self, folder: Path, recording: str | None, samples: int | None, *, quiet: bool
    ) -> None:
        self.folder = folder
        self.recording = Path(recording).expanduser() if recording else None
        self.samples = samples
        self.quiet = quiet

    def run(self, loaded: Loaded, name: str, model: str) -> Replayed:
        from msgspec.structs import replace

        from edgeagent.agent.replay import replay as run_recording
        from edgeagent.update.library import Library, default_folders

        config = loaded.config
        if model:
            named, _, version = model.partition("@")
            changed = replace(config.pipelines[name], model=named, version=version)
            config = replace(config, pipelines={**config.pipelines, name: changed})
        library = Library(default_folders(self.folder, config.models.path, working=True))
        with render.progress(f"{name}:", None, self.quiet) as tell:
            return run_recording(
                config, loaded.hash, library, name, recording=self.recording,
                samples=self.samples, tell=lambda count: tell(f"sample {count:,}"),
            )  # fmt: skip


def _pipeline(loaded: Loaded, wanted: str) -> str:
    names = sorted(loaded.config.pipelines)
    if wanted:
        return wanted  # whether it exists is told with what there is
    if len(names) != 1:
        raise UsageError(
            f"the configuration has {len(names)} pipelines: {', '.join(names) or 'none'}",
            remedy="Say which: --pipeline NAME",
        )
    return names[0]


# --- one run -------------------------------------------------------------------------------


def _show(run: Replayed, as_json: bool) -> None:
    if as_json:
        for record in run.records:
            render.json_line(record)
        return
    from edgeagent.diagnose.episodes import episodes

    found = episodes(run.records)
    render.table(("event", "label", ">began", ">ended", ">score", "zones"), map(_row, found))
    render.note(_summary(run, len(found)))


def _row(its: Episode) -> tuple[object, ...]:
    times = (f"{its.began_s:.1f} s", f"{its.ended_s:.1f} s")
    return (its.id, its.label, *times, f"{its.score:.2f}", its.zones or None)


def _summary(run: Replayed, events: int) -> str:
    unused = f", {run.skipped:,} not usable ({run.reason})" if run.skipped else ""
    return (
        f"{run.samples:,} samples of {run.source}{unused}: {len(run.records):,} records, "
        f"{events:,} events; {run.receipt}"
    )


# --- two runs ------------------------------------------------------------------------------


def _pairs(first: Replayed, second: Replayed) -> list[Pair]:
    from edgeagent.diagnose.episodes import compare, episodes

    return compare(episodes(first.records), episodes(second.records))


def _show_difference(first: Replayed, second: Replayed, pairs: list[Pair], as_json: bool) -> None:
    if as_json:
        render.json_line(_difference(pairs, first.model, second.model))
        return
    from edgeagent.diagnose.episodes import differing

    _table(differing(pairs))
    counts = _counts(pairs)
    render.note(
        f"{first.model} ({first.config}) against {second.model} ({second.config}): "
        + ", ".join(f"{count} {verdict}" for verdict, count in counts.items())
    )


def _table(pairs: Sequence[Pair]) -> None:
    if not pairs:
        render.plain("Both tell the same events.")
        return
    rows = []
    for pair in pairs:
        its = pair.first or pair.second
        assert its is not None
        why = pair.why or f"score {its.score:.2f}, {its.ended_s - its.began_s:.1f} s long"
        rows.append((pair.verdict, its.label, f"{its.began_s:.1f} s", why))
    render.table(("", "label", ">began", "what"), rows)


def _counts(pairs: Sequence[Pair]) -> dict[str, int]:
    verdicts = ("same", "changed", "gone", "new")
    return {verdict: sum(pair.verdict == verdict for pair in pairs) for verdict in verdicts}


def _difference(pairs: list[Pair], first: str, second: str) -> dict[str, Any]:
    import msgspec

    return {
        "first": first, "second": second, "counts": _counts(pairs),
        "episodes": msgspec.to_builtins(pairs),
    }  # fmt: skip


# --- an expectation ------------------------------------------------------------------------


def _expected(file: Path) -> list[dict[str, Any]]:
    """Records that an earlier ``replay --json`` printed."""
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
        records = [json.loads(line) for line in lines if line.strip()]
    except FileNotFoundError:
        raise NotFound(
            f"{file}: there is no such file",
            remedy=f"Make it from a run that is right: edgeagent replay … --json > {file}",
        ) from None
    except (OSError, ValueError) as error:
        raise InputError(f"{file}: {error}") from error
    if not all(isinstance(record, dict) and {"kind", "t"} <= set(record) for record in records):
        raise InputError(f"{file}: these are no lines of edgeagent replay --json")
    return records


def _judge(expected: list[dict[str, Any]], run: Replayed, as_json: bool) -> int:
    from edgeagent.diagnose.episodes import compare, differing, episodes

    pairs = compare(episodes(expected), episodes(run.records))
    wrong = differing(pairs)
    if as_json:
        render.json_line({**_difference(pairs, "expected", run.model), "ok": not wrong})
    else:
        _table(wrong) if wrong else render.plain("As expected.")
        render.note(_summary(run, len(episodes(run.records))))
    return 1 if wrong else 0


# --- pictures ------------------------------------------------------------------------------


def _of_one(run: Replayed) -> list[Shot]:
    from edgeagent.diagnose.episodes import episodes

    return [_shot(its, its.id, run) for its in episodes(run.records) if its.id in run.pictures]


def _shot(its: Episode, title: str, run: Replayed) -> Shot:
    from edgeagent.decide.sheet import Shot

    caption = f"{title}: {its.label} {its.score:.2f} at {its.began_s:.1f} s"
    return Shot(caption, run.pictures[its.id], its.label, its.score, its.box)


def _of_two(first: Replayed, second: Replayed, pairs: list[Pair]) -> list[Shot]:
    from edgeagent.diagnose.episodes import differing

    found = []
    for pair in differing(pairs):
        its, run = (pair.second, second) if pair.second else (pair.first, first)
        if its is not None and its.id in run.pictures:
            found.append(_shot(its, pair.verdict, run))
    return found


def _write_sheet(file: Path | None, pictures: list[Shot]) -> None:
    if file is None:
        return
    if not pictures:
        render.note(f"{file}: not written, because there is no picture of these events")
        return
    from edgeagent.decide.sheet import contact_sheet

    try:
        file.write_bytes(contact_sheet(pictures))
    except OSError as error:
        raise NotPermitted(f"{file}: can't be written: {error.strerror}") from error
    render.note(f"{len(pictures):,} pictures: {file}")
