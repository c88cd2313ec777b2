"""The report of a run: Markdown and pictures, made from its JSON alone. No figure is typed here."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.limits import Limits, Rows, Verdict, judge
from benchmarks.pictures import Line, bars

JSON, PAGE = "results.json", "results.md"

Columns = Sequence[tuple[str, str]]
"""Key of a figure, heading."""


@dataclass(frozen=True)
class Chapter:
    """One part of a run."""

    part: str
    title: str
    text: str
    columns: Columns
    picture: Callable[[Rows], str] | None = None


def _step(rows: Rows) -> str:
    return bars(
        "What a step adds to the bare runtime", "µs", ["added"],
        [Line(name, [max(0.0, its["overhead_us"])],
              f"{its['overhead_us']:+.0f} µs, × {its['ratio']:.3f}")
         for name, its in rows.items()],
    )  # fmt: skip


def _pair(title: str, unit: str, ours: str, bare: str, limit: str = "") -> Callable[[Rows], str]:
    """Ours beside the bare script's; ``limit`` is added to the latter."""

    def draw(rows: Rows) -> str:
        return bars(
            title, unit, ["edgeagent", "bare script"],
            [Line(name, [its[ours], its[bare]], limit=its[bare] + 20 if limit else None)
             for name, its in rows.items()],
        )  # fmt: skip

    return draw


def _cameras(rows: Rows) -> str:
    return bars(
        "Beside a detector process behind a queue", "ms or MB",
        ["latency p95, ms", "CPU per frame, ms", "PSS, MB"],
        [Line(name, [its["latency_p95_ms"], its["cpu_per_frame_ms"], its["pss_mb"]])
         for name, its in rows.items()],
    )  # fmt: skip


def _servers(rows: Rows) -> str:
    return bars(
        "Servers: a request over one connection", "µs", ["p50", "CPU a request"],
        [Line(name.partition(",")[0] if "binary" not in name else "edgeagent, binary",
              [its["p50_us"], its["cpu_us"]])
         for name, its in rows.items() if name.endswith(", 1 connections") and its],
    )  # fmt: skip


CHAPTERS = (
    Chapter(
        "step", "A step beside the bare runtime",
        "Processor time of one thread, bare and ours in turns on the same tensors. A step is the "
        "whole of it: infer, interpret, track, decide, what is noted for `why`, a look for drift "
        "when one is due; with *1080p prepared* the picture is made into the tensor as well, which "
        "the bare side has ready. Between *from* and *to* lay the ratio in eight of ten parts of "
        "the run. *found* is how many things there were to follow and to judge.",
        (("bare_us", "bare µs"), ("ours_us", "step µs"), ("overhead_us", "+ µs"), ("ratio", "×"),
         ("low", "from"), ("high", "to"), ("clock_ratio", "× on the clock"), ("things", "found")),
        _step,
    ),
    Chapter(
        "idle", "Five frames a second",
        "Processor time of the whole agent (decoding, model, tracks, outbox, MQTT) beside a script "
        "that reads, resizes, infers and sleeps until the next frame, at the same time on the same "
        "clip.",
        (("ours_percent", "agent, % of a core"), ("bare_percent", "script, %"), ("ratio", "×"),
         ("more_percent", "+ % of a core"), ("fps", "frames/s")),
        _pair("Five frames a second: share of a core", "%", "ours_percent", "bare_percent"),
    ),
    Chapter(
        "footprint", "Memory by part",
        "PSS of all processes, beside a script that imports the same libraries, opens the same "
        "model and looks at the same clip. Pages that several processes map count in parts, so PSS "
        "depends on what else runs; *own* is memory that nobody can share. The stroke is the "
        "script's + 20 MB.",
        (("pss_mb", "PSS MB"), ("bare_mb", "script MB"), ("more_mb", "+ MB"), ("own_mb", "own MB"),
         ("bare_own_mb", "script's own MB")),
        _pair("Memory (PSS)", "MB", "pss_mb", "bare_mb", "more"),
    ),
    Chapter(
        "first", "Start to first result",
        "From the start of the process to the first result of `parts`, ours and a script that "
        "imports, opens and infers once, in turns.",
        (("ours_ms", "agent ms"), ("bare_ms", "script ms"), ("later_ms", "+ ms"),
         ("ours_cpu_ms", "agent CPU ms"), ("bare_cpu_ms", "script CPU ms"),
         ("later_cpu_ms", "+ CPU ms")),
    ),
    Chapter(
        "frame", "Processor time of a frame",
        "The whole process on a recorded belt, with a rule, zones and the outbox, beside a loop "
        "that reads, resizes, infers, decodes and writes a line.",
        (("ours_ms", "agent ms"), ("bare_ms", "script ms"), ("ratio", "×")),
    ),
    Chapter(
        "track", "Following many", "One call of the tracker on walkers that hide and flicker.",
        (("median_ms", "median ms"), ("p95_ms", "p95 ms")),
    ),
    Chapter(
        "rest", "Written at rest",
        "Connected and without pipelines: what the kernel wrote to the medium for it, as a day.",
        (("mb_a_day", "MB a day"), ("bytes", "bytes"), ("seconds", "in s")),
    ),
    Chapter(
        "cameras", "Beside a detector process behind a queue",
        "The layout that camera recorders document: a process for each camera decodes, the picture "
        "lies in shared memory, one process detects. Same clip, same SSD, 5 frames a second for "
        "each camera, in turns. The pair only detects; ours tracks, records and publishes too.",
        (("latency_p50_ms", "latency p50 ms"), ("latency_p95_ms", "p95 ms"),
         ("cpu_per_frame_ms", "CPU per frame ms"), ("pss_mb", "PSS MB")),
        _cameras,
    ),
    Chapter(
        "servers", "Beside MLServer and KServe's server",
        "The same pictures (8 × 8) to the same ONNX file over the Open Inference Protocol, one "
        "client process, servers in turns.",
        (("p50_us", "p50 µs"), ("p99_us", "p99 µs"), ("per_s", "requests/s"),
         ("cpu_us", "CPU a request µs"), ("pss_mb", "PSS MB")),
        _servers,
    ),
)  # fmt: skip

