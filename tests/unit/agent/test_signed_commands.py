"""A signed command through a real broker to a real agent."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from edgeagent import clock
from edgeagent.fleet.keys import PrivateKey
from edgeagent.testing.agent import AgentProcess
from edgeagent.testing.broker import Mosquitto, find_mosquitto
from edgeagent.testing.device import Listener
from edgeagent.update.signatures import COMMAND

pytestmark = pytest.mark.broker


def test_where_all_is_to_be_signed_only_signed_pings_are_answered(tmp_path: Path) -> None:
    find_mosquitto()
    operators = tmp_path / "operators"
    alice = PrivateKey.new()
    alice.save(operators / "alice.pem")
    with Mosquitto(tmp_path / "broker") as broker:
        config = f"""
            [device]
            id = "d1"
            groups = ["canary"]
            [mqtt]
            host = "127.0.0.1"
            port = {broker.port}
            [trust]
            require_signature = "always"
            operators = "{operators}"
        """
        with AgentProcess(config, tmp_path) as agent:
            agent.until(lambda status: status["link"]["state"] == "up")
            listener = Listener(broker.port, "edgeagent/+/cmd/+/+")

            def say(topic: str, payload: Any) -> None:
                listener.client.publish(topic, json.dumps(payload), qos=1, retain=True)

            def end(id: str) -> Any:
                def found() -> Any:
                    for topic, payload, _ in listener.got:
                        said = json.loads(payload or b"{}")
                        if topic == f"edgeagent/d1/cmd/ping/{id}" and "result" in said:
                            return said
                        if said.get("reason") and topic.endswith(f"/{id}"):
                            return said
                    return None

                return listener.until(found)

            def signed(id: str, **whom: str) -> Any:
                at = clock.rfc3339(clock.wall_ns())
                document = {**whom, "type": "ping", "id": id, "at": at}
                return json.loads(alice.envelope(document, COMMAND))

            say("edgeagent/d1/cmd/ping/plain", {"status": "init"})
            assert end("plain")["reason"] == "signature-required"
            say("edgeagent/d1/cmd/ping/good", signed("good", device="d1"))
            assert end("good")["by"] == "alice"
            say("edgeagent/d1/cmd/ping/moved", signed("good2", device="d1"))
            assert end("moved")["reason"] == "untrusted"
            say("edgeagent/group/canary/cmd/ping/all", signed("all", group="canary"))
            assert end("all")["status"] == "successful"
            listener.client.loop_stop()
