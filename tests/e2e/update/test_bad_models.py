"""Bad versions, wished for by a fleet, on a real agent: each is stopped where it can be, with a
reason that a person understands, and the good one goes on running."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from kit import DEVICE, Fleet, agent, config, wish

from edgeagent.fleet.repository import publish as publishing
from edgeagent.manifest import Package, load_package
from edgeagent.testing import spoil
from edgeagent.testing.agent import AgentProcess
from edgeagent.testing.broker import Mosquitto
from edgeagent.update.states import ENDS

pytest.importorskip("flatbuffers")
pytest.importorskip("onnxruntime")

MORE = """
expect = { p95_ms = 1000 }
[[pipelines.parts.rules]]
when = "label == 'cracked'"
[pipelines.parts.redact]
labels = ["missing"]
"""

Spoil = Callable[[Package, Path], Package]

REFUSED: dict[str, tuple[Spoil, str, str]] = {
    # version: (how it is spoilt, reason, what the sentence says)
    "1.1.0": (
        lambda good, folder: spoil.label_renamed(good, folder, "cracked", "crack"),
        "incompatible",
        "rules[0].when: the rule names 'cracked', and parts 1.1.0 has no such label",
    ),
    "1.2.0": (
        lambda good, folder: spoil.label_renamed(good, folder, "missing", "gap"),
        "incompatible",
        "pipelines.parts.redact.labels[0]: pictures may only leave with this hidden: 'missing'",
    ),
    "1.3.0": (spoil.crashing, "prove: crash", "it took its process down, with SIGSEGV"),
    "1.4.0": (spoil.wrong_shape, "prove: crash", "it can't be opened"),
    "1.5.0": (spoil.labels_permuted, "prove: parity", "what 1.0.0 calls whole it calls missing"),
    "1.6.0": (spoil.leaking, "prove: budget", "its memory grows with every run"),
    "1.7.0": (
        lambda good, folder: spoil.slow_at(good, folder, 500, turns=1_500_000),
        "prove: budget",
        "run 500 takes",
    ),
}
"""Each is stopped before it runs."""

AFTER = 650
"""Runs: more than in a proof (600, and a few to warm up)."""

LATER: dict[str, tuple[Spoil, str]] = {
    "2.1.0": (
        lambda good, folder: spoil.labels_permuted(good, folder, after=AFTER),
        # Whichever kind of part came most often.
        "what 1.0.0 calls (whole 2.1.0 calls missing|missing 2.1.0 calls cracked"
        "|cracked 2.1.0 calls whole)",
    ),
    "2.2.0": (
        lambda good, folder: spoil.biased(good, folder, "cracked", after=AFTER),
        "what 1.0.0 calls whole 2.2.0 calls cracked",
    ),
    "2.3.0": (lambda good, folder: spoil.blind(good, folder, after=AFTER), "2.3.0 misses whole"),
}
"""Right in the proof, wrong in the field."""


@pytest.fixture
def fleet(tmp_path: Path, broker: Mosquitto) -> Iterator[Fleet]:
    made = Fleet(tmp_path / "operator", broker.port)
    made.serve()
    yield made
    made.stop()


@pytest.fixture
def good(repository: Path) -> Package:
    return load_package(repository / "models" / "parts" / "1.0.0")


@pytest.fixture
def device(broker: Mosquitto, fleet: Fleet, tmp_path: Path) -> Iterator[AgentProcess]:
    text = config(broker.port, fleet.made.home.first_root, MORE).replace("fps = 10", "fps = 50")
    with agent(tmp_path / "device", text) as running:
        running.until(lambda status: status["pipelines"]["parts"].get("steps", 0) > 100)
        pid = running.pid
        yield running
        assert running.pid == pid
        assert running.process is not None
        assert running.process.poll() is None


@pytest.mark.timeout(300)
def test_what_can_be_known_before_is_stopped_before_it_runs(
    device: AgentProcess, fleet: Fleet, subscriber: Any, good: Package, tmp_path: Path, full: bool
) -> None:
    chosen = list(REFUSED) if full else ["1.1.0", "1.3.0"]
    for rev, version in enumerate(chosen, start=1):
        spoilt, reason, said = REFUSED[version]
        publish(fleet, spoilt(good, tmp_path / "new" / "parts" / version))
        told = pushed(subscriber, rev, version, soak_s=0.0)
        assert (told["state"], told["reason"]) == ("failed", reason), told
        assert said in told["detail"]
        assert runs(device).startswith("parts@1.0.0/")
    subscriber.until(lambda its: {r["data"]["version"] for r in ends(its)} >= set(chosen))
    assert {r["data"]["state"] for r in ends(subscriber)} == {"failed"}


@pytest.mark.timeout(300)
def test_what_goes_wrong_in_the_field_is_rolled_back_with_evidence(
    device: AgentProcess, fleet: Fleet, subscriber: Any, good: Package, tmp_path: Path, full: bool
) -> None:
    chosen = list(LATER) if full else ["2.1.0"]
    for rev, version in enumerate(chosen, start=1):
        spoilt, said = LATER[version]
        publish(fleet, spoilt(good, tmp_path / "new" / "parts" / version))
        told = pushed(subscriber, rev, version, soak_s=120.0)
        assert (told["state"], told["reason"]) == ("rolled-back", "probation"), told
        assert re.search(said, told["detail"]), told
        assert runs(device).startswith("parts@1.0.0/")
    publish(fleet, spoil.version(good, tmp_path / "new" / "parts" / "3.0.0"))
    told = pushed(subscriber, 100, "3.0.0", soak_s=2.0)
    assert (told["state"], told["version"]) == ("committed", "3.0.0"), told
    assert runs(device).startswith("parts@3.0.0/")


def runs(device: AgentProcess) -> str:
    """The model that the pipeline runs."""
    return str(device.until(lambda status: status["pipelines"]["parts"]["model"]))


def ends(subscriber: Any) -> list[dict[str, Any]]:
    return [its for its in subscriber.records().values() if its["kind"] == "deployment"]


def publish(fleet: Fleet, package: Package) -> None:
    """As who looks at nothing: not even whether it opens."""
    publishing.publish(fleet.home, publishing.plan(fleet.home, package))


def pushed(subscriber: Any, rev: int, version: str, soak_s: float) -> dict[str, Any]:
    """Wish for a version; what the device reports of the model once that is an end."""
    desired = wish(rev, version, soak_s=soak_s)
    subscriber.client.publish(f"edgeagent/{DEVICE}/desired", desired, qos=1, retain=True)

    def over(its: Any) -> dict[str, Any] | None:
        told = (its.last(f"{DEVICE}/reported") or {}).get("models", {}).get("parts", {})
        # What is left out is the default.
        state = told.get("state", "committed")
        found = told.get("rev") == rev and state in ENDS
        return {**told, "state": state} if found else None

    told: dict[str, Any] = subscriber.until(over, 90.0)
    print(f"{version}: {told['state']}, {told.get('reason', '')}: {told.get('detail', '')}")
    return told
