"""Options of ``fleet rollout create``: what a plan is made of."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgeagent.cli.fleet import _seconds

if TYPE_CHECKING:
    from edgeagent.fleet.rollout.plan import Limit

Group = Annotated[str, typer.Option("--group", help="Only devices of this group.")]
Device = Annotated[list[str] | None, typer.Option("--device", help="Only this; several allowed.")]
Canary = Annotated[
    str, typer.Option("--canary", help="A group whose devices are all in the first wave.")
]
Waves = Annotated[str, typer.Option("--waves", help="Of each profile, by the end of each wave.")]
Least = Annotated[int, typer.Option("--least", min=1, help="Devices of each profile in a wave.")]
Abort = Annotated[
    str, typer.Option("--abort", help="Share of the asked that may go wrong, in total.")
]
AbortProfile = Annotated[str, typer.Option("--abort-profile", help="The same for each profile.")]
Rate = Annotated[float, typer.Option("--rate", min=0, help="Devices a minute; 0 = a wave at once.")]
Grow = Annotated[float, typer.Option("--grow", help="Multiply the rate by this …")]
Every = Annotated[int, typer.Option("--every", help="… each time so many are well …")]
Most = Annotated[float, typer.Option("--most", help="… up to this many a minute.")]
AtOnce = Annotated[
    int, typer.Option("--at-once", min=0, help="Devices under way at a time; 0 = any.")
]
Between = Annotated[
    list[str] | None,
    typer.Option("--between", metavar="TIMES", help='E.g. "mon-fri 22:00-05:00", local time.'),
]
Timezone = Annotated[str, typer.Option("--timezone", help="Of devices that do not tell theirs.")]
Soak = Annotated[str, typer.Option("--soak", metavar="TIME", help="Probation on each device.")]
Shadow = Annotated[str, typer.Option("--shadow", metavar="TIME", help="Beside the old one first.")]
Expires = Annotated[str, typer.Option("--expires", metavar="TIME", help="Devices give up then.")]
Downgrade = Annotated[
    bool, typer.Option("--downgrade", help="A lower version is meant (needs --sign).")
]
Timeout = Annotated[
    str, typer.Option("--timeout", metavar="TIME", help="For one device, beyond soak and shadow.")
]
Settle = Annotated[
    str, typer.Option("--settle", metavar="TIME", help="Still to be heard of after it committed.")
]
Silent = Annotated[
    str,
    typer.Option("--silent", metavar="TIME", help="Lost, if unheard of for so long after it."),
]
Reach = Annotated[
    str,
    typer.Option("--reach", metavar="TIME", help="How long a wave waits for absent devices."),
]
QualityRate = Annotated[
    str,
    typer.Option("--quality-rate", metavar="SHARE", help="Largest change of events per hour."),
]
QualityScore = Annotated[
    float, typer.Option("--quality-score", help="Largest shift of score quantiles; 0 = any.")
]
QualityBefore = Annotated[
    str, typer.Option("--quality-before", metavar="TIME", help="Compare with so long.")
]
QualityAfter = Annotated[
    str, typer.Option("--quality-after", metavar="TIME", help="Watch for so long.")
]
Ask = Annotated[bool, typer.Option("--ask", help="Pause after each wave.")]
GiveBack = Annotated[
    bool, typer.Option("--give-back", help="On abort, committed devices go back (--sign).")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show the waves only.")]
Detach = Annotated[bool, typer.Option("--detach", help="Leave the driving to fleet rollout run.")]


def policy_of(soak: str, shadow: str, expires: str, downgrade: bool) -> dict[str, Any]:
    """How devices are told to go about it. Raises UsageError."""
    from edgeagent import clock

    told: dict[str, Any] = {
        "soak_s": _seconds("--soak", soak), "shadow_s": _seconds("--shadow", shadow),
    }  # fmt: skip
    if expires:
        end = clock.wall_ns() + int(_seconds("--expires", expires) * 1e9)
        told["expires"] = clock.rfc3339(end)
    if downgrade:
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
