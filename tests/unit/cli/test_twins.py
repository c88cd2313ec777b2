"""What can be asked by MQTT can be asked at the device, by the same names: from one table."""

from __future__ import annotations

import json
import runpy
from functools import cache
from pathlib import Path
from typing import Any, get_args

import pytest
import typer.main

from edgeagent.cli.app import app
from edgeagent.config.model import Commands as Allowed
from edgeagent.config.model import CommandType as Name
from edgeagent.sync.command_types import TABLE
from edgeagent.sync.commands import Commands, Registry
from edgeagent.sync.judgement import Rules

CONTRACT = (
    "ping", "doctor", "config-get", "logs", "pipeline", "capture", "infer", "explain", "bench",
    "tune", "model-rollback", "model-hold", "model-unhold", "outbox", "support-bundle", "drill",
    "identify", "restart", "cancel",
)  # fmt: skip
"""The table of section 3 of the contract."""
OTHERWISE = {
    "pipeline": {"action": "its three commands"},
    "outbox": {"action": "its commands", "confirm": "settle takes a folder of them"},
    "drift": {"action": "its commands"},
    "pool": {"action": "its commands", "because": "--reason"},
    "purge": {"stores": "--store, several"},
    "infer": {"input": "INPUTS", "fetch": "files are here", "name": "files have one",
              "picture": "--save asks for it"},
    "explain": {"input": "INPUT (given)", "fetch": "files are here", "name": "files have one",
                "picture": "--save asks for it", "pipeline": "MODEL says it"},
    "model-install": {"version": "MODEL@VERSION", "soak_s": "--soak"},
    "model-remove": {"version": "MODEL@VERSION"},
}  # fmt: skip
"""Arguments that the command line has under another word, and which."""


@cache
def commands() -> Any:
    return typer.main.get_command(app)


def command(path: str) -> Any:
    """The command that a person types."""
    found = commands()
    for word in path.split():
        found = found.commands[word]
    return found


def test_the_file_is_made_from_the_table(repository: Path) -> None:
    made = runpy.run_path(str(repository / "docs" / "generate.py"))
    assert (repository / "edgeagent" / "cli" / "twins.json").read_text() == made["twins"]()


def test_every_command_of_the_contract_is_offered_with_its_schema() -> None:
    assert set(CONTRACT) <= TABLE.keys()
    # Who may ask is told by name: the configuration knows each, and nothing else.
    at_the_device = {"model-install", "model-remove"}
    assert set(get_args(Name)) == TABLE.keys() - at_the_device
    registry = Registry()
    for kind in TABLE.values():
        if kind.name not in ("ping", "cancel"):  # the engine's own
            registry.register(kind, lambda _arguments, _job: None)
    rules = Rules(frozenset(get_args(Name)), 60.0, "never")
    engine = Commands(registry, None, rules, lambda _: None)  # type: ignore[arg-type]
    told = engine.capabilities()
    assert told.keys() == set(get_args(Name))
    for name, its in told.items():
        assert json.loads(json.dumps(its["schema"]))["$defs"] and its["summary"], name
    assert set(Allowed().allow) < told.keys()


@pytest.mark.parametrize("name", TABLE)
def test_its_twin_has_the_same_arguments(name: str) -> None:
    twin = command(TABLE[name].twin)
    inner = getattr(twin, "commands", {}).values() or [twin]
    there = {its.name for one in inner for its in one.params}
    there |= {word.lstrip("-") for one in inner for its in one.params for word in its.opts}
    asked = set(TABLE[name].arguments.__struct_fields__)
    assert asked - OTHERWISE.get(name, {}).keys() <= there, name
