"""Bad versions, wished for by a fleet, on a real agent: each is stopped where it can be, with a
reason that a person understands, and the good one goes on running."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgeagent.manifest import Package, load_package
from edgeagent.testing import spoil
from edgeagent.testing.agent import AgentProcess
from edgeagent.testing.broker import Mosquitto

pytest.importorskip("flatbuffers")
pytest.importorskip("onnxruntime")

CONFIG = """
[device]
id = "belt-1"
[mqtt]
host = "127.0.0.1"
port = {port}
[models]
path = ["{models}"]
[privacy]
pictures = "events"
[sources.belt]
kind = "synthetic"
fps = 50
[pipelines.door]
source = "belt"
model = "parts"
record = {{ every = 25 }}
[[pipelines.door.rules]]
when = "label == 'cracked'"
[pipelines.door.redact]
labels = ["missing"]
"""

Spoil = Callable[[Package, Path], Package]

REFUSED: dict[str, tuple[Spoil, str, str]] = {
    # version: (how it is spoilt, reason, what the sentence says)
    "1.1.0": (
        lambda good, folder: spoil.label_renamed(good, folder, "cracked", "crack"),
        "incompatible",
        "pipelines.door.rules[0].when: the rule names 'cracked', and parts 1.1.0 has no such label",
    ),
    "1.2.0": (
        lambda good, folder: spoil.label_renamed(good, folder, "missing", "gap"),
        "incompatible",
        "pipelines.door.redact.labels[0]: pictures may only leave with this hidden: 'missing'",
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

LATER: dict[str, tuple[Spoil, str]] = {
    "2.1.0": (
        lambda good, folder: spoil.labels_permuted(good, folder, after=1500),
        "what 1.0.0 calls whole 2.1.0 calls missing",
    ),
    "2.2.0": (
        lambda good, folder: spoil.biased(good, folder, "cracked", after=1500),
        "what 1.0.0 calls whole 2.2.0 calls cracked",
    ),
    "2.3.0": (lambda good, folder: spoil.blind(good, folder, after=1500), "2.3.0 misses whole"),
}
"""Right in the proof (which runs 1,200 times at most), wrong in the field."""


@pytest.mark.timeout(300)
def test_bad_versions_are_stopped_and_the_good_one_runs(
    broker: Mosquitto, subscriber: Any, repository: Path, tmp_path: Path, full: bool
) -> None:
    models = tmp_path / "models"
    good = load_package(repository / "models" / "parts" / "1.0.0")
    shutil.copytree(good.folder, models / "parts" / "1.0.0")
    chosen = list(REFUSED) if full else ["1.1.0", "1.2.0", "1.3.0", "1.5.0"]
    later = list(LATER) if full else ["2.1.0"]
    config = CONFIG.format(port=broker.port, models=models)
    with AgentProcess(config, tmp_path / "agent") as agent:
        agent.until(lambda status: status["pipelines"]["door"].get("steps", 0) > 100)
        pid = agent.pid
        for rev, version in enumerate([*chosen, *later], start=1):
            how = REFUSED[version][0] if version in REFUSED else LATER[version][0]
            how(good, models / "parts" / version)
            wish(subscriber, rev, version, soak_s=0.0 if version in REFUSED else 120.0)
            told = ended(subscriber, rev)
            assert told["version"] == "1.0.0", told
            if version in REFUSED:
                _, reason, said = REFUSED[version]
                assert (told["state"], told["reason"]) == ("failed", reason), told
            else:
                said = LATER[version][1]
                assert (told["state"], told["reason"]) == ("rolled-back", "probation"), told
            assert said in told["detail"]
            print(f"{version}: {told['state']}, {told['reason']}: {told['detail']}")
            runs = agent.until(lambda status: status["pipelines"]["door"])
            assert runs["model"].startswith("parts@1.0.0/")
        spoil.version(good, models / "parts" / "3.0.0")
        wish(subscriber, 100, "3.0.0", soak_s=2.0)
        told = ended(subscriber, 100)
        assert (told["state"], told["version"]) == ("committed", "3.0.0"), told
        assert agent.pid == pid
        assert agent.process is not None
        assert agent.process.poll() is None
    ends = [r["data"] for r in subscriber.records().values() if r["kind"] == "deployment"]
    assert {data["version"] for data in ends} >= {*chosen, *later, "3.0.0"}


def wish(subscriber: Any, rev: int, version: str, soak_s: float) -> None:
    desired = {"rev": rev, "models": {"parts": {"version": version, "policy": {"soak_s": soak_s}}}}
    payload = json.dumps(desired)
    subscriber.client.publish("edgeagent/belt-1/desired", payload, qos=1, retain=True)


def ended(subscriber: Any, rev: int) -> dict[str, Any]:
    """What the device reports of the model, once that is an end."""

    def over(its: Any) -> dict[str, Any] | None:
        told = (its.last("belt-1/reported") or {}).get("models", {}).get("parts", {})
        ends = ("committed", "failed", "rolled-back", "rejected")
        # What is left out is the default.
        state = told.get("state", "committed")
        return {**told, "state": state} if told.get("rev") == rev and state in ends else None

    found: dict[str, Any] = subscriber.until(over, 120.0)
    return found
