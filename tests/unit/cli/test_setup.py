"""A device set up from a file: all or nothing, secrets apart, the file wiped."""

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from edgeagent.cli import setting_up, wizard
from edgeagent.cli.app import app
from edgeagent.cli.sketch import INK
from edgeagent.config.load import load
from edgeagent.errors import ConfigError
from edgeagent.testing.agent import AgentProcess
from edgeagent.testing.broker import Mosquitto

FILE = """
[setup]
version = 1
password = "p4ss"
ca = "-----BEGIN CERTIFICATE-----"
[device]
id = "door-7"
site = "hall 2"
[mqtt]
host = "broker.example"
port = 8883
username = "door-7"
[sources.cam0]
kind = "synthetic"
"""


@pytest.fixture
def etc(tmp_path: Path) -> Path:
    return tmp_path / "etc"


def _setup(etc: Path, *words: str | Path, said: str = "") -> tuple[int, str]:
    place = ["--config", str(etc / "agent.toml"), "--data-dir", str(etc.parent / "data")]
    done = CliRunner().invoke(app, ["setup", *map(str, words), *place], input=said)
    return done.exit_code, done.output


def test_a_file_becomes_a_configuration_with_its_secrets_apart(etc: Path, tmp_path: Path) -> None:
    file = tmp_path / setting_up.NAME
    file.write_text(FILE)
    code, said = _setup(etc, file, "--json")
    assert code == 0, said
    assert str(etc / "conf.d" / "10-setup.toml") in json.loads(said)["written"]
    config = load(etc / "agent.toml").config
    assert (config.device.id, config.mqtt.host) == ("door-7", "broker.example")
    assert Path(config.mqtt.password_file).read_text() == "p4ss\n"
    assert config.mqtt.tls is not None and Path(config.mqtt.tls.ca).is_file()
    assert "p4ss" not in (etc / "conf.d" / "10-setup.toml").read_text()
    assert (etc / "secrets" / "mqtt").stat().st_mode & 0o007 == 0
    assert not file.exists()


def test_the_password_is_overwritten_before_the_file_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / setting_up.NAME
    file.write_text(FILE)
    twin = tmp_path / "same-blocks"
    twin.hardlink_to(file)
    setting_up.wipe(file)
    assert not file.exists()
    assert set(twin.read_text()) == {"#"}


@pytest.mark.parametrize(
    ("spoilt", "named"),
    [
        (FILE.replace('kind = "synthetic"', 'kind = "sythetic"'), "sources.cam0"),
        (FILE.replace("port = 8883", "port = 99999"), "mqtt.port"),
        (FILE.replace("version = 1", "version = 9"), "no unattended file of this version"),
        (FILE.replace("password =", "passwort ="), "setup.passwort is not known"),
        (FILE.replace("[mqtt]", "[mqtt"), "line"),
    ],
)
def test_a_wrong_file_changes_nothing_and_stays(
    spoilt: str, named: str, etc: Path, tmp_path: Path
) -> None:
    file = tmp_path / setting_up.NAME
    file.write_text(FILE)
    _setup(etc, file)
    before = {its: its.read_bytes() for its in etc.rglob("*") if its.is_file()}
    file.write_text(spoilt.replace("p4ss", "other"))
    code, said = _setup(etc, file)
    assert code == 78 and named in said, said
    assert {its: its.read_bytes() for its in etc.rglob("*") if its.is_file()} == before
    assert file.read_text() == spoilt.replace("p4ss", "other")


def test_a_setup_that_was_broken_off_loses_nothing(etc: Path, tmp_path: Path) -> None:
    file = tmp_path / setting_up.NAME
    file.write_text(FILE)
    _setup(etc, file)
    kept = etc / "conf.d" / "10-setup.toml"
    kept.rename(etc / "conf.d" / ".10-setup.toml.old")
    file.write_text(FILE.replace("port = 8883", "port = 99999"))
    assert _setup(etc, file)[0] == 78
    assert load(etc / "agent.toml").config.device.id == "door-7"
    assert [its.name for its in (etc / "conf.d").iterdir()] == ["10-setup.toml"]


def test_a_second_setup_replaces_the_first(etc: Path, tmp_path: Path) -> None:
    for id_ in ("door-7", "door-8"):
        file = tmp_path / setting_up.NAME
        file.write_text(FILE.replace("door-7", id_))
        assert _setup(etc, file)[0] == 0
    assert load(etc / "agent.toml").config.device.id == "door-8"


