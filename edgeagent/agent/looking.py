"""What the live page shows of the agent: a `serve.live.page.Looks`."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

from msgspec import to_builtins

from edgeagent.agent import diagnosis
from edgeagent.agent.asking import newest
from edgeagent.agent.watched import told
from edgeagent.device import health
from edgeagent.errors import Busy, CommandRejected, EdgeAgentError, NotFound
from edgeagent.sync.command_types import Why
from edgeagent.types import Frame

if TYPE_CHECKING:
    from edgeagent.agent.running import Agent
    from edgeagent.agent.sittings import Sittings

_LARGEST = 64 << 20


class Looking:
    """Every method may be called on any thread."""

    def __init__(self, agent: Agent, sittings: Sittings) -> None:
        self._agent = agent
        self._sittings = sittings

    def status(self) -> dict[str, Any]:
        return self._agent.status()

    def health(self) -> dict[str, Any]:
        return health.snapshot(self._agent.folder)

    def doctor(self) -> dict[str, Any]:
        from edgeagent.diagnose import doctor

        return doctor.run(diagnosis.context_of(self._agent)).to_dict()

    def why(self, target: str) -> dict[str, Any]:
        return diagnosis.why(self._agent, Why(target))

    def views(self) -> list[dict[str, Any]]:
        config = self._agent.loaded.config
        found = []
        for name, its in config.pipelines.items():
            if name not in self._agent.pipelines:
                continue
            source = its.source or next(iter(its.sources.values()), "")
            mask = getattr(config.sources.get(source), "mask", None)
            found.append({
                "pipeline": name,
                "source": source,
                "mask": mask or [],
                "zones": {zone: area.polygon for zone, area in its.zones.items()},
                "lines": {line: crossing.points for line, crossing in its.lines.items()},
            })  # fmt: skip
        plain: list[dict[str, Any]] = to_builtins(found)
        return plain

    def view(self, pipeline: str, by: str) -> dict[str, Any]:
        unit = self._agent.pipelines.get(pipeline)
        if unit is None:
            known = ", ".join(self._agent.pipelines) or "none"
            raise NotFound(f"there is no pipeline {pipeline[:64]!r}; there are: {known}")
        self._sittings.looked(by, f"live page: {pipeline}")
        its = self._agent.loaded.config.pipelines[pipeline]
        source = its.source or next(iter(its.sources.values()), "")
        sample = newest(self._agent, source)
        told: dict[str, Any] = {"pipeline": pipeline, "picture": "", "withheld": ""}
        if isinstance(sample, Frame):
            height, width = sample.pixels.shape[:2]
            told |= {"number": sample.number, "width": width, "height": height}
            told |= self._picture(source, sample)
        else:
            told["withheld"] = sample if isinstance(sample, str) else f"{source} gives no pictures"
        number, found = self._found(unit, told.get("number", 0))
        return {**told, "seen": number, "predictions": found}

    def _picture(self, source: str, frame: Frame) -> dict[str, Any]:
        """As a person may see it who asks: what must be hidden is, or there is none."""
        # Imported here and below: an agent without pipelines needs none of it.
        from edgeagent.agent.trial import from_running

        try:
            made = from_running(self._agent, source, frame)
        except EdgeAgentError as error:
            made = str(error)
        if isinstance(made, str):
            return {"withheld": made}
        picture = f"data:{made.type};base64,{base64.b64encode(made.data).decode()}"
        # What must be hidden is known late, so that the picture is an older one.
        return {"picture": picture, "number": made.number or frame.number}

    def _found(self, unit: Any, number: int) -> tuple[int, list[dict[str, Any]]]:
        """What was found in that very sample, else in the one nearest to it (a busy pipeline
        leaves some out), and its number."""
        from edgeagent.pipeline import Pipeline

        lately = list(unit.lately) if isinstance(unit, Pipeline) else []
        if not lately:
            return 0, []
        wanted = number or lately[-1].number
        seen = min(lately, key=lambda its: abs(its.number - wanted))
        return seen.number, told(unit, seen.predictions)

    def evidence(self, sha256: str, by: str) -> bytes:
        found = self._agent.outbox.blobs.read(sha256, 0, _LARGEST)
        self._sittings.looked(by, "evidence", sha256)
        return found

    def order(self, pipeline: str, action: str) -> dict[str, Any]:
        commands = self._agent.commands
        if commands is None:
            raise Busy("the agent is still starting")
        request = {"type": "pipeline", "arguments": {"name": pipeline, "action": action}}
        *_, last = commands.submit(request)
        if last.get("status") != "successful":
            raise CommandRejected(str(last.get("code", "failed")), str(last.get("reason", last)))
        return dict(last.get("result") or {})
