"""The single acts of the demo."""

from __future__ import annotations

import time
from typing import Any

from edgeagent.demo import recipe
from edgeagent.demo.folders import Folders
from edgeagent.demo.scene import Scene
from edgeagent.errors import EdgeAgentError
from edgeagent.update.library import Library, default_folders

_DARK_S = 1.0
"""How long the agent stays dead."""
_AWAY_S = 1.0
"""How long the collector is away."""
_HEAL_TIMEOUT_S = 8.0
_READY_TIMEOUT_S = 25.0
_DRAIN_TIMEOUT_S = 20.0
_ANSWER_TIMEOUT_S = 6.0
"""A question that was asked is answered before the one who answers is killed."""


def start(scene: Scene) -> None:
    """The agent comes up and its models run."""
    scene.show.say("starting the agent")
    scene.agent = scene.stage.start_agent()
    scene.watch_for(_decided, _READY_TIMEOUT_S)
    if scene.report is None or not _at_work(scene.report):
        raise EdgeAgentError(
            f"the agent's pipelines did not start: {_why(scene.report)}",
            remedy=f"Its log: {scene.agent.log}",
        )
    scene.story.thresholds = _thresholds(scene)
    scene.act(f"{len(scene.story.pipelines)} pipelines at work; {scene.stage.broker}")
    for name, its in scene.story.pipelines.items():
        scene.act(f"{name}: {its['model']} on {its['receipt']}")


def cut_uplink(scene: Scene) -> None:
    """Nothing gets through to the broker any more."""
    scene.stage.cut_uplink()
    scene.story.cut_ns = (time.time_ns(), time.time_ns())
    scene.act("the uplink is cut: records stay on disk", "uplink cut")


def kill_and_restart(scene: Scene) -> None:
    """SIGKILL, a moment of darkness, and a new agent on the same data folder."""
    scene.watch_for(lambda _report: not scene.asking.waits, _ANSWER_TIMEOUT_S)
    assert scene.agent is not None
    killed, scene.agent = scene.agent, None
    killed.kill()
    scene.story.killed_ns = time.time_ns()
    scene.act(f"the agent (process {killed.child.pid}) is killed with SIGKILL", "kill -9")
    until = scene.at_s + _DARK_S
    while scene.at_s < until:
        scene.look()
        time.sleep(0.2)
    world = recipe.world(scene.wishes.span_s, scene.at_s)
    scene.agent = scene.stage.start_agent(*world.settings())
    if not scene.watch_for(_at_work, _READY_TIMEOUT_S):
        raise EdgeAgentError(f"the agent did not come back: {_why(scene.report)}")
    scene.story.back_ns = time.time_ns()
    waiting = scene.story.glances[-1].pending
    scene.act(f"a new agent is at work and has {waiting:,} records waiting", "back")


def restore_uplink(scene: Scene) -> None:
    """The way is open again; what waited goes out beside what is new."""
    scene.stage.restore_uplink()
    scene.story.cut_ns = (scene.story.cut_ns[0], time.time_ns())
    scene.act("the uplink is back", "uplink back")


def forget(scene: Scene) -> None:
    """The broker is killed while it keeps records for a collector that is away."""
    reader = scene.stage.reader
    if not scene.stage.installed:
        scene.act("left out: a broker that forgets (mosquitto is not installed)")
        return
    reader.nap()
    scene.act("the collector is away; the broker takes its records and says so")
    until = scene.at_s + _AWAY_S
    scene.watch_for(lambda _report: scene.at_s >= until, _READY_TIMEOUT_S)
    scene.stage.kill_broker()
    scene.act("the broker is killed with SIGKILL and has forgotten them", "broker killed")
    reader.wake()
    if not scene.watch_for(lambda _report: reader.holes > 0, _HEAL_TIMEOUT_S):
        scene.act("nothing was lost by it this time")
        return
    missed = reader.holes
    scene.act(f"the collector is back, misses {missed:,} records and asks for them")
    if scene.watch_for(lambda _report: not reader.holes, _HEAL_TIMEOUT_S):
        scene.act(f"the agent has given all {missed:,} again", "healed")


def close(scene: Scene, folders: Folders) -> None:
    """Stop producing, let everything out, stop the agent and have the accounts drawn up."""
    from edgeagent.store.verify import verify

    for name in scene.story.pipelines:
        scene.client.command("pipeline", name=name, action="pause")
    scene.act("pipelines pause; the rest goes out", "end")
    scene.freeze()
    scene.story.drained = scene.watch_for(_all_out, _DRAIN_TIMEOUT_S)
    if not scene.story.drained:
        scene.act("not everything got out in time")
    # The broker has all of it; the reader may still be asking for some.
    scene.watch_for(lambda _report: not scene.stage.reader.holes, _HEAL_TIMEOUT_S)
    assert scene.agent is not None
    agent, scene.agent = scene.agent, None
    scene.look()
    agent.stop()
    scene.story.reader = scene.stage.reader.finish()
    proof = verify(folders.data, deep=True)
    scene.story.account = {
        "produced": proof.produced, "delivered": proof.delivered, "pending": proof.pending,
        "dropped": proof.dropped, "problems": proof.problems,
    }  # fmt: skip
    scene.story.ended_ns = time.time_ns()


def _thresholds(scene: Scene) -> dict[str, float]:
    """Of each pipeline, by its model's package."""
    models = Library(default_folders(None, [str(scene.stage.models)]))
    return {
        name: models.find(its["model"].partition("/")[0]).manifest.output.threshold
        for name, its in scene.story.pipelines.items()
    }


def _at_work(report: dict[str, Any]) -> bool:
    pipelines = report["pipelines"].values()
    return bool(pipelines) and all(its["state"] == "ok" and its["steps"] for its in pipelines)


def _decided(report: dict[str, Any]) -> bool:
    """At work, or one of them never will be."""
    return _at_work(report) or any(its["state"] == "down" for its in report["pipelines"].values())


def _all_out(report: dict[str, Any]) -> bool:
    return bool(report["outbox"]["pending"] == 0 and report["outbox"].get("queued", 0) == 0)


def _why(report: dict[str, Any] | None) -> str:
    if report is None:
        return "it does not answer"
    reasons = report.get("reasons") or [
        f"{name} is {its['state']}" for name, its in report["pipelines"].items()
    ]
    return "; ".join(str(reason) for reason in reasons)
