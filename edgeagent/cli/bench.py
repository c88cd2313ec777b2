"""``edgeagent bench``: how fast a model is on this device, and whether it is right."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgeagent.cli import options, render
from edgeagent.cli.options import AsJson, ConfigFile, DataDir, VariantName
from edgeagent.errors import UsageError

if TYPE_CHECKING:
    from edgeagent.config.model import Runtime
    from edgeagent.prove.bench.plan import Candidate, Plan, Scenario

_KEYS = ("variant", "delegate", "provider", "threads", "batch")

Delegate = Annotated[str, typer.Option(help="TFLite delegate: xnnpack, none, or a library.")]
Provider = Annotated[str, typer.Option(help="ONNX Runtime's execution provider.")]
Other = Annotated[
    str,
    typer.Option(
        "--vs", metavar="OTHER",
        help="Compare in turns with: MODEL, tuned, or settings: threads=2,delegate=none.",
    ),
]  # fmt: skip
Samples = Annotated[
    list[Path] | None,
    typer.Option(
        "--samples", metavar="FILE|DIR",
        help="Measure on these [default: the package's golden samples, else noise].",
    ),
]  # fmt: skip


def bench(
    model: Annotated[str, typer.Argument(help="Name, name@version, a package or model file.")],
    scenario: Annotated[
        list[str] | None,
        typer.Option(
            "--scenario", "-s", help="single, multi, server, offline or all [default: single]."
        ),
    ] = None,
    vs: Other = "",
    seconds: Annotated[float, typer.Option(min=0.2, max=600, help="For each scenario.")] = 5.0,
    variant: VariantName = "",
    delegate: Delegate = "",
    provider: Provider = "",
    threads: Annotated[int | None, typer.Option(min=1, max=64)] = None,
    option: Annotated[
        list[str] | None, typer.Option(metavar="KEY=VALUE", help="Of the delegate or provider.")
    ] = None,
    batch: Annotated[int, typer.Option(min=1, max=256, help="Samples that go together.")] = 1,
    samples: Samples = None,
    qps: Annotated[
        float | None, typer.Option(min=0.1, help="server: queries a second [default: the most].")
    ] = None,
    bound: Annotated[
        float | None, typer.Option(min=0.001, metavar="MS", help="server: 99 % must keep it.")
    ] = None,
    ops: Annotated[bool, typer.Option("--ops", help="Time and place of each operator.")] = False,
    seed: Annotated[int, typer.Option(help="Of the order of samples and arrivals.")] = 7,
    plot: Annotated[
        Path | None, typer.Option(metavar="FILE.svg", help="Draw the latencies there.")
    ] = None,
    config: ConfigFile = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Measure a model on this device as MLPerf's LoadGen does, in a process of its own.

    A percentile is promised with 99 % confidence, or not at all: 64 queries for p90, 662 for p99.
    A difference that may be noise is not called one. Exit 1 if it fails or answers wrongly.
    """
    from edgeagent.config.model import Runtime
    from edgeagent.prove.bench.plan import Candidate, Plan

    _check_plot(plot)
    runtime = Runtime(
        variant=variant, delegate=delegate, provider=provider, threads=threads,
        options=pairs("--option", option or []),
    )  # fmt: skip
    first = Candidate(find_subject(model, config, data_dir), runtime, batch)
    candidates = titled([first, *([_other(vs, first, config, data_dir)] if vs else [])])
    plan = Plan(
        scenarios=_scenarios(scenario or ["single"]), seconds=seconds,
        most_s=max(60.0, 2 * seconds), starts=min(max(int(2 * seconds), 2), 8), seed=seed,
        rate=qps, bound_ms=bound, operators=ops,
        samples=tuple(options.sample_files(samples or [])),
    )  # fmt: skip
    raise typer.Exit(0 if _measured(candidates, plan, plot, as_json) else 1)


def _check_plot(plot: Path | None) -> None:
    if plot is not None and plot.suffix.lower() != ".svg":
        raise UsageError(f"--plot {plot}: it draws SVG", remedy="Name a file that ends in .svg.")


