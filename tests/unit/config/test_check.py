"""Every fault of a table, with exact messages."""

from __future__ import annotations

import copy
import math
from datetime import date
from typing import Any, get_args

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeagent.config.check import Fault, check_table, dotted, faults_text
from edgeagent.config.model import Config, SourceConfig
from edgeagent.config.toml import parse_text
from edgeagent.manifest import Manifest

DURATION = 'a duration such as "60 s" (us, ms, s, min, h, d)'
KINDS = "one of " + ", ".join(f'"{its.__struct_config__.tag}"' for its in get_args(SourceConfig))


def faults_of(text: str) -> list[str]:
    table, places = parse_text(text, "a.toml")
    return [str(fault) for fault in check_table(table, Config, file="a.toml", places=places)]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        # unknown keys
        ('[mqtt]\nhots = "x"', 'a.toml:2: mqtt.hots: unknown key; did you mean "host"?'),
        ('[mqtt]\nHost = "x"', 'a.toml:2: mqtt.Host: unknown key; did you mean "host"?'),
        ('[mqtt]\npassword-file = "x"',
         'a.toml:2: mqtt.password-file: unknown key; did you mean "password_file"?'),
        ('[mqtt]\nca = "x"', 'a.toml:2: mqtt.ca: unknown key; did you mean "tls.ca"?'),
        ('\n[mqqt]\nhost = "x"', 'a.toml:2: mqqt: unknown key; did you mean "mqtt"?'),
        ("[metrics]\nzzz = 1", "a.toml:2: metrics.zzz: unknown key; known here: every"),
        ('[sources.c]\nkind = "images"\npath = "x"\nfsp = 1',
         'a.toml:4: sources.c.fsp: unknown key; did you mean "fps"?'),
        ('[[pipelines.p.rules]]\nwhen = "x"\nthen = []\n[pipelines.p]\nmodel = "m"',
         "a.toml:3: pipelines.p.rules[0].then: unknown key; did you mean \"when\"?"),
        # missing keys
        ("[pipelines.p]\nthreshold = 0.5",
         "a.toml:1: pipelines.p.model: expected a text, found nothing; add model = …"),
        ('[pipelines.p]\nmodel = "m"\n[[pipelines.p.rules]]\ndo = []',
         "a.toml:3: pipelines.p.rules[0].when: expected a text, found nothing; add when = …"),
        ("[sources.c]\nfps = 1",
         f'a.toml:1: sources.c.kind: expected {KINDS}, found nothing; add kind = "…"'),
        # wrong sort
        ('[mqtt]\nport = "1883"', "a.toml:2: mqtt.port: expected a whole number from 1 to 65535, "
         'found "1883"; write 1883 without quotes'),
        ("[mqtt]\nport = 1883.5",
         "a.toml:2: mqtt.port: expected a whole number from 1 to 65535, found 1883.5"),
        ("[mqtt]\nport = 1883.0", "a.toml:2: mqtt.port: expected a whole number from 1 to 65535, "
         "found 1883.0; write 1883"),
        ("[mqtt]\nport = true",
         "a.toml:2: mqtt.port: expected a whole number from 1 to 65535, found true"),
        ("[mqtt]\nhost = 12",
         'a.toml:2: mqtt.host: expected a text, found 12; write "12" in quotes'),
        ("[mqtt]\nhost = 2026-11-24",
         "a.toml:2: mqtt.host: expected a text, found the date 2026-11-24"),
        ('mqtt = "broker"', 'a.toml:1: mqtt: expected a table, found "broker"'),
        ("[mqtt]\ntls = true", "a.toml:2: mqtt.tls: expected a table, found true"),
        ('[device]\ngroups = "canary"',
         "a.toml:2: device.groups: expected a list, each item a name "
         'of letters, digits, _ and - (at most 64), found "canary"; write a list: ["canary"]'),
        ("[device]\ngroups = [\n  \"ok\",\n  7,\n]",
         "a.toml:4: device.groups[1]: expected a name of "
         'letters, digits, _ and - (at most 64), found 7; write "7" in quotes'),
        ('[pipelines.p]\nmodel = "m"\nsnapshot = "yes"', "a.toml:3: pipelines.p.snapshot: expected "
         'true or false, found "yes"; write true without quotes'),
        ('[device.tags]\nfloor = 3', 'a.toml:2: device.tags.floor: expected a text, found 3; '
         'write "3" in quotes'),
        # limits
        ("[mqtt]\nport = 70000",
         "a.toml:2: mqtt.port: expected a whole number from 1 to 65535, found 70000"),
        ('[pipelines.p]\nmodel = "m"\nthreshold = -1',
         "a.toml:3: pipelines.p.threshold: expected a number of at least 0, found -1"),
        ('[sources.c]\nkind = "camera"\nfps = 0',
         "a.toml:3: sources.c.fps: expected a number above 0 up to 1000, found 0"),
        ('[sources.c]\nkind = "camera"\nfps = nan',
         "a.toml:3: sources.c.fps: expected a number above 0 up to 1000, found nan"),
        ("[outbox]\nqueue = 3",
         "a.toml:2: outbox.queue: expected a whole number of at least 16, found 3"),
        # units
        ('[metrics]\nevery = "60"',
         f'a.toml:2: metrics.every: expected {DURATION}, found "60"; write "60 s"'),
        ('[metrics]\nevery = "5 minutes"',
         f'a.toml:2: metrics.every: expected {DURATION}, found "5 minutes"; write "5 min"'),
        ("[metrics]\nevery = 60",
         f'a.toml:2: metrics.every: expected {DURATION}, found 60; write its unit: "60 s"'),
        ('[metrics]\nevery = "soon"',
         f'a.toml:2: metrics.every: expected {DURATION}, found "soon"'),
        ('[outbox]\nmax = "64 mb"',
         'a.toml:2: outbox.max: expected a size such as "64 MiB" (B, kB, '
         'MB, GB, KiB, MiB, GiB), found "64 mb"; write "64 MB"'),
        # choices
        ('[outbox]\nwhen_full = "drop_oldest"', "a.toml:2: outbox.when_full: expected one of "
         '"drop-newest", "drop-oldest", "thin", found "drop_oldest"; did you mean "drop-oldest"?'),
        ('[privacy]\npictures = "always"', "a.toml:2: privacy.pictures: expected one of "
         '"asked", "events", "never", found "always"'),
        ('[commands]\nallow = ["ping", "reboot"]', "a.toml:2: commands.allow[1]: expected one of "
         '"bench", "cancel", "capture", "config-get", "doctor", "drift", "drill", "explain", '
         '"identify", "infer", "logs", "model-hold", "model-rollback", "model-unhold", "outbox", '
         '"ping", "pipeline", "pool", "privacy-report", "purge", "restart", "support-bundle", '
         '"tune", "why", found "reboot"'),
        ('[sources.c]\nkind = "camra"',
         f'a.toml:2: sources.c.kind: expected {KINDS}, found "camra"; did you mean "camera"?'),
        ('[sources.c]\nkind = 3', f'a.toml:2: sources.c.kind: expected {KINDS}, found 3'),
        # patterns
        ('[sources."front door"]\nkind = "camera"',
         'a.toml:1: sources."front door": expected a name '
         'of letters, digits, _ and - (at most 64), found "front door"'),
        ('[mqtt]\nprefix = "edge/#"', "a.toml:2: mqtt.prefix: expected the beginning of topics, "
         "without #, +, blanks, a / at either end or a $ first, found "
         '"edge/#"'),
        ('[sources.c]\nkind = "rtsp"\nurl = "http://cam/1"',
         "a.toml:3: sources.c.url: expected a URL rtsp://… or rtsps://…, found \"http://cam/1\""),
        ('[sources.c]\nkind = "mjpeg"\nurl = "rtsp://me:pw@cam/1"', "a.toml:3: sources.c.url: "
         'expected a URL http://… or https://…, found "rtsp://me:***@cam/1"'),
        ('[device]\nid = "a\\n"',
         "a.toml:2: device.id: expected a name of letters, digits, _ and - "
         '(at most 64), found "a\\n"'),
        ('[mqtt]\nprefix = "a/"', "a.toml:2: mqtt.prefix: expected the beginning of topics, "
         "without #, +, blanks, a / at either end or a $ first, found "
         '"a/"'),
        ('[mqtt]\nprefix = "a\\n"', "a.toml:2: mqtt.prefix: expected the beginning of topics, "
         "without #, +, blanks, a / at either end or a $ first, found "
         '"a\\n"'),
        # polygons
        ('[sources.c]\nkind = "camera"\nmask = [[[0, 0], [1, 1]]]', "a.toml:3: sources.c.mask[0]: "
         "expected a polygon of at least 3 points [x, y] in 0..1, found 2 values"),
        ('[sources.c]\nkind = "camera"\nmask = [[[0, 0], [320, 1], [1, 1]]]',
         "a.toml:3: sources.c.mask[0][1][0]: expected a share of the picture's width or height "
         "from 0 to 1, found 320"),
        ('[sources.c]\nkind = "camera"\nmask = [[[0, 0], [1, 1, 0], [1, 1]]]',
         "a.toml:3: sources.c.mask[0][1]: expected a point [x, y], found 3 values"),
        ('[sources.c]\nkind = "camera"\nsize = [640]', "a.toml:3: sources.c.size: expected a list "
         "of 2: a whole number from 1 to 16384, a whole number from 1 to 16384, found 1 values"),
    ],
)  # fmt: skip
def test_message(text: str, said: str) -> None:
    assert faults_of(text) == [said]


