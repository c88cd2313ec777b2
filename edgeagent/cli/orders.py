"""Commands that only a running agent can do, given at the device: the twins of MQTT's.

They go over the control socket into the same journal and the same code as those by MQTT.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from edgeagent.cli import render
from edgeagent.cli.asked import write_picture_of
from edgeagent.cli.twins import Answer, Given, twin
from edgeagent.errors import EdgeAgentError, NotPermitted, Unavailable

pipeline = typer.Typer(help="Start, stop or pause a pipeline.", no_args_is_help=True)

_RECOVERY_S = 120.0
"""Silence of an agent that waits for its recovery."""
Out = Annotated[Path | None, typer.Option("--out", metavar="FILE", help="Where the picture goes.")]


def _times(answer: Answer, _given: Given) -> None:
    facts = [("at", answer["at"]), ("clock", answer["clock"]), ("boot", answer["boot"])]
    render.facts([*facts, ("up for", render.duration(answer["mono_ms"] / 1000))])


def _lines(answer: Answer, _given: Given) -> None:
    render.text("\n".join(answer["lines"]))


def _was(answer: Answer, given: Given) -> None:
    render.plain(f"{given['target']} was {answer['was']}")


def _again(_answer: Answer, _given: Given) -> None:
    render.plain("it begins again")


def _seen(answer: Answer, _given: Given) -> None:
    shown = {name: value for name, value in answer.items() if not isinstance(value, (dict, list))}
    render.facts(shown.items())


def _save(answer: Answer, given: Given) -> None:
    write_picture_of(answer, given["out"])


def _state(answer: Answer, given: Given) -> None:
    render.plain(f"{given['name']}: {answer['state']}")


def _blinked(answer: Answer, _given: Given) -> None:
    render.plain(f"{answer['light']} has blinked {answer['blinked']} times")


def _blink_here(problem: EdgeAgentError, given: dict[str, Any]) -> Answer:
    """The service may not set lights; whoever asks here may be root."""
    import threading

    from edgeagent.device.lights import blink, light

    if not isinstance(problem, (NotPermitted, Unavailable)):
        raise problem
    its, pause = light(), threading.Event()
    return {"light": its.name, "blinked": blink(its, given["seconds"], pause.wait)}


def _verdicts(answer: Answer, _given: Given) -> None:
    render.table(
        ("DRILL", "NOTICED", "DEGRADED", "RECOVERED", "ACCOUNTED", "WHAT IT SAID"),
        [
            (its["drill"], _mark(its["noticed"], its["noticed_s"]), _mark(its["degraded"]),
             _mark(its["recovered"], its["recovered_s"]), _mark(its["accounted"]), its["said"])
            for its in answer["drills"]
        ],
    )  # fmt: skip


def _mark(good: bool | None, seconds: float | None = None) -> str:
    if good is None:
        return "-"
    return ("ok" if good else "FAILED") + (f" {seconds:.1f} s" if good and seconds else "")


ping = twin("ping", _times, help="Ask the running agent for its times (exit 69 if none runs).")
logs = twin(
    "logs", _lines, words={"lines": ("--lines", "-n")},
    help="The last lines of the running agent's log; of earlier runs: journalctl -u edgeagent.",
)  # fmt: skip
cancel = twin("cancel", _was, help="End a command that waits or is being done.")
restart = twin(
    "restart", _again,
    help="Let the running agent end in good order and begin again, with its present configuration.",
)  # fmt: skip
capture = twin(
    "capture", _seen, also={"out": Out}, then=_save,
    help="A picture of a running source, redacted as its pipelines want it, and its figures.",
)  # fmt: skip
identify = twin(
    "identify", _blinked, without=_blink_here,
    help="Blink a light of this device, so that a person finds it among others.",
)  # fmt: skip
drill = twin(
    "drill", _verdicts, silence_s=_RECOVERY_S, failed=lambda answer: not answer["passed"],
    help="""Make faults on the running agent and see how it copes. Exit 1 if it does not.

    What is begun meanwhile carries "test": true, so that no siren goes off. The clock is left
    alone: a time that was trusted once in a boot stays so, so there is nothing to see; the outbox's
    own cap is too, for it would cost real records.
    """,
)  # fmt: skip
for _action, _help in (
    ("start", "Go on with a pipeline that was stopped or paused."),
    ("stop", "Let a pipeline rest until it is started, or the agent is."),
    ("pause", "As stop; the model stays open."),
):
    pipeline.command(_action)(twin("pipeline", _state, fixed={"action": _action}, help=_help))
