"""Drift and the pool in the configuration: whether what a pipeline sees is what it was made for,
and which samples are kept to be labelled."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct, field

from edgeagent.config.units import Duration


class Drift(Struct, forbid_unknown_fields=True):
    """Whether samples and answers are still as usual: as in the model's own data, or as in the
    first week on this device; `edgeagent drift learn` has that learned anew."""

    every: Duration = "20 s"
    """How often a sample is looked at; a look costs some tens of microseconds."""
    learn: Duration = "7 d"
    """How long is learned what is usual, in the samples' time."""
    samples: Annotated[int, Meta(ge=40, le=10_000)] = 200
    """Looks that are compared at a time; with fewer nothing is said."""
    threshold: Annotated[float, Meta(gt=0, lt=1)] = 0.3
    """Share of looks (Kolmogorov-Smirnov distance) that must be elsewhere, if no larger change was
    usual."""
    reference: Literal["auto", "device"] = "auto"
    """`device` = what this device has seen, even where the model's package says what is usual."""
    ignore: list[str] = field(default_factory=list)
    """Features that may change: brightness, contrast, colour, sharpness, loudness, pitch, hum,
    mean, spread, range, rhythm (of one channel: "x mean"), score, things, doubt, labels."""


Reason = Literal["uncertain", "disagreement", "drift", "random"]


class Pool(Struct, forbid_unknown_fields=True):
    """Samples that are worth a label, kept on this device until somebody asks for them; pictures
    are redacted like any. Absent = none is kept."""

    reasons: list[Reason] = field(
        default_factory=lambda: ["uncertain", "disagreement", "drift", "random"]
    )
    """Why a sample is kept: the model was unsure, another model says otherwise, what is seen has
    drifted, or by chance."""
    each: Annotated[int, Meta(ge=1, le=10_000)] = 50
    """Samples of each reason; beyond it the least useful one goes."""
    pause: Duration = "30 s"
    """Time between two samples that are kept."""
    random: Duration = "1 h"
    """About so often one is kept by chance."""
    unsure: Annotated[float, Meta(gt=0, lt=1)] = 0.8
    """Doubt from which on a sample counts as uncertain: 1 = at the threshold, or two labels that
    are equal."""
