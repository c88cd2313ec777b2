"""What `/metrics` tells about the agent: names, their meaning, and where the numbers are from.

Every name is explained in docs/monitoring.md.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Literal

from edgeagent import __version__
from edgeagent.agent.answers import account, storage, verdict
from edgeagent.serve.live.exposition import Family

if TYPE_CHECKING:
    from edgeagent.agent.running import Agent
    from edgeagent.metrics import Meter

_STATES = ("ok", "opening", "degraded", "down", "paused", "ended")
_STAGES = ("gate", "prepare", "queue", "infer", "decide")
_SOURCE_COUNTS = {
    "read": "Samples read", "dropped": "Samples dropped because a newer one had come",
    "corrupt": "Samples that could not be read", "lost": "Times that the source was lost",
    "reopened": "Times that the source was opened again",
}  # fmt: skip
_OUTBOX = {
    "produced": ("produced_total", "Records stored"),
    "delivered": ("delivered_total", "Records that the other side has"),
    "pending": ("pending", "Records that wait to be sent"),
    "dead_letters": ("dead_letters", "Records that the broker refused"),
    "oldest_pending_age_s": ("oldest_pending_age_seconds", "Age of the oldest record that waits"),
    "bytes": ("bytes", "Size of the database and its log"),
    "blob_bytes": ("blob_bytes", "Size of pictures and clips"),
    "written_bytes": ("written_bytes_total", "Bytes written to the medium"),
}
_HEALTH = {
    "temperature_c": ("temperature_celsius", "Temperature that counts for throttling", 1.0),
    "memory_available_bytes": ("memory_available_bytes", "Memory of the machine that is free", 1.0),
    "pss_bytes": ("process_pss_bytes", "Memory of the agent, its share of what is shared", 1.0),
    "disk_free_bytes": ("disk_free_bytes", "Free bytes where the data folder is", 1.0),
    "pressure_cpu_percent": ("pressure_cpu_ratio", "Share of 10 s waiting for the processor", 0.01),
    "pressure_memory_percent": ("pressure_memory_ratio", "Share of 10 s waiting for memory", 0.01),
    "pressure_io_percent": ("pressure_io_ratio", "Share of 10 s waiting for disks", 0.01),
    "load_1min": ("load1", "Load average of a minute", 1.0),
}  # fmt: skip


def gather(agent: Agent) -> Iterator[Family]:
    """All figures of the agent. May be called on any thread."""
    yield from _agent(agent)
    yield from _pipelines(agent)
    yield from _drift(agent)
    yield from _sources(agent)
    yield from _outbox(agent)
    yield from _link(agent)
    yield from _health(agent)
    yield from _deployments(agent)
    yield _aside(agent)


def _agent(agent: Agent) -> Iterator[Family]:
    state, reasons = verdict(agent)
    info = Family("edgeagent_info", "gauge", "Always 1; who this is stands in the labels")
    info.add(1, device=agent.device, version=__version__, profile=agent.profile_name,
             config=agent.loaded.hash, site=agent.loaded.config.device.site)  # fmt: skip
    yield info
    online = Family("edgeagent_online", "gauge", "1 = all is well, 0 = degraded or in safe mode")
    online.add(state == "online")
    yield online
    told = Family("edgeagent_reasons", "gauge", "How many reasons there are to be degraded")
    told.add(len(reasons))
    yield told
    up = Family("edgeagent_uptime_seconds", "gauge", "Since the agent started")
    up.add(round(time.monotonic() - agent.began, 1))
    yield up
    clock = Family("edgeagent_clock_synced", "gauge", "1 = the time of day can be trusted")
    clock.add(agent.clock_trusted)
    yield clock


def _pipelines(agent: Agent) -> Iterator[Family]:
    states = Family("edgeagent_pipeline_state", "gauge", "1 for the state that it is in")
    rate = Family("edgeagent_pipeline_fps", "gauge", "Samples a second, over the last ones")
    counts = [
        Family(f"edgeagent_pipeline_{name}_total", "counter", text)
        for name, text in (
            ("steps", "Samples that went through the model"), ("records", "Records made"),
            ("skipped", "Samples that could not be used"), ("failed", "Runs that failed"),
        )
    ]  # fmt: skip
    stages = Family("edgeagent_stage_seconds", "histogram", "Time that a stage takes a sample")
    steps = Family("edgeagent_step_seconds", "histogram", "Time from sample to decision")
    ages = Family("edgeagent_sample_age_seconds", "histogram",
                  "How old a live sample is once all is decided about it")  # fmt: skip
    for name, unit in agent.pipelines.items():
        health = unit.health()
        labels = {"pipeline": name, "model": str(health.detail.get("model", ""))}
        _state(states, health.state, pipeline=name)
        meter: Meter = unit.meter
        rate.add(round(meter.fps(), 3), **labels)
        for family, count in zip(
            counts, (meter.steps, meter.records, meter.skipped, meter.failed), strict=True
        ):
            family.add(count, **labels)
        stages.seconds += [({**labels, "stage": its}, getattr(meter, its)) for its in _STAGES]
        steps.seconds.append((labels, meter.step))
        ages.seconds.append((labels, meter.age))
    yield from (states, rate, *counts, stages, steps, ages)


def _drift(agent: Agent) -> Iterator[Family]:
    open_ = Family("edgeagent_drift", "gauge", "1 = what a pipeline sees is not what is usual")
    share = Family("edgeagent_drift_learned_ratio", "gauge", "How far what is usual is learned")
    far = Family(
        "edgeagent_drift_distance", "gauge", "How far a feature is from what is usual, 0-1"
    )
    limits = Family("edgeagent_drift_limit", "gauge", "From which distance on it has drifted")
    for name, its in agent.drifting.status().items():
        open_.add(its["state"] == "drift", pipeline=name)
        share.add(its.get("learned", 1.0), pipeline=name)
        for family, key in ((far, "distance"), (limits, "limit")):
            for feature, value in its.get(key, {}).items():
                family.add(value, pipeline=name, feature=feature)
    yield from (open_, share, far, limits)
    pooled = agent.drifting.pooled
    samples = Family("edgeagent_pool_samples", "gauge", "Samples that wait for a label")
    room = Family("edgeagent_pool_bytes", "gauge", "What they take on disk")
    if pooled:
        room.add(pooled["bytes"])
    for name, reasons in pooled.get("samples", {}).items():
        for reason, count in reasons.items():
            samples.add(count, pipeline=name, reason=reason)
    yield from (samples, room)


def _state(family: Family, state: str, **labels: str) -> None:
    for its in _STATES:
        family.add(its == state, **labels, state=its)


def _sources(agent: Agent) -> Iterator[Family]:
    states = Family("edgeagent_source_state", "gauge", "1 for the state that it is in")
    rate = Family("edgeagent_source_fps", "gauge", "Samples a second, measured")
    age = Family("edgeagent_source_age_seconds", "gauge", "Age of the newest sample")
    counts = {
        name: Family(f"edgeagent_source_{name}_total", "counter", text)
        for name, text in _SOURCE_COUNTS.items()
    }
    for name, unit in agent.sources.items():
        health = unit.health()
        _state(states, health.state, source=name)
        rate.add(health.detail.get("fps"), source=name)
        age.add(health.detail.get("age_s"), source=name)
        for key, family in counts.items():
            family.add(health.detail.get(key), source=name)
    yield from (states, rate, age, *counts.values())


def _outbox(agent: Agent) -> Iterator[Family]:
    its, room = account(agent), storage(agent)
    for key, (name, text) in _OUTBOX.items():
        kind: Literal["counter", "gauge"] = "counter" if name.endswith("_total") else "gauge"
        family = Family(f"edgeagent_outbox_{name}", kind, text)
        family.add(its[key])
        yield family
    dropped = Family("edgeagent_outbox_dropped_total", "counter", "Records lost, and told as gaps")
    # There before the first is lost, or nobody would see the number grow.
    dropped.add(sum(its["dropped"].values()))
    why = Family("edgeagent_outbox_dropped_reason_total", "counter", "The same, by reason")
    for reason, count in sorted(its["dropped"].items()):
        why.add(count, reason=reason)
    yield from (dropped, why)
    for name, text in (("used", "Everything that the agent keeps"), ("max", "What it may keep")):
        family = Family(f"edgeagent_storage_{name}_bytes", "gauge", text)
        family.add(room[f"{name}_bytes"])
        yield family


def _link(agent: Agent) -> Iterator[Family]:
    up = Family("edgeagent_link_up", "gauge", "1 = connected to the broker")
    connects = Family("edgeagent_link_connects_total", "counter", "Connections made")
    sent = Family("edgeagent_link_sent_bytes_total", "counter", "Bytes sent to the broker")
    if agent.sync is not None:
        told: dict[str, Any] = agent.sync.status()
        up.add(told["state"] == "up")
        connects.add(told["connects"])
        sent.add(told["bytes_sent"])
    yield from (up, connects, sent)


def _health(agent: Agent) -> Iterator[Family]:
    from edgeagent.device import health

    known = health.snapshot(agent.folder)
    for key, (name, text, scale) in _HEALTH.items():
        family = Family(f"edgeagent_{name}", "gauge", text)
        family.add(known[key] * scale if key in known else None)
        yield family
    slow = Family("edgeagent_throttled", "gauge", "1 = the processor is slowed down")
    slow.add(bool(known["throttled"]) if "throttled" in known else None)
    yield slow
    worn = Family("edgeagent_wear_ratio", "gauge", "Share of its life that a medium has used up")
    for key, share in known.items():
        if key.startswith("wear_"):
            worn.add(share / 100, medium=key[5:].removesuffix("_percent"))
    yield worn


def _aside(agent: Agent) -> Family:
    """There from the start, so that a rule about it can be written before the first fails."""
    waits = Family("edgeagent_delegate_aside_seconds", "gauge",
                   "Until a delegate that failed is tried again")  # fmt: skip
    for its in agent.delegated.told() if agent.delegated is not None else ():
        waits.add(its["again_s"], delegate=its["delegate"], model=its["model"])
    return waits


def _deployments(agent: Agent) -> Iterator[Family]:
    state = Family("edgeagent_deployment_state", "gauge",
                   "Always 1; where the last change of a model has got to")  # fmt: skip
    held = Family("edgeagent_holds", "gauge", "Models that a person holds at their version")
    if agent.wishes is not None:
        told = agent.wishes.status()
        for name, its in told["models"].items():
            state.add(1, model=name, version=its.get("version", ""), state=its.get("state", ""))
        held.add(len(told["held"]))
    yield from (state, held)
