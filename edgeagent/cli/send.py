"""``edgeagent fleet send|answers``: commands to devices and groups over a broker alone."""

from __future__ import annotations

import getpass
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgeagent.cli import render
from edgeagent.cli.bundle import Bundle, bundled
from edgeagent.cli.options import AsJson
from edgeagent.cli.reach import Broker, Known, Signing, known_devices, private_key, seconds
from edgeagent.cli.sight import Where

if TYPE_CHECKING:
    from edgeagent.fleet.orders.order import Order, Seal
    from edgeagent.fleet.orders.sending import Sending
    from edgeagent.fleet.orders.tally import Answer, Tally
    from edgeagent.fleet.orders.targets import Choice, Targets

Group = Annotated[str, typer.Option("--group", metavar="NAME", help="All devices of a group.")]
Keep = Annotated[
    bool, typer.Option("--keep", help="Leave the answers at the broker for others to see.")
]
Timeout = Annotated[str, typer.Option("--timeout", metavar="TIME", help="With --wait, at most.")]
_MOST_ROWS = 40


@dataclass(frozen=True)
class Sent(Bundle):
    """Options of how it is sent."""

    expires: Annotated[
        str,
        typer.Option(
            "--expires",
            metavar="TIME",
            help="A device that comes later than this leaves it undone.",
        ),
    ] = "1 h"
    id_: Annotated[
        str, typer.Option("--id", metavar="ID", help="The same id is never done twice.")
    ] = ""


@bundled
def send(
    words: Annotated[
        list[str], typer.Argument(metavar="[DEVICE]… COMMAND [NAME=VALUE]…", help="What, to whom.")
    ],
    group: Group = "",
    where: Where = "",
    wait: Annotated[bool, typer.Option("--wait", "-w", help="Until all have answered.")] = False,
    timeout: Timeout = "60 s",
    keep: Keep = False,
    sent: Sent = Sent(),
    known: Known = "",
    broker: Broker = Broker(),
    signing: Signing = Signing(),
    as_json: AsJson = False,
) -> None:
    """Send a command; each device does it once, also one that comes later.

    With --wait: exit 0 if all did it, 1 if one did not, 75 if one has not answered.
    """
    from edgeagent.fleet.orders.order import order
    from edgeagent.fleet.orders.sending import Sending
    from edgeagent.fleet.orders.targets import Choice

    names, type_, arguments = _read(words, targeted=bool(group or where))
    choice, limit = Choice(names, group, where), seconds("--timeout", timeout)
    targets = _targets(choice, known, broker)
    made = order(
        type_, arguments, getpass.getuser(), expires_s=seconds("--expires", sent.expires),
        id=sent.id_, offered=targets.offered,
    )  # fmt: skip
    if lacking := targets.without(type_):
        render.note(
            f"{len(lacking)} do not take {type_} from afar (commands.allow): {_few(lacking)}"
        )
    with Sending(broker.link(), broker.prefix, made, targets, _seal(signing)) as sending:
        sending.publish()
        if wait:
            _follow(sending, limit, keep, choice, as_json)
            return
    found = {"id": made.id, "type": made.type, "expires": made.expires, "devices": targets.ids}
    render.show(found, as_json, lambda: render.text(made.id))
    if not as_json:
        render.note(f"Sent to {len(targets.ids)} devices. Answers: {_later(made, choice)}")


@bundled
def answers(
    id_: Annotated[str, typer.Argument(metavar="ID", help="As send printed it.")],
    devices: Annotated[list[str] | None, typer.Argument(metavar="[DEVICE]…")] = None,
    group: Group = "",
    where: Where = "",
    wait: Annotated[bool, typer.Option("--wait", "-w", help="Until all have answered.")] = False,
    timeout: Timeout = "60 s",
    keep: Keep = False,
    withdraw: Annotated[
        bool, typer.Option("--withdraw", help="Take it away from the broker, however far it is.")
    ] = False,
    type_: Annotated[
        str, typer.Option("--type", metavar="COMMAND", help="Where the id does not tell it.")
    ] = "",
    known: Known = "",
    broker: Broker = Broker(),
    as_json: AsJson = False,
) -> None:
    """What became of a command that was sent before; cleared once all have ended. Exits as send."""
    from edgeagent.errors import NotFound, UsageError
    from edgeagent.fleet.orders.order import Order, type_of
    from edgeagent.fleet.orders.sending import Sending
    from edgeagent.fleet.orders.targets import Choice

    choice = Choice(tuple(devices or ()), group, where)
    kind = type_ or type_of(id_)
    if not kind:
        raise UsageError(f"{id_} does not tell its command", remedy="Name it with --type.")
    limit = seconds("--timeout", timeout) if wait else 0.0
    targets = _targets(choice, known, broker)
    past = Order(kind, id_, {}, "", "")
    with Sending(broker.link(), broker.prefix, past, targets) as sending:
        if sending.look() and len(sending.tally.silent) == len(targets.ids):
            raise NotFound(
                f"the broker has no {id_} for these devices: it was cleared, or never sent to them"
            )
        if withdraw:
            sending.withdraw()
        _follow(sending, limit, keep or withdraw, choice, as_json, asking=False)


# --- how it is done ------------------------------------------------------------------------


