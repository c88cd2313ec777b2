"""Second models on what the first one found: detect, cut out, then classify, read or compare.

The first model's result is never at stake: where a second one fails, is late or can't even be
opened, its answer is missing, the count of such cases grows, and the pipeline says so. What it
may cost is bounded per frame (parts and time) and per track (asked again only after some
frames, and no longer once an answer is sure); in between the answer stands.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from msgspec.structs import replace

from edgeagent.config.units import seconds
from edgeagent.errors import ConfigError, EdgeAgentError, InferenceError, InputError
from edgeagent.infer import open_package
from edgeagent.interpret.embed import UNKNOWN
from edgeagent.prove.batch import Batch
from edgeagent.prove.predict import Opens, Predictor
from edgeagent.types import (
    WHOLE,
    Detection,
    Frame,
    Keypoints,
    Label,
    Placement,
    Text,
)

if TYPE_CHECKING:
    from edgeagent.config.model import Refine
    from edgeagent.manifest import Package
    from edgeagent.types import Prediction, Sample

    Boxed = Detection | Keypoints

log = logging.getLogger("edgeagent.cascade")

_FORGET = 500
"""Frames after which a track that is seen no more is forgotten."""
_TOGETHER = 8
"""Parts in one run: more need much memory at once and save little time."""
_SMALLEST = 4
"""Pixels: smaller parts show nothing."""


class Known:
    """What is known of one track."""

    __slots__ = ("answer", "asked", "seen")

    def __init__(self) -> None:
        self.answer: Prediction | None = None
        self.asked = self.seen = 0


class Part(NamedTuple):
    """A piece of the frame, and where the frame lies in it."""

    frame: Frame
    placement: Placement


class Refiner:
    """One second model with its budget and its memory of tracks.

    Args:
        name: under which its answers stand.
        how: labels, limits and the like.
        predictor: opened; closed by `close`.
        threshold: of the first model: what is below is not asked about.
        forever: without a time budget, for files.
    """

    def __init__(
        self,
        name: str,
        how: Refine,
        predictor: Predictor,
        *,
        threshold: float = 0.0,
        forever: bool = False,
    ) -> None:
        self.name = name
        self.tally = {"asked": 0, "postponed": 0, "late": 0, "failed": 0}
        """Parts asked about; put off for want of parts or time; frames in which it took longer
        than its budget all the same; parts whose answer was an error."""
        self.loss = ""
        """Why it gives no answers at present."""
        self._how = how
        self.predictor = predictor
        self.batch = Batch(predictor)
        self._limit = predictor.threshold
        self._threshold = threshold
        self._budget_s = float("inf") if forever else seconds(how.budget)
        self._labels = frozenset(how.labels)
        self.known: dict[int, Known] = {}
        self._number = 0
        self._each_s = 0.0
        """What a part has cost lately."""

    def __call__(self, frame: Frame, told: list[Prediction]) -> None:
        """Put answers into ``told``, in place of the predictions that they are about."""
        self._number += 1
        mine = [(place, its) for place, its in enumerate(told) if self._wants(its)]
        for place, answer in self._ask(frame, self._due(mine)).items():
            its: Any = told[place]
            self._learn(its.track, answer)
            if not its.track:
                told[place] = _with(its, self.name, answer)
        for place, its in mine:
            known = self.known.get(its.track) if its.track else None
            if known is not None:
                known.seen = self._number
                if known.answer is not None:
                    told[place] = _with(its, self.name, known.answer)
        if len(self.known) > _FORGET:
            self._forget()

    def close(self) -> None:
        self.predictor.close()

    # --- whom to ask about -----------------------------------------------------------------

    def _wants(self, its: Prediction) -> bool:
        return (
            isinstance(its, (Detection, Keypoints))
            and its.score >= self._threshold
            and (not self._labels or its.label in self._labels)
        )

    def _due(self, mine: Sequence[tuple[int, Any]]) -> list[tuple[int, Any]]:
        """Those to ask about now: first who never was, then who was longest ago."""
        waiting: list[tuple[int, float, int, Any]] = []
        for place, its in mine:
            known = self.known.get(its.track) if its.track else None
            if known is None:
                waiting.append((0, -its.score, place, its))
            elif not self._sure(known) and self._number - known.asked >= self._how.every:
                waiting.append((known.asked, -its.score, place, its))
        waiting.sort(key=lambda one: one[:3])
        self.tally["postponed"] += max(0, len(waiting) - self._how.at_most)
        return [(place, its) for _, _, place, its in waiting[: self._how.at_most]]

    def _sure(self, known: Known) -> bool:
        score = _score(known.answer)
        return score is not None and score >= self._how.until

    def _learn(self, track: int, answer: Prediction | None) -> None:
        if not track:
            return
        known = self.known.setdefault(track, Known())
        known.asked = known.seen = self._number
        new, old = _score(answer), _score(known.answer)
        newest = self._how.until > 1 or new is None or old is None
        if answer is not None and (newest or (new or 0.0) >= (old or 0.0)):
            known.answer = answer

    def _forget(self) -> None:
        self.known = {
            track: known
            for track, known in self.known.items()
            if self._number - known.seen < _FORGET
        }

    # --- asking ----------------------------------------------------------------------------

    def _ask(self, frame: Frame, due: Sequence[tuple[int, Any]]) -> dict[int, Prediction | None]:
        """Answers by place, None where there is none; a place that is missing was put off."""
        answers: dict[int, Prediction | None] = {}
        parts = [(place, part) for place, its in due if (part := self._part(frame, its))]
        started = time.perf_counter()
        spent, done = 0.0, 0
        while done < len(parts):
            size = self._affordable(spent, len(parts) - done, first=not done)
            if not size:
                self.tally["postponed"] += len(parts) - done
                break
            some = parts[done : done + size]
            told = self._answers([part for _, part in some])
            answers.update(zip((place for place, _ in some), told, strict=True))
            done += size
            before, spent = spent, time.perf_counter() - started
            each = (spent - before) / size
            self._each_s = each if not self._each_s else 0.8 * self._each_s + 0.2 * each
        if spent > self._budget_s:
            self.tally["late"] += 1
        return answers

    def _affordable(self, spent: float, left: int, *, first: bool) -> int:
        """How many parts the rest of the budget bears; one in any case at first."""
        most = min(left, _TOGETHER) if self.batch.together else 1
        if self._each_s and self._budget_s != float("inf"):
            most = min(most, int(max(0.0, self._budget_s - spent) / self._each_s))
        elif spent > self._budget_s:
            most = 0
        return max(most, int(first))

    def _part(self, frame: Frame, its: Boxed) -> Part | None:
        from edgeagent.prepare.crop import box_of, quad_of

        points = its.points if isinstance(its, Detection) else ()
        placement = WHOLE
        if self._how.crop == "quad" or (self._how.crop == "auto" and len(points) == 4):
            pixels = quad_of(frame.pixels, points) if len(points) == 4 else None
        else:
            cut = box_of(frame.pixels, its.box, self._how.margin)
            pixels, placement = cut if cut else (None, WHOLE)
        if pixels is None or min(pixels.shape[:2]) < _SMALLEST:
            return None
        part = Frame(
            frame.source, frame.number, pixels, frame.at_ns, frame.mono_ms, frame.origin
        )  # fmt: skip
        return Part(part, placement)

    def _answers(self, parts: Sequence[Part]) -> list[Prediction | None]:
        self.tally["asked"] += len(parts)
        try:
            told = self.batch([part.frame for part in parts])
        except (InputError, InferenceError) as error:
            self._lost(str(error), len(parts))
            return [None] * len(parts)
        if self.loss:
            self.loss = ""
            log.info("%s answers again", self.name)
        return [
            self._chosen(predictions, part.placement)
            for predictions, part in zip(told, parts, strict=True)
        ]

    def _lost(self, reason: str, parts: int) -> None:
        self.tally["failed"] += parts
        if not self.loss:
            log.warning("%s gives no answer: %s", self.name, reason)
        self.loss = f"{self.name} gives no answer: {reason}"

    def _chosen(self, predictions: Sequence[Prediction], where: Placement) -> Prediction | None:
        """The one answer that is kept of all that a model says about a part."""
        if not predictions:
            return None
        best = predictions[0]
        if isinstance(best, Label):
            return best if best.score >= self._limit else Label(UNKNOWN, best.score)
        if isinstance(best, Text):
            return best if best.text and best.score >= self._limit else None
        if isinstance(best, Detection):
            points = tuple(where.to_frame((x, y, 0.0, 0.0))[:2] for x, y in best.points)
            return replace(best, box=where.to_frame(best.box), points=points)
        return best


def _score(answer: Prediction | None) -> float | None:
    return answer.score if isinstance(answer, (Label, Text, Detection)) else None


def _with(its: Any, name: str, answer: Prediction | None) -> Prediction:
    changed: Prediction = its if answer is None else replace(
        its, refined=(*its.refined, (name, answer))
    )  # fmt: skip
    return changed


class Cascade:
    """All second models of a pipeline, asked one after the other."""

    def __init__(self, refiners: Sequence[Refiner], losses: Sequence[str] = ()) -> None:
        self.refiners = refiners
        self._losses = tuple(losses)

    def __call__(self, sample: Sample, predictions: list[Prediction]) -> list[Prediction]:
        """The same predictions, with what second models say in ``refined``."""
        if not isinstance(sample, Frame):
            return predictions
        told = list(predictions)
        for refiner in self.refiners:
            refiner(sample, told)
        return told

    def loss(self) -> str:
        """Why some answers are missing; empty = none are."""
        return "; ".join([*self._losses, *(one.loss for one in self.refiners if one.loss)])

    def tally(self) -> dict[str, dict[str, int]]:
        """Counts by the second model's name."""
        return {refiner.name: dict(refiner.tally) for refiner in self.refiners}

    def hand_over(self) -> None:
        for refiner in self.refiners:
            refiner.predictor.hand_over()

    def close(self) -> None:
        for refiner in self.refiners:
            refiner.close()


