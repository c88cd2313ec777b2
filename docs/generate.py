"""The reference pages and JSON Schemas, made from the code. ``--check`` only compares."""

from __future__ import annotations

import argparse
import ast
import inspect
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec

from edgeagent import errors, manifest
from edgeagent.cli import setting_up
from edgeagent.config import model
from edgeagent.config.schema import config_schema, field_docs
from edgeagent.diagnose.codes import AREAS, codes
from edgeagent.sync import command_types
from edgeagent.sync.command_types import TABLE
from edgeagent.sync.schema import of_type, schemas

HERE = Path(__file__).resolve().parent
TWINS = "../edgeagent/cli/twins.json"
NOTE = "<!-- made by `make docs`; change the code instead -->\n\n"


def pages() -> dict[str, str]:
    """File below docs/ → its content."""
    made = {
        "reference/README.md": _index(),
        "reference/config.md": _config(),
        "reference/manifest.md": _manifest(),
        "reference/cli.md": _cli(),
        "reference/commands.md": _commands(),
        "reference/errors.md": _errors(),
        "reference/codes.md": _codes(),
        "reference/rules.md": _rules(),
        "schema/config.json": _json(config_schema()),
        "schema/setup.json": _json(setting_up.schema()),
        TWINS: twins(),
    }
    for name, schema in schemas().items():
        made[f"schema/{name}.json"] = _json(schema)
    return made


def _json(document: dict[str, Any]) -> str:
    return json.dumps(document, indent=1, sort_keys=True) + "\n"


def _index() -> str:
    return NOTE + (
        "# Reference\n\n"
        "| page | what |\n|---|---|\n"
        "| [config.md](config.md) | every key of `agent.toml` |\n"
        "| [manifest.md](manifest.md) | every key of `model.toml` |\n"
        "| [rules.md](rules.md) | the language of `when` |\n"
        "| [cli.md](cli.md) | every command of the command line |\n"
        "| [commands.md](commands.md) | what a device can be told over MQTT or its socket |\n"
        "| [errors.md](errors.md) | codes, exit codes and whether it is tried again |\n"
        "| [codes.md](codes.md) | every other stable code, with its cause and what to do |\n"
        "| [../schema](../schema) | JSON Schemas of the configuration and of the wire |\n"
    )


# --- Structs -------------------------------------------------------------------------------


def _config() -> str:
    text = NOTE + '# agent.toml\n\nDurations are written `"60 s"`, sizes `"64 MiB"`.\n'
    documented = field_docs()
    root = msgspec.inspect.type_info(model.Config)
    assert isinstance(root, msgspec.inspect.StructType)
    for title, struct in _tables(root, ""):
        doc = (struct.cls.__doc__ or "").strip().splitlines()
        text += f"\n## {title or 'top level'}\n\n"
        if doc and not doc[0].startswith(struct.cls.__name__):
            text += doc[0] + "\n\n"
        text += _rows(struct, documented.get(struct.cls.__name__, {}))
    return text


def _tables(
    struct: msgspec.inspect.StructType, path: str
) -> Iterator[tuple[str, msgspec.inspect.StructType]]:
    yield path and f"[{path}]", struct
    for field in struct.fields:
        inner = f"{path}.{field.encode_name}" if path else field.encode_name
        below: dict[tuple[str, type], tuple[msgspec.inspect.StructType, list[str]]] = {}
        kinds = 0
        for found, name in _structs(field.type, inner):
            if isinstance(found.tag, str):
                yield f'[{name}], kind = "{found.tag}"', found
                kinds += 1
                for title, its in list(_tables(found, name))[1:]:
                    below.setdefault((title, its.cls), (its, []))[1].append(found.tag)
            else:
                yield from _tables(found, name)
        # What several kinds share stands once, behind them.
        for (title, _), (its, tags) in below.items():
            of = "" if len(tags) == kinds else f", kind = {', '.join(tags)}"
            yield title + of, its


def _structs(kind: Any, path: str) -> Iterator[tuple[msgspec.inspect.StructType, str]]:
    """Structs within a type, with the path that they have in a file."""
    if isinstance(kind, msgspec.inspect.StructType):
        yield kind, path
    elif isinstance(kind, msgspec.inspect.Metadata):
        yield from _structs(kind.type, path)
    elif isinstance(kind, msgspec.inspect.UnionType):
        for each in kind.types:
            yield from _structs(each, path)
    elif isinstance(kind, msgspec.inspect.DictType):
        yield from _structs(kind.value_type, f"{path}.<name>")
    elif isinstance(kind, msgspec.inspect.ListType):
        yield from _structs(kind.item_type, f"[{path}]")