def test_all_faults_at_once_in_the_order_of_lines() -> None:
    text = (
        '[mqtt]\nport = "x"\n[device]\nnmae = "y"\n[outbox]\nmax = 1\n'
        '[sources.a]\nkind = "images"\n[pipelines.p]\nthreshold = -2\n'
    )
    keys = [line.split(": ")[:2] for line in faults_of(text)]
    assert keys == [
        ["a.toml:2", "mqtt.port"],
        ["a.toml:4", "device.nmae"],
        ["a.toml:6", "outbox.max"],
        ["a.toml:7", "sources.a.path"],
        ["a.toml:9", "pipelines.p.model"],
        ["a.toml:10", "pipelines.p.threshold"],
    ]


def test_renamed_fields_are_known_by_their_name_in_the_file() -> None:
    text = (
        'name = "m"\nversion = "1"\ntask = "detect"\n[output]\ndecoder = "sdd"\n'
        '[[input]]\nname = "i"\nkind = "image"\n[[variant]]\nfile = "f"\nruntime = "onnx"\n'
        '[[state]]\nin = "h0"\n[[state]]\nin = "h0"\nout = "hn"\n'
    )
    table, places = parse_text(text, "model.toml")
    said = [str(its) for its in check_table(table, Manifest, file="model.toml", places=places)]
    assert said[0].startswith('model.toml:5: output.decoder: expected one of "autoencoder", ')
    assert said[0].endswith('found "sdd"; did you mean "ssd"?')
    assert said[1:] == ["model.toml:12: state[0].out: expected a text, found nothing; add out = …"]


