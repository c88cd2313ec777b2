"""The faults. Each is a context: made on entering, taken back on leaving, whatever happens."""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec import Struct
from msgspec.structs import replace

from edgeagent.errors import EdgeAgentError, ProofFailed, SourceLost
from edgeagent.metrics import KNOWN

if TYPE_CHECKING:
    from edgeagent.agent.running import Agent

_TOO_HOT_C = 8.0
"""Above the limit."""
_SPARE_BYTES = 256 << 20
"""What is left free on the disk, for others on this device."""
_SLOW_S = 0.5
"""What a slow model takes longer; more than any live source waits for."""


class Fault(Struct, frozen=True):
    """One fault of this agent, ready to be made."""

    make: Callable[[], Any]
    """A context manager."""
    noticed: Callable[[], str]
    """What the agent says of it, in its own words; empty = nothing yet."""
    affected: frozenset[str] = frozenset()
    """Pipelines that must suffer from it; the others must not."""


def camera(agent: Agent) -> Fault | str:
    """The first live source that runs gives nothing any more. A text = why that can't be tried."""
    live = [its for its in agent.sources.values() if hasattr(its, "source") and its.source.live]
    unit = next((its for its in live if its.health().state == "ok"), None)
    if unit is None:
        return "no live source is at work"

    @contextmanager
    def unplugged() -> Iterator[None]:
        real = unit.source
        unit.source = _Unplugged(real)
        try:
            yield
        finally:
            unit.source = real

    def noticed() -> str:
        health = unit.health()
        return f"{unit.name}: {health.reason}" if health.state == "down" else ""

    config = agent.loaded.config.pipelines
    readers = {name for name, its in config.items()
               if unit.name in (its.source, *its.sources.values())}  # fmt: skip
    return Fault(unplugged, noticed, frozenset(readers))


class _Unplugged:
    """A source whose cable is out; all else is asked of the real one."""

    def __init__(self, real: Any) -> None:
        self._real = real

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def open(self) -> None:
        raise SourceLost("unplugged for a drill")

    def read(self) -> Any:
        raise SourceLost("unplugged for a drill")

    def close(self) -> None:
        self._real.close()


def broker(agent: Agent) -> Fault | str:
    """The link is cut, and can't be made again."""
    sync = agent.sync
    if sync is None or not sync.up:
        return "there is no link to a broker"
    link = sync.link

    @contextmanager
    def cut() -> Iterator[None]:
        link.sever(True)
        try:
            yield
        finally:
            link.sever(False)

    def noticed() -> str:
        return "" if sync.up else "; ".join(sync.reasons())

    return Fault(cut, noticed)


def disk(agent: Agent) -> Fault | str:
    """All that the agent may keep beside its records is used up; nothing is overwritten for it."""
    allotment = agent.outbox.allotment
    if allotment is None:
        return "storage.max sets no bound"
    size = allotment.left()
    state = os.statvfs(agent.folder)
    if state.f_bavail * state.f_frsize < size + _SPARE_BYTES:
        return f"the disk has no room to fill storage.max for a moment ({size >> 20} MiB)"

    @contextmanager
    def full() -> Iterator[None]:
        # Blocks are reserved, not written: that costs the medium nothing.
        with tempfile.NamedTemporaryFile(dir=agent.folder, prefix="drill-") as file:
            if size:
                os.posix_fallocate(file.fileno(), 0, size)
            yield
        agent.decisions.keep()

    def noticed() -> str:
        agent.decisions.keep()
        return agent.decisions.fault

    return Fault(full, noticed)


def heat(agent: Agent) -> Fault | str:
    """The board seems to be hotter than it may be."""
    governing = agent.governing
    if governing is None or not agent.supervisor.runs(governing):
        return "nothing is governed here"
    limit = float(governing.governor.status()["limit_c"])

    @contextmanager
    def hot() -> Iterator[None]:
        real = governing.look

        def look(zones: Sequence[str], root: Path) -> Any:
            return replace(real(zones, root), degrees=limit + _TOO_HOT_C, zone="a drill")

        governing.look = look
        try:
            yield
        finally:
            governing.look = real

    return Fault(hot, lambda: governing.governor.reason)


def slow_model(agent: Agent) -> Fault | str:
    """The model of the first pipeline at work takes half a second longer."""
    config = agent.loaded.config
    for name, pipeline in agent.pipelines.items():
        stages = getattr(pipeline, "stages", None)
        unit = agent.sources.get(config.pipelines[name].source)
        if stages is None or unit is None or not hasattr(unit, "source") or not unit.source.live:
            continue
        if pipeline.meter.steps < KNOWN:
            return f"{name} has not run for long enough to know what is usual"
        return _slowed(pipeline, stages, unit)
    return "no pipeline with a live source is at work"


def _slowed(pipeline: Any, stages: Any, unit: Any) -> Fault:
    before = unit.dropped

    @contextmanager
    def slowed() -> Iterator[None]:
        real = stages.session
        stages.session = slow = _Slow(real)
        try:
            yield
        finally:
            slow.over.set()
            if stages.session is slow:
                stages.session = real

    def noticed() -> str:
        lost = unit.dropped - before
        slow = pipeline.meter.slow
        replaced = f"; {lost} samples of {unit.name} were replaced by newer ones" if lost else ""
        return f"{pipeline.name}: {slow}{replaced}" if slow else ""

    return Fault(slowed, noticed, frozenset({pipeline.name}))


class _Slow:
    """A session that takes its time; the wait ends with the drill."""

    def __init__(self, real: Any) -> None:
        self._real = real
        self.over = threading.Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def run(self, tensors: Any) -> Any:
        self.over.wait(_SLOW_S)
        return self._real.run(tensors)


def corrupt_update(agent: Agent) -> Fault | str:
    """A damaged copy of the first model that runs is put to the proof."""
    from edgeagent.update.library import Library, default_folders

    library = Library(default_folders(agent.folder, agent.loaded.config.models.path))
    packages = []
    for name, pipeline in agent.pipelines.items():
        wanted = agent.loaded.config.pipelines[name]
        if getattr(pipeline, "model", ""):
            try:
                packages.append((library.find(wanted.model, wanted.version), wanted.runtime))
            except EdgeAgentError:
                continue
    if not packages:
        return "no model runs"
    (package, runtime), said = packages[0], []

    @contextmanager
    def damaged() -> Iterator[None]:
        from edgeagent.prove.child import Limits, prove_in_child

        with tempfile.TemporaryDirectory(dir=agent.folder, prefix="drill-") as place:
            copy = Path(place) / package.version
            shutil.copytree(package.folder, copy)
            for variant in package.manifest.variant:
                file = copy / variant.file
                os.truncate(file, file.stat().st_size // 2)
            try:
                limits = Limits(timeout_s=30.0, calls=2, seconds=0.2)
                prove_in_child(copy, limits=limits, runtime=runtime)
            except ProofFailed as error:
                first, *more = str(error).splitlines()
                detail = more[0].rpartition("/")[2] if more else first
                said.append(f"{package.name} {package.version}, damaged: {detail}")
            yield

    return Fault(damaged, lambda: said[0] if said else "")


FAULTS: dict[str, Callable[[Agent], Fault | str]] = {
    "camera": camera,
    "broker": broker,
    "disk": disk,
    "heat": heat,
    "slow-model": slow_model,
    "update": corrupt_update,
}
