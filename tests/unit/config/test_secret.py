"""Secrets are read from where they belong and never shown."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeagent.config.secret import hide, holds_secret, read_secret, redacted
from edgeagent.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("rtsp://admin:hunter2@10.0.0.5/live", "rtsp://admin:***@10.0.0.5/live"),
        ("rtsps://:hunter2@cam", "rtsps://:***@cam"),
        ("lost mqtt://u:hunter2@b:1883, again", "lost mqtt://u:***@b:1883, again"),
        ("http://cam/snap?user=x&password=hunter2&w=1", "http://cam/snap?user=x&password=***&w=1"),
        ("http://cam/?token=hunter2", "http://cam/?token=***"),
        ("two rtsp://a:hunter2@x rtsp://b:hunter2@y", "two rtsp://a:***@x rtsp://b:***@y"),
        ("rtsp://admin@cam/live", "rtsp://admin@cam/live"),
        ("see http://host:8080/a@b", "see http://host:8080/a@b"),
        ("user@host: at 12:30", "user@host: at 12:30"),
    ],
)
def test_passwords_in_urls_are_hidden(text: str, shown: str) -> None:
    assert hide(text) == shown
    assert holds_secret(text) == (text != shown)


@given(st.text(st.characters(exclude_characters="/@ \t\n\r\x0b\x0c\x1c\x1d\x1e\x1f\x85\xa0",
                             exclude_categories=["Z", "C"]), min_size=4))  # fmt: skip
def test_no_password_comes_through(password: str) -> None:
    shown = hide(f"error: rtsp://somebody:{password}@camera.local/1 broke")
    assert shown == "error: rtsp://somebody:***@camera.local/1 broke"


def test_tables_are_shown_without_secrets() -> None:
    table = {
        "password_file": "/etc/x",
        "options": {"token": "t", "api_key": "k", "Passwd": "p", "tokens": 5, "secret": ""},
        "list": [{"secret": "s"}, "http://u:p@h"],
        "deep": {"credentials": ["a", "b"]},
    }
    assert redacted(table) == {
        "password_file": "/etc/x",
        "options": {"token": "***", "api_key": "***", "Passwd": "***", "tokens": 5, "secret": ""},
        "list": [{"secret": "***"}, "http://u:***@h"],
        "deep": {"credentials": ["***", "***"]},
    }


def test_a_secret_is_looked_for_in_its_file_then_around(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert read_secret("mqtt") is None
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    assert read_secret("mqtt") is None
    (tmp_path / "mqtt").write_text("from systemd\n")
    assert read_secret("mqtt") == "from systemd"
    monkeypatch.setenv("EDGEAGENT_MQTT_PASSWORD", "from the environment")
    assert read_secret("mqtt") == "from the environment"
    file = tmp_path / "file"
    file.write_bytes(b"from the file \r\nsecond line")
    assert read_secret("mqtt", str(file)) == "from the file "


def test_a_secret_that_can_t_be_read_is_told_without_it(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="secret of cam0 can't be read"):
        read_secret("cam0", str(tmp_path / "none"))
    (tmp_path / "bad").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError) as caught:
        read_secret("cam0", str(tmp_path / "bad"))
    assert "make it readable" in caught.value.remedy
