"""Lines of keys, on documents made together with the lines that are expected."""

from __future__ import annotations

import json
import random
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeagent.config.toml import KeyPath, parse_text, parse_toml

TRICKY = ("", "a", "#", "[x]", "a = 1", '"', "'", "\\", "end\\", "}", "]", '""', "ünï", "a\nb", ",")
KEYS = ("a", "b", "c_d", "e-f", "1", "with blank", "do.t", 'qu"ote', "ä", "#", "=", "[")

scalars: st.SearchStrategy[Any] = st.one_of(
    st.integers(-1000, 10**12),
    st.floats(allow_nan=False, allow_infinity=False),
    st.booleans(),
    st.sampled_from(TRICKY),
    st.just(date(2026, 11, 24)),
)
values: st.SearchStrategy[Any] = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(KEYS), inner, max_size=3)
    ),
    max_leaves=12,
)
documents = st.dictionaries(st.sampled_from(KEYS), values, max_size=5)


class Writer:
    """Writes a table as TOML in one of many ways and keeps the line of each key."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.text = ""
        self.lines: dict[KeyPath, int] = {}

    def mark(self, path: KeyPath) -> None:
        self.lines.setdefault(path, self.text.count("\n") + 1)

    def key(self, name: str) -> str:
        bare = name.isascii() and name.replace("_", "").replace("-", "").isalnum()
        styles = [json.dumps(name)]
        if bare:
            styles.append(name)
        if "'" not in name:
            styles.append(f"'{name}'")
        return self.random.choice(styles)

    def table(self, path: KeyPath, table: dict[str, Any]) -> None:
        later: list[tuple[str, Any]] = []
        for name, value in table.items():
            rows = isinstance(value, list) and value and all(isinstance(it, dict) for it in value)
            if (isinstance(value, dict) or rows) and self.random.random() < 0.7:
                later.append((name, value))
            else:
                self.noise()
                self.pair(path, name, value)
                self.text += self.random.choice(["\n", ' # = [ "\n', "\t\n"])
        for name, value in later:
            self.below((*path, name), value)

    def pair(self, path: KeyPath, name: str, value: Any) -> None:
        self.mark((*path, name))
        self.text += self.key(name)
        path = (*path, name)
        while isinstance(value, dict) and len(value) == 1 and self.random.random() < 0.5:
            (name, value), *_ = value.items()
            path = (*path, name)
            self.mark(path)
            self.text += self.random.choice([".", " . "]) + self.key(name)
        self.text += self.random.choice(["=", " = "])
        self.value(path, value)

    def below(self, path: KeyPath, value: Any) -> None:
        names = ".".join(self.key(str(part)) for part in path if isinstance(part, str))
        self.noise()
        self.mark(path)
        if isinstance(value, dict):
            self.text += f"[ {names} ]\n"
            self.table(path, value)
            return
        for position, row in enumerate(value):
            self.mark((*path, position))
            self.text += f"[[{names}]]  # row\n"
            self.table((*path, position), row)

    def value(self, path: KeyPath, value: Any) -> None:
        if isinstance(value, dict):
            self.text += "{ "
            for position, (name, item) in enumerate(value.items()):
                self.text += ", " if position else ""
                self.pair(path, name, item)
            self.text += " }"
        elif isinstance(value, list):
            self.text += "["
            for position, item in enumerate(value):
                self.text += self.random.choice(["", "\n", " \n# ], comment\n  "])
                self.mark((*path, position))
                self.value((*path, position), item)
                self.text += ","
            self.text += self.random.choice(["]", "\n]"])
        elif isinstance(value, str):
            self.text += self.string(value)
        else:
            self.text += (
                {True: "true", False: "false"}.get(value, str(value))
                if isinstance(value, bool)
                else str(value)
            )

    def string(self, value: str) -> str:
        styles = [json.dumps(value, ensure_ascii=False)]
        if "'" not in value and "\n" not in value:
            styles.append(f"'{value}'")
        if "'" not in value:
            styles.append(f"'''\n{value}'''")
        styles.append('"""\n' + value.replace("\\", "\\\\").replace('"', '\\"') + '"""')
        return self.random.choice(styles)

    def noise(self) -> None:
        self.text += self.random.choice(["", "", "\n", "# [not] = a table\n", "  \n\n"])


def paths_of(value: Any, path: KeyPath = ()) -> set[KeyPath]:
    found = {path} if path else set()
    items = enumerate(value) if isinstance(value, list) else ()
    for key, item in value.items() if isinstance(value, dict) else items:
        found |= paths_of(item, (*path, key))
    return found


@settings(max_examples=150, deadline=None)
@given(documents, st.integers(0, 2**32))
def test_every_key_has_the_line_on_which_it_was_written(table: dict[str, Any], seed: int) -> None:
    writer = Writer(seed)
    writer.table((), table)
    parsed, places = parse_text(writer.text, "x.toml")
    assert parsed == table
    assert {path: place.line for path, place in places.items()} == writer.lines
    assert set(places) == paths_of(table)


def test_windows_line_ends_count_once() -> None:
    _, places = parse_text("a = 1\r\n[b]\r\nc = '''x\r\ny'''\r\nd = 2\r\n", "x")
    assert {path: place.line for path, place in places.items()} == {
        ("a",): 1, ("b",): 2, ("b", "c"): 3, ("b", "d"): 5,
    }  # fmt: skip


def test_a_header_after_its_sub_table_is_the_tables_place() -> None:
    _, places = parse_text("[a.b]\nc = 1\n[a]\nd = 1\n", "x")
    assert places[("a",)].line == 3
    assert places[("a", "b")].line == 1


def test_a_key_without_a_place_has_that_of_its_table() -> None:
    _, places = parse_text("[a]\n[a.b]\n", "x")
    assert places.nearest(("a", "b", "c")).line == 2
    assert places.nearest(("a", "zz", "c")).line == 1
    assert places.nearest(("q",), "y") == ("y", 0)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"a = ", "line 1: invalid value before the end of the file; nothing stands after ="),
        (b"a = # later\n", "line 1, column 5: invalid value; nothing stands after ="),
        (b"\n\na = hello\n", "line 3, column 5: invalid value; texts need quotes"),
        (b"[a\nb = 1\n", "line 1, column 3: expected ']'"),
        (b'a = "x\nb = 1\n', "line 1, column 7: illegal character"),
        (b"a = 1\na = 2\n", "line 2, column 6: cannot overwrite a value; a stands in line 1"),
        (b"[a]\n[a]\n", "line 2, column 3: cannot declare ('a',) twice; [a] stands in line 1"),
        (b'a = """never\n', "line 1: unterminated string before the end of the file"),
        (b"a = [1,\n2\n\n\n", "line 2: unclosed array before the end of the file"),
        (b'ok = 1\nname = "K\xe4fer"\n', "line 2: byte 0xe4 is not UTF-8; save the file as UTF-8"),
        (b"a = 1\n\x00\x00\x00", "line 2: the file holds zero bytes, as after a power cut"),
        (b"a = " + b"[" * 3000, "line 1"),
    ],
)
def test_syntax_errors_name_the_line(tmp_path: Path, content: bytes, said: str) -> None:
    file = tmp_path / "agent.toml"
    file.write_bytes(content)
    with pytest.raises(ValueError) as caught:
        parse_toml(file)
    assert str(caught.value).startswith(said)


def test_a_byte_order_mark_does_no_harm(tmp_path: Path) -> None:
    file = tmp_path / "agent.toml"
    file.write_bytes(b"\xef\xbb\xbfa = 1\n")
    table, places = parse_toml(file)
    assert table == {"a": 1}
    assert places[("a",)] == (str(file), 1)
