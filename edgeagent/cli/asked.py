"""What the running agent is asked for by `infer` and `explain`: its sources and records."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from edgeagent.cli import options, render
from edgeagent.errors import NotFound, UsageError, unwritable

Source = Annotated[
    str,
    typer.Option(metavar="NAME", help="Ask the running agent about what this source sees now."),
]
Record = Annotated[
    str, typer.Option(metavar="ID", help="Of an event (e-1041) or its number: its picture.")
]

_SILENCE_S = 60.0
"""A model that has to be opened on a small board tells nothing for a while."""


@dataclass(frozen=True)
class Asked:
    """One sample that the agent has."""

    model: str
    files: object
    """What was named besides, and must not be."""
    source: str = ""
    record: str = ""
    threshold: float | None = None
    save: Path | None = None
    """File for the picture."""

    def of_agent(
        self, command: str, config: Path | None, data_dir: Path | None, **further: Any
    ) -> dict[str, Any]:
        """Its answer, with ``input`` and ``sample`` as those about files have.

        Raises: UsageError, NotFound, Unavailable and what the command ends with.
        """
        if self.files:
            raise UsageError("give either files, --source or --record")
        client = options.control(config, data_dir)
        client.timeout_s = _SILENCE_S
        arguments = {
            "model": self.model, "source": self.source, "record": self.record,
            "threshold": self.threshold, "picture": self.save is not None, **further,
        }  # fmt: skip
        told = client.result(command, **arguments)
        write_picture_of(told, self.save)
        its = told["of"]
        return {"input": its.get("source") or self.record, "sample": its["frame"], **told}


def write_picture_of(answer: dict[str, Any], out: Path | None) -> None:
    """Save the picture of an answer. Raises NotFound: there is none; and as `unwritable`."""
    if out is None:
        return
    picture = answer.get("picture") or {}
    if "data" not in picture:
        raise NotFound(f"there is no picture: {picture.get('withheld', 'the source has none')}")
    try:
        out.write_bytes(base64.b64decode(picture["data"]))
    except OSError as error:
        raise unwritable(out, error) from error
    render.note(f"Picture: {out}")
