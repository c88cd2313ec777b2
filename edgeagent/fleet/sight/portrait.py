"""All that one device tells of itself, and what is asked of it, as one document."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec.structs import replace

from edgeagent.errors import InputError, NotFound
from edgeagent.fleet.census import Census
from edgeagent.fleet.desired import opened
from edgeagent.fleet.roster import TOLD, Roster
from edgeagent.fleet.sharing import own_topics
from edgeagent.fleet.sight.facts import facts
from edgeagent.sync.endpoint import LinkSettings
from edgeagent.sync.topics import Topics, is_id

_BLIND = (
    "This broker gives nothing that is retained to wildcards: which orders lie there can't be seen."
    " Of one: edgeagent fleet answers ID"
)


def portrait(link: LinkSettings, prefix: str, device: str) -> dict[str, Any]:
    """Of one device. Raises NotFound, LinkDown, UsageError."""
    topics, own = Topics(prefix, device), own_topics(prefix, link)
    roster, found = Roster(prefix), dict[str, bytes]()
    with Census(replace(link, client_id=f"{own.client_id}-{os.getpid()}"), own) as census:
        census.read((f"{prefix}/{device}/{name}" for name in TOLD), found.__setitem__)
        for topic, payload in found.items():
            roster.take(topic, payload, retained=True, now=time.time())
        if device not in roster.devices:
            raise NotFound(
                f"nothing is known of a device {device}",
                remedy="See who is there: edgeagent fleet ls",
            )
        groups = [topics.group_desired(group) for group in roster.devices[device].groups]
        census.read(groups, found.__setitem__)
        capabilities = _object(found.get(topics.capabilities, b""))
        states = census.wildcard(topics.state("x")[:-1] + "+")
        # Some brokers (RabbitMQ) give nothing to wildcards: what is known by name is asked for so.
        named = [topics.state(name) for name in capabilities.get("pipelines", ()) if is_id(name)]
        hidden: dict[str, bytes] = {}
        census.read((topic for topic in named if topic not in states), hidden.__setitem__)
        orders = census.wildcard(f"{prefix}/{device}/cmd/+/+")
    return {
        **facts(roster.devices[device]),
        "reported": _object(found.get(topics.reported, b"")),
        "desired": {
            topic.removeprefix(f"{prefix}/").removesuffix("/desired"): _desired(found[topic])
            for topic in (topics.desired, *groups)
            if topic in found
        },
        "pipelines": {
            topic.rpartition("/")[2]: _object(its) for topic, its in {**states, **hidden}.items()
        },
        "orders": [_order(topic, its) for topic, its in sorted(orders.items()) if its],
        "offers": capabilities.get("commands", {}),
        "runtimes": capabilities.get("runtimes", {}),
        "delegates": capabilities.get("delegates", {}),
        "sources": capabilities.get("sources", {}),
        "limits": capabilities.get("limits", {}),
        "note": _BLIND if hidden else "",
    }


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


def _object(payload: bytes) -> dict[str, Any]:
    """What is not readable tells nothing; `facts` has what was understood of it."""
    try:
        found = msgspec.json.decode(payload) if payload else {}
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return {}
    return dict(found) if isinstance(found, Mapping) else {}
