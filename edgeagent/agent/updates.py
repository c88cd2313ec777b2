"""Where models come from, and whose word counts: trust and transfer, wired."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from edgeagent.config.units import size_bytes
from edgeagent.errors import NotFound, UsageError

if TYPE_CHECKING:
    from edgeagent.agent.running import Agent
    from edgeagent.config.model import Config
    from edgeagent.update.fetch.port import Carrier
    from edgeagent.update.signatures import Operators
    from edgeagent.update.trust.repository import TrustedRepository

TRUST = "trust"
"""Folder within the data folder: signed metadata, and what else trust must remember."""


def operators(agent: Agent) -> Operators:
    """Those whose signature counts here: files of this device, and the fleet's signed list."""
    from edgeagent.update import signatures

    folder = agent.loaded.config.trust.operators
    listed = agent.folder / TRUST / signatures.OPERATORS
    return signatures.Operators(Path(folder) if folder else None, listed)


def permit_code(config: Config, folder: Path) -> None:
    """Have packaged code run in this process, and its children, as the configuration says."""
    from edgeagent.packaged import permit

    if not config.plugins.packaged:
        permit.use(permit.nobody)
        return
    from edgeagent.update.vouching import permit_of

    permit.use(permit_of(config, folder))


def repository(agent: Agent, origin: str = "") -> TrustedRepository:
    """The fleet's signed models, and where they come from.

    Args:
        agent: whose configuration and link.
        origin: a folder or URL in place of ``trust.repository``: what a person at the device
            named. What comes from there must be signed all the same.

    Raises:
        NotFound: that folder is no repository.
        UsageError: that is no place.
    """
    from edgeagent.update.trust.repository import TrustedRepository

    trust = agent.loaded.config.trust
    named = [part.strip() for part in (origin or trust.repository).split(",")]
    carriers = [carrier(agent, place) for place in named if place]
    return TrustedRepository(agent.folder / TRUST, Path(trust.root), carriers)


def carrier(agent: Agent, place: str) -> Carrier:
    """What brings bytes from one place: ``mqtt``, a URL or a folder."""
    if place == "mqtt":
        return _over_mqtt(agent)
    if place.startswith(("https://", "http://")):
        from edgeagent.update.fetch.https import HttpCarrier

        return HttpCarrier(place)
    from edgeagent.update.fetch.folder import FolderCarrier

    folder = Path(place).expanduser()
    if not folder.is_absolute():
        raise UsageError(
            f"{place!r} is no place to get models from",
            remedy='Write "mqtt", a URL, or the whole path of a folder.',
        )
    inner = folder / "public"
    folder = inner if (inner / "metadata").is_dir() else folder
    if folder.is_dir() and not (folder / "metadata").is_dir():
        raise NotFound(
            f"{folder} is no copy of the fleet's repository, and this device trusts what is "
            "signed only",
            remedy="Copy the folder `public` of the repository, or publish the model first.",
        )
    return FolderCarrier(folder)


def _over_mqtt(agent: Agent) -> Carrier:
    from edgeagent.update.fetch.mqtt import MqttCarrier
    from edgeagent.update.fetch.pace import Pace

    if agent.sync is None:
        raise UsageError(
            'trust.repository is "mqtt", and there is no broker',
            remedy="Set mqtt.host, or name a URL or folder in trust.repository.",
        )
    rate = agent.loaded.config.trust.rate
    return MqttCarrier(agent.sync.fetching, Pace(limit=size_bytes(rate) if rate else 0.0))