_ABSENT = {
    "cameras": "Not measured in this run: `make peers`.",
    "servers": "Not measured in this run: `make peers VENVS=FOLDER`.",
}


def write(run: Mapping[str, Any], folder: Path, limits: Limits) -> list[Verdict]:
    """Write the run, its page and its pictures; what of it is limited."""
    images = folder / "images"
    images.mkdir(parents=True, exist_ok=True)
    (folder / JSON).write_text(json.dumps(run, indent=1, ensure_ascii=False) + "\n")
    verdicts = judge({name: its["rows"] for name, its in run["parts"].items()}, limits)
    for chapter in CHAPTERS:
        rows = run["parts"].get(chapter.part, {}).get("rows")
        if chapter.picture and rows:
            (images / f"results-{chapter.part}.svg").write_text(chapter.picture(rows))
    (folder / PAGE).write_text(page(run, verdicts))
    return verdicts


def page(run: Mapping[str, Any], verdicts: Sequence[Verdict]) -> str:
    """The report as Markdown."""
    said = {(its.part, its.row): its for its in verdicts}
    over = [its for its in verdicts if not its.kept]
    blocks = [
        "# Results", "<!-- made by `make results` and `make peers`; run them instead -->",
        _machine(run),
    ]  # fmt: skip
    kept = f"{len(verdicts) - len(over)} of {len(verdicts)} limits (`benchmarks/limits.toml`) kept."
    blocks.append(kept + ("" if not over else " Over them:"))
    if over:
        blocks.append("\n".join(f"- {its}" for its in over))
    for chapter in CHAPTERS:
        part = run["parts"].get(chapter.part)
        if part is not None or chapter.part in _ABSENT:
            blocks += _chapter(chapter, part, said)
    return "\n\n".join(blocks) + "\n"


def _machine(run: Mapping[str, Any]) -> str:
    its = run["machine"]
    rows = [f"| {name} | {value} |" for name, value in its.items()]
    return "\n".join(["| | |", "|---|---|", *rows])


def _chapter(
    chapter: Chapter, part: Mapping[str, Any] | None, said: Mapping[tuple[str, str], Verdict]
) -> list[str]:
    blocks = [f"## {chapter.title}", chapter.text]
    if part is None:
        return [*blocks, _ABSENT[chapter.part]]
    rows: Rows = part["rows"]
    limited = any((chapter.part, name) in said for name in rows)
    head = ["", *(title for _, title in chapter.columns), *(["limit"] if limited else [])]
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    for name, figures in rows.items():
        cells = [name, *(_cell(figures, key) for key, _ in chapter.columns)]
        if limited:
            verdict = said.get((chapter.part, name))
            cells.append(f"{verdict.bar} {'✓' if verdict.kept else '✗'}" if verdict else "")
        lines.append(f"| {' | '.join(cells)} |")
    blocks.append("\n".join(lines))
    if chapter.picture and rows:
        blocks.append(f"![{chapter.title}](images/results-{chapter.part}.svg)")
    low, high = part["load"]
    blocks.append(
        f"`{part['command']}`, {part['form']}, {part['when']}, {part['took_s']} s, load of the "
        f"machine {low:g} to {high:g}."
    )
    return blocks


def _cell(figures: Mapping[str, float], key: str) -> str:
    if not figures:
        return "not installed here"
    return f"{figures[key]:,g}" if key in figures else ""