def _follow(
    sending: Sending, limit_s: float, keep: bool, choice: Choice, as_json: bool, *,
    asking: bool = True,
) -> None:  # fmt: skip
    made = sending.order
    try:
        with _drawn(len(sending.tally.answers), as_json) as seen:
            tally = sending.follow(limit_s, seen, asking=asking)
    except KeyboardInterrupt:
        render.note(
            f"It goes on without you. Answers: {_later(made, choice)}; to end it: edgeagent fleet"
            f" send {_whom(choice)} cancel target={made.id}"
        )
        raise
    if not keep:
        sending.clear()
    found = {"id": made.id, "type": made.type, **tally.document()}
    render.show(found, as_json, lambda: _summary(tally))
    if tally.open and not as_json:
        render.note(
            f"{len(tally.open)} have not ended; the command waits for them at the broker. Later:"
            f" {_later(made, choice)}"
        )
    raise typer.Exit(tally.exit_code)


@contextmanager
def _drawn(count: int, quiet: bool) -> Iterator[Callable[[Tally], None]]:
    """Progress on standard error: a line of counts, and how far each is while it is few."""
    with render.redrawn(quiet) as draw:

        def seen(tally: Tally) -> None:
            if draw is not None:
                under_way = [its for its in tally.answers.values() if not its.final]
                rows = [(its.device, tally.state(its), _far(its)) for its in under_way[:10]]
                draw(f"{count} devices: {tally.sentence}", ("device", "status", "how far"), rows)

        yield seen


def _far(answer: Answer) -> str:
    share = "" if answer.progress is None else f"{answer.progress:.0%} "
    return f"{share}{answer.step} {answer.detail}".strip()


def _summary(tally: Tally) -> None:
    if len(tally.answers) == 1:
        _alone(tally, next(iter(tally.answers.values())))
        return
    render.plain(f"{len(tally.answers)} devices: {tally.sentence}")
    rows = [
        (its.device, tally.state(its), its.reason, its.detail or _brief(its.result))
        for its in sorted(
            tally.answers.values(), key=lambda a: (a.status == "successful", a.device)
        )
    ]
    if len(rows) <= _MOST_ROWS:
        render.table(("device", "status", "reason", "detail"), rows)
        return
    for (status, reason), devices in tally.reasons().items():
        render.plain(f"{status}, {reason or 'no reason'}: {len(devices)} ({_few(devices)})")
    if tally.open:
        render.plain(f"not ended: {len(tally.open)} ({_few(tally.open)})")


def _alone(tally: Tally, answer: Answer) -> None:
    """One device: its whole result."""
    said = f"{answer.device}: {tally.state(answer)}"
    said += f" ({answer.reason})" if answer.reason else ""
    render.plain(said + (f": {answer.detail}" if answer.detail else ""))
    if isinstance(answer.result, dict):
        plain = {k: v for k, v in answer.result.items() if not isinstance(v, (dict, list))}
        render.facts(plain.items())
        nested = {k: v for k, v in answer.result.items() if k not in plain}
        if nested:
            render.text(json.dumps(nested, indent=2, ensure_ascii=False))


def _brief(result: Any) -> str:
    if not isinstance(result, dict):
        return ""
    plain = [f"{k} {v}" for k, v in result.items() if not isinstance(v, (dict, list))]
    return ", ".join(plain[:4])


def _few(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def _read(words: list[str], *, targeted: bool) -> tuple[tuple[str, ...], str, dict[str, str]]:
    """Devices, command, arguments. Raises UsageError."""
    from edgeagent.errors import UsageError

    plain = [its for its in words if "=" not in its]
    if words[: len(plain)] != plain:
        raise UsageError("arguments (NAME=VALUE) come last, after the command")
    if not plain or (len(plain) < 2 and not targeted):
        raise UsageError(
            "name devices, then the command",
            remedy="e.g. edgeagent fleet send door-7 ping --wait, or --group canary ping --wait",
        )
    pairs = (its.partition("=") for its in words[len(plain) :])
    return tuple(plain[:-1]), plain[-1], {name: value for name, _, value in pairs}


def _targets(choice: Choice, known: str, broker: Broker) -> Targets:
    """Raises NotFound, UsageError, LinkDown."""
    from edgeagent.fleet.orders.targets import choose, named
    from edgeagent.fleet.sight.look import SELF_TOLD, look, told

    choice.check()
    if choice.devices:
        return named(broker.link(), broker.prefix, choice.devices)
    roster, count = look(broker.link(), broker.prefix, known_devices(known), SELF_TOLD)
    render.note(told(count))
    return choose(roster, choice)


def _seal(signing: Signing) -> Seal | None:
    from edgeagent.fleet.orders.order import sealed

    if not signing.sign:
        return None
    return sealed(private_key(Path(signing.sign), signing.passphrase_file))


def _whom(choice: Choice) -> str:
    parts = [*choice.devices]
    parts += ["--group", choice.group] if choice.group else []
    parts += ["--where", f"'{choice.where}'"] if choice.where else []
    return " ".join(parts)


def _later(order: Order, choice: Choice) -> str:
    from edgeagent.fleet.orders.order import type_of

    own = "" if type_of(order.id) == order.type else f" --type {order.type}"
    return f"edgeagent fleet answers {order.id} {_whom(choice)}{own}"