def _measured(candidates: list[Candidate], plan: Plan, plot: Path | None, as_json: bool) -> bool:
    """Measure and show; whether all is well."""
    import msgspec

    from edgeagent.cli import bench_views
    from edgeagent.prove.bench.measure import bench as measure

    with render.line() as draw:
        result = measure(candidates, plan, draw or (lambda _doing: None))
    if plot is not None:
        from edgeagent.cli.bench_plot import write_plot

        write_plot(result, plot)
    data = msgspec.to_builtins(result)
    render.show(bench_views.without_latencies(data), as_json, lambda: bench_views.show(result))
    return result.sound


def find_subject(model: str, config: Path | None, data_dir: Path | None) -> Path:
    """The folder of a package, or a model file."""
    place = Path(model).expanduser()
    if place.suffix.lower() in (".tflite", ".onnx") and place.is_file():
        return place.absolute()
    return options.library(config, data_dir).find(model).folder


def titled(candidates: list[Candidate]) -> list[Candidate]:
    """With what tells them apart for a title."""
    from msgspec.structs import replace

    names = [_name(its.what) for its in candidates]
    one = len(set(names)) == 1 and len(candidates) > 1
    return [
        replace(its, title=its.settings() if one else name)
        for its, name in zip(candidates, names, strict=True)
    ]


def _name(what: Path) -> str:
    return f"{what.parent.name}@{what.name}" if what.is_dir() else what.name


def _other(text: str, first: Candidate, config: Path | None, data_dir: Path | None) -> Candidate:
    """``MODEL``, ``KEY=VALUE,…`` of the same model, ``MODEL,KEY=VALUE,…``, or ``tuned``: the same
    model as the agent would run it."""
    from msgspec.structs import replace

    from edgeagent.manifest import load_package
    from edgeagent.prove.bench.plan import Candidate

    if text == "tuned" and first.what.is_dir():
        wanted = options.runtime(load_package(first.what), config, data_dir)
        return replace(first, runtime=wanted)
    head, *rest = text.split(",")
    if "=" in head:
        other, rest = first, [head, *rest]
    else:
        other = Candidate(find_subject(head, config, data_dir))
    return other_settings("--vs", rest, other)


def other_settings(option: str, texts: list[str], like: Candidate) -> Candidate:
    """A candidate with other settings, given as ``KEY=VALUE``; unknown keys are options of the
    delegate or provider. Raises UsageError."""
    from msgspec.structs import replace

    settings = pairs(option, texts)
    given = {key: settings.pop(key) for key in _KEYS if key in settings}
    numbers = {
        key: _whole(option, key, given.pop(key)) for key in ("threads", "batch") if key in given
    }
    runtime: Runtime = replace(
        like.runtime, **given, options={**like.runtime.options, **settings},
        threads=numbers.get("threads", like.runtime.threads),
    )  # fmt: skip
    return replace(like, runtime=runtime, batch=numbers.get("batch", like.batch))


def _whole(option: str, key: str, value: str) -> int:
    if not value.isdigit() or not 1 <= int(value) <= 256:
        raise UsageError(f"{option} {key}={value}: a whole number from 1 on is expected")
    return int(value)


def pairs(option: str, given: list[str]) -> dict[str, str]:
    """``KEY=VALUE`` as they were given to an option. Raises UsageError."""
    pairs = {}
    for text in given:
        key, sign, value = text.partition("=")
        if not sign or not key:
            raise UsageError(f"{option} {text}: expected KEY=VALUE")
        pairs[key.strip()] = value.strip()
    return pairs


def _scenarios(given: list[str]) -> tuple[Scenario, ...]:
    from edgeagent.config.words import did_you_mean
    from edgeagent.prove.bench.plan import SCENARIOS

    names = [name for text in given for name in text.split(",")]
    for name in names:
        if name not in (*SCENARIOS, "all"):
            raise UsageError(
                f"--scenario {name}: unknown", remedy=did_you_mean(name, [*SCENARIOS, "all"])
            )
    return tuple(name for name in SCENARIOS if name in names or "all" in names)
