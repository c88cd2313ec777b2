"""What the engine asks of the rest of the house. Implemented beside it or above it, wired in
`agent`; each is small enough that a test or a simulation answers from a table.

Every method may raise an EdgeAgentError. The engine reads its ``retry``: ``backoff`` = it lacks
only for now (no broker, no room, an untrusted clock), anything else ends the deployment, with
the reason of a `Refused` or the error's code.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from threading import Event
from typing import Any, Literal, Protocol

from msgspec import Struct, field

from edgeagent.config.check import Fault
from edgeagent.errors import EdgeAgentError
from edgeagent.manifest import Package

Progress = Callable[[int, int], None]
"""Told of bytes done, of all."""


class Refused(EdgeAgentError):
    """This version is not for this device."""

    exit_code = 1
    code = "refused"

    def __init__(self, reason: str, sentence: str, *, remedy: str = "") -> None:
        """``reason`` is the stable code of contract §6, such as ``prove: golden`` or
        ``incompatible``; ``sentence`` says it with the figures."""
        super().__init__(sentence, remedy=remedy)
        self.reason = reason


class Target(Struct, frozen=True):
    """A file that the repository's signed metadata lists."""

    path: str
    length: int
    sha256: str
    custom: dict[str, Any] = field(default_factory=dict)


class Repository(Protocol):
    """Signed files, looked up, never guessed (`update.trust`)."""

    def refresh(self, stopped: Event) -> None:
        """Bring the signed metadata up to date. Raises an error whose ``retry`` is ``backoff``
        where it can't be reached, ``never`` where it can't be trusted."""

    def target(self, path: str) -> Target | None:
        """As listed at the last refresh."""

    def bring(
        self,
        target: Target,
        into: Path,
        *,
        bases: Sequence[Path] = (),
        progress: Progress,
        stopped: Event,
    ) -> None:
        """Have the file at ``into``, whole, verified and on the medium.

        Goes on where an earlier call was ended, by a stop or by a power cut. ``bases`` are files
        that are present and of which a signed patch may make it.
        """

    def close(self) -> None:
        """End the child: no memory is held afterwards."""


class Carrier(Protocol):
    """Bytes by path, from wherever they lie: MQTT, HTTPS, a folder. Not trusted with anything."""

    def fetch(self, path: str, first: int, most: int, stopped: Event) -> bytes | None:
        """Up to ``most`` bytes from ``first`` on, fewer (or none) at the end; None where there is
        no such file."""

    def close(self) -> None: ...


class Budget(Struct, frozen=True):
    """What a version may take on this board; None = no limit."""

    p95_ms: float | None = None
    pss_mb: float | None = None
    timeout_s: float = 120.0


class Passed(Struct, frozen=True):
    """A proof or a shadow run that found nothing wrong."""

    sentence: str = ""
    figures: dict[str, Any] = field(default_factory=dict)


class Prover(Protocol):
    """Runs a version in a child process before it is let near the pipelines (`prove.child`)."""

    def prove(
        self,
        folder: Path,
        *,
        against: Path | None,
        samples: Path | None,
        budget: Budget,
        require: Sequence[str],
        stopped: Event,
    ) -> Passed:
        """Raises Refused (``prove: crash|timeout|golden|parity|budget|delegate``).

        Args:
            folder: of the new version.
            against: folder of the version that runs, for parity.
            samples: stored frames to compare both on.
            budget: limits; absent ones are 1.5 × the running version's.
            require: delegates or providers that must take part.
        """


class Verdict(Struct, frozen=True):
    """How a version on probation does, compared with the one before it."""

    state: Literal["open", "good", "bad"]
    """``open`` = too early to say."""
    sentence: str = ""
    """The evidence."""
    figures: dict[str, Any] = field(default_factory=dict)


class Stage(Protocol):
    """The pipelines, as far as a change of model concerns them."""

    def incompatible(self, package: Package) -> Sequence[Fault]:
        """What this device's rules, zones, redaction, second models and sources need and the
        version does not give."""

    def shadow(self, package: Package, seconds: float, stopped: Event) -> Passed:
        """Run it beside the active one. Raises Refused (``shadow``)."""

    def activate(self, package: Package) -> None:
        """Hand over to it, between two frames, in every pipeline that runs this model. Raises
        where it can't be opened; then all of them still run what they ran.

        Also how it is taken back: to activate what was there before."""

    def withdraw(self, model: str) -> None:
        """There was no version before: pipelines of this model have none again."""

    def behaviour(self, model: str) -> Mapping[str, Any]:
        """How the version that runs has done until now, as plain values: kept on the medium
        before the change."""

    def judge(
        self, model: str, before: Mapping[str, Any], soaked_s: float, soak_s: float
    ) -> Verdict:
        """How the version on probation has done since `activate`, against ``before``. When
        ``soaked_s`` reaches ``soak_s`` it must not stay open."""


class Headroom(Protocol):
    """Whether the board can bear a change now (`device.health`)."""

    def lacks(self) -> str:
        """Why not: too hot, on battery, little disk; empty = it can."""


class Books(Protocol):
    """Where ends are told durably (`store.outbox`)."""

    def tell(self, data: Mapping[str, Any]) -> None:
        """Commit a ``deployment`` record; on the medium when it returns."""

    def claim(self, size: int, what: str) -> Any:
        """A context in which ``size`` bytes may be written. Raises StoreFull."""
