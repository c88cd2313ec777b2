"""Mistakes that installers make: each is named with its line, its key and what to write."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeagent.agent.ports import labels_in, zones_in
from edgeagent.config.load import load
from edgeagent.config.look import Ports
from edgeagent.errors import ConfigError

GOOD = """[mqtt]
host = "broker.example"

[sources.cam0]
kind = "synthetic"
fps = 5

[pipelines.door]
source = "cam0"
model = "parts"
threshold = 0.6
[pipelines.door.zones.belt]
polygon = [[0, 0.5], [1, 0.5], [1, 1]]
[[pipelines.door.rules]]
when = "label == 'cracked' and zone == 'belt'"
do = ["event"]
"""
PORTS = Ports(
    zones_in=zones_in,
    labels_in=labels_in,
    labels_of=lambda model, *_: ("whole", "cracked") if model == "parts" else None,
    models=lambda _: ["parts", "digits"],
)


def said(tmp_path: Path, content: str | bytes) -> list[str]:
    """The faults of a file, a line each; none = it is sound."""
    file = tmp_path / "agent.toml"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    try:
        load(file, ports=PORTS)
    except ConfigError as error:
        return str(error).replace(f"{tmp_path}/", "").splitlines()
    return []


HARMLESS = {
    "windows line ends": GOOD.replace("\n", "\r\n").encode(),
    "byte order mark": b"\xef\xbb\xbf" + GOOD.encode(),
    "tabs": GOOD.replace(" = ", "\t=\t").replace("fps", "\tfps").encode(),
    "nothing at all": b"",
}


@pytest.mark.parametrize("what", HARMLESS)
def test_what_does_no_harm(tmp_path: Path, what: str) -> None:
    assert said(tmp_path, HARMLESS[what]) == []


MISTAKES: list[tuple[str, str, str]] = [
    # what is written in place of what, and the whole of what is said about it
    ("fps = 5", "fsp = 5", 'agent.toml:6: sources.cam0.fsp: unknown key; did you mean "fps"?'),
    ("fps = 5", "fps = 5,", "agent.toml:6: sources.cam0.fps: column 8: expected newline or end of "
     "document after a statement; take away the , at the end of the line"),
    ("fps = 5", "fps = 5,5", "agent.toml:6: sources.cam0.fps: column 8: expected newline or end "
     "of document after a statement; write fps = 5.5"),
    ("fps = 5", 'fps = "5"', "agent.toml:6: sources.cam0.fps: expected a number above 0 up to "
     '1000, found "5"; write 5 without quotes'),
    ("fps = 5", "fps = 5\nkeep_sent = '1 h'",
     "agent.toml:7: sources.cam0.keep_sent: unknown key; did you mean keep_sent of [outbox]?"),
    ('"broker.example"', "broker.example", "agent.toml:2: mqtt.host: column 8: invalid value; "
     'texts need quotes: host = "broker.example"'),
    ('"broker.example"', "“broker.example”", "agent.toml:2: mqtt.host: column 8: invalid value; "
     'the quotes are typographic ones; write plain ones: "text"'),
    ('"broker.example"', '"mqtt://broker.example:1884"', "agent.toml:2: mqtt.host: expected a "
     'host name or address, found "mqtt://broker.example:1884"; '
     'write host = "broker.example" and port = 1884'),
    ('"broker.example"', '"broker.example:8883"', "agent.toml:2: mqtt.host: expected a host name "
     'or address, found "broker.example:8883"; write host = "broker.example" and port = 8883'),
    ("host = ", "host: ", "agent.toml:2: mqtt: column 5: expected '=' after a key in a key/value "
     'pair; write host = "broker.example"'),
    ("host = ", "password = 'pw'\nhost = ", "agent.toml:2: mqtt.password: unknown key; did you "
     'mean "password_file"?'),
    ("[sources.cam0]", "[sources.cam 0]", "agent.toml:4: sources.cam 0: column 14: expected ']' "
     "at the end of a table declaration; names have letters, digits, - and _ only: "
     "[sources.cam-0]"),
    ('source = "cam0"', 'source = "cam1"', "agent.toml:9: pipelines.door.source: expected a name "
     'of [sources], found "cam1"; did you mean "cam0"?'),
    ("threshold = 0.6", 'threshold = "60 %"', "agent.toml:11: pipelines.door.threshold: expected "
     'a number of at least 0, found "60 %"; write 0.6'),
    ("zone == 'belt'", "zone == 'bett'", "agent.toml:15: pipelines.door.rules[0].when: expected a "
     'zone, found "bett"; did you mean "belt"?'),
    ("'cracked'", "'crack'", "agent.toml:15: pipelines.door.rules[0].when: expected a label of "
     'parts, found "crack"; did you mean "cracked"?'),
    ('do = ["event"]', 'do = "event"', "agent.toml:16: pipelines.door.rules[0].do: expected a "
     'list, each item a text, found "event"; write a list: ["event"]'),
    ('do = ["event"]', 'do = ["event"]\n[outbox]\nmax = "64 Megs"', "agent.toml:18: outbox.max: "
     'expected a size such as "64 MiB" (B, kB, MB, GB, KiB, MiB, GiB), found "64 Megs"; '
     'write "64 MiB"'),
    ('do = ["event"]', 'do = ["event"]\n[outbox]\nmax = "-64 MiB"', "agent.toml:18: outbox.max: "
     'expected a size such as "64 MiB" (B, kB, MB, GB, KiB, MiB, GiB), found "-64 MiB"'),
    ('do = ["event"]', 'do = ["event"]\n[mqtt]\nport = 1', "agent.toml:17: mqtt: column 6: cannot "
     "declare ('mqtt',) twice; [mqtt] stands in line 1 already; put its keys there"),
    ('do = ["event"]', 'do = ["event"]\nsnap = True', "agent.toml:17: pipelines.door.rules.snap: "
     "column 8: invalid value; write snap = true"),
    ('do = ["event"]', 'do = ["event"]\n[storage]\ndata_dir = "C:\\data"', "agent.toml:18: "
     "storage.data_dir: column 17: unescaped '\\' in a string; write \\\\ for each \\, or put "
     "the text between ' '"),
    ('do = ["event"]', 'do = ["event"]\n[device]\ntimezone = "Berlin"', "agent.toml:18: "
     'device.timezone: expected a time zone such as Europe/Berlin, found "Berlin"; did you mean '
     '"Europe/Berlin"?'),
]  # fmt: skip


@pytest.mark.parametrize(("right", "wrong", "told"), MISTAKES)
def test_a_mistake_is_told_with_what_to_write(
    tmp_path: Path, right: str, wrong: str, told: str
) -> None:
    assert right in GOOD
    assert said(tmp_path, GOOD.replace(right, wrong)) == [told]


def test_a_misspelt_pipeline_is_not_judged_as_one(tmp_path: Path) -> None:
    found = said(tmp_path, GOOD.replace("[[pipelines.door.rules", "[[pipelines.dor.rules"))
    assert found[0] == (
        "agent.toml:14: pipelines.dor: expected a pipeline, found only a part of one; "
        'did you mean "pipelines.door"?'
    )
    assert "zone" not in str(found)


def test_addresses_that_are_none_of_our_business(tmp_path: Path) -> None:
    for host in ("fe80::1", "10.0.0.7", "broker", "br-1.example.org"):
        assert said(tmp_path, GOOD.replace("broker.example", host)) == []


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (GOOD.encode("utf-16"), "agent.toml:1: the file is UTF-16; save it as UTF-8"),
        (GOOD.replace("door", "d\xf6r").encode("latin-1"), "is not UTF-8; save the file as UTF-8"),
        (b'{"mqtt": {}}', "this looks like JSON; write TOML"),
        (b"\0" * 512, "the file holds zero bytes, as after a power cut; restore it from a copy"),
    ],
)
def test_files_that_are_no_toml_at_all(tmp_path: Path, content: bytes, told: str) -> None:
    found = said(tmp_path, content)
    assert len(found) == 1 and told in found[0], found


def test_every_line_that_is_no_toml_is_told_at_once(tmp_path: Path) -> None:
    text = GOOD.replace('"parts"', "parts").replace("fps = 5", "fps = ")
    text = text.replace('"broker.example"', "broker.example").replace("0.6", "0,6")
    assert [line.split(": ")[0] for line in said(tmp_path, text)] == [
        f"agent.toml:{number}" for number in (2, 6, 10, 11)
    ]


def test_a_line_that_opens_something_is_the_last_that_is_told(tmp_path: Path) -> None:
    text = GOOD.replace("[[0, 0.5], [1, 0.5], [1, 1]]", "[[0, 0.5], [1, 0.5").replace("5\n", "x\n")
    found = said(tmp_path, text)
    assert found and all("agent.toml:" in line for line in found)
    assert len(found) <= 2


def test_a_password_in_a_broken_line_is_not_repeated(tmp_path: Path) -> None:
    for line in ("password = hunter2", "password: hunter2"):
        found = said(tmp_path, f"[mqtt]\n{line}\n")
        assert "hunter2" not in str(found)
        assert "agent.toml:2" in found[0]


def test_a_model_that_is_not_here_is_told_with_what_comes_close(tmp_path: Path) -> None:
    file = tmp_path / "agent.toml"
    file.write_text(GOOD.replace('model = "parts"', 'model = "prats"'))
    (told,) = load(file, ports=PORTS).warnings
    assert 'agent.toml:10: pipelines.door.model: the model "prats"' in told
    assert 'did you mean "parts"?' in told
