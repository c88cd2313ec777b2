"""All that one device tells of itself, and what is asked of it, as one document."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

import msgspec
from msgspec.structs import replace

from edgeagent.errors import InputError, NotFound
from edgeagent.fleet.census import Census, Count, at_each
from edgeagent.fleet.desired import opened
from edgeagent.fleet.roster import TOLD, Roster
from edgeagent.fleet.sharing import own_topics
from edgeagent.fleet.sight.facts import facts
from edgeagent.fleet.sight.look import age, told
from edgeagent.sync.endpoint import LinkSettings
from edgeagent.sync.topics import Topics, is_id

_PATIENCE_S = 30.0
_ABLE = ("runtimes", "delegates", "sources", "limits")
_BLIND = (
    "This broker gives nothing that is retained to wildcards: which orders lie there can't be seen."
    " Of one: edgeagent fleet answers ID"
)


def portrait(link: LinkSettings, prefix: str, device: str) -> dict[str, Any]:
    """Of one device. Raises NotFound, LinkDown, UsageError."""
    topics = Topics(prefix, device)
    held, away = at_each(link, _PATIENCE_S, partial(_held, topics))
    found: dict[str, bytes] = {}
    for its in sorted(held, key=lambda node: age(node.found.get(topics.status, b""))):
        found |= its.found
    roster = _roster(topics, found)
    if device not in roster.devices:
        raise NotFound(
            f"nothing is known of a device {device}",
            remedy="See who is there: edgeagent fleet ls",
        )
    groups = _groups(topics, roster)
    capabilities = _object(found.get(topics.capabilities, b""))
    notes = [told(Count(away=away)), _BLIND if any(its.blind for its in held) else ""]
    return {
        **facts(roster.devices[device]),
        "reported": _object(found.get(topics.reported, b"")),
        "desired": {
            topic.removeprefix(f"{prefix}/").removesuffix("/desired"): _desired(found[topic])
            for topic in (topics.desired, *groups)
            if topic in found
        },
        "pipelines": {
            topic.rpartition("/")[2]: _object(its)
            for topic, its in found.items()
            if topic.startswith(f"{prefix}/{device}/state/")
        },
        "orders": [
            _order(topic, its)
            for topic, its in sorted(found.items())
            if its and topic.startswith(f"{prefix}/{device}/cmd/")
        ],
        "offers": _part(capabilities, "commands"),
        **{name: capabilities.get(name, {}) for name in _ABLE},
        "note": " ".join(filter(None, notes)),
    }


class _Held(NamedTuple):
    """What one broker has retained of a device."""

    found: dict[str, bytes]
    blind: bool
    """It gives nothing to wildcards."""


def _held(topics: Topics, node: LinkSettings, wait_s: float) -> _Held:
    """Raises LinkDown."""
    whole = f"{topics.prefix}/{topics.device}"
    own = own_topics(topics.prefix, node)
    brief = replace(node, client_id=f"{own.client_id}-{os.getpid()}")
    found: dict[str, bytes] = {}
    with Census(brief, own, wait_s) as census:
        census.read((f"{whole}/{name}" for name in TOLD), found.__setitem__)
        census.read(_groups(topics, _roster(topics, found)), found.__setitem__)
        states = census.wildcard(f"{whole}/state/+")
        # Some brokers (RabbitMQ) give nothing to wildcards: what is known by name is asked for so.
        names = filter(is_id, _part(_object(found.get(topics.capabilities, b"")), "pipelines"))
        hidden: dict[str, bytes] = {}
        census.read(
            (topic for topic in map(topics.state, names) if topic not in states),
            hidden.__setitem__,
        )
        orders = census.wildcard(f"{whole}/cmd/+/+")
    return _Held({**found, **states, **hidden, **orders}, bool(hidden))


def _groups(topics: Topics, roster: Roster) -> list[str]:
    """Topics of what is wished for its groups."""
    known = roster.devices.get(topics.device)
    return [topics.group_desired(its) for its in known.groups if is_id(its)] if known else []


def _roster(topics: Topics, found: Mapping[str, bytes]) -> Roster:
    roster = Roster(topics.prefix)
    for topic, payload in found.items():
        roster.take(topic, payload, retained=True, now=time.time())
    return roster


def _order(topic: str, payload: bytes) -> dict[str, Any]:
    type, id = topic.split("/")[-2:]
    said = _object(payload)
    names = ("status", "reason", "detail", "by", "at", "expires", "step", "progress")
    return {"type": type, "id": id, **{name: said[name] for name in names if name in said}}


def _desired(payload: bytes) -> Any:
    try:
        found = opened(payload)
    except InputError as error:
        return {"unreadable": str(error)}
    return msgspec.to_builtins(found)


def _part(document: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """Whatever a device has published: a part of another form tells nothing."""
    its = document.get(name)
    return its if isinstance(its, Mapping) else {}


def _object(payload: bytes) -> dict[str, Any]:
    """What is not readable tells nothing; `facts` has what was understood of it."""
    try:
        found = msgspec.json.decode(payload) if payload else {}
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return {}
    return dict(found) if isinstance(found, Mapping) else {}
