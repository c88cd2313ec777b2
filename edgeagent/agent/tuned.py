"""How a pipeline's model is run: as configured, else as it was tuned on this device."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec.structs import replace

from edgeagent.config.model import Runtime
from edgeagent.errors import ModelError
from edgeagent.prove.tune.choice import Chosen, chosen

if TYPE_CHECKING:
    from edgeagent.manifest import Package
    from edgeagent.prove.predict import Predictor
    from edgeagent.update.proven import Proven

log = logging.getLogger("edgeagent.models")


def settled(
    package: Package, configured: Runtime, folder: Path | None, proven: Proven | None
) -> Chosen:
    """How to run a model, in a way of which it is known not to take this process down.

    Args:
        package: the model.
        configured: how somebody wants it; what was chosen counts where that is left open.
        folder: the data folder; None = whatever was chosen is not wanted.
        proven: what need not be tried first; None = nothing is tried.

    Raises:
        ModelError: it does, as it is configured.
        Busy: no process can be started to find out.
    """
    wanted = Chosen(configured)
    if folder is not None:
        wanted = chosen(folder, package, configured)
        if wanted.said and not wanted.tuned:
            log.warning("%s@%s runs %s", package.name, package.version, wanted.said)
    if proven is None:
        return wanted
    try:
        proven.ensure(package, wanted.runtime)
    except ModelError as error:
        if not wanted.tuned:
            raise
        log.warning("%s@%s does not run as tuned: %s", package.name, package.version, error)
        wanted = Chosen(configured, f"not as tuned: {error}")
        proven.ensure(package, configured)
    return wanted


def tell(predictor: Predictor, wanted: Chosen) -> None:
    """Have its receipt say how it came to run so."""
    if wanted.said:
        predictor.session.receipt = replace(predictor.receipt, tuned=wanted.said)
