"""The live page: what it shows is true, hides what must be hidden, and comes from nowhere else."""

from __future__ import annotations

import base64
import hashlib
import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from asking import TOKEN, Client
from test_clients import run, venv

from edgeagent.testing.agent import AgentProcess
from edgeagent.testing.broker import free_port


def until(look: Callable[[], Any], timeout_s: float = 20.0) -> Any:
    deadline = time.monotonic() + timeout_s
    while not (found := look()):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return found


def decoded(picture: str) -> Any:
    import cv2
    import numpy as np

    kind, _, data = picture.partition(",")
    assert kind == "data:image/jpeg;base64"
    return cv2.imdecode(np.frombuffer(base64.b64decode(data), np.uint8), cv2.IMREAD_COLOR)


def test_one_small_file_that_may_load_nothing_from_elsewhere(served: Client) -> None:
    reply = served("GET", "/")
    text = reply.body.decode()
    assert len(reply.body) < 100_000
    assert set(re.findall(r"https?://[^\s\"'`]+", text)) == {"http://www.w3.org/2000/svg"}
    assert not re.search(r"<(script|link|img)[^>]+(src|href)=\"(?!data:|/)", text)
    policy = reply.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    for tag in ("script", "style"):
        inner = re.findall(rf"<{tag}>(.*?)</{tag}>", text, re.S)
        assert len(inner) == 1
        digest = base64.b64encode(hashlib.sha256(inner[0].encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy
    assert not re.search(r"\son\w+=|\sstyle=", text.partition("<script>")[0])


def test_a_view_is_the_present_picture_with_what_was_found_in_it(served: Client) -> None:
    views = {its["pipeline"]: its for its in served("GET", "/api/views").json}
    assert views["parts"]["source"] == "belt"

    def found() -> Any:
        told = served("GET", "/api/views/parts").json
        return told if told["predictions"] else None

    told = until(found)
    picture = decoded(told["picture"])
    assert picture.shape[:2] == (told["height"], told["width"])
    assert abs(told["number"] - told["seen"]) <= 64
    assert all(0 <= side <= 1 for side in told["predictions"][0]["box"])
    assert min(its["score"] for its in told["predictions"]) >= 0.5
    assert served("GET", "/api/views/nothing").status == 404


def test_evidence_is_what_its_sum_says(served: Client) -> None:
    def blobs() -> list[dict[str, Any]]:
        events = served("GET", "/api/events?last=50").json["events"]
        return [blob for event in events for blob in event.get("blobs", [])]

    sha256 = until(blobs)[0]["sha256"]
    reply = served("GET", f"/api/evidence/{sha256}")
    assert hashlib.sha256(reply.body).hexdigest() == sha256
    assert reply.headers["content-type"] == "image/jpeg"
    for bad, status in (("0" * 64, 404), ("..%2f..%2fagent.toml", 400), ("A" * 64, 400)):
        assert served("GET", f"/api/evidence/{bad}").status == status


def test_status_health_and_doctor(served: Client) -> None:
    status = served("GET", "/api/status").json
    assert status["pipelines"]["parts"]["state"] == "ok"
    assert status["serve"] == {"at": f"http://127.0.0.1:{served.port}"}
    assert served("GET", "/api/health").json["pss_bytes"] > 0
    findings = served("GET", "/api/doctor").json["findings"]
    assert {"check", "severity", "what"} <= set(findings[0])


def test_why_there_is_an_event_and_why_there_is_none(served: Client) -> None:
    def events() -> Any:
        return served("GET", "/api/events?last=5").json["events"]

    event = until(events)[0]["data"]["id"]
    told = served("GET", f"/api/why/{event}").json
    assert event in told["sentence"]
    assert served("GET", "/api/why/parts").json["sentence"]
    assert served("GET", "/api/why/e-99999").status == 404
    assert served("GET", "/api/why/..%2f").status == 400


def test_pipelines_are_stopped_with_the_token_only(served: Client) -> None:
    path, stop = "/api/pipelines/parts", {"action": "stop"}
    bearer = {"Authorization": f"Bearer {TOKEN}"}

    def state() -> str:
        return str(served("GET", "/api/status").json["pipelines"]["parts"]["state"])

    assert served("POST", path, stop).status == 401
    assert state() == "ok"
    assert served("POST", path, stop, **bearer).json == {"name": "parts", "state": "paused"}
    assert state() == "paused"
    assert served("POST", path, {"action": "start"}, **bearer).status == 200
    until(lambda: state() == "ok")
    assert served("POST", path, {"action": "explode"}, **bearer).status == 409
    assert served("POST", path, {"actoin": "stop"}, **bearer).status == 400
    assert served("POST", "/api/pipelines/none", stop, **bearer).status == 409


@pytest.mark.parametrize("privacy", ["hidden", "never"])
def test_what_must_be_hidden_is_hidden_here_as_well(tmp_path: Path, privacy: str) -> None:
    port = free_port()
    table = '[pipelines.parts.redact]\nlabels = ["cracked", "whole", "missing"]\nmethod = "fill"\n'
    never = '[privacy]\npictures = "never"\n'
    config = (
        '[sources.belt]\nkind = "synthetic"\nfps = 10\n'
        '[pipelines.parts]\nsource = "belt"\nmodel = "parts"\n'
        f'{table if privacy == "hidden" else never}[serve]\nlisten = "127.0.0.1:{port}"\n'
    )
    with AgentProcess(config, tmp_path) as agent:
        agent.until(lambda status: status["pipelines"]["parts"]["steps"] > 20)
        client = Client(port, agent)
        if privacy == "never":
            told = client("GET", "/api/views/parts").json
            assert (told["picture"], "never" in told["withheld"]) == ("", True)
            return

        def inside() -> Any:
            told = client("GET", "/api/views/parts").json
            whole = [its["box"] for its in told["predictions"]
                     if its["box"][0] > 0.05 and its["box"][2] < 0.95]  # fmt: skip
            if not told["picture"] or told["number"] != told["seen"] or not whole:
                return None
            picture, (x1, y1, x2, y2) = decoded(told["picture"]), whole[0]
            height, width = picture.shape[:2]
            ymid, xmid = (y1 + y2) / 2, (x1 + x2) / 2
            h, w = (y2 - y1) / 4, (x2 - x1) / 4
            return picture[int((ymid - h) * height) : int((ymid + h) * height),
                           int((xmid - w) * width) : int((xmid + w) * width)]  # fmt: skip

        found = until(lambda: [crop] if (crop := inside()) is not None else None)[0]
        # A part has a hole and edges in its middle; what is filled has nothing but JPEG's noise.
        assert found.reshape(-1, found.shape[-1]).std(axis=0).max() < 6.0


def test_in_chromium(served: Client, tmp_path: Path) -> None:
    """Phone and desktop, dark and light, by mouse and keyboard; and pages of somebody else."""
    if shutil.which("chromium") is None:
        pytest.skip("no browser: apt-get install chromium")
    folder = venv("browser")
    said = run(folder / "bin" / "python", Path(__file__).parent / "clients" / "browser.py",
               str(served.port), TOKEN, tmp_path)  # fmt: skip
    assert said.endswith("ok\n")
    for name in ("phone", "desktop", "editor", "evidence"):
        assert (tmp_path / f"{name}.png").stat().st_size > 10_000
