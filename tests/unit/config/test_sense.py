"""What one key says about another."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from edgeagent.config.load import REMOTE_FILE, load
from edgeagent.config.look import Ports
from edgeagent.errors import ConfigError

CAM = '[sources.cam0]\nkind = "camera"\n'
DOOR = CAM + '[pipelines.door]\nmodel = "m"\nsource = "cam0"\n'
"""Lines 1 to 5."""


def zones_in(when: str) -> Sequence[str]:
    """A stand-in for the rules' grammar: words after ``zone ==``."""
    if "((" in when:
        raise ValueError("column 3: a bracket is not closed")
    return [part.split("'")[1] for part in when.split("zone == ")[1:]]


def labels_in(when: str) -> Sequence[str]:
    return [part.split("'")[1] for part in when.split("label == ")[1:]]


def labels_of(model: str, version: str, folders: Sequence[str]) -> Sequence[str] | None:
    """Models by name; a version or a folder shows in the labels."""
    known = {"m": ("whole", "crack"), "people": ("person",), "mute": ()}
    labels = known.get(model)
    return labels and (*labels, *filter(None, [version, *folders]))


def lines_in(when: str) -> Sequence[str]:
    return [part.split("'")[1] for part in when.split("line == ")[1:]]


def readings_in(when: str) -> Sequence[str]:
    return [part.split("'")[1] for part in when.split("value(")[1:]]


def inputs_of(model: str, version: str, folders: Sequence[str]) -> Sequence[str] | None:
    return {"m": ("image", "vib"), "three": ("image", "vib", "t")}.get(model)


PORTS = Ports(
    zones_in, ("event", "snapshot"), labels_in, labels_of, lines_in, readings_in, inputs_of
)


