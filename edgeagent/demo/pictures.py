"""Pictures of the demo's events: copied out of the agent's evidence under names for people."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from edgeagent.demo.folders import Folders
from edgeagent.demo.story import Arrivals, Event
from edgeagent.errors import NotFound


def collect(folders: Folders, events: Sequence[Event]) -> dict[str, Path]:
    """sha256 → a copy such as ``pictures/belt-e-12-cracked.jpg``; clips likewise, as ``.avi``.
    They are hidden where they must be before they ever reach the disk, so a copy is as fit to be
    shown as the evidence."""
    found: dict[str, Path] = {}
    for event in events:
        for sha256, suffix in ((event.picture, "jpg"), (event.clip, "avi")):
            kept = folders.data / "blobs" / sha256
            if sha256 and kept.is_file():
                copy = folders.pictures / f"{event.pipeline}-{event.id}-{event.label}.{suffix}"
                shutil.copyfile(kept, copy)
                found[sha256] = copy
    return found


def save_best(arrivals: Arrivals, shots: dict[str, Path], target: Path) -> None:
    """The surest fault on the belt with everything that the model says about its picture.

    Raises NotFound where no fault was seen.
    """
    from edgeagent.decide.picture import draw, jpeg
    from edgeagent.prove.predict import Predictor
    from edgeagent.prove.samples import first_sample
    from edgeagent.types import Frame
    from edgeagent.update.library import Library, default_folders

    faults = [
        event
        for event in arrivals.events()
        if event.pipeline == "belt" and event.label != "whole" and event.picture in shots
    ]
    if not faults:
        raise NotFound("no fault was seen on the belt", remedy="Let the demo run longer.")
    best = max(faults, key=lambda event: event.score)
    with Predictor(Library(default_folders()).find("parts")) as predictor:
        sample = first_sample(shots[best.picture], predictor.package)
        assert isinstance(sample, Frame)
        annotated = draw(sample.pixels, predictor(sample).predictions)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(jpeg(annotated))
