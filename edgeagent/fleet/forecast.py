"""Who of the fleet would take a version: from what devices say of themselves (retained)."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec
from msgspec.structs import replace

from edgeagent.fleet.meeting import meet
from edgeagent.fleet.sharing import own_topics
from edgeagent.manifest import Manifest, Variant
from edgeagent.prove.semver import version_order
from edgeagent.sync.endpoint import LinkSettings
from edgeagent.sync.link import Link
from edgeagent.sync.port import Incoming

_ANSWER_S = 20.0


@dataclass(frozen=True, slots=True)
class Outlook:
    """What one device would do with a version."""

    device: str
    profile: str
    state: str
    """Of its status."""
    accepts: bool
    why: str


@dataclass(slots=True)
class _Heard:
    status: dict[str, Any] = field(default_factory=dict)
    capabilities: dict[str, Any] = field(default_factory=dict)


def forecast(
    manifest: Manifest, settings: LinkSettings, prefix: str = "edgeagent"
) -> list[Outlook]:
    """Of every device that the broker knows. Raises Unavailable."""
    heard = listen(settings, prefix)
    return [judge(device, manifest, its.status, its.capabilities) for device, its in heard]


def judge(
    device: str, manifest: Manifest, status: Mapping[str, Any], capabilities: Mapping[str, Any]
) -> Outlook:
    """What a device would do, by its own words. What only a proof on it tells stays open."""
    state, profile = str(status.get("state", "?")), str(capabilities.get("profile", "?"))

    def outlook(accepts: bool, why: str) -> Outlook:
        return Outlook(device, profile, state, accepts, why)

    own = str(status.get("version", ""))
    if manifest.min_agent and own and version_order(own) < version_order(_full(manifest.min_agent)):
        return outlook(False, f"its agent is {own}, min_agent is {manifest.min_agent}")
    lacking = [lack(variant, capabilities) for variant in manifest.variant]
    if all(lacking):
        return outlook(False, "; ".join(sorted(set(lacking))))
    models = capabilities.get("models")
    mine = models.get(manifest.name, []) if isinstance(models, dict) else []
    versions = [str(its.get("version")) for its in mine if isinstance(its, dict)]
    if manifest.version in versions:
        return outlook(True, "has it already")
    first = manifest.variant[lacking.index("")]
    note = "" if versions else ", though no version of this model is there"
    return outlook(True, f"{first.runtime} {first.precision}{note}")


def lack(variant: Variant, capabilities: Mapping[str, Any]) -> str:
    """Why a variant can't run there; empty = it can."""
    if variant.runtime != "plugin" and variant.runtime not in (capabilities.get("runtimes") or []):
        return f"{variant.file} needs {variant.runtime}"
    delegates = (capabilities.get("delegates") or {}).get("usable") or []
    has = {
        "delegate": delegates,
        "provider": capabilities.get("providers") or None,
        "arch": [capabilities.get("arch")],
    }
    for key, value in variant.requires.items():
        known = has.get(key)
        if known is not None and value not in known:
            return f"{variant.file} needs {key} {value}"
    return ""


def listen(settings: LinkSettings, prefix: str) -> list[tuple[str, _Heard]]:
    """Device → status and capabilities, as retained. Raises Unavailable."""
    found: dict[str, _Heard] = {}
    lock = threading.Lock()

    def take(message: Incoming) -> bool:
        device, what = message.topic.split("/")[-2:]
        if not message.payload or device == "group":
            return True
        try:
            document = msgspec.json.decode(message.payload)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            return True
        if isinstance(document, dict):
            with lock:
                setattr(found.setdefault(device, _Heard()), what, document)
        return True

    own = own_topics(prefix, settings)
    link = Link(replace(settings, session_expiry_s=0.0), own.confirm)
    for what in ("status", "capabilities"):
        link.subscribe(f"{prefix}/+/{what}", take)
    # The link is up once its echo came back, and what was retained came before that.
    meet(link, _ANSWER_S)
    link.stop()
    return sorted(found.items())


def _full(version: str) -> str:
    return version + ".0" * max(0, 2 - version.count("."))