def test_without_places_the_file_is_named() -> None:
    faults = check_table({"mqtt": {"port": None}}, Config, file="remote.json")
    assert [str(its) for its in faults] == [
        "remote.json: mqtt.port: expected a whole number from 1 to 65535, found null"
    ]


def test_text_is_one_line_per_fault() -> None:
    faults = [Fault("b", 1, "k", "x", "y"), Fault("a", 9, "", "x", "y", "do z"),
              Fault("a", 2, "k", "", "", "", "it is so")]  # fmt: skip
    assert faults_text(faults) == (
        "a:2: k: it is so\na:9: expected x, found y; do z\nb:1: k: expected x, found y"
    )


def test_dotted_quotes_what_is_no_bare_key() -> None:
    assert dotted(("a", 0, 'b "c"', "d-e")) == 'a[0]."b \\"c\\"".d-e'


GOOD: dict[str, Any] = {
    "device": {"name": "d", "groups": ["a"], "tags": {"k": "v"}},
    "mqtt": {"host": "h", "port": 1883, "tls": {"ca": "x"}, "keepalive": "20 s"},
    "outbox": {"max": "64 MiB", "when_full": "thin", "durability": {"events": "1 s"}},
    "sources": {
        "cam": {"kind": "camera", "fps": 5, "size": [640, 480]},
        "clip": {"kind": "video", "path": "x", "mask": [[[0, 0], [0, 1], [1, 1]]]},
        "csv": {"kind": "csv", "path": "x", "rate_hz": 10.5, "channels": ["a"]},
    },
    "pipelines": {
        "p": {
            "model": "m",
            "source": "cam",
            "threshold": 0.5,
            "zones": {"z": {"polygon": [[0, 0], [0, 1], [1, 1]]}},
            "rules": [{"when": "x", "do": ["event"]}],
            "redact": {"labels": ["a"], "margin": 0.5},
        }
    },
    "serve": {"listen": "127.0.0.1:80"},
}


def nodes(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [path] if path else []
    items = enumerate(value) if isinstance(value, list) else ()
    for key, item in value.items() if isinstance(value, dict) else items:
        found += nodes(item, (*path, key))
    return found


junk = st.one_of(
    st.none(), st.booleans(), st.integers(-3, 3), st.just(10**30), st.just(5.0),
    st.floats(allow_nan=True), st.text(max_size=5), st.just([]), st.just({}), st.just([[0, 0]]),
    st.just({"kind": "images"}), st.just({"kind": "nothing"}), st.just("60"), st.just("5 s"),
    st.just(date(2026, 1, 1)),
)  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_faults_are_found_exactly_when_the_table_does_not_fit(data: st.DataObject) -> None:
    table = copy.deepcopy(GOOD)
    changed: list[tuple[Any, ...]] = []
    for _ in range(data.draw(st.integers(0, 3))):
        *way, last = data.draw(st.sampled_from(nodes(table)))
        holder: Any = table
        for key in way:
            holder = holder[key]
        what = data.draw(st.sampled_from(["set", "delete", "add"]))
        if what == "set":
            holder[last] = copy.deepcopy(data.draw(junk))
        elif what == "delete":
            del holder[last]
        elif isinstance(holder, dict):
            last = data.draw(st.sampled_from(["fsp", "model", "x y", "kind"]))
            holder[last] = copy.deepcopy(data.draw(junk))
        changed.append((*way, last))
        if not nodes(table):
            break
    try:
        msgspec.convert(table, Config)
        fits = not any(isinstance(it, float) and not math.isfinite(it) for it in leaves(table))
    except msgspec.ValidationError:
        fits = False
    faults = check_table(table, Config, file="x")
    assert (not faults) == fits
    for fault in faults:
        assert fault.key, str(fault)  # the walk itself found it, not the fallback
        heads = {dotted(path[:1]) for path in changed}
        assert fault.key.split(".")[0].split("[")[0] in heads


def leaves(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [leaf for item in value.values() for leaf in leaves(item)]
    if isinstance(value, list):
        return [leaf for item in value for leaf in leaves(item)]
    return [value]
