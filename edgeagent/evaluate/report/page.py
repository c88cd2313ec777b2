"""The page: verdict, numbers, plots, tables, and the worst samples to look at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from edgeagent.evaluate.report import plots
from edgeagent.evaluate.report.shots import shot

if TYPE_CHECKING:
    from edgeagent.evaluate.assess import Assessment
    from edgeagent.manifest import Package

_LINES = 6
"""Curves in one plot at most: more can't be told apart."""
NAMES = {
    "map": "mAP (IoU 0.5 to 0.95)", "map50": "mAP at IoU 0.5", "map75": "mAP at IoU 0.75",
    "auc": "AUC", "ece": "calibration error (ECE)", "macro_f1": "macro F1",
    "accuracy_low": "", "accuracy_high": "",
    "made_up": "made up", "false_alarms": "false alarms", "mean_error": "mean error",
    "rms_error": "RMS error", "p95_error": "error, 95 %", "r2": "R²", "map_small": "mAP, small",
    "map_medium": "mAP, medium", "map_large": "mAP, large", "ar1": "", "ar10": "", "ar100": "",
    "ar_small": "", "ar_medium": "", "ar_large": "", "ar": "", "ar50": "", "ar75": "",
    "miou": "mIoU", "picture_iou": "IoU of a picture",
    "recall1": "recall at 1", "recall5": "recall at 5", "recall10": "recall at 10",
    "eer": "equal error rate", "same_told": "same, told so",
    "others_told": "others, told so",
}  # fmt: skip
"""How people call a metric; empty = not shown by itself."""
_MATCHED = {"detect": "IoU", "pose": "OKS"}


def page(
    package: Package, assessment: Assessment, compared: Mapping[str, Any] | None = None
) -> str:
    """The whole document; nothing in it is loaded from elsewhere."""
    result = assessment.result
    told = result.sections
    body = [
        f"<h1>{escape(result.model)}</h1>",
        f'<p class="dim">on {escape(result.data)} · {escape(result.receipt)}</p>',
        *(f"<p>{escape(note)}.</p>" for note in result.notes),
        _verdict(compared) if compared else "",
        _numbers(told["metrics"]),
        _advice(result.task, told),
        _plots(result.task, told),
        _confusion(told.get("confusion")),
        _table("By label", told.get("classes", []), skip=("curve",)),
        _slices(told.get("slices", [])),
        _worst(package, assessment),
        _skipped(result.skipped),
    ]
    style = files("edgeagent.evaluate.report").joinpath("page.css").read_text("utf-8")
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(result.model)}: evaluation</title><style>{style}</style></head>"
        f"<body>{''.join(body)}</body></html>\n"
    )


def sentence(compared: Mapping[str, Any]) -> str:
    """Which of two is better, for people."""
    name = NAMES.get(compared["measure"], "") or compared["measure"]
    said = f"{name} {compared['before']:.4g} → {compared['after']:.4g}"
    if compared["verdict"] == "same":
        return (f"{compared['second']} can't be told from {compared['first']}: {said}, which may "
                f"be chance (p = {compared['p']:.3g}, {compared['test']})")  # fmt: skip
    return (f"{compared['second']} is {compared['verdict']} than {compared['first']}: {said} "
            f"(p = {compared['p']:.3g}, {compared['test']})")  # fmt: skip


def advice(task: str, told: Mapping[str, Any]) -> str:
    """What threshold to set, for people; empty where there is nothing to say."""
    threshold = told.get("threshold")
    if not threshold:
        return ""
    found = threshold["suggested"]
    if task in ("classify", "keyword"):
        asked = f"{threshold['asked_precision']:.0%}"
        if found is None:
            return f"No threshold makes {asked} of the answers right."
        return (f"From a score of {found['threshold']:.3f} on {found['precision']:.1%} of the "
                f"answers are right (asked: {asked}), and {found['answered']:.1%} of the samples "
                "get one.")  # fmt: skip
    if found is None:
        return ""
    return (f"Threshold {found['threshold']:.4g} balances best (F1 {found['f1']:.3f}: precision "
            f"{found['precision']:.1%}, recall {found['recall']:.1%}); now it is "
            f"{threshold['now']:.4g}.")  # fmt: skip


def _verdict(compared: Mapping[str, Any]) -> str:
    return f'<p class="verdict {compared["verdict"]}">{escape(sentence(compared))}</p>'


def _numbers(metrics: Mapping[str, Any]) -> str:
    cells = [
        f"<div>{escape(NAMES.get(name, name))}<b>{_value(value)}</b></div>"
        for name, value in metrics.items()
        if value is not None and NAMES.get(name, name)
    ]
    if "accuracy_low" in metrics:
        low, high = metrics["accuracy_low"], metrics["accuracy_high"]
        cells.append(f"<div>accuracy (95 %)<b>{low:.2f} – {high:.2f}</b></div>")
    return f'<div class="numbers">{"".join(cells)}</div>'


