"""Desired state: what a device should be (contract §4).

It comes on the device's own topic and on those of its groups. Each topic holds one document
with a ``rev`` that only rises; of all of them one `Wish` a model and one configuration patch
result. No I/O here; `intent` keeps the documents.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, Literal, Union

import msgspec
from msgspec import Meta, Struct, field

from edgeagent.config.depth import deeper
from edgeagent.prove.semver import is_version

MOST_BYTES = 256 * 1024
MOST_DEPTH = 16
OWN = "device"
"""The layer of the device's own topic; those of groups are called ``group:{name}``."""

NAME = r"^[a-z0-9-]{1,64}$"
Seconds = Annotated[float, Meta(ge=0, le=90 * 86400)]


class Policy(Struct, frozen=True, omit_defaults=True):
    """How a change is to be made."""

    soak_s: Seconds = 900.0
    """How long the new version must do as well as the old one before it is kept."""
    shadow_s: Seconds = 0.0
    """How long it runs beside the old one, unheard, before that."""
    expires: str = ""
    """RFC 3339: what has not been activated by then is given up. Empty = never."""
    schedule: tuple[str, ...] = ()
    """Times of the device's own zone in which it may begin and be activated, such as
    ``"22:00-06:00"`` or ``"mon-fri 08:00-18:00"``; empty = at any time."""
    downgrade: bool = False
    """A version below the present one is meant. Only signed (or given on the device)."""
    force: bool = False
    """Also one that failed here before, in spite of a hold, and now. Only signed."""


class Wish(Struct, frozen=True, omit_defaults=True):
    """One model as it should be."""

    version: str
    policy: Policy = field(default_factory=Policy)


class Desired(Struct, frozen=True, omit_defaults=True):
    """What is retained on a ``desired`` topic."""

    rev: Annotated[int, Meta(ge=1)]
    at: str = ""
    by: str = ""
    models: dict[Annotated[str, Meta(pattern=NAME)], Wish] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)
    """RFC 7396 patch: null removes."""
    confirm_s: Annotated[float, Meta(ge=5, le=86400)] = 120.0
    """How long the configuration has to show that the device can still be reached."""


class Layer(Struct, frozen=True, omit_defaults=True):
    """The last word of one topic."""

    source: str
    """``device`` or ``group:{name}``."""
    rev: int
    """The highest that was ever taken here; a lower one is a replay."""
    desired: Union[Desired, None] = None
    """None = the topic was cleared."""
    signed: bool = False
    """An operator's key has signed it."""
    signed_rev: int = 0
    """The highest that was ever signed here."""


class Wanted(Struct, frozen=True, omit_defaults=True):
    """One model's wish, and whose it is."""

    model: str
    wish: Wish
    source: str
    rev: int
    by: str = ""
    signed: bool = False

    @property
    def key(self) -> str:
        """The same for as long as it is the same wish: each is acted upon once."""
        return f"{self.source}:{self.rev}:{self.wish.version}"


class Patch(Struct, frozen=True, omit_defaults=True):
    """The configuration that all layers together wish for."""

    patch: dict[str, Any]
    revs: dict[str, int]
    """Layer → rev, of those that have a part in it; the first is the highest."""
    signed: bool = False
    """All of them are."""
    confirm_s: float = 120.0


Taken = Literal["new", "same", "older"]


def read(payload: bytes) -> Desired | None:
    """The document in a payload, None for an empty one.

    Raises:
        ValueError: it is none; the text says where and why.
    """
    if not payload.strip():
        return None
    if len(payload) > MOST_BYTES:
        raise ValueError(f"{len(payload)} bytes; at most {MOST_BYTES}")
    try:
        desired = msgspec.json.decode(payload, type=Desired)
    except RecursionError:
        raise ValueError(f"nested deeper than {MOST_DEPTH}") from None
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ValueError(str(error)) from error
    if deeper(desired.config, MOST_DEPTH):
        raise ValueError(f"nested deeper than {MOST_DEPTH} - at `$.config`")
    for model, wish in desired.models.items():
        if not is_version(wish.version):
            raise ValueError(f"{wish.version!r} is no version - at `$.models.{model}.version`")
    return desired


def judge(known: Layer | None, desired: Desired) -> Taken:
    """Whether a topic's document is news: only a higher rev is."""
    if known is None or desired.rev > known.rev:
        return "new"
    if desired.rev == known.rev and known.desired is None:
        return "new"  # It was cleared meanwhile.
    return "same" if desired == known.desired else "older"


def in_order(layers: Mapping[str, Layer], groups: Sequence[str]) -> list[Layer]:
    """Those that count, the one with the last word first: the device's own, then its groups in
    the order of ``device.groups``."""
    names = (OWN, *(f"group:{group}" for group in groups))
    found = (layers.get(name) for name in names)
    return [layer for layer in found if layer is not None and layer.desired is not None]


def wishes(layers: Iterable[Layer]) -> dict[str, Wanted]:
    """Model → what is wished for it, by the first layer (`in_order`) that names it."""
    wanted: dict[str, Wanted] = {}
    for layer in layers:
        desired = layer.desired
        for model, wish in desired.models.items() if desired else ():
            by = desired.by if desired else ""
            one = Wanted(model, wish, layer.source, layer.rev, by, layer.signed)
            wanted.setdefault(model, one)
    return wanted


def patch(layers: Iterable[Layer]) -> Patch | None:
    """The patches of all layers (`in_order`) as one; None where nobody has any."""
    with_one = [layer for layer in layers if layer.desired and layer.desired.config]
    if not with_one:
        return None
    merged: dict[str, Any] = {}
    for layer in reversed(with_one):
        assert layer.desired is not None
        merged = _over(merged, layer.desired.config)
    revs = {layer.source: layer.rev for layer in with_one}
    first = with_one[0].desired
    confirm_s = first.confirm_s if first else Patch({}, {}).confirm_s
    return Patch(merged, revs, all(layer.signed for layer in with_one), confirm_s)


def _over(lower: dict[str, Any], upper: Mapping[str, Any]) -> dict[str, Any]:
    """Two patches as one patch: unlike with a document, a null must stay one."""
    merged = dict(lower)
    for key, value in upper.items():
        below = merged.get(key)
        if isinstance(value, dict) and isinstance(below, dict):
            merged[key] = _over(below, value)
        else:
            merged[key] = value
    return merged
