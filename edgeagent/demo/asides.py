"""What a chapter of the page tells besides its events: parts counted at a line, a face that stayed
hidden while the detector did not see it."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from edgeagent.demo import glare
from edgeagent.demo.story import Arrivals, Event


def counted(arrivals: Arrivals, pipeline: str) -> str:
    """How many things have crossed the lines of a pipeline; empty without lines."""
    totals: dict[tuple[str, str], int] = {}
    for its in arrivals.of("result", pipeline):
        for line, ways in its.record["data"].get("lines", {}).items():
            # An agent counts from its start: the demo has two.
            totals[its.record["boot"], line] = sum(ways.values())
    if not totals:
        return ""
    number = sum(totals.values())
    return f" {number:,} part{'s' if number != 1 else ''} crossed the line and were counted."


def changed(changes: Sequence[Mapping[str, Any]]) -> str:
    """What became of the versions that were pushed, with the agent's own evidence."""
    said = []
    for its in changes:
        took = sum(its.get("times_s", {}).values())
        version, detail = f"{its['wanted']}", its.get("detail", "").partition(": ")[2]
        if its["state"] == "rolled-back":
            said.append(
                f"Version {version} was pushed while the belt ran. It passed its golden samples "
                f"and is wrong all the same: after {took:.0f} s the agent took it back by itself, "
                f"because {detail}."
            )
        elif its["state"] == "committed":
            said.append(f"Version {version} was pushed next and kept: {detail}.")
    return f"<p>{escape(' '.join(said))}</p>" if said else ""


def hidden(
    arrivals: Arrivals, events: Sequence[Event], pictures: Mapping[str, Path], pipeline: str
) -> str:
    """A picture of the moments in which the detector saw nothing, and how many those were."""
    clips = [pictures[event.clip] for event in events if event.clip in pictures]
    shown = glare.found_in(clips)
    if shown is None:
        return ""
    picture, number = shown
    results = [its.record["data"] for its in arrivals.of("result", pipeline)]
    missed = sum(not data.get("predictions") for data in results)
    said = (
        f"Every four seconds glare blinds the camera, drawn into the clip: in {missed:,} of "
        f"{len(results):,} recorded samples the detector found nothing. The face is there all the "
        "same for whoever turns up the contrast, as was done here; so it goes on being hidden "
        f"where it was before and after. The clips of events hold {number:,} such frames."
    )
    data = base64.b64encode(picture).decode()
    return (
        f'<p>{escape(said)}</p>\n<div class="shots"><figure><div class="shot">'
        '<img alt="a frame with glare, contrast turned up: the face is hidden" '
        f'src="data:image/jpeg;base64,{data}"></div>'
        "<figcaption>glare, contrast turned up</figcaption></figure></div>"
    )
