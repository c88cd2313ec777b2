"""One agent with cameras, models in two versions and a token, for all tests of this folder."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))
sys.path.insert(0, str(Path(__file__).parent))

from asking import TOKEN, Client

from edgeagent.testing.agent import AgentProcess
from edgeagent.testing.broker import free_port
from edgeagent.testing.onnxgraph import DTYPES, dense_package, echo_package

CONFIG = """
[sources.belt]
kind = "synthetic"
fault_rate = 0.9
fps = 10
[pipelines.parts]
source = "belt"
model = "parts"
threshold = 0.5
snapshot = true
[[pipelines.parts.rules]]
when = "label == 'cracked' or label == 'missing'"
do = ["event", "snapshot"]

[serve]
listen = "127.0.0.1:{port}"
token_file = "{folder}/token"
max_body = "1 MiB"
default_model = "echo"
[serve.models.echo]
labels = {{ stable = "1.0.0" }}
max_batch = 8
max_delay = "5 ms"
[serve.models.mixed]
canary = {{ version = "1.0.0", percent = 50 }}
shadow = {{ version = "1.0.0", percent = 100 }}
at_start = true
[serve.models.large]
queue = 4
"""


def ready(client: Client) -> bool:
    """What is to be open at the start is."""
    return client("GET", "/v2/health/ready").status == 200


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    pytest.importorskip("httptools", reason="pip install 'edgeagent[serve]'")
    folder = tmp_path_factory.mktemp("serve")
    (folder / "token").write_text(TOKEN)
    for name in ("echo", "mixed"):
        for version in ("1.0.0", "1.1.0"):
            echo_package(folder / "data" / "models", name, version=version)
    dense_package(folder / "data" / "models", "large", 1024, 2)
    for dtype in DTYPES:
        echo_package(folder / "data" / "models", f"echo-{dtype}", dtype=dtype)
    port = free_port()
    with AgentProcess(CONFIG.format(port=port, folder=folder), folder) as agent:
        client = Client(port, agent)
        agent.until(lambda status: status["state"] == "online" and ready(client), 90)
        yield client
        assert "Traceback" not in agent.log
