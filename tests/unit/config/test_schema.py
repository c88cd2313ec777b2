"""The JSON Schema agrees with the checks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jsonschema
import pytest

from edgeagent.config.check import check_table
from edgeagent.config.load import load
from edgeagent.config.model import Config, to_builtins
from edgeagent.config.schema import config_schema, field_docs
from edgeagent.config.toml import parse_toml


@pytest.fixture(scope="module")
def validator() -> Any:
    schema = config_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def test_all_examples_are_valid_and_load(validator: Any, repository: Path) -> None:
    examples = sorted((repository / "examples").glob("*.toml"))
    assert examples
    for example in examples:
        table, _ = parse_toml(example)
        assert not list(validator.iter_errors(table)), example
        loaded = load(example)
        assert not list(validator.iter_errors(to_builtins(loaded.config)))


@pytest.mark.parametrize(
    "table",
    [
        {"mqtt": {"hots": "x"}},
        {"mqtt": {"port": 0}},
        {"mqtt": {"port": "1"}},
        {"outbox": {"max": "64"}},
        {"sources": {"a": {"kind": "images"}}},
        {"sources": {"a": {"kind": "imagez", "path": "x"}}},
        {"sources": {"a b": {"kind": "camera"}}},
        {"pipelines": {"p": {"model": "m", "zones": {"z": {"polygon": [[0, 0], [1, 1]]}}}}},
        {"commands": {"allow": ["shell"]}},
    ],
)
def test_what_the_checks_refuse_the_schema_refuses(validator: Any, table: dict[str, Any]) -> None:
    assert check_table(table, Config, file="x")
    assert list(validator.iter_errors(table))


def test_keys_carry_what_the_code_says_about_them() -> None:
    schema = config_schema()
    assert schema["$defs"]["Mqtt"]["properties"]["host"]["description"].startswith(
        "Empty = no link"
    )
    camera = schema["$defs"]["CameraConfig"]["properties"]
    assert "blackened" in camera["mask"]["description"]  # inherited
    assert "by-id" in camera["device"]["description"]
    assert field_docs()["Pipeline"]["off"]
