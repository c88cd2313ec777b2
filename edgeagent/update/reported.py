"""Reported state: what a device is, and how far it got with what it should be (contract §4)."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct, field

ConfigState = Literal["applied", "trial", "rolled-back", "rejected"]


class ModelReport(Struct, frozen=True, omit_defaults=True):
    """One model."""

    version: str = ""
    """That runs, or will when a pipeline wants it; empty = none."""
    state: str = "committed"
    """Of the last deployment (`states.Step`); ``down`` = the version that is there can't run."""
    wanted: str = ""
    """The version that the last deployment was about, whatever became of it."""
    rev: int = 0
    """Of the desired state that asked for it; 0 = a person at the device."""
    id: str = ""
    """Of the last deployment."""
    source: str = ""
    """Its layer: ``device`` or ``group:{name}``; empty = a person at the device."""
    reason: str = ""
    """A stable code, such as ``prove: golden``, ``held``, ``schedule``."""
    detail: str = ""
    """A sentence: the evidence, or what is waited for."""
    since: str = ""
    """When it came into this state."""
    progress: float = 0.0
    """Share of the present state's work that is done, where that is known."""
    failed: tuple[str, ...] = ()
    """Versions that are not tried again here."""
    previous: str = ""
    """What a rollback would return to."""
    times_s: dict[str, float] = field(default_factory=dict)
    """How long each state took."""
    variant: str = ""
    pipelines: tuple[str, ...] = ()
    """That run it."""


class ConfigReport(Struct, frozen=True, omit_defaults=True):
    """The configuration that came from desired state."""

    rev: int = 0
    state: ConfigState = "applied"
    reason: str = ""
    detail: str = ""
    since: str = ""
    hash: str = ""
    """Of the effective configuration, as it stands in records."""


class Held(Struct, frozen=True, omit_defaults=True):
    """A person at the device does not want this model changed."""

    model: str
    by: str = ""
    since: str = ""
    until: str = ""
    """Empty = until it is taken back."""
    reason: str = ""


class Reported(Struct, frozen=True):
    """What is retained on ``reported``."""

    rev: int = 0
    """The highest of this device's own topic that was taken."""
    revs: dict[str, int] = field(default_factory=dict)
    """The same for each layer, groups included."""
    models: dict[str, ModelReport] = field(default_factory=dict)
    config: ConfigReport = field(default_factory=ConfigReport)
    held: tuple[Held, ...] = ()
    rejected: str = ""
    """Why the last document on a ``desired`` topic was not taken; empty = it was."""
