"""What is known of one device, as documents for people, scripts and `where`."""

from __future__ import annotations

from typing import Any

from edgeagent.fleet.roster import Device


def facts(device: Device) -> dict[str, Any]:
    """Flat, with the names of ``--where``: ``model`` and ``tags`` are tables."""
    reported = device.reported
    return {
        "device": device.id,
        "name": device.name,
        "site": device.site,
        "state": device.state or "unknown",
        "online": device.online,
        "reasons": list(device.reasons),
        "since": device.since,
        "profile": device.profile,
        "arch": device.arch,
        "version": device.version,
        "groups": list(device.groups),
        "tags": dict(device.tags),
        "model": models(device),
        "rev": reported.rev if reported is not None else 0,
        "config": reported.config.state if reported is not None else "",
        "held": [its.model for its in reported.held] if reported is not None else [],
        "rejected": reported.rejected if reported is not None else "",
        "commands": list(device.commands),
    }


def models(device: Device) -> dict[str, str]:
    """Model → version that runs."""
    said = device.reported.models if device.reported is not None else {}
    names = sorted(device.versions.keys() | said.keys())
    found = {name: device.model(name).version for name in names}
    return {name: version for name, version in found.items() if version}
