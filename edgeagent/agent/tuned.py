"""How models are run: as configured, else as they were tuned on this device."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec.structs import replace

from edgeagent.config.model import Runtime
from edgeagent.errors import ModelError
from edgeagent.prove.tune.choice import Chosen, chosen

if TYPE_CHECKING:
    from edgeagent.infer import Session
    from edgeagent.manifest import Package, Variant
    from edgeagent.prove.predict import Opens
    from edgeagent.update.proven import Proven

log = logging.getLogger("edgeagent.models")


def as_tuned(opens: Opens, folder: Path | None, proven: Proven | None) -> Opens:
    """What opens sessions as they were tuned, in ways of which it is known not to take this
    process down; the receipt tells.

    Args:
        opens: what opens them.
        folder: the data folder, where choices lie; None = they are not wanted.
        proven: what need not be tried first; None = nothing is tried.
    """

    def opened(package: Package, configured: Runtime) -> tuple[Session, Variant]:
        wanted = _settled(package, configured, folder, proven)
        session, variant = opens(package, wanted.runtime)
        if wanted.said:
            session.receipt = replace(session.receipt, tuned=wanted.said)
        return session, variant

    return opened


def _settled(
    package: Package, configured: Runtime, folder: Path | None, proven: Proven | None
) -> Chosen:
    """How to run it. Raises ModelError, Busy: as it is configured it can't be."""
    wanted = chosen(folder, package, configured) if folder else Chosen(configured)
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
