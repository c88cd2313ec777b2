"""The process that fetches is killed with -9 in the middle; the next one goes on."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from edgeagent.testing.broker import Mosquitto

pytestmark = pytest.mark.broker

SIZE, RATE = 3_000_000, 500_000
FETCH = """
import sys, threading
from pathlib import Path
from edgeagent.sync.budget import Budget
from edgeagent.sync.endpoint import Endpoint, LinkSettings
from edgeagent.sync.fetching import Fetching
from edgeagent.sync.link import Link
from edgeagent.sync.topics import Topics
from edgeagent.update.fetch.mqtt import MqttCarrier
from edgeagent.update.fetch.pace import Pace
from edgeagent.update.fetch.part import Part

port, into, size, sha256, limit = sys.argv[1:]
topics = Topics("edgeagent", "d1")
link = Link(LinkSettings(topics.client_id, (Endpoint("127.0.0.1", int(port)),)), topics.echo)
exchange = Fetching(link, topics, Budget())
link.board(exchange)
link.start()
assert link.wait_up(20)
part = Part(Path(into), int(size), sha256, lambda done, _all: print(done, flush=True))
MqttCarrier(exchange, Pace(limit=float(limit))).bring("targets/m", part, threading.Event())
part.finish()
link.stop()
print("whole", flush=True)
"""


def test_the_next_process_goes_on(broker: Mosquitto, serve: Any, tmp_path: Path) -> None:
    data = os.urandom(SIZE)
    public = tmp_path / "public"
    (public / "metadata").mkdir(parents=True)
    (public / "targets").mkdir()
    (public / "targets" / "m").write_bytes(data)
    server = serve(public)
    command = [
        sys.executable, "-c", FETCH, str(broker.port), str(tmp_path / "m"), str(SIZE),
        hashlib.sha256(data).hexdigest(),
    ]  # fmt: skip
    with subprocess.Popen([*command, str(RATE)], stdout=subprocess.PIPE, text=True) as first:
        assert first.stdout is not None
        for line in first.stdout:
            if int(line) > SIZE * 2 // 3:
                break
        first.kill()
    done = subprocess.run([*command, "0"], capture_output=True, text=True, timeout=60)
    said = done.stdout.split()
    assert said[-1] == "whole", done.stderr
    assert int(said[0]) > SIZE // 4
    assert (tmp_path / "m").read_bytes() == data
    assert server.figures.bytes <= SIZE + 3 * RATE
