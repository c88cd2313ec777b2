"""The wire as Structs, and the JSON Schema made from them.

These are what other programs read and write (contract §1–3). They describe and, for what comes
in, decode; records are encoded by the store when it commits them. Readers ignore unknown
fields, so the schema allows them.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Union

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType, field

from edgeagent.types import BlobRef

Seq = Annotated[int, Meta(ge=1)]
Time = Annotated[str, Meta(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$")]
Id = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
RANGES_MAX = 256


# --- records -------------------------------------------------------------------------------


class Was(Struct):
    """The number that a record had in a former epoch."""

    epoch: str
    seq: Seq


class _Numbered(Struct, kw_only=True, tag_field="kind"):
    seq: Seq
    at: Union[Time, UnsetType] = UNSET
    clock: Union[Literal["synced", "unsynced", "backfilled"], UnsetType] = UNSET
    boot: Union[str, UnsetType] = UNSET
    mono_ms: Union[int, UnsetType] = UNSET
    """CLOCK_BOOTTIME in milliseconds, within ``boot``."""
    was: Union[Was, UnsetType] = UNSET


class _Decided(_Numbered, kw_only=True):
    pipeline: str = ""
    model: str = ""
    """``name@version/variant``"""
    config: str = ""
    """Hash of the effective configuration."""
    source: str = ""
    frame: int = 0
    data: dict[str, Any] = field(default_factory=dict)
    blobs: list[BlobRef] = field(default_factory=list)
    test: bool = False
    """From a drill or a test: automations and counts must not move."""


class EventData(Struct):
    """What every event has in ``data``; pipelines add more."""

    id: str
    """``e-`` and the seq of the event's first record."""
    phase: Literal["new", "update", "end"]


class Event(_Decided, kw_only=True, tag="event"):
    data: EventData  # type: ignore[assignment]


class Result(_Decided, kw_only=True, tag="result"):
    """The predictions of one sample."""


class Window(_Decided, kw_only=True, tag="window"):
    """Figures over a stretch of time."""


class Anomaly(_Decided, kw_only=True, tag="anomaly"):
    """A score above or below its threshold."""


class Health(_Decided, kw_only=True, tag="health"):
    """State of the device or one of its units."""


class Deployment(_Decided, kw_only=True, tag="deployment"):
    """A step of a model's or configuration's change."""


class Blob(_Decided, kw_only=True, tag="blob"):
    """A blob that will not come."""


class Gap(_Numbered, kw_only=True, tag="gap"):
    """A told loss: these seqs will not come.

    Within its epoch ``from`` to ``to``, or of them those in ``dropped``: a base64 bitmap from
    ``from``, least significant bit first. With ``epoch`` it tells of another epoch, whose end
    may be unknown (null).
    """

    first: Seq = field(name="from")
    to: Union[Seq, None]
    count: Union[Annotated[int, Meta(ge=0)], None]
    reason: str
    epoch: str = ""
    dropped: str = ""


Record = Union[Event, Result, Window, Anomaly, Health, Deployment, Blob, Gap]


class Batch(Struct, kw_only=True):
    """The payload of ``{prefix}/{device}/records``, after decompression."""

    v: Literal[1]
    device: Id
    epoch: str
    first: Seq
    """The smallest seq in it; seqs ascend and may have holes."""
    last: Seq
    records: Annotated[list[Record], Meta(min_length=1)]


class Confirm(Struct, kw_only=True):
    """``confirm/{collector}``: all up to ``upto`` is there, but for ``missing`` (ranges)."""

    epoch: str
    upto: Annotated[int, Meta(ge=0)]
    missing: Annotated[list[tuple[Seq, Seq]], Meta(max_length=RANGES_MAX)] = field(
        default_factory=list
    )
    by: str = ""


# --- presence ------------------------------------------------------------------------------


class Status(Struct, kw_only=True):
    """``status``, retained; the will has the same form."""

    state: Literal["online", "degraded", "safe-mode", "offline"]
    reasons: list[str] = field(default_factory=list)
    since: str = ""
    boot: str = ""
    version: str = ""
    contract: int = 1
    epoch: str = ""
    seq: int = 0
    """The last seq that was committed when this was written."""
    name: str = ""
    site: str = ""
    tags: dict[str, str] = field(default_factory=dict)


# --- commands ------------------------------------------------------------------------------

CommandState = Literal[
    "init", "accepted", "executing", "successful", "failed", "rejected", "expired", "cancelled"
]
FINAL: frozenset[str] = frozenset({"successful", "failed", "rejected", "expired", "cancelled"})


class Command(Struct, kw_only=True):
    """``cmd/{type}/{id}``: arguments stand beside these fields."""

    status: CommandState
    by: str = ""
    at: str = ""
    """When it was given; required for types that change something."""
    expires: str = ""
    reason: str = ""
    """A stable code, with a final status."""
    detail: str = ""
    result: Any = None
    progress: Union[Annotated[float, Meta(ge=0, le=1)], None] = None
    step: str = ""
    omitted: list[str] = field(default_factory=list)
    """Arguments that are too long to be repeated here."""


def schemas() -> dict[str, dict[str, Any]]:
    """JSON Schema (2020-12) of each document, by name, self-contained."""
    documents: dict[str, Any] = {
        "batch": Batch,
        "record": Record,
        "confirm": Confirm,
        "status": Status,
        "command": Command,
    }
    return {name: of_type(kind) for name, kind in documents.items()}


def of_type(kind: Any) -> dict[str, Any]:
    """JSON Schema of one type, references resolved within it."""
    (schema,), parts = msgspec.json.schema_components([kind], ref_template="#/$defs/{name}")
    document = {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
    return {**document, "$defs": parts} if parts else document
