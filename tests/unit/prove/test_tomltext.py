"""TOML that we write is TOML that we read."""

from __future__ import annotations

import tempfile
from pathlib import Path

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeagent.config.toml import parse_toml
from edgeagent.manifest import (
    FileEntry,
    Golden,
    InputSpec,
    Manifest,
    OutputSpec,
    StateSpec,
    Variant,
)
from edgeagent.prove.tomltext import table_text, with_files

texts = st.text(st.characters(codec="utf-8"), max_size=20)
numbers = st.floats(allow_nan=False, allow_infinity=False, width=32)
manifests = st.builds(
    Manifest,
    name=texts,
    version=texts,
    task=st.sampled_from(["classify", "detect"]),
    licence=texts,
    labels=st.one_of(texts, st.lists(texts, min_size=1, max_size=3)),
    description=texts,
    output=st.builds(
        OutputSpec,
        decoder=st.sampled_from(["ssd", "yolo", "none"]),
        threshold=numbers,
        objectness=st.booleans(),
        anchors=st.dictionaries(texts, st.one_of(numbers, st.lists(st.integers(0, 9))), max_size=2),
    ),
    input=st.lists(
        st.builds(
            InputSpec,
            name=texts,
            kind=st.sampled_from(["image", "window"]),
            size=st.none() | st.tuples(st.integers(1, 999), st.integers(1, 999)),
            mean=st.lists(numbers, max_size=3),
            frontend=st.one_of(texts, st.dictionaries(texts, texts, max_size=2)),
            value=st.none() | numbers | st.integers(-9, 9),
        ),
        min_size=1,
        max_size=3,
    ),
    variant=st.lists(
        st.builds(
            Variant,
            file=texts,
            runtime=st.just("litert"),
            requires=st.dictionaries(texts, texts, max_size=2),
        ),
        min_size=1,
        max_size=2,
    ),
    state=st.lists(st.builds(StateSpec, texts, texts), max_size=2),
    golden=st.none() | st.builds(Golden, tolerance=st.dictionaries(texts, numbers, max_size=2)),
)
entries = st.dictionaries(
    st.text('abc/.-_ "\\é', min_size=1, max_size=12),
    st.builds(
        FileEntry, st.integers(0, 10**9), st.text("0123456789abcdef", min_size=8, max_size=8)
    ),
    max_size=5,
)


def parsed(text: str) -> dict[str, object]:
    with tempfile.NamedTemporaryFile("w", suffix=".toml", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        table, _ = parse_toml(Path(file.name))
    return table


@settings(deadline=None)
@given(manifests)
def test_a_manifest_survives(manifest: Manifest) -> None:
    assert msgspec.convert(parsed(table_text(manifest)), Manifest) == manifest


BEFORE = '# head\nname = "x"\n\n[a]\nb = 1 # c\n\n'
AFTER = '\n[z]\n"[files]" = "no table"\n[[y]]\nw = [\n  [1],\n]\n'
OLD = '[files]\n"old" = { bytes = 1, sha256 = "0" }\n'


@settings(deadline=None)
@given(entries)
def test_files_are_replaced_in_place(files: dict[str, FileEntry]) -> None:
    text = with_files(BEFORE + OLD + AFTER.replace("  [1],\n", "  1,\n"), files)
    table = parsed(text)
    assert msgspec.convert(table.pop("files"), dict[str, FileEntry]) == files
    assert table == {
        "name": "x",
        "a": {"b": 1},
        "z": {"[files]": "no table"},
        "y": [{"w": [1]}],
    }
    assert text.startswith(BEFORE + "[files]")
    assert with_files(text, files) == text


@settings(deadline=None)
@given(entries)
def test_files_are_added_at_the_end(files: dict[str, FileEntry]) -> None:
    text = with_files(BEFORE, files)
    assert text.startswith(BEFORE.rstrip("\n"))
    assert msgspec.convert(parsed(text)["files"], dict[str, FileEntry]) == files


def test_subtables_of_files_are_replaced_too() -> None:
    text = with_files('[files."a b"]\nbytes = 1\nsha256 = "0"\n[files.c]\nbytes = 2\n', {})
    assert parsed(text) == {"files": {}}
