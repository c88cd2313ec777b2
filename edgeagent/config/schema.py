"""JSON Schema of the configuration, for editors and for the operator's side."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterable
from types import ModuleType
from typing import Any

import msgspec

from edgeagent.config import channels, model, pipelines, sensors, serving, sight, sources

ID = "urn:edgeagent:config:1"
_MODULES = (channels, sight, sources, sensors, pipelines, serving, model)


def config_schema() -> dict[str, Any]:
    """JSON Schema (draft 2020-12) of `agent.toml`, with the Structs' docstrings."""
    schema = msgspec.json.schema(model.Config)
    for name, documented in field_docs().items():
        properties = schema["$defs"].get(name, {}).get("properties", {})
        for key, text in documented.items():
            if key in properties:
                properties[key].setdefault("description", text)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": ID,
        "title": "agent.toml",
        **schema,
    }


def field_docs(modules: Iterable[ModuleType] = _MODULES) -> dict[str, dict[str, str]]:
    """Struct of the modules → field → the text that stands below it in the code, inherited ones
    included."""
    documented: dict[str, dict[str, str]] = {}
    trees = [ast.parse(inspect.getsource(module)) for module in modules]
    for node in (node for tree in trees for node in tree.body):
        if isinstance(node, ast.ClassDef):
            own = documented.setdefault(node.name, {})
            for base in node.bases:
                own.update(documented.get(base.id, {}) if isinstance(base, ast.Name) else {})
            own.update(_fields(node))
    return documented


def _fields(node: ast.ClassDef) -> dict[str, str]:
    found = {}
    for field, text in zip(node.body, node.body[1:], strict=False):
        if (
            isinstance(field, ast.AnnAssign)
            and isinstance(field.target, ast.Name)
            and isinstance(text, ast.Expr)
            and isinstance(text.value, ast.Constant)
            and isinstance(text.value.value, str)
        ):
            found[field.target.id] = inspect.cleandoc(text.value.value)
    return found
