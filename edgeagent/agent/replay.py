"""A recording through a configured pipeline, without an agent: the same source, capture unit,
pipeline and stages; what would be stored is collected instead.

Nothing depends on when or how fast it runs: times are those of the recording, numbers count from
one, so that two runs give the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec import Struct, field
from msgspec.structs import replace

from edgeagent.agent.build import Surroundings, make_source, plan_of, source_of
from edgeagent.capture.source import Wanted, merge
from edgeagent.capture.unit import CaptureUnit
from edgeagent.config.model import Config, SourceConfig, SyntheticConfig
from edgeagent.errors import InputError, NotFound, SourceEnded, UsageError
from edgeagent.pipeline import Pipeline
from edgeagent.prove.samples import file_source, wanted_by
from edgeagent.stages import Inbox
from edgeagent.supervisor import Supervisor
from edgeagent.types import Draft, Joint, Sample

if TYPE_CHECKING:
    from edgeagent.update.library import Library

_FINITE = ("images", "video", "jsonl", "csv", "audio")
ENDLESS_SAMPLES = 300
"""So many samples are taken of a scene that has no end, unless told otherwise."""
_STOP_S = 5.0


class Replayed(Struct):
    """What a pipeline made of a recording."""

    pipeline: str
    model: str
    receipt: str
    config: str
    """Hash of the configuration."""
    source: str
    samples: int
    records: list[dict[str, Any]]
    """In order: ``n``, ``kind``, ``t`` (seconds of the recording), ``frame``, ``data``."""
    skipped: int
    """Samples that could not be used."""
    reason: str
    """Why the last of them could not."""
    pictures: dict[str, bytes] = field(default_factory=dict)
    """Event → the JPEG of its snapshot, redacted like any other."""


class _Receipt(Struct):
    seq: int | None


class _Collected:
    """A sink that numbers what the store would number."""

    def __init__(self) -> None:
        self.records: list[dict[str, Any]] = []
        self.pictures: dict[str, bytes] = {}
        self.now_s = 0.0
        self._ids: dict[str, str] = {}

    def append(self, draft: Draft) -> _Receipt:
        number = len(self.records) + 1
        data = dict(draft.data)
        record: dict[str, Any] = {"n": number, "kind": draft.kind, "t": round(self.now_s, 3)}
        if draft.frame:
            record["frame"] = draft.frame
        if draft.event:
            data["id"] = self._ids.setdefault(draft.event, f"e-{number}")
            for evidence in draft.evidence:
                if evidence.type == "image/jpeg":
                    self.pictures.setdefault(data["id"], evidence.data)
        record["data"] = data
        self.records.append(record)
        return _Receipt(number)


class _Counted:
    """A mailbox that ends after so many samples, and knows what time it is in the recording."""

    def __init__(
        self, inbox: Inbox, most: int | None, sink: _Collected, tell: Callable[[int], None]
    ) -> None:
        self.count = 0
        self._inbox = inbox
        self._most = most
        self._sink = sink
        self._tell = tell

    def get(self, timeout_s: float) -> Sample | Joint | None:
        if self._most is not None and self.count >= self._most:
            raise SourceEnded
        sample = self._inbox.get(timeout_s)
        if sample is not None:
            self.count += 1
            self._sink.now_s = sample.when_ms / 1e3
            self._tell(self.count)
        return sample

    def close(self) -> None:
        self._inbox.close()


def replay(
    config: Config,
    config_hash: str,
    library: Library,
    name: str,
    *,
    recording: Path | None = None,
    samples: int | None = None,
    tell: Callable[[int], None] = lambda _count: None,
) -> Replayed:
    """Run a recording through the pipeline called ``name``.

    Args:
        config: where the pipeline is configured.
        config_hash: what stands in its records.
        library: where its model is found.
        recording: a file, a folder or a glob; default: the source of the pipeline, which must be
            a recording or a synthetic scene then.
        samples: the most to take; default: all, of an endless scene `ENDLESS_SAMPLES`.
        tell: told of each sample, by its number.

    Raises:
        NotFound: there is no such pipeline, model or file.
        UsageError: the pipeline's source is a camera or the like, and there is no recording.
        InputError: nothing of the recording can be used.
        ModelError, ConfigError: as for the agent.
    """
    around = Surroundings(_alone(config, name), config_hash, library, sink := _Collected())
    source = source_of(around, name)
    package = plan_of(around, name).package
    wanted = merge(source, [wanted_by(package)])
    given = _recorded(recording, wanted) if recording else None
    settings = given or config.sources[source]
    settings = _finite(settings, config.sources[source], source, samples)
    unit = CaptureUnit(source, make_source(source, settings, wanted), settings)
    inbox = _Counted(unit.subscribe(), samples, sink, tell)

    def opened() -> Any:
        from edgeagent.agent.stages import open_stages

        return open_stages(around, name, package)

    runner = Pipeline(name, inbox, sink, opened)
    supervisor = Supervisor()
    supervisor.start(unit)
    try:
        runner.run()
    finally:
        inbox.close()
        supervisor.stop(_STOP_S)
    read = unit.health()
    reason = str(read.detail.get("last_error") or (read.reason if read.state == "down" else ""))
    if not runner.meter.steps:
        said = reason or "no sample fits the model"
        raise InputError(f"nothing of {settings_path(settings)} can be used: {said}")
    return Replayed(
        name, runner.model, runner.receipt, config_hash, settings_path(settings), inbox.count,
        sink.records, runner.meter.skipped + unit.corrupt, reason, sink.pictures,
    )  # fmt: skip


def _alone(config: Config, name: str) -> Config:
    """Only that pipeline, with a picture of each event, for whoever looks at the result."""
    pipeline = config.pipelines.get(name)
    if pipeline is None:
        known = ", ".join(sorted(config.pipelines)) or "none"
        raise NotFound(f"there is no pipeline {name!r}; the configuration has: {known}")
    return replace(config, pipelines={name: replace(pipeline, enabled=True, snapshot=True)})


def _recorded(recording: Path, wanted: Wanted) -> SourceConfig:
    if not recording.exists() and not any(sign in str(recording) for sign in "*?["):
        raise NotFound(f"{recording}: there is no such file")
    return file_source(recording, wanted)


def _finite(
    read: SourceConfig, configured: SourceConfig, name: str, samples: int | None
) -> SourceConfig:
    """What is read, as a source that comes to an end and goes as fast as it can."""
    # What is masked and how often is looked belongs to the place, not to the camera.
    read = replace(read, mask=configured.mask, fps=configured.fps)
    if isinstance(read, SyntheticConfig):
        count = samples or read.count or ENDLESS_SAMPLES
        return replace(read, pace="max", count=count)
    kind = str(read.__struct_config__.tag)
    live = getattr(read, "device", "") or getattr(read, "live", False)
    fifo = Path(str(getattr(read, "path", ""))).is_fifo()
    if kind not in _FINITE or live or fifo:
        raise UsageError(
            f"the source {name} is live ({kind}), and nothing of it is recorded",
            remedy="Name a recording: edgeagent replay FILE",
        )
    return replace(read, loop=False, **({"pace": "max"} if hasattr(read, "pace") else {}))


def settings_path(settings: SourceConfig) -> str:
    """What a source reads, for people."""
    if isinstance(settings, SyntheticConfig):
        return f"{settings.scene} (synthetic, seed {settings.seed})"
    return str(getattr(settings, "path", ""))
