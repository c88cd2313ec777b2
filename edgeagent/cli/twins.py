"""Commands of MQTT at the device: name, arguments and words are those of the one table.

`twins.json` is made from `sync.command_types` by ``make docs``: the command line has to start
without the library that the table is written with.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import cache
from pathlib import Path
from typing import Annotated, Any

import typer

from edgeagent.cli import options, render
from edgeagent.cli.options import AsJson, ConfigFile, DataDir
from edgeagent.errors import EdgeAgentError

Given = Mapping[str, Any]
Answer = dict[str, Any]
_TYPES = {"string": str, "integer": int, "number": float, "boolean": bool, "array": list[str]}
_PLACES: dict[str, Any] = {"config": ConfigFile, "data_dir": DataDir}


@cache
def table() -> dict[str, Any]:
    """Command type → ``at_device, summary, arguments``."""
    found: dict[str, Any] = json.loads(Path(__file__).with_name("twins.json").read_bytes())
    return found


def twin(
    name: str,
    show: Callable[[Answer, Given], None],
    *,
    help: str = "",
    fixed: Given | None = None,
    words: Mapping[str, Sequence[str]] | None = None,
    also: Mapping[str, Any] | None = None,
    then: Callable[[Answer, Given], None] | None = None,
    failed: Callable[[Answer], bool] | None = None,
    silence_s: float = 0.0,
    without: Callable[[EdgeAgentError, dict[str, Any]], Answer] | None = None,
) -> Callable[..., None]:
    """The command of a type, to be registered with typer.

    Args:
        show: the answer for people, with what was given.
        help: in place of the table's summary.
        fixed: arguments that are not asked for.
        words: argument → the options by which it is given, where that is not ``--{argument}``.
        also: options of this side alone → their annotations; without them they are None.
        then: what else is done with an answer, before it is shown.
        failed: whether the answer tells of a problem (exit 1).
        silence_s: so much longer than usual (and than its ``seconds``) the agent may be silent.
        without: what is done here where no agent can do it; it may raise the problem again.
    """
    its, fixed = table()[name], fixed or {}
    asked = {key: one for key, one in its["arguments"].items() if key not in fixed}
    asking = _Asking(name, fixed, tuple(asked), show, then, failed, silence_s, without)

    def run(**given: Any) -> None:
        asking(given)

    run.__name__, run.__doc__ = its["at_device"].split()[-1], help or f"{its['summary']}."
    return _taking(run, _parameters(asked, words or {}, also or {}))


@dataclass(frozen=True)
class _Asking:
    """See `twin`."""

    name: str
    fixed: Given
    asked: tuple[str, ...]
    show: Callable[[Answer, Given], None]
    then: Callable[[Answer, Given], None] | None
    failed: Callable[[Answer], bool] | None
    silence_s: float
    without: Callable[[EdgeAgentError, dict[str, Any]], Answer] | None

    def __call__(self, given: dict[str, Any]) -> None:
        answer = self._answer(given)
        if self.then is not None:
            self.then(answer, given)
        render.show(answer, given["as_json"], lambda: self.show(answer, given))
        if self.failed is not None and self.failed(answer):
            raise typer.Exit(1)

    def _answer(self, given: dict[str, Any]) -> Answer:
        sent = {**self.fixed, **{key: given[key] for key in self.asked if given[key] is not None}}
        client = options.control(given["config"], given["data_dir"])
        client.timeout_s += self.silence_s + float(sent.get("seconds", 0.0))
        try:
            return client.result(self.name, **sent)
        except EdgeAgentError as problem:
            if self.without is None:
                raise
            return self.without(problem, {**given, **sent})


def _taking(run: Callable[..., None], told: list[inspect.Parameter]) -> Callable[..., None]:
    """The function with a signature of its own, which typer reads."""
    run.__signature__ = inspect.Signature(told)  # type: ignore[attr-defined]
    run.__annotations__ = {its.name: its.annotation for its in told}
    return run


def _parameters(asked: Given, words: Mapping[str, Sequence[str]], also: Given) -> list[Any]:
    return [
        *(_parameter(key, one, words.get(key, ())) for key, one in asked.items()),
        *(_keyword(key, annotation, None) for key, annotation in {**also, **_PLACES}.items()),
        _keyword("as_json", AsJson, False),
    ]


def _parameter(name: str, its: Mapping[str, Any], words: Sequence[str]) -> inspect.Parameter:
    kind: Any = _TYPES[its["type"]]
    more: dict[str, Any] = {"help": its.get("help", "")}
    if its["type"] in ("integer", "number"):
        more |= {"min": its.get("minimum"), "max": its.get("maximum")}
    if its.get("choices"):
        make: Any = Enum
        one: Any = make(name.title(), {its: its for its in its["choices"]}, type=str)
        kind = list[one] if its["type"] == "array" else one
    if its["required"]:
        argument = typer.Argument(metavar=name.upper(), **more)
        return _keyword(name, Annotated[kind, argument], inspect.Parameter.empty)
    if its["type"] == "array":
        argument = typer.Argument(metavar=name.upper(), **more)
        return _keyword(name, Annotated[kind | None, argument], None)
    option = typer.Option(*words, **more) if words else typer.Option(**more)
    return _keyword(name, Annotated[kind, option], its.get("default"))


def _keyword(name: str, annotation: Any, default: Any) -> inspect.Parameter:
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation
    )
