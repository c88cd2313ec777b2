"""Samples to be labelled, of all pipelines: from the choice in a pipeline to the file."""

from __future__ import annotations

import io
import logging
from collections.abc import Callable, Sequence
from functools import partial
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from edgeagent import clock
from edgeagent.config.units import seconds, size_bytes
from edgeagent.decide.data import as_data
from edgeagent.drift.picks import DISAGREEMENT, Pick, Picks
from edgeagent.errors import EdgeAgentError, NotPermitted, StoreError
from edgeagent.store.pool import Pool
from edgeagent.types import Draft, Evidence, Frame, Joint, Prediction, Sample, Window

if TYPE_CHECKING:
    from pathlib import Path

    from edgeagent.agent.running import Agent
    from edgeagent.config.drift import Pool as Keys
    from edgeagent.drift.watch import Drift
    from edgeagent.pipeline import Pipeline
    from edgeagent.prove.compare import Told
    from edgeagent.store.outbox import Ticket
    from edgeagent.store.pool import Pooled
    from edgeagent.sync.command_types import PoolAction
    from edgeagent.sync.job import Job

log = logging.getLogger("edgeagent.pool")

_COMMIT_S = 10.0
_TOGETHER = 16
"""Samples that are read and committed together."""
_SOUND_HZ = 4000.0
"""A window of one channel at this rate is sound."""
_MOST_LABELS = 200
"""Labels of a model that are told with each sample; with more only those that were found."""


class Onlooker:
    """What a pipeline tells of each sample: whether it is usual, and whether it is worth a label
    (`stages.Drifts`)."""

    def __init__(self, drift: Drift | None, sampler: Sampler) -> None:
        self._drift = drift
        self._sampler = sampler

    def begin(self, model: str, threshold: float, usual: Path | None) -> None:
        self._sampler.threshold = threshold
        if self._drift is not None:
            self._drift.begin(model, threshold, usual)

    def saw(self, given: Sample | Joint, predictions: Sequence[Prediction]) -> None:
        if self._drift is not None:
            self._drift.saw(given, predictions)
        self._sampler.saw(
            given, drifted=self._drift is not None and self._drift.incident is not None
        )

    def disagreed(self, given: Sample | Joint, other: Sequence[Told]) -> None:
        self._sampler.disagreed(given, other)


