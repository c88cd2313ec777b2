"""The table of commands: names, arguments, and how each may be treated.

A type is offered once a function is registered for it (`commands.Registry`). The control
socket, MQTT, capabilities and the reference page all read this table.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct, field

from edgeagent.sync import schema

Model = Annotated[str, Meta(pattern=r"^[a-z0-9-]{1,64}$")]
NamedModel = Annotated[str, Meta(pattern=r"^([a-z0-9-]{1,64}(@[0-9A-Za-z.+-]{1,64})?)?$")]
Id = schema.Id
OptionalId = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{0,64}$")]


class Nothing(Struct):
    """No arguments."""


class ConfigGet(Struct):
    key: str = ""
    """A dotted key, e.g. ``pipelines.door``; empty = all."""
    origin: bool = False
    """Tell of every key which file and line, flag or default it comes from."""


class Logs(Struct):
    lines: Annotated[int, Meta(ge=1, le=5000)] = 200
    """The agent holds its last 1,000 at most."""


class Capture(Struct):
    source: Id
    seconds: Annotated[float, Meta(gt=0, le=60)] = 3.0
    """How long it is looked at; what must be hidden is looked for meanwhile."""


class _Asked(Struct, kw_only=True):
    """Which model is asked about what: exactly one of `source`, `record`, `input` and `fetch`."""

    model: NamedModel = ""
    """``name`` or ``name@version``; empty = that of the pipeline."""
    pipeline: OptionalId = ""
    """Whose model, threshold and runtime count; empty = the one that reads the source."""
    source: OptionalId = ""
    """Its present sample."""
    record: Annotated[str, Meta(pattern=r"^((e-)?[0-9]{1,19})?$")] = ""
    """Id of an event (``e-1041``) or number of a record: its picture, if one is kept."""
    input: Annotated[bytes, Meta(max_length=144 << 10)] = b""
    """A picture or a recording: at most 192 KiB of base64."""
    fetch: Annotated[str, Meta(max_length=512)] = ""
    """Path of a picture or a recording in the fleet's repository, at most 16 MiB: for what is too
    large for ``input``."""
    name: Annotated[str, Meta(pattern=r"^[^/\x00]{1,128}$")] = "input.jpg"
    """A file name for ``input``: its ending tells what it is."""
    threshold: Annotated[float, Meta(ge=0)] | None = None
    """In place of the pipeline's, or the model's own."""
    picture: bool = True
    """Show the sample of a source or record, redacted."""


class Infer(_Asked, kw_only=True):
    """See `_Asked`."""


class Explain(_Asked, kw_only=True):
    label: Annotated[str, Meta(max_length=256)] = ""
    """Explain this label, not the best answer."""
    method: Literal["auto", "hide", "masks"] = "auto"
    """How parts are hidden."""
    runs: Annotated[int, Meta(ge=20, le=2000)] = 600
    """How many masks."""


class Why(Struct):
    target: Id
    """Id of an event (``e-1041``), or a pipeline that has told nothing."""
    since: Annotated[str, Meta(max_length=64)] = ""
    """``2h``, ``10:00`` or RFC 3339; empty = the last hour."""
    label: Annotated[str, Meta(max_length=256)] = ""
    """Only things of this name."""


class PipelineAction(Struct):
    name: Id
    action: Literal["start", "stop", "pause"]


class OutboxAction(Struct):
    action: Literal["stats", "drain", "purge-dead-letter", "settle"] = "stats"
    confirm: schema.Confirm | None = None
    """What ``settle`` is to take, as on ``confirm/{collector}``."""


class Identify(Struct):
    seconds: Annotated[float, Meta(ge=0.5, le=300)] = 10.0


class Drill(Struct):
    what: list[Literal["camera", "broker", "disk", "heat", "slow-model", "update"]] = field(
        default_factory=list
    )
    """Empty = all."""
    seconds: Annotated[float, Meta(ge=1, le=60)] = 5.0
    """How long each fault lasts."""


class DriftAction(Struct):
    action: Literal["show", "learn"] = "show"
    """``learn`` = forget what is usual, and learn it anew from now on."""
    pipeline: Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{0,64}$")] = ""
    """Empty = all, for ``show``."""


class PoolAction(Struct):
    action: Literal["list", "send", "clear"] = "list"
    """``send`` = as evidence of a record each, like any other; what was sent is the first to go."""
    pipeline: Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{0,64}$")] = ""
    """Empty = all."""
    because: Literal["", "uncertain", "disagreement", "drift", "random"] = ""
    """Why they were kept; empty = all."""
    ids: Annotated[list[Id], Meta(max_length=200)] = field(default_factory=list)
    """These samples alone; empty = the most useful ones."""
    limit: Annotated[int, Meta(ge=1, le=200)] = 20
    """Samples that are listed or sent at most."""
    again: bool = False
    """Send also what was sent before."""


class Purge(Struct):
    before: Annotated[str, Meta(min_length=1, max_length=64)]
    """An age (``30 d``) or RFC 3339: what is older goes."""
    stores: list[Annotated[str, Meta(max_length=32)]] = field(default_factory=list)
    """records, evidence, decisions, pool, crashes, looks; empty = all but looks."""
    undelivered: bool = False
    """Also what nobody has got yet; a gap tells of it."""
    dry_run: bool = False
    """Only count."""


class Bench(Struct):
    model: Model
    seconds: Annotated[float, Meta(gt=0, le=300)] = 5.0


class Tune(Struct):
    model: Model
    seconds: Annotated[float, Meta(ge=2, le=600)] = 60.0
    """About so long it may take."""


class OfModel(Struct):
    model: Model


class Hold(Struct):
    model: Model
    until: str = ""
    """RFC 3339; empty = until it is taken back."""
    because: str = ""
    """For people; ``reason`` is the name of what a device answers."""


class Install(Struct):
    model: Model
    version: str
    origin: str = ""
    """A folder or URL; empty = it is on the device."""
    activate: bool = False
    soak_s: Annotated[float, Meta(ge=0, le=86400)] = 900.0
    """How long it must do as well as the one before."""


class OfVersion(Struct):
    model: Model
    version: str


class Cancel(Struct):
    target: Id
    """Id of the command that is to end."""


class CommandType(Struct, frozen=True):
    """One type of command."""

    name: str
    arguments: type[Struct]
    summary: str
    changes: bool = True
    """It changes something: ``at`` is required, and it may be too old to be done."""
    changes_with: Callable[[Mapping[str, Any]], bool] | None = None
    """Whether it changes something with these arguments, where that depends on them."""
    brief: bool = False
    """Answered at once, on the thread that brings it; others wait for the one that works."""
    again: bool = False
    """Done again if the agent crashed in the middle of it; else it fails ``interrupted``."""
    protected: bool = False
    """Only local, or signed."""
    at_device: str = ""
    """Its twin at the command line, where that is called otherwise (``models rollback``)."""

    @property
    def twin(self) -> str:
        """What a person at the device types after ``edgeagent``."""
        return self.at_device or self.name

    def changing(self, body: Mapping[str, Any]) -> bool:
        """Whether an order with these arguments changes something."""
        return self.changes and (self.changes_with is None or self.changes_with(body))

    def schema(self) -> dict[str, Any]:
        """JSON Schema of the arguments."""
        return schema.of_type(self.arguments)


PING = CommandType(
    "ping", Nothing, "Answer with this device's times", changes=False, brief=True, again=True
)
DOCTOR = CommandType("doctor", Nothing, "Check this device", changes=False, again=True)
WHY = CommandType("why", Why, "Explain an event, or why there is none", changes=False, again=True)
SUPPORT_BUNDLE = CommandType(
    "support-bundle", Nothing, "Send all that somebody far away needs to help, without secrets",
    changes=False, again=True,
)  # fmt: skip
DRILL = CommandType("drill", Drill, "Make faults for some seconds, and tell how it copes")
IDENTIFY = CommandType("identify", Identify, "Blink, so that a person finds this device")
CONFIG_GET = CommandType(
    "config-get", ConfigGet, "Show the effective configuration", changes=False, again=True,
    at_device="config show",
)  # fmt: skip
LOGS = CommandType("logs", Logs, "Show the last lines of the log", changes=False, again=True)
CAPTURE = CommandType(
    "capture", Capture, "Look at a source: its figures and a redacted picture", changes=False
)
INFER = CommandType("infer", Infer, "Ask a model about one sample", changes=False)
EXPLAIN = CommandType(
    "explain", Explain, "Tell which parts of a sample an answer depends on", changes=False
)
RESTART = CommandType("restart", Nothing, "End in good order and begin again")
PIPELINE = CommandType("pipeline", PipelineAction, "Start, stop or pause a pipeline")
OUTBOX = CommandType(
    "outbox", OutboxAction,
    "Show the account (that needs no `at`), send all now, forget dead letters, or take a confirm",
    changes_with=lambda body: body.get("action", "stats") != "stats",
)  # fmt: skip
DRIFT = CommandType(
    "drift", DriftAction,
    "Show whether what pipelines see is as usual (that needs no `at`), or have it learned anew",
    changes_with=lambda body: body.get("action", "show") != "show", again=True,
)  # fmt: skip
POOL = CommandType(
    "pool", PoolAction,
    "List the samples that are worth a label (that needs no `at`), send or forget some",
    changes_with=lambda body: body.get("action", "list") != "list", again=True,
)  # fmt: skip
BENCH = CommandType("bench", Bench, "Measure a model on this device")
TUNE = CommandType("tune", Tune, "Find the fastest way to run a model on this device", again=True)
MODEL_ROLLBACK = CommandType(
    "model-rollback", OfModel, "Return to the version before this one", at_device="models rollback"
)
MODEL_HOLD = CommandType(
    "model-hold", Hold, "Have a model changed by nobody", again=True, at_device="models hold"
)
MODEL_UNHOLD = CommandType(
    "model-unhold", OfModel, "Let a model be changed again", again=True, at_device="models unhold"
)
MODEL_INSTALL = CommandType(
    "model-install",
    Install,
    "Bring a version from a folder or URL; only on the device itself",
    at_device="models install",
)
MODEL_REMOVE = CommandType(
    "model-remove",
    OfVersion,
    "Remove a version; only on the device itself",
    at_device="models remove",
)
PRIVACY_REPORT = CommandType(
    "privacy-report", Nothing, "Tell what this device keeps of people, and who can see it",
    changes=False, again=True, at_device="privacy report",
)  # fmt: skip
PURGE = CommandType(
    "purge", Purge, "Erase what is older than a time",
    changes_with=lambda body: not body.get("dry_run"), protected=True, again=True,
)  # fmt: skip
CANCEL = CommandType("cancel", Cancel, "End another command", brief=True, again=True)

TABLE = {
    kind.name: kind
    for kind in (
        PING, DOCTOR, WHY, SUPPORT_BUNDLE, DRILL, IDENTIFY, CONFIG_GET, LOGS, CAPTURE, INFER,
        EXPLAIN, RESTART, PIPELINE, OUTBOX, DRIFT, POOL, BENCH, TUNE, MODEL_ROLLBACK, MODEL_HOLD,
        MODEL_UNHOLD, MODEL_INSTALL, MODEL_REMOVE, PRIVACY_REPORT, PURGE, CANCEL,
    )
}  # fmt: skip
