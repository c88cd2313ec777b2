"""One look at the fleet: whoever is known to the broker or by name, and what is retained of each.

Wildcards bring most of it in one go. What they lack of a device that they showed, or that the
caller knows, is asked for by its exact name: where that exists, the broker keeps retained
messages back, and then devices may be missing whom nobody can name. That is told, never guessed.

Where several brokers are named each is asked: nodes of a cluster need not share what is retained
(RabbitMQ's do not), and one may be away.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator, Sequence

import msgspec
from msgspec.structs import replace

from edgeagent.fleet.census import Census, Count, at_each
from edgeagent.fleet.roster import TOLD, Roster
from edgeagent.fleet.sharing import own_topics
from edgeagent.sync.endpoint import LinkSettings
from edgeagent.sync.schema import Status

SELF_TOLD = ("status", "capabilities", "reported")
"""What every device has retained; ``desired`` is only there where somebody wishes for something."""


def look(
    link: LinkSettings, prefix: str, known: Iterable[str] = (), names: Sequence[str] = TOLD, *,
    patience_s: float = 30.0,
) -> tuple[Roster, Count]:  # fmt: skip
    """Who is there. ``known``: devices by other sources (a collector's database); ``patience_s``:
    how long a broker that is away is waited for.

    Raises LinkDown.
    """
    roster = Roster(prefix)
    roster.know(known)
    whole = Count()

    def read(node: LinkSettings, wait_s: float) -> dict[str, bytes]:
        found, count = _at(node, prefix, roster.devices, names, wait_s)
        whole.add(count)
        roster.know(topic.split("/")[-2] for topic in found)
        return found

    held, whole.away = at_each(link, patience_s, read)
    now = time.time()
    for topic, payload in _newest(held).items():
        roster.take(topic, payload, retained=True, now=now)
    whole.divided = _divided(held)
    return roster, whole


def _at(
    link: LinkSettings, prefix: str, known: Iterable[str], names: Sequence[str], patience_s: float
) -> tuple[dict[str, bytes], Count]:
    """What one node has retained. Raises LinkDown."""
    own = own_topics(prefix, link)
    brief = replace(link, client_id=f"{own.client_id}-{os.getpid()}")
    with Census(brief, own, patience_s) as census:
        wild: dict[str, bytes] = {}
        for name in names:
            wild |= census.wildcard(f"{prefix}/+/{name}")
        devices = {*known, *(topic.removeprefix(f"{prefix}/").split("/")[0] for topic in wild)}
        hidden: dict[str, bytes] = {}
        wanted = (f"{prefix}/{device}/{name}" for device in sorted(devices) for name in names)
        count = census.read((topic for topic in wanted if topic not in wild), hidden.__setitem__)
    count.asked += len(wild)
    count.came += len(wild)
    count.hidden, count.refused = sorted(hidden), sorted(census.refused)
    return {**wild, **hidden}, count


def _newest(held: Sequence[dict[str, bytes]]) -> dict[str, bytes]:
    """What counts where nodes hold different things: of each device, what lies beside its newest
    status. A device is at one node at a time and tells all of itself there."""
    if len(held) == 1:
        return held[0]
    merged: dict[str, bytes] = {}
    for device in {topic.rpartition("/")[0] for its in held for topic in its}:
        below = f"{device}/"
        for its in sorted(held, key=lambda node: age(node.get(f"{below}status", b""))):
            merged |= {key: payload for key, payload in its.items() if key.startswith(below)}
    return merged


def age(status: bytes) -> tuple[int, bool, str]:
    """Grows with time. By the number of the last record, for a will is dated when its connection
    is made; of two with the same number the one that is not a will."""
    try:
        its = msgspec.json.decode(status, type=Status)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return -1, False, ""
    return its.seq, its.state != "offline", its.since


def _divided(held: Sequence[dict[str, bytes]]) -> list[str]:
    """Topics that are not the same at every node."""
    return sorted({
        topic for its in held for topic, payload in its.items()
        if any(other.get(topic) != payload for other in held)
    })  # fmt: skip


def told(count: Count) -> str:
    """What a person must know about a count; empty = it was whole."""
    return " ".join(_told(count))


def _told(count: Count) -> Iterator[str]:
    if count.away:
        yield (
            f"{len(count.away)} of the brokers that are named do not answer:"
            f" {', '.join(count.away)}. What only they have retained is missing."
        )
    if count.refused:
        yield (
            f"Devices may be missing: {'; '.join(count.refused[:3])}. A cluster that elects a"
            " leader does that for a while; else see the broker's access rules."
        )
    if count.divided:
        yield (
            f"These brokers do not share what is retained: {len(count.divided)} topics differ."
            " Of each device the newest is shown; name all of them (--host A,B,C), or devices at"
            " the others are missing."
        )
    if count.hidden:
        yield (
            f"This broker keeps back retained messages: {len(count.hidden)} came only when asked"
            " for by name, so devices may be missing. Name the collector's database with --db;"
            " mosquitto brings all with a higher max_queued_messages (by default 1000), RabbitMQ"
            " brings nothing to wildcards."
        )
