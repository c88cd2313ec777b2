"""Where the server may be reached, and what that asks of the configuration."""

from __future__ import annotations

import http.client
import socket
import ssl
from pathlib import Path

from asking import TOKEN

from edgeagent.testing.agent import AgentProcess
from edgeagent.testing.broker import free_port, make_certificates


def test_others_reach_it_by_tls_and_with_the_token_only(tmp_path: Path) -> None:
    files = make_certificates(tmp_path / "tls")
    (tmp_path / "token").write_text(TOKEN)
    port = free_port()
    config = (
        f'[serve]\nlisten = "0.0.0.0:{port}"\ntoken_file = "{tmp_path}/token"\n'
        f'tls = {{ cert = "{files.server}", key = "{files.server_key}" }}\n'
    )
    context = ssl.create_default_context(cafile=str(files.ca))

    def ask(path: str, method: str = "GET", **headers: str) -> int:
        connection = http.client.HTTPSConnection("127.0.0.1", port, context=context, timeout=20)
        try:
            connection.request(method, path, headers=headers)
            return connection.getresponse().status
        finally:
            connection.close()

    with AgentProcess(config, tmp_path) as agent:
        agent.until(lambda status: status["state"] == "online")
        bearer = {"Authorization": f"Bearer {TOKEN}"}
        assert (ask("/v2/health/ready"), ask("/")) == (200, 200)
        for path in (
            "/v2",
            "/v2/models/digits/ready",
            "/api/events",
            "/openapi.json",
            "/api/status",
            "/api/views",
            "/metrics",
        ):
            assert (ask(path), ask(path, **bearer)) == (401, 200), path
        assert ask("/v2/models/digits/infer", "POST") == 401
        assert ask("/v2/models/digits/infer", "POST", **bearer) == 400
        assert "0123456789" not in agent.log


def test_a_unix_socket_and_a_start_after_kill(tmp_path: Path) -> None:
    path = tmp_path / "http.sock"
    with AgentProcess(f'[serve]\nlisten = "unix:{path}"\n', tmp_path) as agent:
        for again in (True, False):
            agent.until(lambda status: status["state"] == "online")
            connection = http.client.HTTPConnection("localhost", timeout=20)
            connection.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            connection.sock.connect(str(path))
            connection.request("GET", "/v2/health/ready")
            assert connection.getresponse().status == 200
            connection.close()
            if again:
                agent.kill()
                agent.start()


def test_what_can_not_be_served_does_not_hold_up_the_agent(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with AgentProcess(f'[serve]\nlisten = "127.0.0.1:{port}"\n', tmp_path) as agent:
            reasons = agent.until(lambda status: status["reasons"])
            assert any(f"serve.listen: 127.0.0.1:{port}" in reason for reason in reasons)
