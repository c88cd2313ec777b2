"""`/metrics` of a real agent, and the dashboard and alerts that are made of it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from asking import Client

from edgeagent.testing.agent import AgentProcess
from edgeagent.testing.broker import Mosquitto, free_port

_NAME = re.compile(r"\b(?:edgeagent|nv)_[a-z0-9_]+\b")


def families(text: str) -> set[str]:
    return set(re.findall(r"^# TYPE (\S+)", text, re.M))


def documented(repository: Path) -> set[str]:
    page = (repository / "docs" / "monitoring.md").read_text(encoding="utf-8")
    return set(re.findall(r"^\| `([a-z0-9_]+)`", page, re.M))


_STYLE = 3
"""promtool's exit code for names that it finds unusual, in a text that it can read."""


def promtool(*arguments: str | Path, text: str = "", allowed: int = 0) -> str:
    tool = shutil.which("promtool")
    if tool is None:
        pytest.skip("no promtool: apt-get install prometheus")
    done = subprocess.run([tool, *map(str, arguments)], input=text, capture_output=True, text=True,
                          timeout=60, check=False)  # fmt: skip
    said = done.stdout + done.stderr
    assert done.returncode in (0, allowed), said
    return said


@pytest.fixture(scope="module")
def text(served: Client) -> Iterator[str]:
    assert served.infer("echo", [1, 2, 3, 4], [1, 4]).status == 200
    assert served.infer("echo", [1, 2, 3], [1, 4]).status == 400
    yield served("GET", "/metrics").body.decode()


def value(text: str, series: str) -> float:
    return float(next(line for line in text.splitlines() if line.startswith(series)).split()[-1])


def test_prometheus_finds_no_fault_in_the_text(text: str) -> None:
    own = "\n".join(line for line in text.splitlines() if not re.match(r"(# \w+ )?nv_", line))
    assert promtool("check", "metrics", text=own + "\n") == ""
    # Triton's names are not in Prometheus' style, and must be Triton's.
    promtool("check", "metrics", text=text, allowed=_STYLE)


def test_figures_are_true(served: Client, text: str) -> None:
    status = served.agent.client.status()
    assert (
        0 < value(text, "edgeagent_pipeline_steps_total") <= status["pipelines"]["parts"]["steps"]
    )
    assert value(text, 'edgeagent_source_state{source="belt",state="ok"}') == 1
    assert value(text, "edgeagent_step_seconds_count") > 0
    assert value(text, "edgeagent_outbox_produced_total") <= status["outbox"]["produced"]
    assert value(text, "edgeagent_online") == 1
    assert value(text, 'nv_inference_request_success{model="echo",version="1.1.0"}') >= 1
    refused = 'nv_inference_request_failure{model="echo",version="1.1.0",reason="OTHER"}'
    assert value(text, refused) >= 1


def test_every_name_is_documented(text: str, repository: Path) -> None:
    assert families(text) <= documented(repository), families(text) - documented(repository)
    source = "".join(
        (repository / "edgeagent" / its).read_text(encoding="utf-8")
        for its in ("agent/figures.py", "serve/live/metrics.py")
    )
    for name in documented(repository) - families(text):
        # Some are told by machines of another kind, or with a broker only.
        assert name.removeprefix("edgeagent_") in source, name


def test_the_link_with_a_broker_and_without_the_page(
    tmp_path: Path, broker: Mosquitto, repository: Path
) -> None:
    port = free_port()
    config = (
        f'[mqtt]\nhost = "127.0.0.1"\nport = {broker.port}\n'
        f'[serve]\nlisten = "127.0.0.1:{port}"\npage = false\n'
    )
    with AgentProcess(config, tmp_path) as agent:
        agent.until(lambda status: status["link"]["state"] == "up")
        client = Client(port, agent)
        told = client("GET", "/metrics").body.decode()
        assert [client("GET", path).status for path in ("/", "/api/status")] == [404, 404]
    assert value(told, "edgeagent_link_up") == 1
    assert value(told, "edgeagent_link_connects_total") == 1
    assert families(told) <= documented(repository)


def test_dashboard_and_alerts_ask_for_what_there_is(repository: Path) -> None:
    folder = repository / "packaging" / "monitoring"
    board = json.loads((folder / "grafana.json").read_text(encoding="utf-8"))
    exprs = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
    exprs.append((folder / "alerts.yml").read_text(encoding="utf-8"))
    known = documented(repository)
    for name in _NAME.findall("\n".join(exprs)):
        assert re.sub(r"_(bucket|sum|count)$", "", name) in known or name in known, name
    ids = [panel["id"] for panel in board["panels"]]
    assert len(set(ids)) == len(ids) > 10


def test_every_query_of_the_dashboard_is_one(repository: Path, tmp_path: Path) -> None:
    board = json.loads((repository / "packaging/monitoring/grafana.json").read_text("utf-8"))
    rules = [
        {"record": f"panel_{number}", "expr": target["expr"].replace("$instance", ".*")}
        for number, target in enumerate(
            target for panel in board["panels"] for target in panel["targets"]
        )
    ]
    file = tmp_path / "rules.yml"
    file.write_text(json.dumps({"groups": [{"name": "board", "rules": rules}]}))  # JSON is YAML
    promtool("check", "rules", file)


def test_alerts_fire_when_they_should_and_not_before(repository: Path) -> None:
    folder = repository / "packaging" / "monitoring"
    assert "SUCCESS" in promtool("check", "rules", folder / "alerts.yml")
    assert "SUCCESS" in promtool("test", "rules", folder / "alerts_test.yml")
