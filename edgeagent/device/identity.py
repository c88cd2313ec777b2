"""Who this device is: its id in topics, and a hash that tells a cloned disk from its original."""

from __future__ import annotations

import hashlib
import re
import socket
from pathlib import Path

_MACHINE_ID = ("etc/machine-id", "var/lib/dbus/machine-id")
_PURPOSE = b"edgeagent:"
"""machine-id(5) asks applications not to show the id itself but a keyed hash of it."""
_NAME_LIMIT = 59

FACTORY_NAMES = frozenset({
    "raspberrypi", "raspberry", "localhost", "debian", "ubuntu", "linux", "buildroot", "jetson",
    "nvidia", "orangepi", "rock", "rock-5b", "beaglebone", "beagley-ai", "coral", "imx8mpevk",
    "imx93evk", "radxa", "odroid", "armbian", "khadas",
})  # fmt: skip
"""Host names that images come with: many devices would share them."""


def machine_hash(root: Path = Path("/")) -> str:
    """32 hex digits that stay the same on this machine and differ on every other; empty when
    it has neither a machine-id nor a network interface to tell it by."""
    source = _machine_id(root) or _hardware_address(root)
    return hashlib.sha256(_PURPOSE + source.encode()).hexdigest()[:32] if source else ""


def device_id(configured: str = "", root: Path = Path("/"), hostname: str | None = None) -> str:
    """``device.id`` if set, else host name + 4 hex digits: ``line3-cam2-a91f``.

    The digits keep apart devices that were made from one image and never renamed.
    """
    if configured:
        return configured
    name = (hostname if hostname is not None else socket.gethostname()).split(".")[0]
    name = re.sub(r"[^A-Za-z0-9_-]+", "-", name).strip("-")[:_NAME_LIMIT]
    return f"{name or 'device'}-{machine_hash(root)[:4] or '0000'}"


def factory_name(identity: str) -> str:
    """The host name of an image that an id goes back to, or an empty text."""
    stem = re.sub(r"-[0-9a-f]{4}$", "", identity).lower()
    return stem if stem in FACTORY_NAMES else ""


def _machine_id(root: Path) -> str:
    for name in _MACHINE_ID:
        try:
            text = (root / name).read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError):
            continue
        if re.fullmatch(r"[0-9a-f]{32}", text):
            return text
    return ""


def _hardware_address(root: Path) -> str:
    """Of the first interface by name that has a real one; containers have no machine-id."""
    for file in sorted(root.glob("sys/class/net/*/address")):
        try:
            address = file.read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError):
            continue
        if file.parent.name != "lo" and address not in ("", "00:00:00:00:00:00"):
            return address
    return ""
