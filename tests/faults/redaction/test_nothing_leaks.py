"""No pixel of what must be hidden in anything that is stored or sent.

A real agent watches a film in which a person wears a checkerboard; the detector really misses
the person in the first frames, in some between and in the last, while the board is always there.
Everything that the agent left on disk and sent to the broker is searched. The same search on the
same film without redaction finds the board everywhere, or it would prove nothing.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import film
import numpy as np
import pytest
import scan

from edgeagent.store.export import jsonl
from edgeagent.testing.agent import AgentProcess
from edgeagent.testing.broker import Mosquitto
from edgeagent.testing.device import Listener
from edgeagent.testing.ssd import ssd

pytestmark = [pytest.mark.assets, pytest.mark.broker]

CONFIG = """
[mqtt]
host = "127.0.0.1"
port = {port}
[models]
path = ["{models}"]
[privacy]
pictures = "{pictures}"
[sources.cam]
kind = "video"
path = "{film}"
pace = "true"
[pipelines.door]
source = "cam"
model = "people"
record = {{ every = 2 }}
clip = {{ before = "1500 ms", after = "1 s", fps = 10, width = {width} }}
[pipelines.door.zones.left]
polygon = [[0, 0], [0.5, 0], [0.5, 1], [0, 1]]
[[pipelines.door.rules]]
when = "label == 'person' and zone == 'left'"
do = ["event", "snapshot", "clip"]
[[pipelines.door.rules]]
when = "label == 'person' and score > 0.6"
do = ["event", "snapshot", "clip"]
"""
REDACT = """
[pipelines.door.redact]
labels = ["person"]
method = "{method}"
"""


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory, assets: Path) -> Path:
    folder = tmp_path_factory.mktemp("models")
    ssd(folder, assets, "people")
    return folder


@pytest.fixture(scope="module")
def the_film(tmp_path_factory: pytest.TempPathFactory, assets: Path) -> Path:
    return film.make(tmp_path_factory.mktemp("film"), assets)


def watch(folder: Path, models: Path, clip: Path, more: str = "", **keys: Any) -> scan.Found:
    """Run an agent over the film; what was found in everything that it left and sent."""
    found = scan.Found()
    with Mosquitto(folder / "broker") as broker:
        listener = Listener(broker.port, "#")
        keys = {"pictures": "events", "width": 640, **keys}
        text = CONFIG.format(port=broker.port, models=models, film=clip, **keys) + more
        with AgentProcess(text, folder, "--until-done") as agent:
            agent.until(lambda status: status["pipelines"]["door"]["steps"] > 15, 60)
            for name, data in scan.shared_memory(agent.pid):
                found.look(data, name)
            assert agent.wait() == 0, agent.log
        listener.close()
    found.payloads(listener.got)
    found.folder(agent.data)
    found.look((folder / "agent.log").read_bytes(), "log")
    return found


def test_the_scanner_finds_what_it_is_to_find() -> None:
    plain = np.full((480, 640, 3), 90, np.uint8)
    side = scan.CELL * scan.FIELDS
    shown = plain.copy()
    shown[200 : 200 + side, 300 : 300 + side] = scan.board()
    assert scan.seen(plain) < 0.1
    for picture in (shown, cv2.resize(shown, (320, 240), interpolation=cv2.INTER_AREA)):
        coded = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 50])[1].tobytes()
        found = scan.Found()
        found.look(b"page" * 99 + coded + b"page" * 99, "database")
        assert found.pictures == 1 and found.largest > 0.8
    half = plain.copy()
    half[200 : 200 + side // 2, 300 : 300 + side] = scan.board()[: side // 2]
    assert scan.seen(half) > scan.FOUND
    assert scan.raw_row(shown.tobytes()) and not scan.raw_row(plain.tobytes())


def test_without_redaction_it_is_everywhere(tmp_path: Path, models: Path, the_film: Path) -> None:
    found = watch(tmp_path, models, the_film)
    assert found.pictures > 60  # snapshots and clips, on disk and on the wire
    assert len(found.at) > 0.9 * found.pictures
    assert any("from the wire" in place for place in found.at)


@pytest.mark.parametrize(("method", "width"), [("pixelate", 640), ("blur", 320), ("fill", 640)])
def test_nothing_of_it_is_left(
    method: str, width: int, tmp_path: Path, models: Path, the_film: Path, full: bool
) -> None:
    if method != "blur" and not full:
        pytest.skip("each method only with EDGEAGENT_TESTS=full")
    found = watch(tmp_path, models, the_film, REDACT.format(method=method), width=width)
    assert found.at == []
    assert found.pictures > 60, "pictures were made, and nothing is in them"


def test_what_a_mask_covers_is_nowhere(tmp_path: Path, models: Path, the_film: Path) -> None:
    mask = "\n[sources.cam]\nmask = [[[0.5, 0.6], [1, 0.6], [1, 1], [0.5, 1]]]\n"
    (tmp_path / "conf.d").mkdir()
    (tmp_path / "conf.d" / "mask.toml").write_text(mask)
    found = watch(tmp_path, models, the_film)
    assert found.at == [] and found.pictures > 10


def test_an_agent_that_is_stopped_keeps_no_picture_that_waits(
    tmp_path: Path, models: Path, the_film: Path
) -> None:
    """The first event's picture waits for a second, and SIGTERM comes within it."""
    text = CONFIG.format(port=1, models=models, film=the_film, pictures="events", width=640)
    text = text.replace('[mqtt]\nhost = "127.0.0.1"\nport = 1\n', "")
    text = text.replace('kind = "video"', 'kind = "video"\nloop = true')
    text += REDACT.format(method="fill") + 'hold = "60 s"\n'
    with AgentProcess(text, tmp_path) as agent:
        agent.until(lambda status: status["pipelines"]["door"]["records"] > 1, 60)
        agent.stop()
    found = scan.Found()
    found.folder(agent.data)
    assert found.pictures == 0 and found.at == []
    ends = [
        record["data"] for record in map(json.loads, jsonl(agent.data))
        if record["kind"] == "event" and record["data"]["phase"] == "end"
    ]  # fmt: skip
    assert ends and all(data["picture"] == "withheld" for data in ends)


def test_never_means_never(tmp_path: Path, models: Path, the_film: Path) -> None:
    found = watch(tmp_path, models, the_film, pictures="never")
    assert found.at == [] and found.pictures == 0
    for file in (tmp_path / "data").rglob("*"):
        if file.is_file():
            data = file.read_bytes()
            assert b"\xff\xd8\xff" not in data and b"image/" not in data, file
            assert b"video/" not in data, file


def test_a_label_that_nobody_finds_is_a_wrong_configuration(
    tmp_path: Path, models: Path, the_film: Path
) -> None:
    text = CONFIG.format(port=1, models=models, film=the_film, pictures="events", width=640)
    text += '[pipelines.door.redact]\nlabels = ["persona"]\n'
    agent = AgentProcess(text, tmp_path, "--strict").start()
    assert agent.wait() == 78
    assert "pipelines.door.redact.labels" in agent.log and '"person"' in agent.log