class Sampler:
    """The samples of one pipeline. `saw` by its thread."""

    def __init__(
        self, pipeline: Pipeline, keys: Keys, pool: Pool, agent: Agent,
        submit: Callable[[Callable[[], None]], None],
    ) -> None:  # fmt: skip
        self.threshold = 0.5
        self.fault = ""
        """Why the last sample could not be kept; empty = it was."""
        self.withheld = 0
        """Samples that were worth keeping and of which there may be no picture."""
        self._pipeline = pipeline
        self._pool = pool
        self._agent = agent
        self._submit = submit
        self._each = keys.each
        self._busy = False
        self._picks = Picks(
            keys.reasons, 1e3 * seconds(keys.pause), 1e3 * seconds(keys.random), keys.unsure
        )

    def saw(self, given: Sample | Joint, *, drifted: bool) -> None:
        """The newest sample, which has gone through all stages."""
        when = given.when_ms
        stages = self._pipeline.stages
        if self._busy or stages is None or self._picks.waits(when):
            return
        predictions = stages.found()[0]
        pick = self._picks.pick(predictions, self.threshold, when, drifted)
        if pick is not None:
            self._later(given, predictions, pick, {})

    def disagreed(self, given: Sample | Joint, other: Sequence[Told]) -> None:
        """Another version says otherwise about a sample. Called by its thread."""
        if self._busy or not self._picks.wants(DISAGREEMENT) or self._picks.waits(given.when_ms):
            return
        self._picks.keeps(given.when_ms)
        known = [
            its.predictions for its in self._pipeline.lately if its.number == _lead(given).number
        ]
        pick = Pick(DISAGREEMENT, 100, "the version in the shadow says otherwise")
        self._later(given, known[0] if known else [], pick, {"shadow": list(other)})

    def _later(
        self, given: Sample | Joint, predictions: Sequence[Prediction], pick: Pick,
        more: dict[str, Any],
    ) -> None:  # fmt: skip
        """Writing takes as long as the medium does, and pictures are made by a slow program."""
        self._busy = True
        self._submit(partial(self._keep, _lead(given), list(predictions), pick, more))

    def _keep(
        self, sample: Sample, predictions: list[Prediction], pick: Pick, more: dict[str, Any]
    ) -> None:
        try:
            shown = self._shown(sample, predictions)
            if shown is None:
                self.withheld += 1
                return
            type_, body, number, predictions = shown
            meta = self._meta(sample, predictions, pick) | {"type": type_, "frame": number} | more
            self._pool.keep(self._pipeline.name, pick.reason, pick.useful, meta, body, self._each)
            self.fault = ""
        except EdgeAgentError as error:
            if not self.fault:
                log.warning("%s: a sample can't be kept: %s", self._pipeline.name, error)
            self.fault = str(error)
        finally:
            self._busy = False

    def _shown(
        self, sample: Sample, predictions: list[Prediction]
    ) -> tuple[str, bytes, int, list[Prediction]] | None:
        """Type, bytes and number of what may be kept, and what was found in it; None = nothing
        may. With redaction the picture is of an earlier sample than the one that was chosen."""
        if isinstance(sample, Window):
            sound = len(sample.channels) == 1 and sample.rate_hz >= _SOUND_HZ
            if sound and self._agent.loaded.config.privacy.pictures != "events":
                return None
            return (*(_wav(sample) if sound else _npy(sample)), sample.number, predictions)
        picture = self._pipeline.picture(sample)
        if picture is None:
            return None
        if picture.number in (0, sample.number):
            return picture.type, picture.data, sample.number, predictions
        for its in list(self._pipeline.lately):
            if its.number == picture.number:
                return picture.type, picture.data, its.number, its.predictions
        return None

    def _meta(self, sample: Sample, predictions: list[Prediction], pick: Pick) -> dict[str, Any]:
        pipeline, config = self._pipeline, self._agent.loaded.config
        labels = list(pipeline.stages.labels) if pipeline.stages else []
        meta: dict[str, Any] = {
            "v": 1, "pipeline": pipeline.name, "reason": pick.reason, "useful": pick.useful,
            "why": pick.detail, "source": sample.source, "model": pipeline.model,
            "at": clock.rfc3339(sample.at_ns), "boot": self._agent.boot,
            "clock": "synced" if self._agent.clock_trusted else "unsynced",
            "mono_ms": round(sample.mono_ms, 1), "threshold": round(self.threshold, 4),
            "device": self._agent.device, "site": config.device.site,
            "predictions": [as_data(its) for its in predictions],
            "labels": labels if len(labels) <= _MOST_LABELS else [],
        }  # fmt: skip
        if isinstance(sample, Frame):
            height, width = sample.pixels.shape[:2]
            meta["size"] = [width, height]
        else:
            meta["rate_hz"], meta["channels"] = sample.rate_hz, list(sample.channels)
        return meta


class Pooling:
    """All of an agent. `of` by the thread that builds, the rest by any."""

    def __init__(self, agent: Agent, submit: Callable[[Callable[[], None]], None]) -> None:
        self._agent = agent
        self._submit = submit
        self._pool: Pool | None = None
        self._samplers: dict[str, Sampler] = {}

    @property
    def pool(self) -> Pool:
        """Made when it is first asked for."""
        if self._pool is None:
            quota = size_bytes(self._agent.loaded.config.storage.pool)
            outbox = self._agent.outbox
            self._pool = Pool(outbox.folder, quota, lambda: outbox.allotment)
            self._pool.sweep()
        return self._pool

    def of(self, pipeline: Pipeline) -> Sampler | None:
        """What keeps samples of a pipeline; None = none is kept."""
        keys = self._agent.loaded.config.pipelines[pipeline.name].pool
        if keys is None:
            return None
        sampler = Sampler(pipeline, keys, self.pool, self._agent, self._submit)
        self._samplers[pipeline.name] = sampler
        return sampler

    def status(self) -> dict[str, Any]:
        """What there is, by pipeline and reason; empty = nobody keeps anything."""
        from edgeagent.store.pool import tally

        if not self._samplers:
            return {}
        here = self.pool.samples()
        return {
            "samples": tally(here), "bytes": sum(its.bytes for its in here),
            "max_bytes": size_bytes(self._agent.loaded.config.storage.pool),
            "sent": sum(its.sent for its in here), "kept": self.pool.kept, "gone": self.pool.gone,
            "withheld": sum(its.withheld for its in self._samplers.values()),
            "faults": {name: its.fault for name, its in self._samplers.items() if its.fault},
        }  # fmt: skip


