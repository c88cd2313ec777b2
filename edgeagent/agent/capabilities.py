"""What this device can do, for the retained topic `capabilities` (contract §1).

What can be *used* is what is installed; what is *proven* is what a model that runs now has shown
on its receipt: a library that is there may still take none of a model's operators.
"""

from __future__ import annotations

import platform
import sys
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeagent import __version__
from edgeagent.infer.delegates import LIBRARIES, find_library_file
from edgeagent.infer.installed import runtimes
from edgeagent.update.library import Library, default_folders

if TYPE_CHECKING:
    from edgeagent.agent.running import Agent
    from edgeagent.sync.discovery import About


def capabilities(agent: Agent, commands: dict[str, Any]) -> dict[str, Any]:
    """The document.

    Args:
        commands: type → schema and properties, of what others may ask.
    """
    config = agent.loaded.config
    return {
        "commands": commands,
        "runtimes": runtimes(),
        "delegates": {"usable": delegates(), "proven": proven(agent), "aside": aside(agent)},
        "providers": providers(),
        "codecs": {
            "records": [config.sync.encoding, config.sync.compression],
            "pictures": ["image/jpeg"],
            "decoders": ["opencv"] if find_spec("cv2") else [],
        },
        "arch": platform.machine(),
        "profile": agent.profile_name,
        "groups": list(config.device.groups),
        "timezone": config.device.timezone,
        "sources": {
            name: type(source).__struct_config__.tag for name, source in config.sources.items()
        },
        "models": models(agent),
        "pipelines": {
            name: {"model": its.model, "source": its.source or dict(its.sources)}
            for name, its in config.pipelines.items()
            if its.enabled
        },
        "packaged": config.plugins.packaged,
        "limits": {
            "outbox": config.outbox.max,
            "storage": config.storage.max,
            "message": config.sync.max_message,
        },
    }


def proven(agent: Agent) -> dict[str, str]:
    """Model that runs → its receipt: which of its operators run where."""
    return {
        unit.model: unit.receipt for unit in agent.pipelines.values() if getattr(unit, "model", "")
    }


def aside(agent: Agent) -> list[dict[str, Any]]:
    """Delegates and providers that models here ask for and that failed, with the reason. Without
    the time that is left: the document is retained."""
    told = agent.delegated.told() if agent.delegated is not None else []
    return [{key: its[key] for key in its if key != "again_s"} for its in told]


def delegates(root: Path = Path("/")) -> list[str]:
    """TFLite delegates whose library lies where the linker looks. Nothing is loaded: one that
    crashes would take the agent with it."""
    if "litert" not in runtimes():
        return []
    there = {name for name in LIBRARIES if find_library_file(name, root) is not None}
    return ["xnnpack", *sorted(there)]


def providers() -> list[str]:
    """ONNX Runtime's, as it tells them itself; empty while nothing has loaded it."""
    loaded = sys.modules.get("onnxruntime")
    return list(loaded.get_available_providers()) if loaded is not None else []


def models(agent: Agent) -> dict[str, list[dict[str, Any]]]:
    """Model → its versions here, each with the variants that may run and the one that does."""
    running = {unit.model for unit in agent.pipelines.values() if getattr(unit, "model", "")}
    found: dict[str, list[dict[str, Any]]] = {}
    folders = default_folders(agent.folder, agent.loaded.config.models.path)
    for entry in Library(folders).list():
        if entry.package is None or entry.hidden_by is not None:
            continue
        own = f"{entry.name}@{entry.version}/"
        found.setdefault(entry.name, []).append(
            {
                "version": entry.version,
                "task": entry.package.manifest.task,
                "variants": [
                    {"file": its.file, "runtime": its.runtime, "precision": its.precision}
                    for its in entry.package.manifest.variant
                ],
                **({"handler": True} if entry.package.brings_code else {}),
                "runs": [name.removeprefix(own) for name in sorted(running) if own in name],
            }
        )
    return found


def about(
    agent: Agent, commands: dict[str, Any], pictured: Iterable[str], running: Iterable[str]
) -> About:
    """What Home Assistant is told of this device. ``pictured``: pipelines whose pictures are
    published; ``running``: models."""
    from edgeagent.sync.discovery import About, Shown, labels_of

    config, with_picture = agent.loaded.config, set(pictured)
    library = Library(default_folders(agent.folder, config.models.path))
    packages = {entry.name: entry.package for entry in library.list() if entry.package}
    shown = []
    for name, its in config.pipelines.items():
        package = packages.get(its.model)
        labels = labels_of(package.labels if package else (), (rule.when for rule in its.rules))
        shown.append(Shown(name, labels, name in with_picture))
    return About(
        version=__version__, name=config.device.name, site=config.device.site,
        profile=agent.profile_name, pipelines=shown, models=sorted(running),
        commands=list(commands),
    )  # fmt: skip
