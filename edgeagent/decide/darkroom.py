"""Pictures as evidence: nothing leaves before it is known what it must hide. Fails closed.

Without redaction a snapshot is made at once. With it, it is made when the redactor has looked
at what came after, too (`redact.hold`): the event is told without delay, and its picture follows
with an update, or with its end, which waits for it.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from edgeagent.config.model import Clip
from edgeagent.decide.cases import unknown
from edgeagent.decide.reel import Reel
from edgeagent.errors import ConfigError, InputError
from edgeagent.types import Evidence, Frame

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from edgeagent.config.model import Pipeline, Privacy
    from edgeagent.decide.redact import Redactor
    from edgeagent.types import Box, Prediction, Sample

_FRAMES = 4
"""Frames that may wait at the same time; snapshots of further ones are withheld."""

Ready = tuple[str, "Evidence | None"]


class Darkroom:
    """All pictures of one pipeline.

    Args:
        redactor: hides what must not be seen; None = nothing is to be hidden.
        clip: how clips are made; None = nobody wants any.
    """

    def __init__(self, redactor: Redactor | None, clip: Clip | None) -> None:
        self._redactor = redactor
        self.hides = redactor is not None
        self.reel = Reel(clip, self._known, self._developed) if clip else None
        self._undeveloped: list[tuple[str, Frame]] = []
        self._proof: tuple[Frame, list[Box]] | None = None
        """The newest frame of which all is known."""
        self._next_proof: Frame | None = None
        self._pending: dict[str, int] = {}
        """Keys of events → pictures that are still to come."""

    def look(
        self,
        sample: Sample,
        predictions: Sequence[Prediction],
        hidden: Sequence[Prediction] | None,
    ) -> None:
        """The next sample with all that was found in it; ``hidden`` None = a finder failed."""
        if self._redactor is not None:
            self._redactor.watch(predictions, sample.when_ms, hidden, self._oldest_ms())
        if not isinstance(sample, Frame):
            return
        if self.reel is not None:
            self.reel.see(sample)
        if self._redactor is not None:
            self._prove(sample)

    def snapshot(self, key: str, frame: Frame) -> Evidence | None:
        """The picture of an event that begins, or None: it follows, or there is none."""
        if self._redactor is None:
            return _jpeg(frame.pixels)
        doubtful = self._redactor.covers(frame.when_ms) is None
        waiting = {id(its) for _, its in self._undeveloped} | {id(frame)}
        if len(waiting) <= _FRAMES and not doubtful:
            self._undeveloped.append((key, frame))
            self._expect(key)
        return None

    def clip(self, key: str) -> None:
        """Begin a clip for an event; it follows."""
        if self.reel is not None:
            self.reel.begin(key)
            self._expect(key)

    def awaits(self, key: str) -> bool:
        """Whether a picture of this event is still to come."""
        return key in self._pending

    def ready(self, *, ended: bool = False) -> list[Ready]:
        """Pictures that are done, by event; None = withheld. ``ended``: the stream is over, so
        that nothing more can be known."""
        done: list[Ready] = []
        waiting = []
        for key, frame in self._undeveloped:
            if ended or self._known(frame.when_ms):
                pixels = self._developed(frame.pixels, frame.when_ms)
                done.append((key, None if pixels is None else _jpeg(pixels)))
            else:
                waiting.append((key, frame))
        self._undeveloped = waiting
        if self.reel is not None:
            if ended:
                self.reel.advance(ended=True)
            done += self.reel.done(ended=ended)
        for key, _ in done:
            self._pending[key] -= 1
            if not self._pending[key]:
                del self._pending[key]
        return done

    def give_up(self) -> list[Ready]:
        """Everything that waits is withheld: what would have to be hidden will not be known."""
        withheld: list[Ready] = [(key, None) for key, left in self._pending.items() if left]
        self._undeveloped, self._pending = [], {}
        return withheld

    def picture(self, sample: Sample) -> Evidence | None:
        """A present picture, asked for by somebody: of the sample, or with redaction of the
        newest of which it is known what to hide. May be called by any thread."""
        if not isinstance(sample, Frame):
            return None
        if self._redactor is None:
            return Evidence("image/jpeg", _encoded(sample.pixels), sample.number)
        proof = self._proof
        if proof is None:
            return None
        frame, covers = proof
        pixels = self._redactor.paint(frame.pixels, covers)
        return None if pixels is None else Evidence("image/jpeg", _encoded(pixels), frame.number)

    def _expect(self, key: str) -> None:
        self._pending[key] = self._pending.get(key, 0) + 1

    def _prove(self, frame: Frame) -> None:
        candidate = self._next_proof
        if candidate is not None and not self._known(candidate.when_ms):
            return
        if candidate is not None and self._redactor is not None:
            covers = self._redactor.covers(candidate.when_ms)
            self._proof = None if covers is None else (candidate, covers)
        self._next_proof = frame

    def _known(self, when_ms: float) -> bool:
        return self._redactor is None or self._redactor.known(when_ms)

    def _developed(self, pixels: Any, when_ms: float) -> Any:
        return pixels if self._redactor is None else self._redactor.hide(pixels, when_ms)

    def _oldest_ms(self) -> float:
        times = [frame.when_ms for _, frame in self._undeveloped]
        if self._next_proof is not None:
            times.append(self._next_proof.when_ms)
        if self.reel is not None:
            times.append(self.reel.oldest_ms)
        return min(times, default=math.inf)


def check_redact(name: str, pipeline: Pipeline, known: Collection[str]) -> None:
    """Raise ConfigError where ``redact`` would hide nothing.

    Args:
        name: the pipeline's.
        known: all labels that its models find.
    """
    how = pipeline.redact
    if how is None:
        return
    key = f"pipelines.{name}.redact"
    if not how.labels:
        raise ConfigError(
            f"{key}.labels is empty: nothing would be hidden",
            remedy="Name the labels to hide, or take redact out.",
        )
    for label in how.labels:
        if label not in known:
            raise ConfigError(
                f"{key}.labels: {unknown('label', label, known)}",
                remedy="Only what a model of this pipeline finds can be hidden: set redact.model "
                "to one that finds it.",
            )


def open_darkroom(pipeline: Pipeline, privacy: Privacy, clips: bool) -> Darkroom | None:
    """Of a pipeline that has rules with clips or not; None where no picture may be, ever, and
    then OpenCV need not be loaded."""
    if privacy.pictures == "never":
        return None
    redactor = None
    if pipeline.redact is not None:
        from edgeagent.decide.redact import Redactor

        redactor = Redactor(pipeline.redact)
    wanted = clips and privacy.pictures == "events"
    return Darkroom(redactor, (pipeline.clip or Clip()) if wanted else None)


def _encoded(pixels: Any) -> bytes:
    from edgeagent.decide.picture import jpeg

    return jpeg(pixels)


def _jpeg(pixels: Any) -> Evidence | None:
    """None where the frame can't be written: the event counts for more than its picture."""
    try:
        return Evidence("image/jpeg", _encoded(pixels))
    except InputError:
        return None
