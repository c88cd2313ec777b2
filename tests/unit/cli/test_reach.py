"""The operator's broker, named once for all commands."""

import pytest
from typer.testing import CliRunner

from edgeagent.cli.app import app
from edgeagent.testing.broker import Mosquitto


def test_the_environment_names_the_broker(broker: Mosquitto) -> None:
    there = {"EDGEAGENT_FLEET_HOST": "127.0.0.1", "EDGEAGENT_FLEET_PORT": str(broker.port)}
    done = CliRunner().invoke(app, ["fleet", "ls"], env=there)
    assert done.exit_code == 0 and "0 of 0 devices" in done.output, done.output


def test_an_option_goes_before_the_environment(broker: Mosquitto) -> None:
    words = ["fleet", "ls", "--port", str(broker.port)]
    done = CliRunner().invoke(app, words, env={"EDGEAGENT_FLEET_PORT": "9"})
    assert done.exit_code == 0, done.output


@pytest.mark.parametrize("option", ["PASSWORD_FILE", "CA"])
def test_files_are_named_there_as_well(option: str) -> None:
    its = {f"EDGEAGENT_FLEET_{option}": "/nowhere", "EDGEAGENT_FLEET_USERNAME": "me"}
    done = CliRunner().invoke(app, ["fleet", "ls"], env=its)
    assert done.exit_code == 3 and "/nowhere" in done.output, done.output
    assert f"EDGEAGENT_FLEET_{option}" in done.output
