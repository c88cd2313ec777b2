"""The whole demo, as a visitor runs it: real broker, real agent, real kill, real page."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edgeagent.demo import needs
from edgeagent.errors import EdgeAgentError

SECONDS = 12
pytestmark = pytest.mark.timeout(240)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache with everything in it; what an earlier run has fetched is used."""
    kept = Path(os.environ.get("XDG_CACHE_HOME", "") or Path.home() / ".cache")
    try:
        kit = needs.provide(lambda text: None)
    except EdgeAgentError as error:
        pytest.skip(f"the demo's parts can't be fetched here: {error}")
    if kit.clip is None:
        pytest.skip(f"the demo's parts can't be fetched here: {kit.missing}")
    return kept


class Visit:
    """One run of the demo in a process of its own."""

    def __init__(
        self, root: Path, repository: Path, cache: Path, *more: str, path: tuple[Path, ...] = ()
    ) -> None:
        self.root = root
        self.environment = {
            **os.environ, "XDG_CACHE_HOME": str(cache), "NO_COLOR": "1", "COLUMNS": "100",
            "PYTHONPATH": os.pathsep.join(map(str, (*path, repository))),
        }  # fmt: skip
        command = [sys.executable, "-m", "edgeagent.cli", "demo", "--dir", str(root)]
        self.child = subprocess.Popen(
            [*command, "--seconds", str(SECONDS), *more],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=self.environment,
            # A shell that runs the tests in the background has Ctrl-C ignored, and hands that down.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )  # fmt: skip

    def left_running(self) -> list[str]:
        """Command lines of processes that still have to do with this demo's folder."""
        found = []
        for file in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                command = file.read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue
            if str(self.root) in command and f" {os.getpid()} " not in command:
                found.append(command)
        return found

    def lines(self) -> Iterator[tuple[float, str]]:
        """Each line with the seconds since the one before."""
        assert self.child.stdout is not None
        before = time.monotonic()
        for line in self.child.stdout:
            now = time.monotonic()
            yield now - before, line.rstrip("\n")
            before = now


@pytest.fixture(scope="module")
def visit(
    tmp_path_factory: pytest.TempPathFactory, repository: Path, cache: Path
) -> dict[str, Any]:
    """A demo from beginning to end: what it said, how it ended, what it left."""
    root = tmp_path_factory.mktemp("visit") / "demo"
    run = Visit(root, repository, cache, "--picture", str(root.parent / "belt.jpg"))
    said = list(run.lines())
    return {
        "code": run.child.wait(10), "root": root, "left": run.left_running(),
        "lines": [line for _, line in said], "pauses": [pause for pause, _ in said],
        "environment": run.environment, "picture": root.parent / "belt.jpg",
    }  # fmt: skip


def test_nothing_is_lost_and_it_says_so(visit: dict[str, Any]) -> None:
    text = "\n".join(visit["lines"])
    assert visit["code"] == 0, text
    match = re.search(
        r"^(\d[\d,]*) produced = (\d[\d,]*) delivered \+ (\d+) pending \+ (\d[\d,]*) dropped; "
        r"the independent reader has (\d[\d,]*), 0 missing$",
        text,
        re.M,
    )
    assert match, text
    produced, delivered, pending, dropped, arrived = (
        int(its.replace(",", "")) for its in match.groups()
    )
    assert produced == delivered + pending + dropped > 100
    assert pending <= 6, "only the ends of open events may be written too late to be sent"
    assert arrived >= delivered
    assert "none lost" in text


def test_every_act_took_place_in_order(visit: dict[str, Any]) -> None:
    acts = ("3 pipelines at work", "the uplink is cut", "killed with SIGKILL",
            "a new agent is at work", "the uplink is back", "the broker is killed with SIGKILL",
            "records and asks for them", "the agent has given all", "pipelines pause")  # fmt: skip
    places = [next(n for n, line in enumerate(visit["lines"]) if act in line) for act in acts]
    assert places == sorted(places)
    text = "\n".join(visit["lines"])
    if "the camera of belt is covered" in text:
        # In so short a visit it may see again before anybody has answered.
        assert "edgeagent why belt: " in text and "edgeagent doctor: " in text
    assert any(re.search(r"parts@\S+ on litert .* operators on", line) for line in visit["lines"])


def test_it_never_falls_silent(visit: dict[str, Any]) -> None:
    assert max(visit["pauses"]) < 10


def test_nothing_is_left_running(visit: dict[str, Any]) -> None:
    assert visit["left"] == []


def test_the_page_is_there_whole_and_small(visit: dict[str, Any]) -> None:
    html = (visit["root"] / "index.html").read_text()
    assert 50_000 < len(html) < 1_500_000
    assert html.count("data:image/jpeg;base64,") >= 3
    for pipeline in ("face", "belt", "bearing"):
        assert f'id="p-{pipeline}"' in html
    assert "no number is missing" in html
    assert "http" not in html


def test_the_face_is_hidden_wherever_it_is_kept(visit: dict[str, Any], cache: Path) -> None:
    """The agent's own pictures, looked at with the same model: no face is left in them."""
    from edgeagent.prove.predict import Predictor
    from edgeagent.prove.samples import first_sample
    from edgeagent.update.library import Library

    face = Library([cache / "edgeagent" / "demo" / "models"]).find("face")
    shots = sorted((visit["root"] / "pictures").glob("face-*.jpg"))
    assert shots
    with Predictor(face) as predictor:
        for shot in shots:
            assert predictor(first_sample(shot, face)).predictions == []


def test_the_bearing_goes_bad_and_is_noticed(visit: dict[str, Any]) -> None:
    events = []
    for line in (visit["root"] / "received.jsonl").read_text().splitlines():
        for record in json.loads(line).get("records", {}).get("records", []):
            if record["kind"] == "event" and record["pipeline"] == "bearing":
                events.append(record["data"]["phase"])
    assert "new" in events


def test_what_to_paste_next_works(visit: dict[str, Any]) -> None:
    start = visit["lines"].index("Try next:")
    commands = [line.strip() for line in visit["lines"][start + 1 :] if line.startswith("  ")]
    assert len(commands) == 3
    for command in commands:
        done = subprocess.run(
            ["bash", "-c", command], env=visit["environment"], capture_output=True, text=True,
            check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{command}\n{done.stderr}"
        assert done.stdout.strip(), command
    assert list((visit["root"] / "annotated").glob("*.jpg"))


def test_the_picture_for_a_readme(visit: dict[str, Any]) -> None:
    assert visit["picture"].read_bytes()[:3] == b"\xff\xd8\xff"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_demo_leaves_nothing_running(
    tmp_path: Path, repository: Path, cache: Path, number: signal.Signals
) -> None:
    run = Visit(tmp_path / "demo", repository, cache)
    for _, line in run.lines():
        if "pipelines at work" in line:
            break
    assert run.left_running()
    run.child.send_signal(number)
    # Each of its processes has eight seconds to end by itself.
    text = run.child.communicate(timeout=60)[0]
    assert run.child.returncode not in (0, None)
    assert "Traceback" not in text
    assert run.left_running() == []


def test_even_a_killed_demo_leaves_nothing_running(
    tmp_path: Path, repository: Path, cache: Path
) -> None:
    run = Visit(tmp_path / "demo", repository, cache)
    for _, line in run.lines():
        if "pipelines at work" in line:
            break
    run.child.kill()
    run.child.wait()
    deadline = time.monotonic() + 10
    while run.left_running() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert run.left_running() == []


_MISSING = """
import importlib.util, shutil

def without(missing, find):
    return lambda name, *more, **keys: None if name == missing else find(name, *more, **keys)

shutil.which = without("mosquitto", shutil.which)
importlib.util.find_spec = without("onnxruntime", importlib.util.find_spec)
"""


@pytest.mark.usefixtures("in_full")
def test_what_is_not_installed_is_replaced_or_left_out_and_said(
    tmp_path: Path, repository: Path, cache: Path
) -> None:
    pytest.importorskip("amqtt")
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    # Python reads it at its start: for this visitor there is no such program, nor such a package.
    (hidden / "sitecustomize.py").write_text(_MISSING)
    run = Visit(tmp_path / "demo", repository, cache, path=(hidden,))
    text = "\n".join(line for _, line in run.lines())
    assert run.child.wait(10) == 0, text
    assert "embedded broker (amqtt; mosquitto is not installed)" in text
    assert "left out: a broker that forgets" in text
    assert "left out: a bad model that is taken back (onnxruntime is not installed)" in text
    assert "none lost" in text and "0 missing" in text
    assert run.left_running() == []
    match = re.search(r"not installed\) on port (\d+)", text)
    assert match
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", int(match[1])), timeout=2)


def test_clean_removes_it(visit: dict[str, Any], tmp_path: Path) -> None:
    environment = {**visit["environment"], "XDG_CACHE_HOME": str(tmp_path)}
    command = [sys.executable, "-m", "edgeagent.cli", "demo", "--clean", "--dir"]
    subprocess.run([*command, str(visit["root"])], env=environment, check=True)
    assert not visit["root"].exists()
