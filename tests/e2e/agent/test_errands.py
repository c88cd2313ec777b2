"""Commands that only a whole agent can do, asked over a broker and at the device."""

from __future__ import annotations

import base64
import json
import zlib
from pathlib import Path
from typing import Any

from edgeagent.testing.agent import AgentProcess
from edgeagent.testing.broker import Mosquitto
from edgeagent.testing.device import Desk

CONFIG = """
[device]
id = "door-7"
[mqtt]
host = "127.0.0.1"
port = {port}
[commands]
allow = ["ping", "capture", "restart", "logs", "cancel", "config-get", "model-hold"]
[sources.cam0]
kind = "synthetic"
fps = 5
[pipelines.belt]
source = "cam0"
model = "parts"
"""


def test_a_picture_and_a_new_beginning(tmp_path: Path, broker: Mosquitto) -> None:
    desk = Desk(broker.port, "door-7")
    with AgentProcess(CONFIG.format(port=broker.port), tmp_path) as agent:
        agent.until(lambda status: status["link"]["state"] == "up" and status["pipelines"])
        seen = desk.ask("capture", "c1", source="cam0", seconds=0.5)
        assert seen["status"] == "successful", seen
        assert base64.b64decode(seen["result"]["picture"]["data"])[:2] == b"\xff\xd8"
        assert seen["result"]["samples"] > 0
        missing = desk.ask("capture", "c2", source="cam9")
        assert (missing["reason"], "cam0" in missing["detail"]) == ("not-found", True)

        pid, held = (
            agent.pid,
            desk.ask("model-hold", "h1", model="parts", because="a customer is here"),
        )
        assert held["status"] == "successful", held
        reported = "edgeagent/door-7/reported"
        desk.until(lambda: b"a customer is here" in desk.on(reported)[-1])

        before = len(desk.on("edgeagent/door-7/status"))
        again = desk.ask("restart", "r1")
        assert again["status"] == "successful", again
        desk.until(lambda: len(desk.on("edgeagent/door-7/status")) > before)
        agent.until(lambda status: status["link"]["state"] == "up" and status["uptime_s"] < 20)
        told = desk.on("edgeagent/door-7/status")[before:]
        said = [json.loads(its)["state"] for its in told if its]
        assert said[0] == "offline" and agent.pid == pid
        assert b"" not in desk.on("edgeagent/door-7/status"), "it is never without a status"
        # Its answer is republished by the new process, and it is not done again.
        assert desk.ask("ping", "p1")["status"] == "successful"
        assert agent.log.count("stopped") == 1
    desk.close()


def test_a_result_that_is_too_large_goes_as_evidence(tmp_path: Path, broker: Mosquitto) -> None:
    desk = Desk(broker.port, "door-7")
    wide = "\n".join(f'"v{n}" = "{"x" * 200}"' for n in range(1200))
    config = CONFIG.format(port=broker.port).split("[sources")[0].replace(
        'id = "door-7"', f'id = "door-7"\n[device.tags]\n{wide}'
    )  # fmt: skip
    with AgentProcess(config, tmp_path) as agent:
        agent.until(lambda status: status["link"]["state"] == "up")
        answer = desk.ask("config-get", "g1")
        assert answer["status"] == "successful", answer
        blob = answer["result"]["blob"]
        assert blob["bytes"] > 200_000 and blob["type"] == "application/json"
        chunks = f"edgeagent/door-7/blob/{blob['sha256']}/"

        def whole() -> bytes:
            parts = {
                int(name.rpartition("/")[2]): its
                for name, its, _ in list(desk.got) if name.startswith(chunks)
            }  # fmt: skip
            return b"".join(parts[index] for index in sorted(parts))

        desk.until(lambda: len(whole()) == blob["bytes"])
        assert len(json.loads(whole())["value"]["device"]["tags"]) == 1200

        def batches() -> list[dict[str, Any]]:
            found = desk.on("edgeagent/door-7/records")
            return [json.loads(zlib.decompress(its)) for its in found]

        records = [its for batch in batches() for its in batch["records"]]
        mine = next(its for its in records if its["seq"] == answer["result"]["seq"])
        assert mine["data"] == {"command": "g1", "type": "config-get"}
        assert mine["blobs"][0]["sha256"] == blob["sha256"]
    desk.close()