def test_on_a_first_boot_the_reason_is_left_on_the_card(
    etc: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / setting_up.NAME
    monkeypatch.setattr(setting_up, "BOOT", (tmp_path / "nowhere", file))
    assert _setup(etc, "--boot") == (0, "There is nothing to set up.\n")
    file.write_text(FILE.replace("port = 8883", "port = 99999"))
    assert _setup(etc, "--boot")[0] == 78
    assert "mqtt.port" in (tmp_path / "edgeagent-setup.error.txt").read_text()
    file.write_text(FILE)
    assert _setup(etc, "--boot")[0] == 0
    assert not file.exists()


@pytest.fixture
def eye(monkeypatch: pytest.MonkeyPatch) -> None:
    """A camera that is listed and, like one whose plug is loose, gives nothing."""
    from edgeagent.cli import attached

    camera = attached.Attached("camera", "/dev/v4l/by-id/usb-eye", "Eye")
    monkeypatch.setattr(attached, "attached", lambda: [camera])


@pytest.mark.usefixtures("eye")
def test_the_wizards_answers_are_what_comes_into_force(etc: Path, tmp_path: Path) -> None:
    ca = tmp_path / "ca.crt"
    ca.write_text("-----BEGIN CERTIFICATE-----\n")
    answers = ["Door 7", "hall 2", "?", "rpi4", "broker.example", "y", "", str(ca), "door-7",
               "p4ss", "1", "y", ""]  # fmt: skip
    code, said = _setup(etc, said="\n".join(answers) + "\n")
    assert code == 0, said
    assert "Eye" in said and "p4ss" not in said
    assert "This board: " in said and "rpi5-hailo8l" in said
    assert "/dev/v4l/by-id/usb-eye: " in said, "that it gives nothing is told"
    config = load(etc / "agent.toml").config
    assert (config.device.name, config.mqtt.port) == ("Door 7", 8883)
    assert config.device.profile == "rpi4"
    assert config.sources["cam0"].device == "/dev/v4l/by-id/usb-eye"  # type: ignore[union-attr]


@pytest.mark.usefixtures("eye")
def test_a_camera_is_seen_before_it_is_taken(etc: Path, repository: Path) -> None:
    """Another one is asked for until one is right; a model is picked by its number."""
    picture = next((repository / "models" / "parts").glob("*/golden/*.png"))
    answers = ["Door 7", "", "", "", "1", "", "nonsense", str(picture), "n", str(picture), "a", "",
               "2"]  # fmt: skip
    code, said = _setup(etc, said="\n".join(answers) + "\n")
    assert code == 0, said
    assert said.count("Is this what it has to see") == 3
    assert "'nonsense' is no source" in said
    assert max(len(line) for line in said.splitlines() if set(line) <= set(INK) and line) > 20
    config = load(etc / "agent.toml").config
    assert config.sources["cam0"].path == str(picture)  # type: ignore[union-attr]
    assert config.pipelines["cam0"].model == "digits"
    assert config.pipelines["cam0"].record.every >= 1


def test_what_becomes_of_it_is_told_as_it_comes_true(tmp_path: Path) -> None:
    """At a real agent and broker: up to the first record that was delivered."""
    with Mosquitto(tmp_path / "broker") as broker:
        config = (f'[mqtt]\nhost = "127.0.0.1"\nport = {broker.port}\n[sources.cam0]\n'
                  'kind = "synthetic"\n[pipelines.cam0]\nsource = "cam0"\nmodel = "parts"\n'
                  "record.every = 5\n")  # fmt: skip
        with AgentProcess(config, tmp_path / "agent") as agent:
            said = list(wizard.followed(agent.client, 30.0))
        assert said[:2] == ["The agent runs.", "Pictures are looked at."]
        assert said[2] == f"Connected to 127.0.0.1:{broker.port}."
        assert said[3].startswith("The first of its records are delivered: ")
    assert list(wizard.followed(agent.client, 0.5))[-1].startswith("Not all of it within")


def test_the_example_is_what_the_schema_and_the_agent_understand(
    etc: Path, tmp_path: Path, repository: Path
) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    file = tmp_path / setting_up.NAME
    shutil.copy(repository / "examples" / "setup" / setting_up.NAME, file)
    content = setting_up.plain(file)
    judge = jsonschema.Draft202012Validator(setting_up.schema())
    judge.validate(content)
    for spoilt in (
        {**content, "setup": {"version": 2}},
        {**content, "setup": {"version": 1, "passwort": "x"}},
        {**content, "mqtt": {"port": 99999}},
        {key: value for key, value in content.items() if key != "setup"},
    ):
        assert not judge.is_valid(spoilt), spoilt
    code, said = _setup(etc, file)
    assert code == 0, said
    assert load(etc / "agent.toml").config.device.groups == ["canary", "doors"]
    assert not file.exists()


def test_keys_of_one_device_win_over_those_of_all() -> None:
    base = {"pipelines": {"door": {"model": "parts", "source": "cam0"}}, "device": {"site": "all"}}
    content = setting_up.tables(
        {"id": "door-7", "site": ""}, {"host": "b"},
        keys={"pipelines.door.model": "people", "sources.cam0.fps": 5}, base=base,
    )  # fmt: skip
    assert content["pipelines"]["door"] == {"model": "people", "source": "cam0"}
    assert content["device"] == {"site": "all", "id": "door-7"}
    # The template is for the next device as it was.
    assert base["pipelines"]["door"]["model"] == "parts"
    with pytest.raises(ConfigError, match=r"device\.site\.x: site is a value already"):
        setting_up.tables({"site": "hall"}, {}, keys={"device.site.x": 1})


def test_a_file_without_the_table_is_not_taken_for_one(tmp_path: Path) -> None:
    file = tmp_path / "agent.toml"
    file.write_text('[device]\nname = "x"\n')
    with pytest.raises(ConfigError, match="no unattended file") as caught:
        setting_up.read(file)
    assert "fleet enroll" in caught.value.remedy