def faults(tmp_path: Path, text: str) -> list[str]:
    file = tmp_path / "a.toml"
    file.write_text(text)
    try:
        load(file, ports=PORTS)
    except ConfigError as error:
        return [
            line.replace(f"{tmp_path}/", "").replace(str(tmp_path), "HERE")
            for line in str(error).splitlines()
        ]
    return []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (CAM + '[pipelines.a]\nmodel = "m"', "a.toml:3: pipelines.a: expected source or sources, "
         "found neither; add source = one of: cam0"),
        ('[pipelines.a]\nmodel = "m"', "a.toml:1: pipelines.a: expected source or sources, found "
         "neither; add a [sources.…] table and name it"),
        (DOOR.replace('"cam0"\n', '"cam1"\n'),
         "a.toml:5: pipelines.door.source: expected a name of "
         '[sources], found "cam1"; did you mean "cam0"?'),
        ('[pipelines.a]\nmodel = "m"\nsource = "x"',
         "a.toml:3: pipelines.a.source: expected a name "
         'of [sources], found "x"; add a table [sources.x]'),
        (DOOR + 'sources = { image = "cam0" }',
         "a.toml:6: pipelines.door.sources: source and sources are both given; keep one of them"),
        (CAM + '[pipelines.a]\nmodel = "m"\nsources = { image = "kam0" }',
         "a.toml:5: pipelines.a.sources.image: expected a name of [sources], "
         'found "kam0"; did you mean "cam0"?'),
        (CAM + '[pipelines.a]\nmodel = "m"\nsources = { image = "cam0", b = "cam0" }',
         'a.toml:5: pipelines.a.sources.b: expected an input of m, found "b"; known here: image, '
         "vib"),
        (CAM + '[pipelines.a]\nmodel = "m"\nsources = { image = "cam0", vibe = "cam0" }',
         'a.toml:5: pipelines.a.sources.vibe: expected an input of m, found "vibe"; did you mean '
         '"vib"?'),
        (CAM + '[pipelines.a]\nmodel = "three"\nsources = { image = "cam0", vib = "cam0" }',
         "a.toml:5: pipelines.a.sources: the input t of three has no source; add t = \"…\""),
        (CAM + '[pipelines.group]\nmodel = "m"\nsource = "cam0"',
         'a.toml:3: pipelines.group: "group" is reserved; give it another name'),
        ('[sources.group]\nkind = "camera"',
         'a.toml:1: sources.group: "group" is reserved; give it another name'),
        (DOOR + "[[pipelines.door.rules]]\nwhen = \"label == 'crakc'\"",
         'a.toml:7: pipelines.door.rules[0].when: expected a label of m, found "crakc"; did you '
         'mean "crack"?'),
        (DOOR + "version = \"2.0.0\"\n[[pipelines.door.rules]]\nwhen = \"label == 'x'\"",
         'a.toml:8: pipelines.door.rules[0].when: expected a label of m, found "x"; known here: '
         "whole, crack, 2.0.0"),
        (DOOR + "[pipelines.door.zones.belt]\npolygon = [[0,0],[0.5,0.5],[1,1]]",
         "a.toml:7: pipelines.door.zones.belt.polygon: the polygon has no area: its points lie on "
         "a line, or its sides cross; give its corners in order"),
        ('[sources.c]\nkind = "camera"\nmask = [[[0,0],[1,1],[1,0],[0,1]]]',
         "a.toml:3: sources.c.mask[0]: the polygon has no area: its points lie on a line, or its "
         "sides cross; give its corners in order"),
        (DOOR + "[pipelines.door.zones.belt]\npolygon = [[0,0],[0,1],[1,1]]\n"
         "[[pipelines.door.rules]]\nwhen = \"zone == 'blet'\"",
         'a.toml:9: pipelines.door.rules[0].when: expected a zone, found "blet"; '
         'did you mean "belt"?'),
        (DOOR + "[[pipelines.door.rules]]\nwhen = \"zone == 'x'\"",
         'a.toml:7: pipelines.door.rules[0].when: expected a zone, found "x"; '
         "add [pipelines.door.zones.x]"),
        (DOOR + '[[pipelines.door.rules]]\nwhen = "(("',
         "a.toml:7: pipelines.door.rules[0].when: column 3: a bracket is not closed"),
        (DOOR + '[[pipelines.door.rules]]\nwhen = "x"\ndo = ["event",\n"snapshoot"]',
         'a.toml:9: pipelines.door.rules[0].do[1]: expected an action, found "snapshoot"; '
         'did you mean "snapshot"?'),
        (DOOR + "[pipelines.door.redact]\nmargin = 0.2", "a.toml:6: pipelines.door.redact.labels: "
         'expected at least one label, found none; name what to hide, e.g. labels = ["person"]'),
        (DOOR + '[pipelines.door.redact]\nlabels = ["person"]',
         'a.toml:7: pipelines.door.redact.labels[0]: expected a label of m, found "person"; '
         "known here: crack, whole"),
        (DOOR + '[pipelines.door.refine.a]\nmodel = "people"\nlabels = ["crack", "hole"]',
         'a.toml:8: pipelines.door.refine.a.labels[1]: expected a label of m, found "hole"; '
         'did you mean "whole"?'),
        (DOOR + '[pipelines.door.refine.a]\nmodel = "people"\nbudget = "soon"',
         'a.toml:8: pipelines.door.refine.a.budget: expected a duration such as "60 s" (us, ms, s, '
         'min, h, d), found "soon"'),
        ('[serve]\nlisten = "8000"',
         "a.toml:2: serve.listen: expected an address and a port such as "
         '127.0.0.1:8000, found "8000"'),
        ('[serve]\nlisten = "0.0.0.0:99999"', "a.toml:2: serve.listen: expected an address and a "
         'port such as 127.0.0.1:8000, found "0.0.0.0:99999"'),
        ('[device]\nid = "group"', 'a.toml:2: device.id: "group" is reserved'),
        ('[device]\ntimezone = "Europe/Berlim"', "a.toml:2: device.timezone: expected a time zone "
         'such as Europe/Berlin, found "Europe/Berlim"; did you mean "Europe/Berlin"?'),
        ('[device]\ntimezone = "../../etc/passwd"',
         "a.toml:2: device.timezone: expected a time zone "
         'such as Europe/Berlin, found "../../etc/passwd"; e.g. Europe/Berlin; or UTC'),
        ('[metrics]\nevery = "1 ms"',
         'a.toml:2: metrics.every: expected 1 s to 7 d, found "1 ms"'),
        ('[outbox]\nmax = "1 B"', 'a.toml:2: outbox.max: expected 1 MiB to 64 GiB, found "1 B"'),
        ('[outbox]\nmax = "1 GiB"', "a.toml:2: outbox.max: the outbox may not be larger than "
         "storage.max, which holds everything; raise storage.max or lower outbox.max"),
        ('[storage]\nmax = "32 MiB"', "a.toml:2: storage.max: the outbox may not be larger than "
         "storage.max, which holds everything; raise storage.max or lower outbox.max"),
        ('[mqtt]\npassword_file = "none"',
         "a.toml:2: mqtt.password_file: none does not exist; create it, or correct the name"),
        ('[mqtt]\ntls = { ca = "."}', "a.toml:2: mqtt.tls.ca: HERE is a folder; name a file"),
        ('[mqtt]\ntls = { key = "a.toml"}',
         "a.toml:2: mqtt.tls: expected cert beside key, found only key; name the certificate"),
        ('[sources.c]\nkind = "rtsp"\nurl = "rtsp://me:pw@cam/1"',
         "a.toml:3: sources.c.url: a password stands in the URL (rtsp://me:***@cam/1); "
         "write username = … and password_file = … instead"),
    ],
)  # fmt: skip
def test_message(tmp_path: Path, text: str, said: str) -> None:
    assert faults(tmp_path, text) == [said]


