"""What a pipeline is made of: the stages that one model brings, and how they are replaced."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from msgspec import Struct

from edgeagent.decide.present import Numbered
from edgeagent.decide.thought import Setup, Thought
from edgeagent.types import Draft, Evidence, Joint, Prediction, Prepared, Sample
from edgeagent.update.behaviour import Watch

if TYPE_CHECKING:
    from numpy.typing import NDArray


Found = tuple[Sequence[Prediction], Sequence[Thought]]
"""What was predicted in a sample, and what was thought of the candidates among it."""


class Inbox(Protocol):
    """Where samples come from (a `capture.mailbox.Mailbox`)."""

    def get(self, timeout_s: float) -> Sample | Joint | None:
        """The next sample, None after the timeout. Raises SourceEnded at the end."""

    def close(self) -> None:
        """Nobody takes samples here any more: whoever puts them must not wait."""


class Sink(Protocol):
    """Where records go (a `store.outbox.Outbox`)."""

    def append(self, draft: Draft) -> Numbered: ...


class Runs(Protocol):
    """What a pipeline needs of a session."""

    def run(self, tensors: Sequence[NDArray[Any]]) -> list[NDArray[Any]]: ...

    def hand_over(self) -> None:
        """Let go of it: the next thread that runs it owns it."""

    def close(self) -> None: ...


class Shares(Protocol):
    """What a pipeline tells about a session that it shares (an `infer.sharing.Seat`)."""

    waited_s: float

    @property
    def seats(self) -> int: ...


class Notes(Protocol):
    """Where decisions are noted for people who ask why (a `decide.ring.Ring`)."""

    def begin(self, setup: Setup) -> None: ...

    def saw(self, sample: Sample, found: Found) -> None: ...

    def held(self, sample: Sample | Joint, why: str) -> None: ...

    def told(self, event: str, receipt: Numbered) -> None: ...


class Second(Protocol):
    """What a pipeline tells about its second models (an `agent.cascade.Cascade`)."""

    def loss(self) -> str: ...

    def tally(self) -> dict[str, Any]: ...


class Tells(Protocol):
    """What tells about itself (a `packaged.code.Code`)."""

    def figures(self) -> dict[str, Any]: ...

    def loss(self) -> str:
        """Why it gives no answers now; empty = it does."""


class Gates(Protocol):
    """What decides whether a sample is worth an inference (a `capture.gate.gate.Gate`)."""

    strictness: float
    reason: str
    """Why the last sample was held back."""

    @property
    def selects(self) -> bool: ...

    def passes(self, sample: Sample) -> bool: ...

    def tally(self) -> dict[str, Any]: ...


class Paces(Protocol):
    """What spreads samples in time (a `capture.rhythm.Thinner`)."""

    def takes(self, time_s: float) -> bool: ...


class Drifts(Protocol):
    """What looks whether samples and answers are still as usual (a `drift.watch.Drift`)."""

    def begin(self, model: str, threshold: float, usual: Path | None) -> None:
        """From now on this model is asked."""

    def saw(self, given: Sample | Joint, predictions: Sequence[Prediction]) -> None: ...

    def disagreed(self, given: Sample | Joint, other: Sequence[dict[str, Any]]) -> None:
        """Another version of the model says this of a sample. Any thread."""


class Acts(Protocol):
    """What does the actions of plugins (an `agent.acting.Acting`)."""

    def __call__(self, draft: Draft) -> None:
        """Have them done; must not block."""

    def loss(self) -> str:
        """What they could not do, in words; empty = nothing."""

    def close(self) -> None:
        """Finish what waits, within a moment."""


class Stages(Struct):
    """All that a model brings, opened together and closed together."""

    model: str
    """``parts@1.2.0/int8``, as it stands in records."""
    receipt: str
    """One true line of what runs where."""
    session: Runs
    prepare: Callable[[Sample | Joint], Prepared]
    interpret: Callable[[list[NDArray[Any]], Prepared], list[Prediction]]
    track: Callable[[list[Prediction], float], list[Prediction]]
    decide: Callable[[Sample, list[Prediction]], Iterable[Draft]]
    finish: Callable[..., Iterable[Draft]]
    """Ends what is still open (wall ns, CLOCK_BOOTTIME ms); ``ended``: the source is at its end."""
    picture: Callable[..., Evidence | None]
    """A present picture, redacted, or None where that must not be."""
    standing: Callable[[], dict[str, Any]] = dict
    """What is true now without a record: states, counts of lines."""
    found: Callable[[], Found] = lambda: ((), ())
    """Of the last sample."""
    setup: Callable[[], Setup] = Setup
    """By what is decided now."""
    seat: Shares | None = None
    """None = the session is the pipeline's alone."""
    second: Second | None = None
    """Models that are asked about what the first one found; `decide` asks them."""
    code: Tells | None = None
    """The package's own code, where it brings some."""
    loss: str = ""
    """What does not run as it was asked for, and why; empty = all does."""
    gave_up: Callable[[str], None] | None = None
    """Told why, when the model fails again and again."""
    gate: Gates | None = None
    """None = every sample is worth an inference."""
    threshold: float = 0.0
    """From which score on something counts as seen."""
    labels: Sequence[str] = ()
    """All that its model finds; empty where nobody knows."""
    usual: Path | None = None
    """What its package says of the samples and answers that are usual."""
    inherit: Callable[[Stages], bool] = lambda _before: False
    """Take over what the stages before these remember: tracks, open events, counts. False = that
    can't be, so they must end what is open. Called between two samples."""
    memory: Any = None
    """What there is to take over."""


class Seen(Struct, frozen=True):
    """What was found in one sample."""

    number: int
    at_ns: int
    predictions: list[Prediction]


class Parked(Struct, frozen=True):
    """What a pipeline ran until its model was changed: still open, to be run again or closed."""

    stages: Stages
    open_stages: Callable[[], Stages]
    watch: Watch


class Change:
    """Other stages for a running pipeline. `done` is set when they run, or can't."""

    def __init__(self, stages: Stages, open_stages: Callable[[], Stages], watch: Watch) -> None:
        self.stages = stages
        self.open_stages = open_stages
        """How to open them again after errors."""
        self.watch = watch
        self.done = threading.Event()
        self.before: Parked | None = None
        """None where nothing was open before."""