def _rows(struct: msgspec.inspect.StructType, documented: dict[str, str]) -> str:
    text = "| key | type | default | |\n|---|---|---|---|\n"
    for field in struct.fields:
        told = documented.get(field.name, "").replace("\n", " ").replace("|", "\\|")
        kind = _type(field.type).replace("|", "\\|")
        text += f"| `{field.encode_name}` | {kind} | {_default(field)} | {told} |\n"
    return text


def _default(field: Any) -> str:
    value = field.default
    if value is msgspec.NODEFAULT and field.default_factory is not msgspec.NODEFAULT:
        value = field.default_factory()
    if value is msgspec.NODEFAULT:
        return "required" if field.required else ""
    if value in ("", None) or isinstance(value, msgspec.Struct):
        return ""
    return f"`{json.dumps(msgspec.to_builtins(value))}`"


def _type(kind: Any) -> str:
    inspected = msgspec.inspect
    if isinstance(kind, inspected.Metadata):
        unit = (kind.extra_json_schema or {}).get("unit")
        return {"time": "duration", "size": "size"}.get(unit or "", _type(kind.type))
    if isinstance(kind, inspected.UnionType):
        return " or ".join(dict.fromkeys(_type(e) for e in kind.types if not _is_none(e)))
    if isinstance(kind, inspected.LiteralType):
        return ", ".join(f"`{value}`" for value in kind.values)
    if isinstance(kind, inspected.StructType):
        return "table"
    if isinstance(kind, inspected.DictType):
        return f"table of {_type(kind.value_type)}"
    if isinstance(kind, (inspected.ListType, inspected.VarTupleType)):
        return f"list of {_type(kind.item_type)}"
    if isinstance(kind, inspected.TupleType):
        return "[" + ", ".join(_type(each) for each in kind.item_types) + "]"
    names = {"StrType": "text", "IntType": "whole number", "FloatType": "number",
             "BoolType": "true, false", "AnyType": "anything"}  # fmt: skip
    return names.get(type(kind).__name__, type(kind).__name__)


def _is_none(kind: Any) -> bool:
    return isinstance(kind, msgspec.inspect.NoneType)


def _manifest() -> str:
    documented = _docs_of(manifest)
    text = NOTE + "# model.toml\n\nA package is a folder `NAME/VERSION/` with this file in it.\n"
    root = msgspec.inspect.type_info(manifest.Manifest)
    assert isinstance(root, msgspec.inspect.StructType)
    for title, struct in _tables(root, ""):
        doc = (struct.cls.__doc__ or "").strip().splitlines()
        text += f"\n## {title or 'top level'}\n\n{doc[0] if doc else ''}\n\n"
        text += _rows(struct, documented.get(struct.cls.__name__, {}))
    return text


def _docs_of(module: ModuleType) -> dict[str, dict[str, str]]:
    """Class → field → the text below it."""
    found: dict[str, dict[str, str]] = {}
    for node in ast.parse(inspect.getsource(module)).body:
        if not isinstance(node, ast.ClassDef):
            continue
        fields = found.setdefault(node.name, {})
        for one, after in zip(node.body, node.body[1:], strict=False):
            if (
                isinstance(one, ast.AnnAssign)
                and isinstance(one.target, ast.Name)
                and isinstance(after, ast.Expr)
                and isinstance(after.value, ast.Constant)
            ):
                fields[one.target.id] = inspect.cleandoc(str(after.value.value))
    return found


# --- the rest ------------------------------------------------------------------------------


def _rules() -> str:
    from edgeagent.decide import rules

    doc = inspect.getdoc(rules) or ""
    text = NOTE + "# Rules\n\n```\n" + doc + "\n```\n\n| name | kind |\n|---|---|\n"
    text += "".join(f"| `{name}` | {kind} |\n" for name, kind in rules.NAMES.items())
    return text + "".join(
        f"| `{name}('…')`, of a {about} | {kind} |\n" for name, (kind, about) in rules.CALLS.items()
    )


def _commands() -> str:
    text = NOTE + (
        "# Commands\n\n"
        "Publish retained on `edgeagent/{device}/cmd/{type}/{id}`: "
        '`{"status":"init","by":"…","at":"…", …arguments}`; the answer comes there. '
        "Or `edgeagent/{device}/do/{type}` with the arguments alone, not retained.\n\n"
        "| type | does | arguments | changes something |\n|---|---|---|---|\n"
    )
    for name, kind in TABLE.items():
        fields = msgspec.structs.fields(kind.arguments)
        arguments = ", ".join(f"`{field.name}`" for field in fields) or "none"
        changes = "yes: `at` is required" if kind.changes else "no"
        text += f"| `{name}` | {kind.summary} | {arguments} | {changes} |\n"
    return text


