"""Where the HTTP server may listen, and what that asks for."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgeagent.config.load import REMOTE_FILE, load
from edgeagent.config.reach import beyond_this_machine
from edgeagent.errors import ConfigError


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ('listen = "0.0.0.0:8000"', "write serve.token_file and serve.tls"),
        ('listen = "[::]:8000"\ntoken_file = "t"', "write serve.tls,"),
        ('listen = "door-7:8000"\ntls = { cert = "c", key = "k" }', "write serve.token_file,"),
        ('listen = "unix:http.sock"', "absolute path"),
        (f'listen = "unix:/{"x" * 120}"', "107 bytes"),
        ('listen = "8000"', "an address and a port"),
        ('max_body = "9 GiB"', 'from "1 KiB" to "1 GiB"'),
        ('[serve.models.m]\nonly = ["1.0.0"]\ncanary = { version = "2.0.0", percent = 5 }',
         "2.0.0 is not among the versions of `only`"),
        ("[serve.models.m]\nmax_batch = 0", "max_batch"),
        ("[serve.models.m]\ncanary = { version = '1.0.0', percent = 101 }", "percent"),
    ],
)  # fmt: skip
def test_faults_of_the_configuration(tmp_path: Path, table: str, said: str) -> None:
    file = tmp_path / "a.toml"
    file.write_text(f"[serve]\n{table}\n")
    with pytest.raises(ConfigError) as error:
        load(file)
    assert said in " ".join([str(error.value), error.value.remedy])


def test_the_fleet_opens_no_door(tmp_path: Path) -> None:
    table = {"listen": "127.0.0.1:1", "hosts": ["evil.example"], "queue": 3}
    (tmp_path / REMOTE_FILE).write_text(json.dumps({"config": {"serve": table}}))
    with pytest.raises(ConfigError) as caught:
        load(data_dir=tmp_path)
    keys = [line.split(": ")[1] for line in str(caught.value).splitlines()]
    assert sorted(keys) == ["serve.hosts", "serve.listen"]
    del table["listen"], table["hosts"]
    (tmp_path / REMOTE_FILE).write_text(json.dumps({"config": {"serve": table}}))
    assert load(data_dir=tmp_path).config.serve.queue == 3  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("listen", "beyond"),
    [
        ("127.0.0.1:1", False), ("127.8.8.8:1", False), ("[::1]:1", False), ("localhost:1", False),
        ("unix:/run/x", False), ("0.0.0.0:1", True), ("[::]:1", True), ("192.168.1.7:1", True),
        ("localhost.example:1", True), ("door-7:1", True),
    ],
)  # fmt: skip
def test_who_can_connect(listen: str, beyond: bool) -> None:
    assert beyond_this_machine(listen) is beyond