def _advice(task: str, told: Mapping[str, Any]) -> str:
    said = advice(task, told)
    return f"<p>{escape(said)}</p>" if said else ""


def _plots(task: str, told: Mapping[str, Any]) -> str:
    drawn = []
    if told.get("calibration"):
        its = told["calibration"]
        bars = [(b["low"], b["high"], b["accuracy"]) for b in its["bins"]]
        line = [(b["confidence"], b["accuracy"]) for b in its["bins"]]
        drawn.append(
            plots.unit_square("Calibration", f"how sure (ECE {its['ece']:.3f})", "how often right",
                              [("", line)], diagonal=True, bars=bars)
        )  # fmt: skip
    if "roc" in told:
        drawn.append(plots.unit_square("ROC", "false alarms", "caught", [("", told["roc"])],
                                       diagonal=True))  # fmt: skip
    if task in ("detect", "pose"):
        classes = sorted(told["classes"], key=lambda its: -its["count"])[:_LINES]
        lines = [(its["label"], its["curve"]) for its in classes]
        across = f"recall at {_MATCHED[task]} 0.5"
        drawn.append(plots.unit_square("Precision and recall", across, "precision", lines))
    if told.get("points"):
        drawn.append(plots.scatter("Said over true", "true", "said", told["points"]))
    return f'<div class="plots">{"".join(drawn)}</div>' if drawn else ""


def _confusion(confusion: Mapping[str, Any] | None) -> str:
    if not confusion:
        return ""
    labels = confusion["labels"]
    head = "".join(f"<th>{escape(label)}</th>" for label in labels)
    rows = []
    for place, (label, counts) in enumerate(zip(labels, confusion["matrix"], strict=True)):
        total = sum(counts) or 1
        cells = "".join(
            f'<td class="{"hit" if column == place else ""}" style="background:color-mix(in srgb, '
            f"var({'--good' if column == place else '--bad'}) {60 * count / total:.0f}%, "
            f'transparent)">{count or ""}</td>'
            for column, count in enumerate(counts)
        )
        rows.append(f"<tr><th>{escape(label)}</th>{cells}</tr>")
    return (f'<h2>What is taken for what</h2><p class="dim">A row is the truth, a column what was '
            f'said.</p><div class="wide"><table class="matrix"><tr><th></th>{head}</tr>'
            f'{"".join(rows)}</table></div>')  # fmt: skip


def _table(title: str, rows: Sequence[Mapping[str, Any]], skip: Sequence[str] = ()) -> str:
    if not rows:
        return ""
    names = [name for name in rows[0] if name not in skip]
    head = "".join(f"<th>{escape(NAMES.get(name) or name.replace('_', ' '))}</th>"
                   for name in names)  # fmt: skip
    body = "".join(
        "<tr>" + "".join(f"<td>{_value(row[name])}</td>" for name in names) + "</tr>"
        for row in rows
    )
    return f'<h2>{title}</h2><div class="wide"><table><tr>{head}</tr>{body}</table></div>'


def _slices(slices: Sequence[Mapping[str, Any]]) -> str:
    table = _table("By part of the data", slices, skip=("worse",))
    bad = [f"{its['slice']} {its['value']}" for its in slices if its.get("worse")]
    if not bad:
        return table
    said = f"Worse than the rest, beyond chance: {', '.join(bad)}."
    return f'{table}<p class="bad">{escape(said)}</p>'


def _worst(package: Package, assessment: Assessment) -> str:
    told = assessment.result.sections["worst"]
    if not told:
        return "<h2>Worst samples</h2><p>Everything is right.</p>"
    figures = []
    for its in told:
        picture = shot(package, assessment.cases[its["input"]], its["sample"])
        over = plots.boxes(its["truth"], its["said"]) if "missed" in its else ""
        number = f" #{its['sample']}" if its["sample"] else ""
        figures.append(
            f'<figure><div class="shot">{picture}{over}</div><figcaption>{_caption(its)}<br>'
            f'<span class="dim">{escape(its["input"])}{number}</span></figcaption></figure>'
        )
    dashed = " Dashed: what is there; solid: what was said." if "missed" in told[0] else ""
    return (f'<h2>Worst samples</h2><p class="dim">The worst {len(told)}.{dashed}</p>'
            f'<div class="shots">{"".join(figures)}</div>')  # fmt: skip


def _caption(its: Mapping[str, Any]) -> str:
    if "missed" in its:
        return f"{its['missed']} missed, {its['made_up']} made up"
    score = f" ({its['score']:.3g})" if "score" in its else ""
    return f"<b>{escape(str(its['said']))}</b>{score}, is <b>{escape(str(its['truth']))}</b>"


def _skipped(skipped: Sequence[Mapping[str, str]]) -> str:
    if not skipped:
        return ""
    rows = [{"input": its["input"], "why it could not be used": its["reason"]} for its in skipped]
    return _table(f"Not used: {len(skipped)}", rows[:50])


def _value(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:.4g}"
    return escape(f"{value:,}" if isinstance(value, int) else str(value))
