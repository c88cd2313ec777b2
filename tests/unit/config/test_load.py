"""Layers, origins, hash, the last good configuration."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeagent.config import snapshot
from edgeagent.config.diff import Change, diff
from edgeagent.config.layer import Layer
from edgeagent.config.load import (
    REMOTE_FILE,
    config_hash,
    data_dir_of,
    load,
    load_or_last_good,
)
from edgeagent.config.model import Config
from edgeagent.config.paths import data_dir, shipped
from edgeagent.config.toml import Place, Places, parse_text
from edgeagent.errors import ConfigError, NotFound


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A folder with agent.toml, conf.d and a data folder."""
    (tmp_path / "conf.d").mkdir()
    (tmp_path / "data").mkdir()
    (tmp_path / "agent.toml").write_text(
        '[device]\nname = "one"\nsite = "hall"\ngroups = ["a", "b"]\n'
        '[mqtt]\nhost = "first"\nport = 1\ntls = { ca = "ca.pem" }\n'
    )
    (tmp_path / "ca.pem").write_text("x")
    return tmp_path


def refusal(*files: Path, **options: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        load(list(files), **options)
    assert caught.value.exit_code == 78
    return str(caught.value)


def test_layers_in_the_order_of_the_contract(site: Path) -> None:
    (site / "conf.d" / "20-b.toml").write_text("[mqtt]\nport = 20\n[sync]\nwindow = 5\n")
    (site / "conf.d" / "10-a.toml").write_text("[mqtt]\nport = 10\nkeepalive = '10 s'\n")
    (site / "conf.d" / "30-c.toml.bak").write_text("[[[ not read")
    (site / "data" / REMOTE_FILE).write_text(
        json.dumps({"rev": 3, "config": {"mqtt": {"host": "far"}, "sync": {"window": 7}}})
    )
    board = Layer(
        {"outbox": {"max": "32 MiB"}, "sync": {"window": 1}},
        Places({("outbox", "max"): Place("board.toml", 4), ("sync", "window"): Place("b", 5)}),
    )
    asked = []

    def profile(name: str) -> Layer:
        asked.append(name)
        return board

    loaded = load(
        site / "agent.toml",
        data_dir=site / "data",
        profile=profile,
        flags=["sync.window=9", "device.name=two words"],
    )
    config, origins = loaded.config, loaded.origins()
    assert asked == ["auto"]
    assert (config.outbox.max, origins["outbox.max"]) == ("32 MiB", "board.toml:4")
    assert (config.device.site, origins["device.site"]) == ("hall", f"{site}/agent.toml:3")
    assert (config.mqtt.keepalive, origins["mqtt.keepalive"]) == (
        "10 s", f"{site}/conf.d/10-a.toml:3",
    )  # fmt: skip
    assert (config.mqtt.port, origins["mqtt.port"]) == (20, f"{site}/conf.d/20-b.toml:2")
    assert (config.mqtt.host, origins["mqtt.host"]) == ("far", f"{site}/data/{REMOTE_FILE}")
    assert (config.sync.window, origins["sync.window"]) == (9, "--set sync.window=9")
    assert config.device.name == "two words"
    assert (config.mqtt.prefix, origins["mqtt.prefix"]) == ("edgeagent", "default")
    assert [file.name for file in loaded.files] == [
        "agent.toml", "10-a.toml", "20-b.toml", REMOTE_FILE,
    ]  # fmt: skip


def test_arrays_replace_and_null_removes(site: Path) -> None:
    (site / "data" / REMOTE_FILE).write_text(
        json.dumps({"config": {"device": {"groups": ["c"], "site": None}, "mqtt": {"tls": None}}})
    )
    loaded = load(site / "agent.toml", data_dir=site / "data", flags=["mqtt.port=null"])
    assert loaded.config.device.groups == ["c"]
    assert loaded.config.device.site == ""
    assert loaded.config.mqtt.tls is None
    assert loaded.config.mqtt.port == 1883
    assert loaded.origins()["mqtt.port"] == "default"


tables: st.SearchStrategy[Any] = st.recursive(
    st.dictionaries(st.sampled_from("abc"), st.one_of(st.none(), st.integers(0, 3))),
    lambda inner: st.dictionaries(
        st.sampled_from("abc"), st.one_of(inner, st.none(), st.integers(0, 3), st.just([1, {}]))
    ),
    max_leaves=8,
)


def rfc7396(target: Any, patch: Any) -> Any:
    """MergePatch of RFC 7396, section 2."""
    if not isinstance(patch, dict):
        return patch
    target = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            target.pop(name, None)
        else:
            target[name] = rfc7396(target.get(name), value)
    return target


@settings(deadline=None)
@given(tables, tables)
def test_merging_is_rfc_7396(lower: dict[str, Any], upper: dict[str, Any]) -> None:
    lower = rfc7396({}, lower)
    laid = Layer(json.loads(json.dumps(lower)))
    laid.lay(Layer(json.loads(json.dumps(upper))))
    assert laid.table == rfc7396(lower, upper)


@pytest.mark.parametrize(
    ("flag", "value"),
    [
        ("device.name=plain", "plain"),
        ('device.name="quoted"', "quoted"),
        ("device.name=a = b", "a = b"),
        ("device.name=", ""),
        ("device.name= x ", "x"),
        ("device.name=a\nb=1", "a\nb=1"),
    ],
)
def test_flags_take_texts_without_quotes(flag: str, value: str) -> None:
    assert load(flags=[flag]).config.device.name == value


def test_flags_take_toml_values() -> None:
    config = load(
        flags=["mqtt.port=1884", 'device.groups=["x"]', "mqtt.tls={ insecure = true }"]
    ).config
    assert (config.mqtt.port, config.device.groups) == (1884, ["x"])
    assert config.mqtt.tls is not None and config.mqtt.tls.insecure


@pytest.mark.parametrize("flag", ["mqtt.port", "=3", "a b=3", "x]\n[y=3", ""])
def test_a_flag_that_is_none_is_told(flag: str) -> None:
    assert f"--set {flag}: not of the form KEY=VALUE" in refusal(flags=[flag])


def test_relative_names_are_meant_from_their_file(site: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(site / "data")
    (site / "conf.d" / "x.toml").write_text(
        '[sources.a]\nkind = "images"\npath = "pictures/*.png"\n'
        '[sources.b]\nkind = "video"\npath = "-"\n[models]\npath = ["../m", "/abs"]\n'
    )
    config = load(site / "agent.toml", flags=['sources.c={kind="audio", path="s.wav"}']).config
    assert config.mqtt.tls is not None and config.mqtt.tls.ca == str(site / "ca.pem")
    paths = {name: getattr(its, "path", None) for name, its in config.sources.items()}
    assert paths == {
        "a": str(site / "conf.d" / "pictures/*.png"),
        "b": "-",
        "c": str(site / "data" / "s.wav"),
    }
    assert config.models.path == [str(site / "conf.d" / "../m"), "/abs"]


def test_faults_of_all_files_at_once(site: Path) -> None:
    (site / "conf.d" / "a.toml").write_text("[mqtt\n")
    (site / "conf.d" / "b.toml").write_text("[x]\ny = \n")
    (site / "agent.toml").write_bytes(b"[device]\nname = '\xff'\n")
    assert refusal(site / "agent.toml").splitlines() == [
        f"{site}/agent.toml:2: device.name: byte 0xff is not UTF-8; save the file as UTF-8",
        f"{site}/conf.d/a.toml:1: mqtt: column 6: expected ']' at the end of a table declaration",
        f"{site}/conf.d/b.toml:2: x.y: column 5: invalid value; nothing stands after =",
    ]


def test_faults_name_the_layer_that_set_the_key(site: Path) -> None:
    (site / "conf.d" / "a.toml").write_text("\n[mqtt]\nport = 0\n")
    (site / "data" / REMOTE_FILE).write_text(json.dumps({"config": {"sync": {"window": 0}}}))
    said = refusal(site / "agent.toml", data_dir=site / "data", flags=["metrics.every=1"])
    assert [line.split(": expected")[0] for line in said.splitlines()] == [
        "--set metrics.every=1: metrics.every",
        f"{site}/conf.d/a.toml:3: mqtt.port",
        f"{site}/data/{REMOTE_FILE}: sync.window",
    ]


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    said = refusal(tmp_path / "none.toml")
    assert said == (
        f"{tmp_path}/none.toml: can't be read: No such file or directory; "
        "name another with --config FILE"
    )


def test_a_folder_in_place_of_a_file(tmp_path: Path) -> None:
    assert "can't be read: Is a directory" in refusal(tmp_path)


def test_a_file_that_may_not_be_read(site: Path) -> None:
    file = site / "agent.toml"
    file.chmod(0)
    me = os.geteuid()
    if me == 0:  # root may read everything: be somebody else for the moment
        os.seteuid(65534)
    try:
        said = refusal(file)
    finally:
        os.seteuid(me)
    assert f"{file}: can't be read: Permission denied; let the agent's user read it: " in said
    assert f"sudo chgrp edgeagent {file}" in said


def test_a_profile_that_does_not_exist_is_a_fault_with_its_line(site: Path) -> None:
    (site / "agent.toml").write_text('[device]\nprofile = "rpi44"\n[mqtt]\nport = 0\n')

    def profile(name: str) -> Layer:
        raise NotFound(f"there is no device profile {name!r}", remedy='did you mean "rpi4"?')

    said = refusal(site / "agent.toml", profile=profile).splitlines()
    assert said[0] == (
        f"{site}/agent.toml:2: device.profile: there is no device profile 'rpi44'; "
        'did you mean "rpi4"?'
    )
    assert len(said) == 2


def test_damaged_fleet_settings_are_told(site: Path) -> None:
    (site / "data" / REMOTE_FILE).write_text('{"rev": 1, "con')
    said = refusal(site / "agent.toml", data_dir=site / "data")
    assert f"{REMOTE_FILE}: the fleet's settings are damaged" in said
    assert f"rm {site}/data/{REMOTE_FILE}" in said


def test_the_hash_is_of_the_effective_values_only(site: Path) -> None:
    plain = load(site / "agent.toml")
    (site / "agent.toml").write_text(
        "# a comment\n" + (site / "agent.toml").read_text() + "version = 'auto'\n"
    )
    again = load(site / "agent.toml")
    assert plain.hash == again.hash == config_hash(plain.config)
    assert len(plain.hash) == 8 and int(plain.hash, 16) >= 0
    assert load(site / "agent.toml", flags=["mqtt.port=2"]).hash != plain.hash


def test_nothing_at_all_gives_the_defaults() -> None:
    loaded = load()
    assert loaded.config == Config()
    assert set(loaded.origins().values()) == {"default"}


def test_the_last_good_one_is_used_and_said(site: Path) -> None:
    file, data = site / "agent.toml", site / "data"
    first = load_or_last_good(file, data_dir=data)
    assert (first.stale, first.warnings) == ("", ())
    file.write_text("[mqtt]\nport = 'x'\n")
    kept = load_or_last_good(file, data_dir=data)
    assert kept.config == first.config and kept.hash == first.hash
    assert kept.stale.startswith(f"{file}:2: mqtt.port: expected")
    assert (data / snapshot.FILE).stat().st_mode & 0o777 == 0o600
    (data / snapshot.FILE).write_text('{"hash": "torn')
    with pytest.raises(ConfigError):
        load_or_last_good(file, data_dir=data)


def test_an_unchanged_configuration_is_not_written_again(site: Path) -> None:
    load_or_last_good(site / "agent.toml", data_dir=site / "data")
    kept = site / "data" / snapshot.FILE
    os.utime(kept, ns=(1, 1))
    load_or_last_good(site / "agent.toml", data_dir=site / "data")
    assert kept.stat().st_mtime_ns == 1
    load_or_last_good(site / "agent.toml", data_dir=site / "data", flags=["mqtt.port=5"])
    assert kept.stat().st_mtime_ns > 1


def test_a_data_folder_that_can_t_be_written_is_a_warning(site: Path) -> None:
    (site / "file").write_text("")
    loaded = load_or_last_good(site / "agent.toml", data_dir=site / "file" / "data")
    assert loaded.config.device.name == "one"
    assert "can't be kept as the last good one" in loaded.warnings[0]


def test_the_data_folder_is_found_in_a_broken_configuration(site: Path) -> None:
    (site / "agent.toml").write_text('[storage]\ndata_dir = "data"\n[mqtt]\nport = "x"\n')
    assert data_dir_of(site / "agent.toml") == site / "data"
    assert data_dir_of(site / "agent.toml", [f"storage.data_dir={site}"]) == site


def test_where_data_lies_by_default(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("STATE_DIRECTORY", raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert data_dir() == tmp_path / "edgeagent"
    assert data_dir("", Path("/etc/edgeagent/agent.toml")) == Path("/var/lib/edgeagent")
    assert data_dir("/x") == Path("/x")
    monkeypatch.setenv("STATE_DIRECTORY", "/var/lib/other:/second")
    assert data_dir() == Path("/var/lib/other")


def test_what_is_shipped_is_found_in_order(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, repository: Path
) -> None:
    (tmp_path / "device_profiles").mkdir()
    (tmp_path / "prefix/share/edgeagent/device_profiles").mkdir(parents=True)
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "prefix"))
    found = shipped("device_profiles", tmp_path)
    assert found[:3] == [
        tmp_path / "device_profiles",
        tmp_path / "prefix/share/edgeagent/device_profiles",
        repository / "device_profiles",
    ]
    assert shipped("no-such-thing") == []


def test_differences_by_dotted_key() -> None:
    before = load(flags=["mqtt.port=1", "mqtt.tls={ca=''}", 'device.groups=["a"]']).config
    after = load(
        flags=['device.groups=["b"]', 'sources.x={kind="plugin", plugin="p", options.token="t"}']
    ).config
    changes = {its.key: its for its in diff(before, after)}
    assert list(changes) == ["device.groups", "mqtt.port", "mqtt.tls", "sources.x"]
    assert changes["mqtt.port"] == Change("mqtt.port", 1, 1883)
    assert changes["device.groups"] == Change("device.groups", ["a"], ["b"])
    assert changes["sources.x"].after["options"] == {"token": "***"}
    assert diff(before, before) == []


def test_what_is_shown_is_what_can_be_loaded_again() -> None:
    loaded = load(flags=["mqtt.host=h", "mqtt.port=77"])
    assert msgspec.convert(loaded.shown(), Config) == loaded.config


def test_parsing_agrees_with_merging_about_places(site: Path) -> None:
    _, places = parse_text((site / "agent.toml").read_text(), "f")
    loaded = load(site / "agent.toml")
    assert {path: place.line for path, place in loaded.places.items()} == {
        path: place.line for path, place in places.items()
    }
