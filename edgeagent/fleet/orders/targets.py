"""Who is meant by an order."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial

from msgspec.structs import replace

from edgeagent.errors import NotFound, UsageError
from edgeagent.fleet.census import Census
from edgeagent.fleet.roster import Device, Roster
from edgeagent.fleet.sharing import own_topics
from edgeagent.fleet.sight.facts import facts
from edgeagent.fleet.sight.look import SELF_TOLD
from edgeagent.fleet.sight.where import parse
from edgeagent.sync.endpoint import LinkSettings
from edgeagent.sync.topics import is_id


@dataclass(frozen=True, slots=True)
class Choice:
    """As a person says it: names, a group, an expression, or a group narrowed by one."""

    devices: tuple[str, ...] = ()
    group: str = ""
    where: str = ""

    def check(self) -> None:
        """Raises UsageError: nobody or nonsense is named."""
        if not self.devices and not self.group and not self.where:
            raise UsageError(
                "for whom?", remedy="Name devices, --group NAME or --where 'site == \"hall 2\"'."
            )
        if self.devices and (self.group or self.where):
            raise UsageError("devices by name do not go together with --group or --where")
        for name in (*self.devices, *filter(None, [self.group])):
            if not is_id(name):
                raise UsageError(f"{name!r} can't be the name of a device or a group")
        parse(self.where)


@dataclass(frozen=True, slots=True)
class Targets:
    """Devices that are to answer."""

    devices: Sequence[Device]
    group: str = ""
    """They are asked together, by the group's topic; empty = each on its own."""

    @property
    def ids(self) -> list[str]:
        return [its.id for its in self.devices]

    @property
    def offered(self) -> frozenset[str]:
        """Types that one of them tells to take."""
        return frozenset(name for its in self.devices for name in its.commands)

    def without(self, type: str) -> list[str]:
        """Those that tell what they take, and lack this."""
        return [its.id for its in self.devices if its.commands and type not in its.commands]


def choose(roster: Roster, choice: Choice) -> Targets:
    """Devices of a group or an expression. Raises NotFound: nobody is meant."""
    there = [its for its in roster.devices.values() if its.state or its.reported]
    test = parse(choice.where)
    meant = [
        its for its in there
        if (not choice.group or choice.group in its.groups) and test(facts(its))
    ]  # fmt: skip
    if not meant:
        of = f"in group {choice.group}" if choice.group else f"of {len(there)}"
        raise NotFound(
            f"no device {of} is meant by this", remedy="See who is there: edgeagent fleet ls"
        )
    # A narrowed group has no topic of its own.
    return Targets(sorted(meant, key=lambda its: its.id), "" if choice.where else choice.group)


def named(link: LinkSettings, prefix: str, names: Iterable[str]) -> Targets:
    """Devices by their names, which must be known to the broker. Raises NotFound, LinkDown."""
    roster, own, names = Roster(prefix), own_topics(prefix, link), list(dict.fromkeys(names))
    topics = (f"{prefix}/{name}/{part}" for name in names for part in SELF_TOLD)
    with Census(replace(link, client_id=f"{own.client_id}-{os.getpid()}"), own) as census:
        census.read(topics, partial(_take, roster))
    for name in names:
        if name not in roster.devices:
            raise NotFound(
                f"nothing is known of a device {name}",
                remedy="See who is there: edgeagent fleet ls",
            )
    return Targets([roster.devices[name] for name in names])


def _take(roster: Roster, topic: str, payload: bytes) -> None:
    roster.take(topic, payload, retained=True, now=time.time())