def twins() -> str:
    """What the command line makes commands from (`edgeagent.cli.twins`): it must start without the
    library that the table is written with."""
    documented = field_docs([command_types])
    table = {
        name: {
            "at_device": kind.twin,
            "summary": kind.summary,
            "arguments": _arguments(kind.arguments, documented),
        }
        for name, kind in TABLE.items()
    }
    return json.dumps(table, indent=1) + "\n"


def _arguments(struct: Any, documented: dict[str, dict[str, str]]) -> dict[str, Any]:
    schema = of_type(struct)["$defs"][struct.__name__]
    texts = documented[struct.__name__]
    found = {}
    for name, node in schema.get("properties", {}).items():
        if "$ref" in node or "$ref" in str(node.get("anyOf", "")):
            continue  # An object is not typed by hand.
        plain = next((its for its in node.get("anyOf", ()) if its.get("type") != "null"), node)
        items = plain.get("items", {})
        told = {
            "type": plain.get("type", "string"),
            "required": name in schema.get("required", ()),
            "default": node.get("default"),
            "minimum": plain.get("minimum"),
            "maximum": plain.get("maximum"),
            "choices": plain.get("enum") or items.get("enum"),
            "help": " ".join(texts.get(name, "").replace("`", "").split()),
        }
        found[name] = {key: its for key, its in told.items() if its is not None}
    return found


def _errors() -> str:
    text = NOTE + ("# Errors\n\n| code | exit code | tried again | meaning |\n|---|---|---|---|\n")
    # The module's docstring draws the tree with a meaning for each class.
    meanings = dict(re.findall(r"(\w+) {2,}(\S.*?) +exit \d+", errors.__doc__ or ""))
    for name, kind in inspect.getmembers(errors, inspect.isclass):
        if issubclass(kind, errors.EdgeAgentError):
            told = meanings.get(name, "anything that should not have happened")
            text += f"| `{kind.code}` | {kind.exit_code} | {kind.retry} | {told} |\n"
    return text + (
        "\nExit codes: 0 done · 1 found a problem · 2 usage · 3 not found · 69 unavailable · "
        "70 internal · 75 try again · 77 not permitted · 78 bad configuration.\n"
    )


def _codes() -> str:
    text = NOTE + (
        "# Codes\n\nCodes are stable: programs may act on them. Errors of the command line and of "
        "answers are in [errors.md](errors.md).\n"
    )
    known = list(codes())
    for area, title in AREAS.items():
        text += f"\n## {title}\n\n| code | cause | what to do |\n|---|---|---|\n"
        for its in known:
            if its.area == area:
                cells = (f"`{its.code}`", its.cause, its.remedy)
                text += f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |\n"
    return text


def _cli() -> str:
    import typer.main

    from edgeagent.cli.app import app

    command = typer.main.get_command(app)
    text = NOTE + "# Command line\n"
    for path, found in _walk("edgeagent", command):
        text += f"\n## {path}\n\n{inspect.cleandoc(found.help or '').split(chr(12))[0].strip()}\n"
        rows = [parameter for parameter in found.params if parameter.name != "help"]
        if rows:
            text += "\n| | |\n|---|---|\n"
        for parameter in rows:
            names = ", ".join(parameter.opts) or str(parameter.name)
            if parameter.param_type_name == "argument":
                names = str(parameter.name).upper()
            told = getattr(parameter, "help", "") or ""
            text += f"| `{names}` | {told} |\n"
    return text


def _walk(path: str, command: Any) -> Iterator[tuple[str, Any]]:
    yield path, command
    for name, inner in sorted(getattr(command, "commands", {}).items()):
        yield from _walk(f"{path} {name}", inner)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare, write nothing")
    check = parser.parse_args().check
    stale = []
    if not check:
        # First: the page of the command line is made from the command line.
        (HERE / TWINS).write_text(twins(), encoding="utf-8")
    for name, content in pages().items():
        file = HERE / name
        if file.exists() and file.read_text(encoding="utf-8") == content:
            continue
        stale.append(name)
        if not check:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(content, encoding="utf-8")
    if check and stale:
        print(f"stale: {', '.join(stale)}; run: make docs", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
