"""What is no fault and should still be told: models that are not here."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from edgeagent.config.check import Fault
from edgeagent.config.look import Look, Ports
from edgeagent.config.toml import KeyPath, Places


def advice(
    table: dict[str, Any], places: Places, *, file: str, remote: Path | None, ports: Ports
) -> tuple[str, ...]:
    """A sentence each, with file, line and key, on a table that has no faults."""
    look = Look(table, places, file, str(remote) if remote else "", ports)
    return tuple(str(its) for its in _missing_models(look))


def _missing_models(look: Look) -> Iterator[Fault]:
    for name, pipeline in look.named("pipelines"):
        path: KeyPath = ("pipelines", name)
        second = [(*path, "refine", its) for its, _ in look.named("pipelines", name, "refine")]
        for place in (path, (*path, "redact"), *second):
            if pipeline.get("enabled", True) and look.labels(*place) is None:
                from edgeagent.config.words import close_to

                said = f'the model "{look.text(*place, "model")}" can not be used on this device'
                here = look.ports.models(look.folders()) if look.ports.models else ()
                close = close_to(look.text(*place, "model"), here)
                remedy = f'did you mean "{close}"? ' if close else ""
                remedy += "see edgeagent models list; it may lie in a folder of models.path"
                yield look.fault((*place, "model"), "", "", remedy, said)
