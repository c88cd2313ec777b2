"""What people may do about the models of a running agent, at the device or by MQTT."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from edgeagent import clock
from edgeagent.errors import CommandRejected, NotFound
from edgeagent.sync import command_types as types
from edgeagent.sync.job import Job
from edgeagent.update.desired import Policy
from edgeagent.update.ports import Refused
from edgeagent.update.truth import Hold

if TYPE_CHECKING:
    from edgeagent.agent.wishes import Wishes

_BACK_S = 30.0
"""A version that ran before is open again within seconds."""


class ModelCommands:
    """Called on the thread for jobs."""

    def __init__(self, wishes: Wishes) -> None:
        self._wishes = wishes
        self._orders = wishes.orders
        self._truths = wishes.engine.house.truths

    def roll_back(self, arguments: types.OfModel, job: Job) -> dict[str, Any]:
        """Go back, and wait until the version before runs."""
        model = arguments.model
        left = self._truths.get(model).version
        id = self._orders.roll_back(model, job.by)
        waiting = threading.Event()
        for _ in range(int(_BACK_S / 0.1)):
            truth = self._truths.get(model)
            change = truth.deployment
            if change is not None and change.id == id and not truth.open:
                break
            job.progress(None, "rolling back")
            waiting.wait(0.1)
        truth = self._truths.get(model)
        return {"model": model, "from": left, "version": truth.version, "state": truth.state}

    def hold(self, arguments: types.Hold, job: Job) -> dict[str, Any]:
        model = arguments.model
        self._known(model)
        if arguments.until:
            try:
                clock.parse_rfc3339(arguments.until)
            except ValueError as error:
                raise CommandRejected("bad-arguments", f"until: {error} - at `$.until`") from error
        since = clock.rfc3339(clock.wall_ns())
        self._orders.hold(model, Hold(job.by, since, arguments.until, arguments.because))
        return {"model": model, "held": True, "version": self._truths.get(model).version}

    def unhold(self, arguments: types.OfModel, _job: Job) -> dict[str, Any]:
        return {"model": arguments.model, "was_held": self._orders.unhold(arguments.model)}

    def install(self, arguments: types.Install, job: Job) -> dict[str, Any]:
        """Begin; how it goes is in the status (`desired.models`)."""
        id = self._orders.install(
            arguments.model, arguments.version, origin=arguments.origin, by=job.by,
            activate=arguments.activate, policy=Policy(soak_s=arguments.soak_s),
        )  # fmt: skip
        return {"model": arguments.model, "version": arguments.version, "id": id}

    def remove(self, arguments: types.OfVersion, _job: Job) -> dict[str, Any]:
        try:
            self._orders.remove(arguments.model, arguments.version)
        except Refused as error:
            raise CommandRejected(error.reason, str(error), remedy=error.remedy) from error
        return {"model": arguments.model, "removed": arguments.version}

    def _known(self, model: str) -> None:
        """A hold on a misspelt name would hold nothing. Raises NotFound."""
        names = set(self._wishes.engine.house.library().names()) | set(self._wishes.intent.wanted())
        if model not in names:
            known = ", ".join(sorted(names)) or "none"
            raise NotFound(f"there is no model {model!r} here; there are: {known}")
