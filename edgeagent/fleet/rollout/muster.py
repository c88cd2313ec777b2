"""Who takes part in a rollout: from who is there to the rows of its plan."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from edgeagent.errors import NotFound, UsageError
from edgeagent.fleet.rollout import threshold
from edgeagent.fleet.rollout.plan import Plan
from edgeagent.fleet.rollout.standing import Row
from edgeagent.fleet.rollout.waves import Candidate, waves
from edgeagent.fleet.roster import UNKNOWN, Device, Roster
from edgeagent.prove.semver import version_order


@dataclass(frozen=True, slots=True)
class Muster:
    """Those who take part, in order, and those who do not."""

    rows: Sequence[Row]
    already: Sequence[str]
    """Run the version."""
    away: int
    """Of those who take part, not connected now."""
    held: int

    @property
    def sentence(self) -> str:
        _, profiles = threshold.count(self.rows)
        count = max((row.wave for row in self.rows), default=-1) + 1
        more = [f"{len(self.already)} run it already"] if self.already else []
        more += [f"{self.away} are away now"] if self.away else []
        more += [f"{self.held} are held"] if self.held else []
        return "; ".join(
            [f"{len(self.rows)} devices of {len(profiles)} profiles in {count} waves", *more]
        )

    def document(self) -> dict[str, Any]:
        """For ``--json``: who is in which wave."""
        waves: list[dict[str, Any]] = []
        for number in sorted({row.wave for row in self.rows}):
            its = [row for row in self.rows if row.wave == number]
            _, profiles = threshold.count(its)
            waves.append(
                {
                    "wave": number + 1,
                    "profiles": {name: c.size for name, c in sorted(profiles.items())},
                    "devices": [row.device for row in its],
                }
            )
        return {
            "waves": waves, "already": sorted(self.already), "away": self.away, "held": self.held,
        }  # fmt: skip


def muster(roster: Roster, plan: Plan) -> Muster:
    """Raises NotFound where nobody is left, UsageError where it would be a downgrade."""
    meant = _meant(roster, plan)
    already = [its.id for its in meant if its.model(plan.model).version == plan.version]
    there = [its for its in meant if its.id not in set(already)]
    if not there:
        said = f"all of them run {plan.target}" if already else "no device is known"
        of = f" of group {plan.group}" if plan.group else ""
        raise NotFound(
            f"there is nobody to bring it to{of}: {said}",
            remedy="Is the collector's database named (--db), and the prefix right?",
        )
    _refuse_downgrade(there, plan)
    candidates = [
        Candidate(its.id, its.profile, bool(plan.canary) and plan.canary in its.groups)
        for its in there
    ]
    # By the version: a forecast and the rollout agree, and each version has other canaries.
    planned = waves(candidates, plan.shares, least=plan.least, seed=plan.target)
    order = [(number, one) for number, wave in enumerate(planned) for one in wave]
    rows = [
        Row(one.device, place, number, one.profile) for place, (number, one) in enumerate(order)
    ]
    return Muster(
        rows, already,
        away=sum(not its.online for its in there),
        held=sum(bool(its.hold(plan.model)) for its in there),
    )  # fmt: skip


def _refuse_downgrade(there: Sequence[Device], plan: Plan) -> None:
    """Devices would reject it one after the other. Raises UsageError."""
    newer = {
        version
        for its in there
        if (version := its.model(plan.model).version)
        and version_order(version) > version_order(plan.version)
    }
    if newer and not plan.policy.get("downgrade"):
        raise UsageError(
            f"{plan.target} is older than {', '.join(sorted(newer))}, which devices run",
            remedy="If it is meant, say so with --downgrade, and sign it with --sign KEY.",
        )


def _meant(roster: Roster, plan: Plan) -> list[Device]:
    if not plan.devices:
        # A name that nothing stands behind is a collector or a device long gone.
        return [
            its for its in roster.members(plan.group)
            if its.state or its.reported or its.profile != UNKNOWN
        ]  # fmt: skip
    unknown = [name for name in plan.devices if name not in roster.devices]
    if unknown:
        raise NotFound(f"nothing is known of {', '.join(unknown)}")
    return [roster.devices[name] for name in plan.devices]
