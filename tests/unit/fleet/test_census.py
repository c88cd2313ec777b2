"""What is retained can't be read: it is told why."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeagent.errors import LinkDown
from edgeagent.fleet.census import Census
from edgeagent.sync.endpoint import Endpoint, LinkSettings
from edgeagent.sync.topics import Topics
from edgeagent.testing.broker import Mosquitto


def test_a_desk_that_does_not_hear_itself_is_told_so(
    tmp_path: Path, mosquitto_installed: None
) -> None:
    word = tmp_path / "word"
    word.write_text("0perator")
    rights = "user desk\ntopic read edgeagent/+/status\n"
    with Mosquitto(tmp_path / "broker", users={"desk": "0perator"}, acl=rights) as broker:
        endpoint = Endpoint("127.0.0.1", broker.port, username="desk", password_file=str(word))
        settings = LinkSettings("desk", (endpoint,), answer_s=0.3)
        with (
            Census(settings, Topics("edgeagent", "desk"), 0.8) as census,
            pytest.raises(LinkDown, match="can't be read: topics not proven: the broker") as told,
        ):
            census.read(["edgeagent/d1/status"], {}.__setitem__)
    assert "access rules" in told.value.remedy
