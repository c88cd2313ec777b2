"""A bundle holds what helps, and nothing that must not leave the device."""

from __future__ import annotations

import base64
import io
import json
import tarfile
import time
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeagent.config.load import load
from edgeagent.diagnose.bundle import collect
from edgeagent.diagnose.context import Context
from edgeagent.diagnose.scrub import SHORTEST, Scrub
from edgeagent.errors import Unavailable
from edgeagent.store.outbox import Outbox
from edgeagent.store.settings import OutboxSettings
from edgeagent.types import Draft

BROKER, CAMERA, URL, HANDED, ENVIRON = (
    "Tr0ub4dor&3",
    'correct "horse"',
    "s3cr%2Ft",
    "handed0ver",
    "fr0mEnv!",
)
KEY = base64.b64encode(bytes(range(96))).decode()
PEM = f"-----BEGIN PRIVATE KEY-----\n{KEY[:64]}\n{KEY[64:]}\n-----END PRIVATE KEY-----\n"
UNKNOWN = {
    "password: hunter2hunter2": "hunter2hunter2",
    "retrying with token=abcdef123456": "abcdef123456",
    "Authorization: Bearer ya29.A0ARrdaM-x": "ya29.A0ARrdaM-x",
    "GET http://root:toor1234@10.0.0.9/shot.jpg": "toor1234",
    "GET http://10.0.0.9/cgi?user=a&pwd=pass9876&x=1": "pass9876",
    '{"api_key": "k-0123456789"}': "k-0123456789",
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl": "eyJzdWIiOiIxIn0",
}


@pytest.fixture
def device(tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch) -> Context:
    """One whose secrets stand in all places where they could."""
    for name, secret in (("mqtt", BROKER), ("cam", CAMERA), ("key.pem", PEM)):
        (tmp_path / name).write_text(f"{secret}\n")
        (tmp_path / name).chmod(0o600)
    handed = tmp_path / "credentials"
    handed.mkdir()
    (handed / "cam1").write_text(HANDED)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(handed))
    monkeypatch.setenv("EDGEAGENT_CAM2_PASSWORD", ENVIRON)
    (tmp_path / "agent.toml").write_text(f"""
[device]
id = "door-7"
name = "pass-phrase is {BROKER}"
[mqtt]
host = "127.0.0.1"
port = 1
username = "door-7"
password_file = "{tmp_path}/mqtt"
tls = {{ cert = "{tmp_path}/key.pem", key = "{tmp_path}/key.pem" }}
[sources.cam]
kind = "rtsp"
url = "rtsp://127.0.0.1:1/live"
username = "admin"
password_file = "{tmp_path}/cam"
[pipelines.p]
model = "m"
source = "cam"
""")
    with closing(
        Outbox.open(
            tmp_path / "data", device="door-7", settings=OutboxSettings(), boot="b", machine=""
        )
    ) as outbox:
        data = {"phase": "new", "text": f"sign says {BROKER}", "note": [CAMERA, quote(CAMERA)]}
        outbox.append(Draft("event", "p", time.time_ns(), 1.0, data))
        assert outbox.flush(5)
    return Context(tmp_path / "data", load(tmp_path / "agent.toml"), root=root)


def made(device: Context) -> dict[str, str]:
    lines = [
        *UNKNOWN, f"login as door-7 with {BROKER}", f"basic {base64.b64encode(CAMERA.encode())!r}",
        f"opening {quote(CAMERA, safe='')}", json.dumps({"it": CAMERA}), KEY[:64], KEY[64:], PEM,
        f"unit started with {HANDED} and {ENVIRON}", "a line that helps",
    ]  # fmt: skip

    def why(pipeline: str) -> dict[str, Any]:
        return {"sentence": f"cam: rtsp://admin:{URL}@127.0.0.1: refused, asked with {CAMERA}"}

    def silent() -> list[Any]:
        raise Unavailable(f"nothing of models; {BROKER}")

    name, packed = collect(
        device, device="door-7", why=why, log=lambda: lines, models=silent
    )  # fmt: skip
    with tarfile.open(fileobj=io.BytesIO(packed)) as tar:
        assert all(its.name.startswith(f"{name}/") and its.isfile() for its in tar)
        return {
            its.name.partition("/")[2]: (tar.extractfile(its) or io.BytesIO()).read().decode()
            for its in tar
        }


@pytest.fixture(autouse=True)
def _light_runtimes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgeagent.infer.installed.LIBRARIES", {})


def test_no_planted_secret_is_in_it(device: Context) -> None:
    pieces = made(device)
    secrets = {
        BROKER,
        CAMERA,
        URL,
        "s3cr/t",
        HANDED,
        ENVIRON,
        KEY[:64],
        KEY[64:],
        *UNKNOWN.values(),
    }
    written = {
        form
        for its in secrets
        for form in (its, quote(its, safe=""), json.dumps(its)[1:-1],
                     base64.b64encode(its.encode()).decode(), its.encode().hex())
    }  # fmt: skip
    for name, text in pieces.items():
        for form in written:
            assert form not in text, (name, form)
    assert "PRIVATE KEY" not in "".join(pieces.values())


def test_what_helps_is_in_it(device: Context) -> None:
    pieces = made(device)
    assert {"about.json", "doctor.json", "config.json", "why/p.json", "records.jsonl", "log.txt",
            "account.json", "packages.txt", "files.txt", "kernel.txt", "missing.json",
            "machine/meminfo"} <= set(pieces)  # fmt: skip
    assert "a line that helps" in pieces["log.txt"]
    assert json.loads(pieces["config.json"])["config"]["mqtt"]["username"] == "door-7"
    assert json.loads(pieces["records.jsonl"])["seq"] == 1
    assert json.loads(pieces["doctor.json"])["findings"]
    assert "msgspec==" in pieces["packages.txt"]
    assert json.loads(pieces["missing.json"])["models.json"] == "nothing of models; ***"


@given(
    st.lists(st.text(min_size=SHORTEST, max_size=12), min_size=1, max_size=4),
    st.lists(st.text(max_size=20), max_size=4), st.randoms(),
)  # fmt: skip
def test_known_secrets_never_come_through(
    secrets: list[str], around: list[str], random: Any
) -> None:
    """Wherever they stand, also one within another."""
    from edgeagent.config.secret import HIDDEN

    words = [*secrets, *around]
    random.shuffle(words)
    text = Scrub(secrets)(" ".join(words)).replace(HIDDEN, "")
    for secret in secrets:
        assert secret not in text or not secret.strip("* ")


def test_what_is_no_secret_stays() -> None:
    text = "frame 12: password_file = /etc/edgeagent/secrets/mqtt; tokens seen 5; broker:1883 up"
    assert Scrub(["hunter2"])(text) == text