def pool(agent: Agent, arguments: PoolAction, job: Job) -> dict[str, Any]:
    """The command. Raises NotFound, NotPermitted, StoreError."""
    from edgeagent.store.pool import tally

    kept = agent.drifting.pooling.pool
    here = kept.samples()
    asked = kept.find(arguments.ids) if arguments.ids else here
    chosen = [its for its in asked if arguments.pipeline in ("", its.pipeline)
              and arguments.because in ("", its.reason)]  # fmt: skip
    answer: dict[str, Any] = {}
    if arguments.action == "clear":
        for its in chosen:
            kept.remove(its)
        answer["removed"] = len(chosen)
        here = kept.samples()
    elif arguments.action == "send":
        answer |= _send(agent, kept, chosen, arguments, job)
        here = kept.samples()
    else:
        chosen.sort(key=lambda its: (its.sent, -its.useful, its.id))
        answer["list"] = [its.told() for its in chosen[: arguments.limit]]
        answer["more"] = max(0, len(chosen) - arguments.limit)
    return {**answer, "samples": tally(here), "bytes": sum(its.bytes for its in here)}


def _send(
    agent: Agent, kept: Pool, chosen: list[Pooled], arguments: PoolAction, job: Job
) -> dict[str, Any]:
    """Each becomes a record with evidence; not more at a time than half of what evidence may take,
    so that what waits there stays."""
    waiting = [its for its in chosen if arguments.again or not its.sent]
    waiting.sort(key=lambda its: (-its.useful, its.id))
    fitting = _fitting(waiting[: arguments.limit], agent.outbox.settings.blobs_bytes // 2)
    sent: list[dict[str, Any]] = []
    # Some together, because a result is committed a second later at most.
    for first in range(0, len(fitting), _TOGETHER):
        job.progress(first / len(fitting), "sending", f"{first} of {len(fitting)}")
        some = fitting[first : first + _TOGETHER]
        tickets = [_append(agent, its, job) for its in some]
        for its, (ticket, told) in zip(some, tickets, strict=True):
            seq = ticket.wait(_COMMIT_S)
            if seq is None:
                raise StoreError(f"sample {its.id} could not be sent: {ticket.lost or 'no commit'}")
            kept.sent(its)
            sent.append({"id": its.id, "seq": seq, **told})
    # Who asked, and for how much, also stands in the journal of commands.
    log.info("%d samples of the pool are sent: %s asked for them", len(sent), job.by or "somebody")
    return {"sent": sent, "left": len(waiting) - len(sent)}


def _fitting(samples: Sequence[Pooled], room: int) -> list[Pooled]:
    """The first ones, as many as there is room for."""
    sizes = accumulate(its.bytes for its in samples)
    return [its for its, size in zip(samples, sizes, strict=True) if size <= room]


def _append(agent: Agent, its: Pooled, job: Job) -> tuple[Ticket, dict[str, Any]]:
    """Raises NotPermitted, StoreCorrupt, NotFound."""
    from hashlib import sha256

    from edgeagent.store.pool import read

    meta, body = read(its)
    if agent.loaded.config.privacy.pictures == "never" and meta["type"] != "application/x-npy":
        raise NotPermitted(
            'privacy.pictures = "never" lets no picture or sound leave',
            remedy="Remove what was kept before: edgeagent pool rm --all",
        )
    ticket = agent.outbox.append(
        Draft(
            "result", its.pipeline, clock.wall_ns(), clock.mono_ms(),
            {"pool": meta, "command": job.order.id}, meta["model"], source=meta["source"],
            frame=meta["frame"], evidence=(Evidence(meta["type"], body),),
        )
    )  # fmt: skip
    return ticket, {"sha256": sha256(body).hexdigest(), "bytes": len(body)}


def _lead(given: Sample | Joint) -> Sample:
    return given.lead if isinstance(given, Joint) else given


def _wav(window: Window) -> tuple[str, bytes]:
    """16-bit PCM, as recorders give it."""
    import wave

    import numpy as np

    buffer = io.BytesIO()
    whole = np.clip(np.round(window.values * 32768.0), -32768, 32767).astype("<i2")
    with wave.open(buffer, "wb") as file:
        file.setnchannels(window.values.shape[1])
        file.setsampwidth(2)
        file.setframerate(round(window.rate_hz))
        file.writeframes(whole.tobytes())
    return "audio/wav", buffer.getvalue()


def _npy(window: Window) -> tuple[str, bytes]:
    """float32 (length, channels)."""
    import numpy as np

    buffer = io.BytesIO()
    np.save(buffer, window.values.astype(np.float32), allow_pickle=False)
    return "application/x-npy", buffer.getvalue()
