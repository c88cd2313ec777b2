"""One look at the fleet: whoever is known to the broker or by name, and what is retained of each.

Wildcards bring most of it in one go. What they lack of a device that they showed, or that the
caller knows, is asked for by its exact name: where that exists, the broker keeps retained
messages back, and then devices may be missing whom nobody can name. That is told, never guessed.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Sequence

from msgspec.structs import replace

from edgeagent.fleet.census import Census, Count
from edgeagent.fleet.roster import TOLD, Roster
from edgeagent.fleet.sharing import own_topics
from edgeagent.sync.endpoint import LinkSettings

SELF_TOLD = ("status", "capabilities", "reported")
"""What every device has retained; ``desired`` is only there where somebody wishes for something."""


def look(
    link: LinkSettings, prefix: str, known: Iterable[str] = (), names: Sequence[str] = TOLD
) -> tuple[Roster, Count]:
    """Who is there. ``known``: devices by other sources (a collector's database).

    Raises LinkDown.
    """
    roster, own = Roster(prefix), own_topics(prefix, link)
    roster.know(known)
    now = time.time()
    with Census(replace(link, client_id=f"{own.client_id}-{os.getpid()}"), own) as census:
        wild: dict[str, bytes] = {}
        for name in names:
            wild |= census.wildcard(f"{prefix}/+/{name}")
        for topic, payload in wild.items():
            roster.take(topic, payload, retained=True, now=now)
        hidden: dict[str, bytes] = {}
        wanted = (f"{prefix}/{device}/{name}" for device in list(roster.devices) for name in names)
        count = census.read((topic for topic in wanted if topic not in wild), hidden.__setitem__)
    for topic, payload in hidden.items():
        roster.take(topic, payload, retained=True, now=now)
    count.asked += len(wild)
    count.came += len(wild)
    count.hidden = sorted(hidden)
    return roster, count


def told(count: Count) -> str:
    """What a person must know about a count; empty = nothing was kept back."""
    if not count.hidden:
        return ""
    return (
        f"This broker keeps back retained messages: {len(count.hidden)} came only when asked for by"
        " name, so devices may be missing. Raise max_queued_messages of the broker (mosquitto's"
        " default is 1000), or name the collector's database with --db."
    )
