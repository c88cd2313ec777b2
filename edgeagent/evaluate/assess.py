"""One model on labelled data, or two beside one another: asked, measured, compared."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Struct

from edgeagent.errors import InputError, UsageError
from edgeagent.evaluate.answers import Answers, ask
from edgeagent.evaluate.data import Case, Data

if TYPE_CHECKING:
    from edgeagent.batch.crew import Crew
    from edgeagent.batch.order import Order
    from edgeagent.batch.run import Progress
    from edgeagent.manifest import Package

_LABELS = ("classify", "keyword")
_PERSON = "person"
"""What a pose is of, where the package does not say."""
_TASKS = (*_LABELS, "detect", "pose", "segment", "anomaly", "regress", "embed")


class Result(Struct):
    """What was found out about one model; plain values, as ``--json`` prints them."""

    model: str
    data: str
    task: str
    receipt: str
    samples_per_s: float
    notes: list[str]
    skipped: list[dict[str, str]]
    sections: dict[str, Any]
    """metrics, classes, confusion, calibration, threshold, slices, worst: as the task has them."""

    def plain(self) -> dict[str, Any]:
        """One table, the sections among the rest."""
        told: dict[str, Any] = msgspec.to_builtins(self)
        sections: dict[str, Any] = told.pop("sections")
        return told | sections


class Assessment(Struct):
    """A model's measures, beside what they were made of."""

    result: Result
    measures: Any
    """Labels, Boxes, Poses, Masks, Likeness, Unusual or Measured."""
    cases: dict[str, Case]


def fitting(package: Package, data: Data) -> None:
    """Whether the data can judge the model; labels are called as the model does. Raises
    UsageError."""
    task = package.manifest.task
    if task not in _TASKS:
        raise UsageError(
            f"{package.name} does {task}, which can't be judged here",
            remedy=f"It can be for: {', '.join(_TASKS)}.",
        )
    if task in _LABELS:
        from edgeagent.evaluate.labels import fit

        fit(data, _all_labels(package))
    elif task == "detect":
        from edgeagent.evaluate.boxes import fit as fit_things

        fit_things(data, _all_labels(package))
    elif task == "pose":
        from edgeagent.evaluate.poses import fit as fit_poses

        fit_poses(data, _all_labels(package)[:1] or (_PERSON,))
    elif task == "segment":
        from edgeagent.evaluate.masks import fit as fit_masks

        fit_masks(data)
    elif task == "embed":
        from edgeagent.evaluate.likeness import fit as fit_likeness

        fit_likeness(data)
    elif task == "anomaly":
        from edgeagent.evaluate.values import fit as fit_unusual

        fit_unusual(data)


def assess(
    package: Package,
    data: Data,
    open_crew: Callable[[Order], Crew],
    *,
    precision: float = 0.95,
    variant: str = "",
    tell: Callable[[Progress], None] = lambda _progress: None,
) -> Assessment:
    """Ask about all cases and measure.

    Raises:
        UsageError: data and model do not go together.
        InputError: not one input could be used.
        ModelError, RuntimeMissing: the model can't run, or a library is missing.
    """
    fitting(package, data)
    answers = ask(package, data, open_crew, variant=variant, tell=tell)
    return measure(package, data, answers, precision)


def measure(package: Package, data: Data, answers: Answers, precision: float) -> Assessment:
    """As `assess`, of answers that are there."""
    if not answers.told:
        why = answers.skipped[0].reason if answers.skipped else "they hold no samples"
        raise InputError(f"{data.name}: not one input could be used: {why}")
    measures = _measures(package, answers)
    told = measures.measured(precision) if _is_labels(package) else measures.measured()
    result = Result(
        answers.model, data.name, package.manifest.task, answers.receipt, answers.samples_per_s,
        list(data.notes), [msgspec.to_builtins(its) for its in answers.skipped], told,
    )  # fmt: skip
    return Assessment(result, measures, {case.name: case for case in data.cases})


def compare(first: Assessment, second: Assessment) -> dict[str, Any]:
    """Whether the second is better than the first, and whether that can be chance.

    Raises UsageError where they did not answer about the same samples.
    """
    from edgeagent.evaluate import compare as tests

    one, other = first.measures, second.measures
    if type(one) is not type(other):
        raise UsageError("two models of different tasks can't be compared")
    asked = [[(its.case.name, its.sample) for its in measures.told] for measures in (one, other)]
    if asked[0] != asked[1]:
        raise UsageError(
            "the two models did not answer about the same samples",
            remedy="Compare models whose inputs are cut alike (length, hop).",
        )
    key, found = _test(tests, first.result.task, one, other)
    before, after = (its.result.sections["metrics"][key] for its in (first, second))
    better = after < before if key == "mean_error" else after > before
    verdict = ("better" if better else "worse") if found["significant"] else "same"
    return {"first": first.result.model, "second": second.result.model, "verdict": verdict,
            "measure": key, "before": before, "after": after, **found}  # fmt: skip


def _test(tests: Any, task: str, one: Any, other: Any) -> tuple[str, dict[str, Any]]:
    if task in ("detect", "pose"):
        if set(one.labels) != set(other.labels):
            raise UsageError("two detectors are compared on the same labels")
        return "map", tests.bootstrap(one, other)
    if task == "segment":
        return "picture_iou", tests.paired_errors(one.error, other.error)
    if task == "regress":
        return "mean_error", tests.paired_errors(one.error, other.error)
    key = "recall1" if task == "embed" else "accuracy"
    return key, tests.mcnemar(one.right, other.right)


def _measures(package: Package, answers: Answers) -> Any:
    task = package.manifest.task
    if task in _LABELS:
        from edgeagent.evaluate.labels import Labels

        return Labels(answers.told, _all_labels(package))
    if task == "detect":
        from edgeagent.evaluate.boxes import Boxes

        return Boxes(answers.told, _all_labels(package), package.manifest.output.threshold)
    if task == "pose":
        from edgeagent.evaluate.poses import Poses

        labels = _all_labels(package)[:1] or (_PERSON,)
        return Poses(answers.told, labels, package.manifest.output.threshold)
    if task == "segment":
        from edgeagent.evaluate.masks import Masks

        return Masks(answers.told, package)
    if task == "embed":
        from edgeagent.evaluate.likeness import Likeness

        return Likeness(answers.told, package.manifest.output.threshold)
    from edgeagent.evaluate.values import Measured, Unusual

    return Unusual(answers.told) if task == "anomaly" else Measured(answers.told)


def _is_labels(package: Package) -> bool:
    return package.manifest.task in _LABELS


def _all_labels(package: Package) -> tuple[str, ...]:
    from edgeagent.interpret.outputs import all_labels

    return all_labels(package)
