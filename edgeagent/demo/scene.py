"""A running demo: the stage, the agent of the moment, and what is seen of them."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from edgeagent.demo.asking import Asking
from edgeagent.demo.folders import Folders
from edgeagent.demo.show import Show, View
from edgeagent.demo.stage import Process, Stage, await_true
from edgeagent.demo.story import Act, Glance, Story
from edgeagent.errors import EdgeAgentError, Unavailable
from edgeagent.serve.client import ControlClient, socket_path

_LOOK_EVERY_S = 0.2

Report = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the visitor asked for."""

    span_s: float = 30.0
    camera: str = ""
    """Device of the visitor's own camera, in place of the clip."""


class Scene:
    """See the module."""

    def __init__(self, stage: Stage, folders: Folders, wishes: Wishes, show: Show) -> None:
        self.stage = stage
        self.wishes = wishes
        self.show = show
        self.client = ControlClient(socket_path(folders.data), timeout_s=2.0)
        self.story = Story(started_ns=time.time_ns(), broker=stage.broker)
        self.agent: Process | None = None
        self.report: Report | None = None
        self._started = time.monotonic()
        self._frozen = False
        self._faults: dict[str, str] = {}
        self.asking = Asking(self.client)

    @property
    def at_s(self) -> float:
        """Seconds since the beginning."""
        return time.monotonic() - self._started

    def act(self, text: str, mark: str = "") -> None:
        """Note something for the page and say it."""
        self.story.acts.append(Act(time.time_ns(), text, mark))
        self.show.act(f"{self.at_s:5.1f} s  {text}")

    def look(self) -> Report | None:
        """Ask the agent how it is, keep it for the page and show it."""
        try:
            report = self.client.status()
        except Unavailable:
            report = None
        if report is not None:
            self._note(report)
        else:
            self._faults.clear()
        self.report = report
        self.show.look(
            View(
                self.at_s, self.wishes.span_s, not self.stage.cut, report,
                self.stage.reader.account,
            )
        )  # fmt: skip
        return report

    def _note(self, report: Report) -> None:
        now_ns = time.time_ns()
        self.story.glances.append(Glance(now_ns, int(report["outbox"]["pending"])))
        if not self._frozen:
            self.story.pipelines.update(report["pipelines"])
        self._note_cameras(report)
        for said in self.asking.answers():
            self.act(said)
        back = self.story.cut_ns[1] > self.story.cut_ns[0] and not self.stage.cut
        if back and not self.story.up_ns and report["link"]["state"] == "up":
            self.story.up_ns = now_ns

    def _note_cameras(self, report: Report) -> None:
        """What is wrong with a camera, once it is told; and whether anybody else minds."""
        for name, its in report["sources"].items():
            fault = its.get("sight", {}).get("fault", "")
            before, self._faults[name] = self._faults.get(name, ""), fault
            if fault == before:
                continue
            others = {
                other: one["state"] for other, one in report["pipelines"].items() if other != name
            }
            fine = all(state == "ok" for state in others.values())
            beside = f"; {', '.join(others)}: {'unmoved' if fine else others}" if others else ""
            if fault:
                said = its["reason"].partition(" (since")[0]
                self.act(f"the camera of {name} {said}{beside}", f"camera {fault}")
                self.asking.ask(name)
            else:
                self.act(f"the camera of {name} sees again, no longer {before}{beside}")

    def freeze(self) -> None:
        """From now on the pipelines' figures are those of pipelines that do nothing."""
        self._frozen = True

    def watch_until(self, share: float) -> None:
        """Look on until that share of the demo is over. Raises where the agent ended itself."""
        end = share * self.wishes.span_s
        while self.at_s < end:
            self.look()
            self._agent_lives()
            time.sleep(min(_LOOK_EVERY_S, max(0.0, end - self.at_s)))

    def watch_for(self, wanted: Callable[[Report], bool], timeout_s: float) -> bool:
        """Look on until the report is as wanted; False when time is up."""

        def fulfilled() -> bool:
            report = self.look()
            self._agent_lives()
            return report is not None and wanted(report)

        return await_true(fulfilled, timeout_s)

    def _agent_lives(self) -> None:
        if self.agent is not None and not self.agent.running:
            raise EdgeAgentError(
                f"the demo's agent ended by itself: {self.agent.last_words()}",
                remedy=f"Its log: {self.agent.log}",
            )
