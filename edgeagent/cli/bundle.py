"""Options that belong together, taken by several commands as one parameter.

A bundle is a frozen dataclass whose fields are annotated as a command's parameters would be. A
command that is `bundled` takes the bundle; at the command line it has the bundle's options in its
place. What the options' values mean is a method of the bundle, once.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import wraps
from typing import Any, get_type_hints


@dataclass(frozen=True)
class Bundle:
    """The base of all bundles; every field of one has a default."""


def bundled(command: Callable[..., None]) -> Callable[..., None]:
    """The command with the options of its bundles. A parameter's default is that of its options."""
    hints = _hints_of(command)
    parameters: list[inspect.Parameter] = []
    kinds: dict[str, type[Bundle]] = {}
    for parameter in inspect.signature(command).parameters.values():
        kind = hints[parameter.name]
        if isinstance(kind, type) and issubclass(kind, Bundle):
            kinds[parameter.name] = kind
            parameters += _options(kind, parameter.default)
        else:
            parameters.append(
                parameter.replace(annotation=kind, kind=inspect.Parameter.KEYWORD_ONLY)
            )

    @wraps(command)
    def given(**values: Any) -> None:
        for name, kind in kinds.items():
            own = {field.name: values.pop(field.name) for field in fields(kind)}
            values[name] = kind(**own)
        command(**values)

    given.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    given.__annotations__ = {its.name: its.annotation for its in parameters}
    return given


def _hints_of(command: Callable[..., None]) -> dict[str, Any]:
    # As those of a class: Python 3.10 puts what a function defaults to None into an Optional,
    # in which the metadata of an Annotated is not found any more.
    holder = type("holder", (), {"__annotations__": command.__annotations__})
    return get_type_hints(holder, globalns=command.__globals__, include_extras=True)


def _options(kind: type[Bundle], default: Any) -> list[inspect.Parameter]:
    hints = get_type_hints(kind, include_extras=True)
    usual = default if isinstance(default, Bundle) else kind()
    return [
        inspect.Parameter(
            field.name, inspect.Parameter.KEYWORD_ONLY,
            default=getattr(usual, field.name), annotation=hints[field.name],
        )
        for field in fields(kind)
    ]  # fmt: skip
