"""A real Home Assistant as a test peer: with a broker, a token, and nobody at its screen.

It lives in an environment of its own, because it pins hundreds of packages:

    python3.13 -m venv DIR && DIR/bin/pip download --no-deps homeassistant==2025.4.4
    unzip -p homeassistant-*.whl homeassistant/package_constraints.txt > constraints.txt
    DIR/bin/pip install -c constraints.txt homeassistant==2025.4.4 'pycares<5' \\
        home-assistant-frontend paho-mqtt

and ``EDGEAGENT_HOME_ASSISTANT`` names its Python.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import signal
import subprocess
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edgeagent.errors import NotFound, Unavailable
from edgeagent.testing.broker import free_port

VARIABLE = "EDGEAGENT_HOME_ASSISTANT"
_START_S = 90.0
_AT = "2026-01-01T00:00:00+00:00"
_KEY = "5a" * 32
_TOKEN_ID = "e" * 32
_USER = "a" * 32


def find() -> Path:
    """The Python that has it. Raises NotFound."""
    named = os.environ.get(VARIABLE, "")
    if not named or not Path(named).exists():
        raise NotFound("Home Assistant is not installed", remedy=f"Name its Python in {VARIABLE}.")
    return Path(named)


class HomeAssistant:
    """One of its own in ``folder``, with MQTT discovery from the broker at ``broker_port``."""

    def __init__(self, folder: Path, broker_port: int) -> None:
        """Raises NotFound."""
        self.python = find()
        self.folder, self.port = folder, free_port()
        self._process: subprocess.Popen[bytes] | None = None
        storage = folder / ".storage"
        storage.mkdir(parents=True, exist_ok=True)
        (folder / "configuration.yaml").write_text(
            f"http:\n  server_host: 127.0.0.1\n  server_port: {self.port}\napi:\n"
        )
        (storage / "core.config_entries").write_text(json.dumps(_entries(broker_port)))
        (storage / "auth").write_text(json.dumps(_auth()))

    @property
    def log(self) -> str:
        path = self.folder / "home-assistant.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def complaints(self) -> list[str]:
        """Lines in which its MQTT part finds fault with something."""
        return [
            line for line in self.log.splitlines()
            if ("ERROR" in line or "WARNING" in line) and "components.mqtt" in line
        ]  # fmt: skip

    def start(self) -> None:
        """Start it and wait until it runs. Raises Unavailable."""
        command = [str(self.python), "-m", "homeassistant", "-c", str(self.folder), "--skip-pip",
                   "--log-no-color"]  # fmt: skip
        with (self.folder / "console.log").open("ab") as log:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        self.until(lambda: self.get("config").get("state") == "RUNNING", _START_S)

    def stop(self) -> None:
        """In good order; a second call does nothing."""
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def states(self) -> dict[str, dict[str, Any]]:
        """Entity id → state and attributes, without its own."""
        return {its["entity_id"]: its for its in self.get("states")}

    def state(self, entity: str) -> str:
        """Empty = there is no such entity."""
        return str(self.states().get(entity, {}).get("state", ""))

    def call(self, domain: str, service: str, entity: str) -> None:
        """Call a service as a person would press it."""
        self._ask(f"services/{domain}/{service}", {"entity_id": entity})

    def picture(self, entity: str) -> bytes:
        """What an image entity shows."""
        path = self.states()[entity]["attributes"]["entity_picture"]
        url = f"http://127.0.0.1:{self.port}{path}"
        try:
            with urllib.request.urlopen(url, timeout=10) as answer:
                return bytes(answer.read())
        except OSError as error:
            raise Unavailable(f"there is no picture yet: {error}") from error

    def get(self, path: str) -> Any:
        return self._ask(path, None)

    def until(self, condition: Callable[[], Any], limit_s: float = 30.0) -> Any:
        """Wait until it holds; its value. Raises Unavailable."""
        deadline = time.monotonic() + limit_s
        while True:
            try:
                if value := condition():
                    return value
            except (Unavailable, KeyError):
                pass  # It starts, or the entity is not there yet.
            if time.monotonic() > deadline:
                raise Unavailable(f"it did not come true; it said: {self.log[-3000:]}")
            time.sleep(0.2)

    def _ask(self, path: str, body: Any) -> Any:
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/api/{path}",
            None if body is None else json.dumps(body).encode(),
            {"authorization": f"Bearer {_token()}", "content-type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return json.loads(answer.read())
        except (OSError, ValueError) as error:
            raise Unavailable(f"Home Assistant does not answer: {error}") from error


def _entries(port: int) -> dict[str, Any]:
    return {
        "version": 1, "minor_version": 5, "key": "core.config_entries",
        "data": {
            "entries": [
                {
                    "entry_id": _TOKEN_ID, "domain": "mqtt", "title": "mqtt", "version": 1,
                    "minor_version": 2, "source": "user", "unique_id": None,
                    "data": {"broker": "127.0.0.1", "port": port},
                    "options": {"discovery": True, "discovery_prefix": "homeassistant"},
                    "disabled_by": None, "discovery_keys": {}, "pref_disable_new_entities": False,
                    "pref_disable_polling": False, "subentries": [], "created_at": _AT,
                    "modified_at": _AT,
                }
            ]
        },
    }  # fmt: skip


def _auth() -> dict[str, Any]:
    """An owner with a token that lasts, in place of its first steps."""
    return {
        "version": 1, "minor_version": 1, "key": "auth",
        "data": {
            "users": [
                {
                    "id": _USER, "name": "Test", "is_owner": True, "is_active": True,
                    "group_ids": ["system-admin"], "system_generated": False, "local_only": False,
                }
            ],
            "groups": [
                {"id": "system-admin", "name": "Administrators"},
                {"id": "system-users", "name": "Users"},
                {"id": "system-read-only", "name": "Read Only"},
            ],
            "credentials": [],
            "refresh_tokens": [
                {
                    "id": _TOKEN_ID, "user_id": _USER, "client_id": None, "client_name": "test",
                    "client_icon": None, "token_type": "long_lived_access_token",
                    "created_at": _AT, "access_token_expiration": 315360000.0, "token": "f" * 64,
                    "jwt_key": _KEY, "last_used_at": None, "last_used_ip": None, "expire_at": None,
                    "credential_id": None, "version": "2025.1.0",
                }
            ],
        },
    }  # fmt: skip


def _token() -> str:
    """A JSON web token (RFC 7519, HS256) for it."""
    now = int(time.time())
    parts = [{"alg": "HS256", "typ": "JWT"}, {"iss": _TOKEN_ID, "iat": now - 5, "exp": now + 3600}]
    body = b".".join(_coded(json.dumps(its).encode()) for its in parts)
    signed = hmac.new(_KEY.encode(), body, hashlib.sha256).digest()
    return (body + b"." + _coded(signed)).decode()


def _coded(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")
