"""An HTTP client that can be rude."""

from __future__ import annotations

import http.client
import json
import socket
from typing import Any, NamedTuple

from edgeagent.testing.agent import AgentProcess

TOKEN = "0123456789abcdef0123"


class Reply(NamedTuple):
    status: int
    body: bytes
    headers: dict[str, str]

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Client:
    """Asks one agent."""

    def __init__(self, port: int, agent: AgentProcess) -> None:
        self.port = port
        self.agent = agent

    def __call__(self, method: str, path: str, body: Any = b"", **headers: str) -> Reply:
        """One request on a connection of its own; a body that is no bytes is sent as JSON."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        try:
            connection.request(method, path, data, named)
            answer = connection.getresponse()
            told = {name.lower(): value for name, value in answer.getheaders()}
            return Reply(answer.status, answer.read(), told)
        finally:
            connection.close()

    def raw(self, data: bytes) -> bytes:
        """What comes back for bytes that may be no request."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=10) as connection:
            connection.sendall(data)
            return connection.recv(65536)

    def infer(self, model: str, rows: Any, shape: list[int], **more: Any) -> Reply:
        """Numbers through a model with the input ``x`` (float32)."""
        tensor = {"name": "x", "shape": shape, "datatype": "FP32", "data": rows}
        return self("POST", f"/v2/models/{model}/infer", {"inputs": [tensor], **more})
