"""Where the broker is, from the configuration; certificates that end."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgeagent.config.model import Mqtt, Tls
from edgeagent.errors import ConfigError
from edgeagent.sync.endpoint import Endpoint, LinkSettings
from edgeagent.testing.broker import Mosquitto, make_certificates


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("", []),
        ("broker", [("broker", 1883)]),
        ("broker:8884", [("broker", 8884)]),
        ("a.example, b.example:8884 ,", [("a.example", 1883), ("b.example", 8884)]),
        ("::1", [("::1", 1883)]),
        ("[::1]:8884", [("::1", 8884)]),
        ("[::1]", [("::1", 1883)]),
    ],
)
def test_hosts(host: str, expected: list[tuple[str, int]]) -> None:
    settings = LinkSettings.of(Mqtt(host=host), "x")
    assert [(e.host, e.port) for e in settings.endpoints] == expected


@pytest.mark.parametrize("host", ["broker:x", "broker:0", "broker:70000", "[::1]:y"])
def test_ports_that_are_none(host: str) -> None:
    with pytest.raises(ConfigError) as caught:
        LinkSettings.of(Mqtt(host=host), "x")
    assert "mqtt.host" in str(caught.value) and caught.value.remedy


def test_everything_of_the_configuration_is_taken_over() -> None:
    mqtt = Mqtt(
        host="broker", port=8883, username="u", password_file="/p", keepalive="7 s",
        version="3.1.1", session_expiry="2 h", tls=Tls("ca", "cert", "key", insecure=True),
    )  # fmt: skip
    settings = LinkSettings.of(mqtt, "client")
    assert settings.endpoints == (
        Endpoint("broker", 8883, "u", "/p", "ca", "cert", "key", tls=True, insecure=True),
    )
    assert (settings.keepalive_s, settings.session_expiry_s) == (7.0, 7200.0)
    assert (settings.version, settings.client_id) == ("3.1.1", "client")


def test_passwords_lose_their_line_end_only(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text(" pass word \r\n")
    assert Endpoint("h", password_file=str(secret)).password() == " pass word "
    assert Endpoint("h").password() is None
    with pytest.raises(ConfigError):
        Endpoint("h", password_file=str(tmp_path)).password()


def test_a_key_with_a_passphrase_is_refused_instead_of_asked_for(tmp_path: Path) -> None:
    import subprocess

    files = make_certificates(tmp_path)
    locked = tmp_path / "locked.pem"
    subprocess.run(
        ["openssl", "ec", "-aes256", "-passout", "pass:secret", "-in", str(files.client_key),
         "-out", str(locked)], check=True, capture_output=True,
    )  # fmt: skip
    where = Endpoint("h", tls=True, ca=str(files.ca), cert=str(files.client), key=str(locked))
    with pytest.raises(ConfigError) as caught:
        where.context()
    assert "passphrase" in str(caught.value)


@pytest.mark.broker
def test_a_certificate_that_ends_soon_is_a_complaint(
    tmp_path: Path,
    mosquitto_installed: None,
    make_link: Callable[..., Any],
    eventually: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    broker = Mosquitto(tmp_path / "b", tls=True, client_certificates=True, days=20)
    files = broker.certificates
    assert files is not None
    names = {"ca": str(files.ca), "cert": str(files.client), "key": str(files.client_key)}
    where = Endpoint("localhost", broker.port, tls=True, **names)
    with broker:
        link = make_link(0, endpoint=where)
        assert link.wait_up(5)
        complaint = eventually(lambda: link.complaints)[0]
        assert "ends on" in complaint.sentence and complaint.advice
        monkeypatch.setenv("EDGEAGENT_CLOCK", "unsynced")
        assert where.ending() == ""


def test_a_credential_of_systemd_is_the_password_of_a_user_without_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mqtt").write_text("from systemd\n")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    assert Endpoint("h", username="door-7").password() == "from systemd"
    # Nobody's password is sent along by a client that has no name.
    assert Endpoint("h").password() is None
    own = tmp_path / "own"
    own.write_text("from the file")
    assert Endpoint("h", username="door-7", password_file=str(own)).password() == "from the file"