def open_cascade(
    name: str,
    refines: dict[str, Refine],
    find: Callable[[str, str], Package],
    labels: Sequence[str],
    *,
    threshold: float = 0.0,
    forever: bool = False,
    opens: Opens = open_package,
) -> Cascade:
    """The second models of pipeline ``name``.

    Args:
        refines: how to ask each, by name.
        find: a package by name and version.
        labels: of the first model; empty = unknown.
        threshold: of the first model.
        forever: without a time budget.
        opens: what opens sessions.

    A model that is not there or does not open is told as a loss: the first one goes on.

    Raises:
        ConfigError: a label that the first model does not have; a gallery that can't be read
            or that the second model has no use for.
    """
    refiners: list[Refiner] = []
    losses: list[str] = []
    try:
        for its, how in refines.items():
            key = f"pipelines.{name}.refine.{its}"
            _check_labels(key, how, labels)
            try:
                package = find(how.model, how.version)
                predictor = Predictor(package, how.runtime, how.threshold, opens)
            except EdgeAgentError as error:
                log.warning("%s: %s", key, error)
                losses.append(f"{its} can't be opened: {error}")
                continue
            refiner = Refiner(its, how, predictor, threshold=threshold, forever=forever)
            refiners.append(refiner)
            if how.gallery:
                know(key, how.gallery, predictor)
    except BaseException:
        Cascade(refiners).close()
        raise
    return Cascade(refiners, losses)


def _check_labels(key: str, how: Refine, labels: Sequence[str]) -> None:
    for label in how.labels if labels else ():
        if label not in labels:
            from edgeagent.config.words import did_you_mean

            raise ConfigError(
                f"{key}.labels: the model of the pipeline has no label {label!r}",
                remedy=did_you_mean(label, labels) or f"It has: {', '.join(labels[:10])}.",
            )


def know(key: str, gallery: str, predictor: Predictor) -> None:
    """Give a gallery to a model that embeds. Raises ConfigError that names ``key``."""
    from edgeagent.interpret.embed import Embed, read_gallery

    decoder = predictor.decoder
    if not isinstance(decoder, Embed):
        raise ConfigError(
            f"{key}.gallery: {predictor.model} is compared with nothing",
            remedy="Take gallery out, or choose a model whose decoder is embed.",
        )
    try:
        decoder.know(read_gallery(Path(gallery).expanduser()))
    except EdgeAgentError as error:
        raise ConfigError(f"{key}.gallery: {error}", remedy=error.remedy) from error
