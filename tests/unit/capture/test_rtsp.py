"""Addresses, credentials and causes of network cameras; the streams are in tests/e2e."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from edgeagent.capture.rtsp import MjpegSource, RtspSource, explain
from edgeagent.config.model import MjpegConfig, RtspConfig
from edgeagent.errors import ConfigError, SourceLost


def rtsp(**keys: Any) -> RtspSource:
    return RtspSource("cam", RtspConfig(**keys))


@pytest.mark.parametrize(
    ("line", "cause"),
    [
        ("method DESCRIBE failed: 401 Unauthorized", "refuses the user name or password (401)"),
        ("method DESCRIBE failed: 404 Not Found", "no such stream (404)"),
        ("method SETUP failed: 461 Unsupported transport", "does not offer this transport (461)"),
        ("method DESCRIBE failed: 500 Internal Error", "the camera answers 500 Internal Error"),
        (
            "Connection to tcp://10.0.0.9:554?timeout=0 failed: Connection refused",
            "nothing listens",
        ),
        ("Failed to resolve hostname cam.local: Name or service not known", "cam.local can't"),
        ("Connection to tcp://10.0.0.9:554 failed: No route to host", "no way to it"),
        ("Connection to tcp://10.0.0.9:554 failed: Connection timed out", "does not answer"),
        ("error while decoding MB 3 4", ""),
    ],
)
def test_causes_in_plain_words(line: str, cause: str) -> None:
    told = explain([f"[OPENCV:FFMPEG:16] {line}"])
    assert cause in told
    assert bool(cause) == bool(told)


def test_the_last_cause_counts() -> None:
    lines = ["failed: 401 Unauthorized", "failed: Connection refused", "unrelated"]
    assert "refused" in explain(lines)


def test_the_password_file_wins_and_everything_is_quoted(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("p@ss/wo:rd\n")
    source = rtsp(
        url="rtsp://old:pw@cam.local:8554/a?x=1", username="ad min", password_file=str(secret)
    )
    params = source.params()
    assert params["url"] == "rtsp://ad%20min:p%40ss%2Fwo%3Ard@cam.local:8554/a?x=1"
    assert params["options"]["rtsp_transport"] == "tcp"
    assert source.origin == "rtsp://cam.local:8554/a"
    assert source._told(f"x {params['url']} p@ss/wo:rd") == "x rtsp://***@cam.local:8554/a?x=1 ***"


def test_credentials_in_the_address_are_used_and_hidden() -> None:
    source = rtsp(url="rtsp://me:s3cret%21@cam/1", transport="udp")
    params = source.params()
    assert params["url"] == "rtsp://me:s3cret%21@cam/1"
    assert params["options"]["rtsp_transport"] == "udp"
    assert source.origin == "rtsp://cam/1"
    assert "s3cret" not in source._told("s3cret! and s3cret%21")


def test_without_credentials_the_address_stays() -> None:
    assert rtsp(url="rtsp://cam/1").params()["url"] == "rtsp://cam/1"


def test_a_password_in_the_path_is_hidden() -> None:
    source = rtsp(url="rtsp://cam/user=admin_password=tlJwpbo6_channel=1.sdp?pwd=x1")
    assert source.params()["url"].endswith("password=tlJwpbo6_channel=1.sdp?pwd=x1")
    assert source.origin == "rtsp://cam/user=admin_password=***_channel=1.sdp"
    assert "x1" not in source._told("failed: rtsp://cam/a?pwd=x1&b=2")


def test_a_password_file_that_is_missing(tmp_path: Path) -> None:
    source = rtsp(url="rtsp://cam/1", password_file=str(tmp_path / "none"))
    with pytest.raises(ConfigError, match="none"):
        source.open()


def test_mjpeg_credentials_leave_the_address() -> None:
    source = MjpegSource("cam", MjpegConfig(url="http://me:pw1@cam:8080/v?user=me&pwd=pw1"))
    params = source.params()
    assert params["url"] == "http://cam:8080/v?user=me&pwd=pw1"
    assert (params["username"], params["password"]) == ("me", "pw1")
    assert source.origin == "http://cam:8080/v"


def test_nobody_listens_is_told_with_the_cause() -> None:
    source = rtsp(url="rtsp://me:geheim@127.0.0.1:1/x", timeout="2 s")
    with pytest.raises(SourceLost) as caught:
        source.open()
    assert str(caught.value) == "rtsp://127.0.0.1:1/x: nothing listens there (connection refused)"
    source.close()