GATE = "[pipelines.door.lines.gate]\npoints = [[0,0.5],[1,0.5]]\n"
RULE = "[[pipelines.door.rules]]\nwhen = "


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (DOOR + GATE.replace("[1,0.5]", "[0,0.5]"),
         "a.toml:7: pipelines.door.lines.gate.points: the line has no length: its two points are "
         "the same; give two points"),
        (DOOR + GATE + RULE + "\"line == 'gat'\"",
         'a.toml:9: pipelines.door.rules[0].when: expected a line, found "gat"; did you mean '
         '"gate"?'),
        (DOOR + RULE + "\"line == 'gate'\"",
         'a.toml:7: pipelines.door.rules[0].when: expected a line, found "gate"; add '
         "[pipelines.door.lines.gate]"),
        (DOOR + RULE + "\"value('dor') > 1\"",
         "a.toml:7: pipelines.door.rules[0].when: expected a pipeline or a source, found "
         '"dor"; did you mean "door"?'),
        (DOOR + GATE + RULE + "\"line == 'gate' or value('door') > 1 or value('cam0') > 1\"", ""),
    ],
)  # fmt: skip
def test_lines_and_values_that_rules_name(tmp_path: Path, text: str, said: str) -> None:
    assert faults(tmp_path, text) == ([said] if said else [])


def test_sound_configurations_pass(tmp_path: Path) -> None:
    text = (
        DOOR + "[pipelines.door.zones.belt]\npolygon = [[0,0],[0,1],[1,1]]\n"
        "[[pipelines.door.rules]]\nwhen = \"zone == 'belt'\"\n"
        '[pipelines.door.redact]\nlabels = ["person"]\nmodel = "people"\n'
        '[pipelines.two]\nmodel = "unknown-yet"\nsource = "cam0"\n'
        '[pipelines.two.redact]\nlabels = ["person"]\n'
        '[serve]\nlisten = "[::1]:0"\n'
    )
    assert faults(tmp_path, text) == []


def test_sense_and_sorts_are_judged_in_one_run(tmp_path: Path) -> None:
    text = DOOR.replace('"cam0"\n', '"cam1"\n') + "threshold = -2\ntreshold = 1\nzones = 3\n"
    keys = [line.split(": ")[1] for line in faults(tmp_path, text)]
    assert keys == [
        "pipelines.door.source", "pipelines.door.threshold", "pipelines.door.treshold",
        "pipelines.door.zones",
    ]  # fmt: skip


def test_the_fleet_can_not_change_who_a_device_is(tmp_path: Path) -> None:
    (tmp_path / REMOTE_FILE).write_text(
        json.dumps({"config": {"device": {"id": "x"}, "mqtt": {"prefix": "y"}}})
    )
    with pytest.raises(ConfigError) as caught:
        load(data_dir=tmp_path)
    assert str(caught.value).splitlines() == [
        f"{tmp_path}/{REMOTE_FILE}: {key}: may only be set at the device itself; "
        "set it in agent.toml"
        for key in ("device.id", "mqtt.prefix")
    ]


