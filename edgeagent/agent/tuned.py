"""How a pipeline's model is run: as configured, else as it was tuned on this device."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from edgeagent.config.model import Runtime
from edgeagent.errors import ModelError
from edgeagent.prove.tune.choice import Chosen, chosen

if TYPE_CHECKING:
    from edgeagent.agent.build import Surroundings
    from edgeagent.manifest import Package

log = logging.getLogger("edgeagent.models")


def settled(around: Surroundings, package: Package, configured: Runtime) -> Chosen:
    """How to run a model that is known not to take the process down so.

    Raises:
        ModelError: it does, as it is configured.
        Busy: no process can be started to find out.
    """
    wanted = Chosen(configured)
    if around.folder is not None and around.config.models.tuned:
        wanted = chosen(around.folder, package, configured)
        if wanted.said and not wanted.tuned:
            log.warning("%s@%s runs %s", package.name, package.version, wanted.said)
    if around.proven is None:
        return wanted
    try:
        around.proven.ensure(package, wanted.runtime)
    except ModelError as error:
        if not wanted.tuned:
            raise
        log.warning("%s@%s does not run as tuned: %s", package.name, package.version, error)
        wanted = Chosen(configured, f"not as tuned: {error}")
        around.proven.ensure(package, configured)
    return wanted
