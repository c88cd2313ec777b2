"""A vendor's delegate that crashes, hangs, lies or loses its device: within five seconds the agent
runs on the processor, degraded, and says why; and it takes the delegate back when it works."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from edgeagent.testing.agent import AgentProcess
from edgeagent.testing.broker import Mosquitto

pytest.importorskip("ai_edge_litert")

IN_TIME_S = 5.0
CRASHES = {"fail": "crash-load"}
HASTY = (
    sys.executable,
    "-c",
    "import sys, edgeagent.update.delegated as delegated; delegated._PROBE_S = 4.0; "
    "from edgeagent.agent import main; sys.exit(main(sys.argv[1:]))",
)
"""An agent that gives a child four seconds in place of two minutes."""
SOON = (
    sys.executable,
    "-c",
    "import sys, edgeagent.update.cooloff as cooloff; cooloff.FIRST_S = 1.5; "
    "from edgeagent.agent import main; sys.exit(main(sys.argv[1:]))",
)
"""An agent that tries again after a second and a half in place of ten minutes."""

Run = Callable[..., AgentProcess]


@pytest.fixture
def run(tmp_path: Path, toy: Path) -> Iterator[Run]:
    made: list[AgentProcess] = []

    def start(require: bool = False, python: Any = SOON, **options: str) -> AgentProcess:
        # Of a single operator the toy knows what goes in and what comes out.
        options = {"most": "1", **options}
        told = ", ".join(f'{key} = "{value}"' for key, value in options.items())
        config = (
            '[sources.belt]\nkind = "synthetic"\nfps = 20\n'
            '[pipelines.door]\nsource = "belt"\nmodel = "parts"\n'
            f'runtime = {{ variant = "litert", delegate = "{toy}", options = {{ {told} }}, '
            f"require = {str(require).lower()} }}\n"
        )
        made.append(AgentProcess(config, tmp_path / "agent", python=python).start())
        return made[-1]

    yield start
    for agent in made:
        agent.stop()


def door(status: dict[str, Any]) -> dict[str, Any]:
    its: dict[str, Any] = status["pipelines"]["door"]
    return its


def runs(status: dict[str, Any], state: str) -> bool:
    return door(status)["state"] == state and door(status)["steps"] > 5


@pytest.mark.usefixtures("in_full")
def test_one_that_works_is_tried_in_a_child_and_then_runs(run: Run) -> None:
    agent = run()
    status = agent.until(lambda status: runs(status, "ok") and status)
    assert "libtoy.so" not in " ".join(status["reasons"])
    assert not json.loads((agent.data / "delegates.json").read_text())["failed"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (CRASHES, "it took its process down, with SIGABRT"),
        (
            {"fail": "hang-load"},
            "libtoy.so is tried in a process of its own, and has not answered yet",
        ),
        ({"add": "90"}, "it does not answer its own golden samples here"),
    ],
)
def test_a_bad_one_leaves_the_agent_on_the_processor(
    run: Run, options: dict[str, str], words: str, full: bool
) -> None:
    if options != CRASHES and not full:
        pytest.skip("runs only with EDGEAGENT_TESTS=full")
    began = time.monotonic()
    agent = run(python=(sys.executable, "-m", "edgeagent.agent"), **options)
    # What starting takes without any delegate is not its fault.
    agent.until(lambda status: status)
    up = time.monotonic()
    status = agent.until(lambda status: runs(status, "degraded") and status)
    assert time.monotonic() - up < IN_TIME_S + (up - began)
    assert "libtoy.so" in door(status)["reason"]
    status = agent.until(lambda status: words in door(status)["reason"] and status)
    assert status["state"] == "degraded"
    if options.get("fail") != "hang-load":
        (aside,) = status["aside"]
        assert (aside["delegate"], aside["model"]) == ("libtoy.so", "parts@1.0.0")
        assert words in aside["reason"] and aside["times"] == 1
        assert 500 < aside["again_s"] <= aside["pause_s"] == 600
    assert any(words in reason for reason in status["reasons"])
    assert "fell back" in door(status)["receipt"]
    assert agent.process is not None and agent.process.poll() is None
    if options.get("fail") != "hang-load":
        (failure,) = json.loads((agent.data / "delegates.json").read_text())["failed"].values()
        assert words in failure["reason"]
        assert "it is tried again in 10 min" in door(status)["reason"]
        # Another start does not run into it again.
        agent.stop()
        agent.start()
        agent.until(lambda status: runs(status, "degraded") and words in door(status)["reason"])
        assert "fail" in options or agent.log.count("is put aside: running") == 1


@pytest.mark.usefixtures("in_full")
def test_one_that_hangs_is_put_aside_when_its_time_is_over(run: Run) -> None:
    agent = run(python=HASTY, fail="hang-load")
    status = agent.until(lambda status: status.get("aside") and status)
    assert "it gave no answer within 4 s, while it was being opened" in status["aside"][0]["reason"]
    steps = door(status)["steps"]
    agent.until(lambda status: runs(status, "degraded") and door(status)["steps"] > steps + 10)
    reason = door(agent.client.status())["reason"]
    assert "it gave no answer within 4 s" in reason and "tried again in 10 min" in reason


@pytest.mark.usefixtures("in_full")
@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("-DCRASH",), "it took its process down, with SIGABRT"),
        (("-DHANG",), "it gave no answer within 4 s, while it was being opened"),
        ((), "libtoyprovider.so finds no device here"),
    ],
)
def test_a_bad_plugin_provider_leaves_the_agent_on_the_processor(
    tmp_path: Path, toy_provider: Callable[..., Path], flags: tuple[str, ...], words: str
) -> None:
    pytest.importorskip("onnxruntime")
    library = toy_provider(*flags)
    config = (
        '[sources.belt]\nkind = "synthetic"\nfps = 20\n'
        '[pipelines.door]\nsource = "belt"\nmodel = "parts"\n'
        f'runtime = {{ variant = "onnx", provider = "{library}" }}\n'
    )
    with AgentProcess(config, tmp_path / "agent", python=HASTY) as agent:
        status = agent.until(
            lambda status: words in door(status)["reason"] and runs(status, "degraded") and status
        )
        assert "operators on CPUExecutionProvider" in door(status)["receipt"]
        assert "fell back: libtoyprovider.so" in door(status)["receipt"]
        assert status["state"] == "degraded" and door(status)["failed"] == 0


@pytest.mark.usefixtures("in_full")
def test_capabilities_list_what_is_put_aside(
    tmp_path: Path, toy: Path, broker: Mosquitto, subscriber: Any
) -> None:
    device = tmp_path / "npu0"
    device.touch()
    config = (
        f'[device]\nid = "door-7"\n[mqtt]\nhost = "127.0.0.1"\nport = {broker.port}\n'
        '[sources.belt]\nkind = "synthetic"\nfps = 20\n'
        '[pipelines.door]\nsource = "belt"\nmodel = "parts"\n'
        f'runtime = {{ variant = "litert", delegate = "{toy}", '
        f'options = {{ most = "1", device = "{device}" }} }}\n'
    )

    def aside(its: Any) -> Any:
        document = its.last("/capabilities")
        return document and document["delegates"]["aside"]

    with AgentProcess(config, tmp_path / "agent", python=SOON) as agent:
        agent.until(lambda status: runs(status, "ok"))
        subscriber.until(lambda its: aside(its) == [])
        device.unlink()
        (told,) = subscriber.until(aside)
        assert (told["delegate"], told["model"]) == ("libtoy.so", "parts@1.0.0")
        assert "toy: device lost" in told["reason"] and "again_s" not in told
        device.touch()
        subscriber.until(lambda its: aside(its) == [])


@pytest.mark.usefixtures("in_full")
def test_under_require_nothing_runs_without_it(run: Run) -> None:
    agent = run(require=True, fail="crash-load", python=(sys.executable, "-m", "edgeagent.agent"))
    agent.until(lambda status: "it took its process down" in door(status)["reason"])
    assert door(agent.client.status())["steps"] == 0


@pytest.mark.usefixtures("in_full")
def test_one_that_takes_nothing_is_told(run: Run) -> None:
    agent = run(take="-1")
    status = agent.until(lambda status: runs(status, "degraded") and status)
    assert "libtoy.so takes none of the model's" in door(status)["reason"]
    agent.stop()
    agent = run(take="-1", require=True)
    agent.until(lambda status: "takes none of the model's" in door(status)["reason"])
    assert door(agent.client.status())["steps"] == 0


def test_one_that_loses_its_device_is_back_when_the_device_is(run: Run, tmp_path: Path) -> None:
    device = tmp_path / "npu0"
    device.touch()
    agent = run(device=str(device))
    agent.until(lambda status: runs(status, "ok"))
    device.unlink()
    lost = time.monotonic()
    status = agent.until(
        lambda status: (
            door(status)["state"] == "degraded"
            and "fell back" in door(status)["receipt"]
            and status
        )
    )
    assert time.monotonic() - lost < IN_TIME_S
    assert "toy: device lost" in door(status)["reason"]
    steps = door(status)["steps"]
    agent.until(lambda status: door(status)["steps"] > steps + 10)
    device.touch()
    status = agent.until(lambda status: runs(status, "ok") and status)
    assert "1 of " in door(status)["receipt"] or "fell back" not in door(status)["receipt"]
    assert status["state"] == "online"


@pytest.mark.usefixtures("in_full")
def test_one_that_takes_the_agent_down_again_and_again_is_put_aside(
    run: Run, tmp_path: Path
) -> None:
    """In the field, long after it was tried: the service manager starts the agent anew, twice."""
    device = tmp_path / "npu0"
    device.touch()
    agent = run(
        python=(sys.executable, "-m", "edgeagent.agent"), fail="crash-lost", device=str(device)
    )
    for _ in range(2):
        agent.until(lambda status: runs(status, "ok"))
        device.unlink()
        assert agent.wait() < 0
        device.touch()
        agent.start()
    status = agent.until(lambda status: runs(status, "degraded") and status)
    assert (
        "the agent ended without a word 2 times while parts@1.0.0 ran on it"
        in (door(status)["reason"])
    )
    device.unlink()
    agent.until(lambda status: door(status)["steps"] > 40)
