"""The table of outcomes: which devices there are, and what a version does on them."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path
from typing import Literal

import msgspec
from msgspec import Struct, field

from edgeagent.errors import ConfigError, NotFound
from edgeagent.update.ports import Refused

At = Literal["verifying", "proving", "shadowing", "activating", "probation", "committed"]


class Outcome(Struct, frozen=True, forbid_unknown_fields=True):
    """What happens to a share of devices, in place of going well."""

    version: str
    """``parts@2.0.0``"""
    share: float = 1.0
    profile: str = ""
    """Empty = of all profiles."""
    at: At = "proving"
    reason: str = ""
    """The code, such as ``prove: golden``; empty = by the state."""
    says: str = ""
    """The sentence of evidence."""
    then: Literal["refuse", "hang", "silent"] = "refuse"
    """``hang`` = never ends; ``silent`` = the device is gone (with ``at = "committed"``)."""


class Behaviour(Struct, frozen=True, forbid_unknown_fields=True):
    """What pipelines tell while a version runs."""

    version: str
    profile: str = ""
    events_per_min: float = 0.0
    score: float = 0.8
    spread: float = 0.1


class Table(Struct, frozen=True, forbid_unknown_fields=True):
    """All of it. Of several outcomes or behaviours that fit, the first counts."""

    profiles: dict[str, float] = field(
        default_factory=lambda: {
            "rpi4": 0.4, "rpi5": 0.2, "jetson-nano": 0.2, "x86": 0.1, "imx8mp": 0.1,
        }
    )  # fmt: skip
    """Profile → its share of the devices."""
    model: str = "parts"
    version: str = "1.0.0"
    """What they run at first."""
    canary: int = 20
    """Every so many devices one is in the group ``canary``."""
    outcome: tuple[Outcome, ...] = ()
    behaviour: tuple[Behaviour, ...] = ()

    def profile(self, number: int, of: int) -> str:
        """Of a device; shares come out exactly, and profiles are mixed over the numbers."""
        place, whole = (_ranks(of)[number] + 0.5) / of, sum(self.profiles.values())
        for name, share in self.profiles.items():
            place -= share / whole
            if place < 0:
                return name
        return next(reversed(self.profiles))

    def fate(self, device: str, profile: str, version: str) -> Outcome | None:
        """What happens to a device when it is given a version; None = all goes well. The same
        each time it is asked."""
        for number, outcome in enumerate(self.outcome):
            fits = outcome.version == version and outcome.profile in ("", profile)
            if fits and _chance(f"{device}/{version}/{number}") < outcome.share:
                return outcome
        return None

    def behaves(self, profile: str, version: str) -> Behaviour | None:
        """What its pipelines tell; None = nothing."""
        for its in self.behaviour:
            if its.version == version and its.profile in ("", profile):
                return its
        return None


def refusal(outcome: Outcome) -> Refused:
    """As the engine is told."""
    codes = {"verifying": "incompatible", "proving": "prove: golden", "shadowing": "shadow"}
    reason = outcome.reason or codes.get(outcome.at, outcome.at)
    return Refused(reason, outcome.says or f"the table of outcomes says {reason}")


def load(file: Path) -> Table:
    """A table in TOML. Raises NotFound, ConfigError."""
    try:
        text = file.read_bytes()
    except OSError as error:
        raise NotFound(f"{file}: {error.strerror}") from error
    try:
        return msgspec.toml.decode(text, type=Table)
    except (msgspec.MsgspecError, ValueError) as error:
        raise ConfigError(f"{file} is no table of outcomes: {error}") from error


@lru_cache(maxsize=4)
def _ranks(count: int) -> list[int]:
    """0 … count - 1 in an order that mixes any stretch of it evenly (by the golden ratio)."""
    order = sorted(range(count), key=lambda number: (number * 0.6180339887498949) % 1.0)
    ranks = [0] * count
    for rank, number in enumerate(order):
        ranks[number] = rank
    return ranks


def _chance(text: str) -> float:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") / 2**64