@pytest.mark.parametrize(
    "rule", ["label == 'crack'", "label == '/srv/models'", "zone == 'z' and label == 'whole'"]
)
def test_labels_are_those_of_the_very_configuration(tmp_path: Path, rule: str) -> None:
    text = (
        DOOR
        + f'[pipelines.door.zones.z]\npolygon = [[0,0],[1,0],[1,1]]\n\
[[pipelines.door.rules]]\nwhen = "{rule}"\n[models]\npath = ["/srv/models"]'
    )
    assert faults(tmp_path, text) == []


@pytest.mark.parametrize("model", ["mute", "absent"])
def test_labels_nobody_knows_are_not_judged(tmp_path: Path, model: str) -> None:
    text = DOOR.replace('"m"', f'"{model}"')
    assert faults(tmp_path, text + "[[pipelines.door.rules]]\nwhen = \"label == 'x'\"") == []


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("", []),
        ("live = false\nimage = false", []),
        ("live = true", []),
        ("image = true", []),
        ('[pipelines.door.redact]\nlabels = ["person"]\nmodel = "peopel"',
         ['8: pipelines.door.redact.model: the model "peopel" can not be used on this device; see '
          "edgeagent models list; it may lie in a folder of models.path"]),
        ('[pipelines.door.refine.who]\nmodel = "facse"',
         ['7: pipelines.door.refine.who.model: the model "facse" can not be used on this device; '
          "see edgeagent models list; it may lie in a folder of models.path"]),
        ('[pipelines.b]\nsource = "cam0"\nmodel = "n"',
         ['8: pipelines.b.model: the model "n" can not be used on this device; see edgeagent '
          "models list; it may lie in a folder of models.path"]),
        ('[pipelines.b]\nsource = "cam0"\nmodel = "n"\nenabled = false', []),
    ],
)  # fmt: skip
def test_what_is_no_fault_and_still_told(tmp_path: Path, more: str, said: list[str]) -> None:
    file = tmp_path / "a.toml"
    file.write_text(DOOR + more)
    told = load(file, ports=PORTS).warnings
    assert [its.removeprefix(f"{file}:") for its in told] == said


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('motion = { zones = ["bolt"] }',
         'a.toml:9: pipelines.door.gate.motion.zones[0]: expected a zone, found "bolt"; '
         'did you mean "belt"?'),
        ('trigger = { pipeline = "yrd" }',
         'a.toml:9: pipelines.door.gate.trigger.pipeline: expected a pipeline, found "yrd"; '
         'did you mean "yard"?'),
        ('trigger = { pipeline = "door" }',
         'a.toml:9: pipelines.door.gate.trigger.pipeline: expected another pipeline, found '
         '"door"; it can\'t wake itself'),
        ('schedule = ["25:00-26:00"]',
         'a.toml:9: pipelines.door.gate.schedule[0]: expected a time of the day such as '
         '"22:00-06:00" or "mon-fri 08:00-18:00", found "25:00-26:00"'),
        ('motion = {}\nmin_fps = 0.5\nmax_fps = 5\ntrigger = { pipeline = "yard", hold = "9 s" }',
         ""),
    ],
)  # fmt: skip
def test_gates(tmp_path: Path, text: str, said: str) -> None:
    zone = "[pipelines.door.zones.belt]\npolygon = [[0, 0], [1, 0], [1, 1]]\n"
    yard = '[pipelines.yard]\nmodel = "m"\nsource = "cam0"\n'
    found = faults(tmp_path, DOOR + zone + "[pipelines.door.gate]\n" + text + "\n" + yard)
    assert found == ([said] if said else []), found


def test_a_command_is_set_at_the_device_only(tmp_path: Path) -> None:
    cam = '[sources.csi]\nkind = "command"\ncommand = ["rpicam-vid", "-o", "-"]\n'
    assert faults(tmp_path, cam) == []
    raw = cam + 'format = "nv12"\n'
    assert faults(tmp_path, raw) == [
        "a.toml:1: sources.csi: nv12 pictures have no size of their own; "
        "write size = [width, height], as the command gives them"
    ]
    (tmp_path / "data").mkdir()
    csi = {"kind": "command", "command": ["sh", "-c", "reboot"]}
    remote = {"config": {"sources": {"csi": csi}}}
    (tmp_path / "data" / REMOTE_FILE).write_text(json.dumps(remote))
    (tmp_path / "a.toml").write_text("")
    with pytest.raises(ConfigError, match="a command may only be set at the device itself"):
        load(tmp_path / "a.toml", data_dir=tmp_path / "data", ports=PORTS)
