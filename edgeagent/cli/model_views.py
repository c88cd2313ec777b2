"""How models, their checks and their makers are laid out for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from edgeagent.cli import render

if TYPE_CHECKING:
    from pathlib import Path

    from edgeagent.manifest import Package
    from edgeagent.prove.golden import Report as Proof
    from edgeagent.prove.init import Proposal
    from edgeagent.prove.lint import Finding as Lint
    from edgeagent.prove.pictures import Fitted
    from edgeagent.update.library import Entry
    from edgeagent.update.truth import Truth


def entries(found: Sequence[Entry], truths: Mapping[str, Truth]) -> list[dict[str, Any]]:
    """For ``--json``. ``truths``: what was deployed here, by model."""
    return [
        {
            "name": its.name,
            "version": its.version,
            "folder": str(its.folder),
            "task": its.package.manifest.task if its.package else None,
            "licence": _licence(its.package),
            "variants": [v.file for v in its.package.manifest.variant] if its.package else [],
            "error": str(its.error) if its.error else None,
            "hidden_by": str(its.hidden_by) if its.hidden_by else None,
            "state": _state(its, found, truths),
            "reason": _reason(its, truths),
        }
        for its in found
    ]


def _licence(package: Package | None) -> str | None:
    return (package.manifest.licence or package.manifest.license) if package else None


def _state(its: Entry, found: Sequence[Entry], truths: Mapping[str, Truth]) -> str:
    """``runs``, ``previous``, or how far a change to it has come; empty = it only lies here."""
    truth = truths.get(its.name)
    if truth is None or not truth.version:
        newest = next((one for one in found if one.name == its.name and one.package), None)
        return "runs" if newest is its else ""
    change = truth.deployment
    if change is not None and change.version == its.version and truth.open:
        return str(truth.state)
    if its.version == truth.version:
        return "runs"
    if its.version in truth.failed:
        return "failed"
    return "previous" if its.version == truth.previous else ""


def _reason(its: Entry, truths: Mapping[str, Truth]) -> str:
    truth = truths.get(its.name)
    return truth.failed.get(its.version, "") if truth is not None else ""


def episodes(truths: Mapping[str, Truth]) -> None:
    """What became of the last change of each model, and what people hold."""
    for name, truth in sorted(truths.items()):
        change, hold = truth.deployment, truth.hold
        if change is not None and truth.state is not None:
            took = sum(change.times_s.values())
            why = f": {change.detail}" if change.detail else ""
            since = f" ({render.duration(took)})" if not truth.open else f" since {change.since}"
            render.note(f"{name} {change.version} {truth.state}{since}{why}")
        if hold is not None:
            end = f" until {hold.until}" if hold.until else ""
            why = f": {hold.reason}" if hold.reason else ""
            render.note(f"{name} is held by {hold.by or 'somebody'}{end}{why}")


def models(found: Sequence[Entry], truths: Mapping[str, Truth]) -> None:
    if not found:
        render.note("No model packages were found. Make one: edgeagent models init FILE")
        return
    render.table(
        ("MODEL", "VERSION", "STATE", "TASK", "VARIANTS", "LICENCE"),
        [
            (its.name, its.version, _state(its, found, truths), its.package.manifest.task,
             [f"{v.runtime} {v.precision}" for v in its.package.manifest.variant],
             _licence(its.package))
            for its in found
            if its.package and not its.hidden_by
        ],
    )  # fmt: skip
    for its in found:
        if its.hidden_by:
            render.note(f"{its.folder} is hidden by {its.hidden_by}")
        elif its.error:
            render.error(its.error, label=f"broken, {its.folder}")
    episodes(truths)


def package(its: Package) -> None:
    manifest = its.manifest
    render.facts(
        [
            ("model", f"{manifest.name}@{manifest.version}"),
            ("what", manifest.description),
            ("task", manifest.task),
            ("labels", list(its.labels)),
            ("input", "; ".join(_input(spec) for spec in manifest.input)),
            ("output", f"{manifest.output.decoder}, threshold {manifest.output.threshold:g}"),
            ("variants", "; ".join(f"{v.file} ({v.runtime} {v.precision})"
                                   for v in manifest.variant)),
            ("code", "handler.py: edgeagent models verify" if its.brings_code else ""),
            ("licence", _licence(its)),
            ("measured", ", ".join(f"{key} {value}" for key, value in
                                   manifest.provenance.get("metrics", {}).items())),
            ("folder", its.folder),
        ]
    )  # fmt: skip


def _input(spec: Any) -> str:
    if spec.kind == "image":
        size = f" {spec.size[0]}×{spec.size[1]}" if spec.size else ""
        return f"{spec.name}: image{size} {spec.colour}, {spec.fit}"
    if spec.kind in ("window", "audio"):
        span = f" of {spec.length}" if spec.length else ""
        return f"{spec.name}: {spec.kind}{span} at {spec.rate_hz:g} Hz"
    return f"{spec.name}: {spec.kind}"


def lint(folder: Path, found: Sequence[Lint]) -> None:
    for its in found:
        mark = "fail" if its.level == "error" else "warn"
        render.finding(mark, "", f"{its.place}: {its.problem}", "", its.remedy)
    errors = sum(its.level == "error" for its in found)
    said = f"{errors} errors, {len(found) - errors} warnings" if found else "nothing is wrong"
    render.plain(f"{folder}: {said}")


def proposal(made: Package, proposed: Proposal) -> None:
    render.plain(f"{made.folder / 'model.toml'}: {proposed.family} ({proposed.confidence})")
    for reason in proposed.reasons:
        render.plain(f"  {reason}")
    render.plain(f"Check it, then: edgeagent models lint {made.folder}")


def fitted(made: Fitted) -> None:
    render.plain(
        f"{made.package.folder}: made of {made.pictures} good pictures, "
        f"described by {made.backbone}"
    )
    render.plain(
        f"  Good pictures that it had not seen score about {made.usual:.3g}; "
        f"over {made.threshold:.3g} a picture is unusual."
    )
    for note in made.notes:
        render.plain(f"  {note}")
    render.plain(f"Look at it: edgeagent infer {made.package.folder} PICTURES --save out/")


def proof_data(found: Proof) -> dict[str, Any]:
    """For ``--json``."""
    return {
        "model": found.model, "passed": found.passed, "samples": found.samples,
        "same_top": found.same_top, "receipt": found.receipt.sentence(),
        "reference": found.reference, "faults": found.faults,
    }  # fmt: skip


def proof(found: Proof) -> None:
    said = "passed" if found.passed else "failed"
    render.plain(f"{found.model}: {said}, {found.same_top} of {found.samples} best labels right")
    render.plain(f"  here: {found.receipt.sentence()}; expected from: {found.reference}")
    for fault in found.faults:
        render.plain(f"  {fault}")
