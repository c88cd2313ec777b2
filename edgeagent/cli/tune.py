"""``edgeagent tune``: the fastest way to run a model on this device, found, kept and explained."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgeagent.cli import options, render
from edgeagent.cli.bench import Samples, other_settings
from edgeagent.cli.options import AsJson, ConfigFile, DataDir
from edgeagent.errors import NotFound, UsageError

if TYPE_CHECKING:
    from edgeagent.manifest import Package
    from edgeagent.prove.tune.choice import Choice, Choices

_GOALS = ("latency", "throughput")


def tune(
    model: Annotated[
        list[str] | None,
        typer.Argument(help="Name, name@version, or a folder [default: those of the pipelines]."),
    ] = None,
    goal: Annotated[str, typer.Option("--for", help="latency or throughput.")] = "latency",
    p95: Annotated[
        float | None,
        typer.Option(min=0.001, metavar="MS", help="Bar for one run in 20 [default: the budget]."),
    ] = None,
    pss: Annotated[
        float | None,
        typer.Option(min=1, metavar="MB", help="Bar for the memory [default: the budget]."),
    ] = None,
    labelled: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Samples with labels: a folder for each label."),
    ] = None,
    accuracy: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="Bar for --labelled [default: the defaults' less 1 %]."),
    ] = None,
    further: Annotated[
        list[str] | None,
        typer.Option("--try", metavar="SETTINGS", help="Also: delegate=libx.so,threads=2,…"),
    ] = None,
    samples: Samples = None,
    seconds: Annotated[
        float, typer.Option(min=2, max=3600, help="About so long, for each model.")
    ] = 60.0,
    again: Annotated[bool, typer.Option("--again", help="Even if a choice still holds.")] = False,
    forget: Annotated[bool, typer.Option("--forget", help="Go back to the defaults.")] = False,
    config: ConfigFile = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Find the fastest variant, runtime, delegate and number of threads that answer rightly here.

    A running agent takes the choice up within half a minute (config: models.tuned). Where cores,
    kernel, runtimes or the model are others later it tunes again by itself (models.retune). Nothing
    replaces the defaults that is not surely faster than they are. Exit 1 if no configuration keeps
    the bars.
    """
    from edgeagent.prove.tune.choice import Choices

    if goal not in _GOALS:
        raise UsageError(f"--for {goal}: latency or throughput is expected")
    if accuracy is not None and labelled is None:
        raise UsageError("--accuracy needs samples with labels", remedy="Name them: --labelled DIR")
    asked = Asked(goal, p95, pss, accuracy, labelled, further or [], samples or [], seconds)
    choices = Choices(options.data_folder(config, data_dir))
    told = []
    for package in _packages(model or [], config, data_dir):
        if forget:
            choices.forget(package)
            render.note(f"{package.name}@{package.version}: back to the defaults.")
            continue
        told.append(_choice(package, choices, asked, again, as_json))
    if as_json:
        render.json_line(told)


class Asked:
    """What was asked for, of each model."""

    def __init__(
        self, goal: str, p95: float | None, pss: float | None, accuracy: float | None,
        labelled: Path | None, further: list[str], samples: list[Path], seconds: float,
    ) -> None:  # fmt: skip
        from edgeagent.prove.bench.labelled import labelled_files
        from edgeagent.prove.tune.choice import Asked as Remembered

        where = str(labelled.absolute()) if labelled else ""
        self.bars: dict[str, Any] = {
            "asked": Remembered(p95, pss, accuracy, where),
            "goal": goal, "p95_ms": p95, "pss_mb": pss, "accuracy": accuracy, "seconds": seconds,
            "labelled": labelled_files(labelled) if labelled else {},
            "samples": options.sample_files(samples),
        }  # fmt: skip
        self.further = further


def _packages(models: list[str], config: Path | None, data_dir: Path | None) -> list[Package]:
    """Those that are named, or those of the enabled pipelines. Raises NotFound."""
    library = options.library(config, data_dir)
    if models:
        return [library.find(model) for model in models]
    pipelines = options.load_config(config, data_dir).config.pipelines
    wanted = {(its.model, its.version) for its in pipelines.values() if its.enabled}
    if not wanted:
        raise NotFound("the configuration has no pipeline", remedy="Name a model.")
    return [library.find(name, version) for name, version in sorted(wanted)]


def _choice(
    package: Package, choices: Choices, asked: Asked, again: bool, as_json: bool
) -> dict[str, Any]:
    """What is chosen for a model, from before where that still holds; shown and told."""
    import msgspec

    from edgeagent.prove.tune.choice import outdated

    known = choices.of(package)
    stale = outdated(known, package) if known else ""
    fresh = again or known is None or bool(stale)
    if stale:
        render.note(f"{package.name}@{package.version} is tuned again: {stale}.")
    choice = _found(package, asked) if fresh or known is None else known
    if fresh:
        choices.keep(package, choice)
    if not as_json:
        _show(choice, fresh)
    return {**msgspec.to_builtins(choice), "fresh": fresh, "was": stale}


def _found(package: Package, asked: Asked) -> Choice:
    from edgeagent.prove.bench.plan import Candidate
    from edgeagent.prove.tune.search import Bars, within_budget
    from edgeagent.prove.tune.search import tune as search
    from edgeagent.prove.tune.space import space_here

    plain = Candidate(package.folder)
    further = [other_settings("--try", text.split(","), plain) for text in asked.further]
    bars = within_budget(Bars(**asked.bars), package)
    candidates = space_here(package, further, bars.goal == "throughput")
    with render.line() as draw:
        said = f"{package.name}@{package.version}: "
        tell = (lambda doing: draw(said + doing)) if draw else (lambda _doing: None)
        return search(package, candidates, bars, tell)


def _show(choice: Choice, fresh: bool) -> None:
    how = f"tuned for {choice.goal} in {choice.took_s:.0f} s" if fresh else f"tuned {choice.at}"
    render.text(f"{choice.model}: {how}")
    render.table(
        ["configuration", ">ms", ">CPU ms", ">MB", ">right", "why"],
        [
            [its.settings, its.ms, its.cpu_ms, its.pss_mb,
             f"{its.right}/{its.samples}" if its.right is not None else None,
             f"CHOSEN: {its.why}" if its.state == "chosen" else
             its.why if its.state == "lost" else f"{its.state}: {its.why}"]
            for its in choice.rows
        ],
    )  # fmt: skip
