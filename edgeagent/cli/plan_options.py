"""Options of ``fleet rollout create``: what a plan is made of."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgeagent.cli.bundle import Bundle
from edgeagent.cli.reach import seconds

if TYPE_CHECKING:
    from edgeagent.fleet.rollout.plan import Limit, Plan


@dataclass(frozen=True)
class Terms(Bundle):
    """How a version is to be brought to the devices."""

    group: Annotated[str, typer.Option("--group", help="Only devices of this group.")] = ""
    device: Annotated[
        list[str] | None, typer.Option("--device", help="Only this; several allowed.")
    ] = None
    canary: Annotated[
        str, typer.Option("--canary", help="A group whose devices are all in the first wave.")
    ] = ""
    waves: Annotated[
        str, typer.Option("--waves", help="Of each profile, by the end of each wave.")
    ] = "5%,25%,100%"
    least: Annotated[
        int, typer.Option("--least", min=1, help="Devices of each profile in a wave.")
    ] = 3
    abort: Annotated[
        str, typer.Option("--abort", help="Share of the asked that may go wrong, in total.")
    ] = "10% after 10"
    abort_profile: Annotated[
        str, typer.Option("--abort-profile", help="The same for each profile.")
    ] = "30% after 3"
    rate: Annotated[
        float, typer.Option("--rate", min=0, help="Devices a minute; 0 = a wave at once.")
    ] = 0.0
    grow: Annotated[float, typer.Option("--grow", help="Multiply the rate by this …")] = 1.0
    every: Annotated[int, typer.Option("--every", help="… each time so many are well …")] = 0
    most: Annotated[float, typer.Option("--most", help="… up to this many a minute.")] = 0.0
    at_once: Annotated[
        int, typer.Option("--at-once", min=0, help="Devices under way at a time; 0 = any.")
    ] = 0
    between: Annotated[
        list[str] | None,
        typer.Option("--between", metavar="TIMES", help='E.g. "mon-fri 22:00-05:00", local time.'),
    ] = None
    timezone: Annotated[
        str, typer.Option("--timezone", help="Of devices that do not tell theirs.")
    ] = "UTC"
    soak: Annotated[
        str, typer.Option("--soak", metavar="TIME", help="Probation on each device.")
    ] = "15 min"
    shadow: Annotated[
        str, typer.Option("--shadow", metavar="TIME", help="Beside the old one first.")
    ] = "0 s"
    expires: Annotated[
        str, typer.Option("--expires", metavar="TIME", help="Devices give up then.")
    ] = ""
    downgrade: Annotated[
        bool, typer.Option("--downgrade", help="A lower version is meant (needs --sign).")
    ] = False
    timeout: Annotated[
        str,
        typer.Option("--timeout", metavar="TIME", help="For one device, beyond soak and shadow."),
    ] = "1 h"
    settle: Annotated[
        str,
        typer.Option("--settle", metavar="TIME", help="Still to be heard of after it committed."),
    ] = "2 min"
    silent: Annotated[
        str,
        typer.Option("--silent", metavar="TIME", help="Lost, if unheard of for so long after it."),
    ] = "15 min"
    reach: Annotated[
        str,
        typer.Option("--reach", metavar="TIME", help="How long a wave waits for absent devices."),
    ] = "10 min"
    quality_rate: Annotated[
        str,
        typer.Option("--quality-rate", metavar="SHARE", help="Largest change of events per hour."),
    ] = "0%"
    quality_score: Annotated[
        float, typer.Option("--quality-score", help="Largest shift of score quantiles; 0 = any.")
    ] = 0.0
    quality_before: Annotated[
        str, typer.Option("--quality-before", metavar="TIME", help="Compare with so long.")
    ] = "24 h"
    quality_after: Annotated[
        str, typer.Option("--quality-after", metavar="TIME", help="Watch for so long.")
    ] = "1 h"
    ask: Annotated[bool, typer.Option("--ask", help="Pause after each wave.")] = False
    give_back: Annotated[
        bool, typer.Option("--give-back", help="On abort, committed devices go back (--sign).")
    ] = False

    @property
    def lower(self) -> bool:
        """Whether devices may be asked to take a lower version."""
        return self.downgrade or self.give_back

    def plan(self, model: str) -> Plan:
        """Checked. Raises UsageError, ConfigError, InputError."""
        from edgeagent.fleet.rollout import plan as plans
        from edgeagent.fleet.rollout.conductor import policy

        name, _, version = model.partition("@")
        extra = seconds("--soak", self.soak) + seconds("--shadow", self.shadow)
        plan = plans.Plan(
            model=name, version=version, group=self.group, devices=tuple(self.device or ()),
            canary=self.canary, least=self.least,
            shares=tuple(share("--waves", part) for part in self.waves.split(",")),
            total=limit("--abort", self.abort),
            profile=limit("--abort-profile", self.abort_profile),
            pace=plans.Pace(self.rate, self.grow, self.every, self.most, self.at_once),
            windows=tuple(self.between or ()), timezone=self.timezone,
            timeout_s=seconds("--timeout", self.timeout) + extra,
            settle_s=seconds("--settle", self.settle), silent_s=seconds("--silent", self.silent),
            reach_s=seconds("--reach", self.reach), ask=self.ask, give_back=self.give_back,
            quality=plans.Quality(
                share("--quality-rate", self.quality_rate), self.quality_score,
                seconds("--quality-before", self.quality_before),
                seconds("--quality-after", self.quality_after),
            ),
            policy=self._policy(),
        ).check()  # fmt: skip
        policy(plan)
        return plan

    def _policy(self) -> dict[str, Any]:
        from edgeagent import clock

        told: dict[str, Any] = {
            "soak_s": seconds("--soak", self.soak), "shadow_s": seconds("--shadow", self.shadow),
        }  # fmt: skip
        if self.expires:
            end = clock.wall_ns() + int(seconds("--expires", self.expires) * 1e9)
            told["expires"] = clock.rfc3339(end)
        if self.downgrade:
            told["downgrade"] = True
        return told


def share(option: str, text: str) -> float:
    from edgeagent.errors import UsageError

    match = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]+)?)\s*%\s*", text)
    if match is None:
        raise UsageError(f"{option}: {text!r} is no share", remedy='Write it as "5%".')
    return float(match[1]) / 100


def limit(option: str, text: str) -> Limit:
    from edgeagent.errors import UsageError
    from edgeagent.fleet.rollout.plan import Limit

    part, _, after = text.partition(" after ")
    if after and not after.strip().isdigit():
        raise UsageError(
            f"{option}: {text!r} is no threshold", remedy='Write it as "10% after 10".'
        )
    return Limit(share(option, part), int(after or 1))
