"""Changes of models while no agent runs: the same engine and states, on the files."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeagent import clock
from edgeagent.agent.outbox import outbox_settings
from edgeagent.config.load import Loaded
from edgeagent.device.identity import device_id, machine_hash
from edgeagent.store.outbox import Outbox

if TYPE_CHECKING:
    from edgeagent.update.orders import Orders


class Resting:
    """As much of an agent as a change needs (`agent.deploying`): nothing runs, nobody is linked.
    It holds the data folder, so no agent can start meanwhile."""

    sync = None
    stage = None

    def __init__(self, loaded: Loaded, folder: Path) -> None:
        """Raises: Busy: an agent runs."""
        self.loaded = loaded
        self.folder = folder
        self.device = device_id(loaded.config.device.id)
        self.outbox = Outbox.open(
            folder, device=self.device, settings=outbox_settings(loaded), boot=clock.boot_id(),
            machine=machine_hash(),
        )  # fmt: skip

    @cached_property
    def profile_name(self) -> str:
        from edgeagent.device.profile import name_of

        return name_of(self.loaded.config.device.profile)

    @cached_property
    def orders(self) -> Orders:
        from edgeagent.agent.deploying import deployments
        from edgeagent.update.orders import Orders

        agent: Any = self
        # What the fleet wishes for is left to the agent: it has the link.
        engine = deployments(agent, dict, lambda: False)
        engine.threaded = False
        return Orders(engine)

    def done(self, model: str, id: str) -> dict[str, Any]:
        """Carry out what was ordered, here and now; how the change ended."""
        engine = self.orders.engine
        engine.run_until_idle()
        truth = engine.house.truths.get(model)
        change = truth.deployment
        if change is None or change.id != id:
            return {}
        code, waits = engine.waiting.get(model, ("", ""))
        return {
            "version": truth.version, "state": str(truth.state), "wanted": change.version,
            "id": change.id, "reason": code or change.reason, "detail": waits or change.detail,
            "times_s": change.times_s,
        }  # fmt: skip


@contextmanager
def resting(loaded: Loaded, folder: Path) -> Iterator[Resting]:
    """The data folder of an agent that does not run. Raises: Busy: it does."""
    from edgeagent.agent.updates import permit_code

    permit_code(loaded.config, folder)
    agent = Resting(loaded, folder)
    try:
        yield agent
    finally:
        agent.outbox.close()
