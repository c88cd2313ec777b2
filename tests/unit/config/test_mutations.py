"""Fifty ways to break examples/belt.toml: each is named by file, line and key, with exit 78."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from edgeagent.config.check import Fault
from edgeagent.config.load import load
from edgeagent.errors import ConfigError

PAIR = re.compile(r"^(?P<key>[a-z_]+) = (?P<value>[^#]*?)\s*(?:#.*)?$")
Mutation = tuple[bytes, int, str]
"""Content, line of the fault, how its key ends."""


def pairs(
    lines: list[str], keep: Callable[[str, str], bool] = lambda key, value: True
) -> list[int]:
    found = []
    for number, line in enumerate(lines):
        match = PAIR.match(line)
        if match and keep(match["key"], match["value"]):
            found.append(number)
    return found


def changed(lines: list[str], number: int, line: str, key: str) -> Mutation:
    lines = [*lines[:number], line, *lines[number + 1 :]]
    return "\n".join(lines).encode(), number + 1, key


def typo_in_a_key(lines: list[str], rng: random.Random) -> Mutation:
    number = rng.choice(pairs(lines))
    key = PAIR.match(lines[number])["key"]  # type: ignore[index]
    at = rng.randrange(len(key))
    wrong = rng.choice([key[:at] + "x" + key[at:], key[:at] + key[at + 1 :] + "q", key + "s"])
    return changed(lines, number, lines[number].replace(key, wrong, 1), f".{wrong}")


def typo_in_a_header(lines: list[str], rng: random.Random) -> Mutation:
    headers = [number for number, line in enumerate(lines) if line.startswith("[")]
    number = rng.choice(headers)
    first = re.match(r"\[+([a-z]+)", lines[number])[1]  # type: ignore[index]
    wrong = first[:-1] + rng.choice("xyz")
    return changed(lines, number, lines[number].replace(first, wrong, 1), wrong)


def wrong_sort(lines: list[str], rng: random.Random) -> Mutation:
    number = rng.choice(pairs(lines))
    match = PAIR.match(lines[number])
    assert match is not None
    text = match["value"].startswith('"')
    value = rng.choice(["17", "true", "[]"] if text else ['"text"', "[[]]"])
    return changed(lines, number, f"{match['key']} = {value}", match["key"])


def out_of_range(lines: list[str], rng: random.Random) -> Mutation:
    wrong = {"port": "0", "fps": "-1", "threshold": "-0.01"}
    number = rng.choice(pairs(lines, lambda key, value: key in wrong))
    key = PAIR.match(lines[number])["key"]  # type: ignore[index]
    return changed(lines, number, f"{key} = {wrong[key]}", f".{key}")


def point_outside(lines: list[str], rng: random.Random) -> Mutation:
    number = pairs(lines, lambda key, value: key == "polygon")[0]
    numbers = [match.span() for match in re.finditer(r"[0-9.]+", lines[number])]
    start, end = rng.choice(numbers)
    return changed(lines, number, lines[number][:start] + "320" + lines[number][end:], "]")


def unit_lost(lines: list[str], rng: random.Random) -> Mutation:
    number = pairs(lines, lambda key, value: value.endswith(('iB"', ' s"')))[0]
    key = PAIR.match(lines[number])["key"]  # type: ignore[index]
    return changed(lines, number, f'{key} = "{rng.choice(["64", "64 mib", "big", ""])}"', key)


def needed_key_removed(lines: list[str], rng: random.Random) -> Mutation:
    number = rng.choice(pairs(lines, lambda key, value: key in ("kind", "model", "when", "source")))
    key = PAIR.match(lines[number])["key"]  # type: ignore[index]
    header = next(at for at in range(number, -1, -1) if lines[at].startswith("["))
    content, _, _ = changed(lines, number, "", key)
    return content, header + 1, "pipelines.parts" if key == "source" else key


def dangling_reference(lines: list[str], rng: random.Random) -> Mutation:
    number = pairs(lines, lambda key, value: key == "source")[0]
    return changed(lines, number, f'source = "{rng.choice(["bolt", "", "Belt", "x"])}"', ".source")


def unknown_choice(lines: list[str], rng: random.Random) -> Mutation:
    wrong = ("kind", "scene", "when_full")
    number = rng.choice(pairs(lines, lambda key, value: key in wrong))
    key = PAIR.match(lines[number])["key"]  # type: ignore[index]
    return changed(lines, number, f'{key} = "nonsense"', f".{key}")


def broken_syntax(lines: list[str], rng: random.Random) -> Mutation:
    number = rng.choice(pairs(lines, lambda key, value: value.startswith('"')))
    match = PAIR.match(lines[number])
    assert match is not None
    key, value = match["key"], match["value"]
    line = rng.choice([f"{key} = {value[:-1]}", f"{key} = {value[1:-1]}x", f"{key} = {value} 7"])
    return changed(lines, number, line, f".{key}")


def key_twice(lines: list[str], rng: random.Random) -> Mutation:
    number = rng.choice(pairs(lines))
    key = PAIR.match(lines[number])["key"]  # type: ignore[index]
    content = "\n".join([*lines[: number + 1], lines[number], *lines[number + 1 :]])
    return content.encode(), number + 2, f".{key}"


def damaged_bytes(lines: list[str], rng: random.Random) -> Mutation:
    number = rng.choice(pairs(lines))
    key = PAIR.match(lines[number])["key"]  # type: ignore[index]
    content = [line.encode() for line in lines]
    content[number] += rng.choice([b" \xe4", b"\x00", b" # \xff\xfe"])
    return b"\n".join(content), number + 1, f".{key}"


MUTATIONS = (
    typo_in_a_key, typo_in_a_header, wrong_sort, out_of_range, point_outside, unit_lost,
    needed_key_removed, dangling_reference, unknown_choice, broken_syntax, key_twice,
    damaged_bytes,
)  # fmt: skip


@pytest.mark.parametrize("seed", range(50))
def test_the_fault_is_named_with_file_line_and_key(
    seed: int, tmp_path: Path, repository: Path
) -> None:
    lines = (repository / "examples" / "belt.toml").read_text().splitlines()
    content, line, key = MUTATIONS[seed % len(MUTATIONS)](lines, random.Random(seed))
    file = tmp_path / "belt.toml"
    file.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        load(file)
    assert caught.value.exit_code == 78
    faults = [its for its in caught.value.faults if isinstance(its, Fault)]
    named = [its for its in faults if its.line == line and its.key.endswith(key)]
    assert named, f"expected line {line}, key …{key} in:\n{caught.value}"
    assert str(caught.value).count(f"{file}:{line}: ") >= 1
    assert len(str(caught.value).splitlines()) == len(faults)


def test_the_example_itself_is_sound(repository: Path) -> None:
    assert load(repository / "examples" / "belt.toml").config.pipelines["parts"].model == "parts"
