"""``edgeagent models receipt``: what of a model runs where on this device, and why not the rest."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgeagent.cli import options, render
from edgeagent.cli.bench import Delegate, Provider, find_subject, pairs
from edgeagent.cli.options import AsJson, ConfigFile, DataDir, VariantName

if TYPE_CHECKING:
    from edgeagent.infer import Receipt
    from edgeagent.prove.bench.plan import Candidate

_TIMEOUT_S = 120.0
"""A delegate may have to compile the model."""


def receipt(
    model: Annotated[str, typer.Argument(help="Name, name@version, a package or model file.")],
    variant: VariantName = "",
    delegate: Delegate = "",
    provider: Provider = "",
    threads: Annotated[int | None, typer.Option(min=1, max=64)] = None,
    option: Annotated[
        list[str] | None, typer.Option(metavar="KEY=VALUE", help="Of the delegate or provider.")
    ] = None,
    config: ConfigFile = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Open a model as the agent would, or as asked, in a process of its own: which operators run
    where, why not the rest, and whether the answers are those of the CPU's plain kernels. Exit 1
    if something that was asked for is not used, or answers otherwise."""
    from edgeagent.config.model import Runtime
    from edgeagent.prove.bench.plan import Candidate

    asked = Runtime(variant=variant, delegate=delegate, provider=provider, threads=threads,
                    options=pairs("--option", option or []))  # fmt: skip
    what = find_subject(model, config, data_dir)
    if asked == Runtime() and what.is_dir():
        asked = _as_the_agent(what, config, data_dir)
    told = _opened(Candidate(what, asked))
    render.show(told, as_json, lambda: _show(told))
    raise typer.Exit(0 if told["sound"] else 1)


def _as_the_agent(folder: Path, config: Path | None, data_dir: Path | None) -> Any:
    from edgeagent.manifest import load_package

    return options.runtime(load_package(folder), config, data_dir)


def _opened(candidate: Candidate) -> dict[str, Any]:
    """Raises ProofFailed: it can't be opened, or takes its process down."""
    from edgeagent.prove.bench.measure import parity_of
    from edgeagent.prove.bench.probe import Probe

    with Probe(_TIMEOUT_S) as probe:
        opened = probe.open(candidate)
        golden = opened.ask("golden")
        parity = parity_of(opened, (), _TIMEOUT_S, None)
        model = opened.told["model"]
    its: Receipt = opened.receipt
    same = (parity is None or parity.holds) and not golden["faults"]
    return {
        "model": model,
        "settings": candidate.settings(),
        "runtime": its.runtime,
        "asked": its.asked,
        "threads": its.threads,
        "placement": its.placement,
        "left": its.left,
        "fallback": its.fallback,
        "skipped": list(its.skipped),
        "golden": golden,
        "answers": parity.sentence() if parity is not None else "",
        "sound": same and not its.fallback,
    }


def _show(told: dict[str, Any]) -> None:
    total = sum(told["placement"].values())
    places = [f"{count} of {total} on {place}" for place, count in told["placement"].items()]
    left = [f"{kind} ({count})" for kind, count in told["left"].items()]
    golden, faults = told["golden"]["samples"], told["golden"]["faults"]
    right = f"{golden} golden samples right" if golden and not faults else ""
    wrong = f"golden samples WRONG: {faults[0]}" if faults else ""
    render.facts([
        ("model", told["model"]),
        ("opened as", told["settings"]),
        ("runs on", f"{told['runtime']}, {told['threads']} thread(s)"),
        ("asked for", told["asked"]),
        ("operators", ", ".join(places) or "this runtime does not tell them"),
        ("left", ", ".join(left)),
        ("NOT USED", told["fallback"]),
        ("answers", "; ".join(filter(None, (right, wrong, told["answers"])))),
        *(("not run", said) for said in told["skipped"]),
    ])  # fmt: skip
