"""Is the configuration sound, and is this device somebody in particular?"""

from __future__ import annotations

from collections.abc import Iterator

from edgeagent.config.secret import holds_secret
from edgeagent.device.identity import FACTORY_NAMES, device_id, factory_name, machine_hash
from edgeagent.diagnose.context import Context
from edgeagent.diagnose.finding import Finding, Severity


def config(context: Context) -> Iterator[Finding]:
    """Every fault of the files, or the hash of what is used."""
    if context.fault:
        severity: Severity = "problem" if context.loaded else "failed"
        lines = context.fault.splitlines()
        yield Finding(
            "config", severity, lines[0], "\n".join(lines[1:]),
            context.remedy or "Correct it and try: edgeagent config check",
        )  # fmt: skip
        return
    loaded = context.loaded
    if loaded is None or not loaded.files:
        yield Finding("config", "note", "no configuration file is used, only defaults")
        return
    files = ", ".join(str(file) for file in loaded.files)
    yield Finding("config", "ok", f"the configuration is sound (hash {loaded.hash})", files)
    for warning in loaded.warnings:
        said, _, remedy = warning.partition("; ")
        yield Finding("config", "note", said, "edgeagent config check", remedy)
    if not loaded.config.pipelines:
        yield Finding("config", "note", "no pipeline is configured: the agent only listens")
    for name, source in loaded.config.sources.items():
        used = any(
            name in (pipeline.source, *pipeline.sources.values())
            for pipeline in loaded.config.pipelines.values()
        )
        if not used:
            yield Finding("config", "note", f"no pipeline uses the source {name}")
        if holds_secret(str(getattr(source, "url", ""))):
            yield Finding(
                "config", "problem", f"a password stands in the URL of the source {name}", "",
                "Write username = … and password_file = … instead.",
            )  # fmt: skip


def identity(context: Context) -> Iterator[Finding]:
    """Two devices with one id overwrite each other's state and records."""
    configured = context.config.device.id
    id_ = device_id(configured, context.root)
    plain = configured.lower() in FACTORY_NAMES
    name = factory_name(id_)
    if plain or name:
        yield Finding(
            "identity", "problem" if plain else "note",
            f'this device is called "{id_}" after the host name of an image, as others may be',
            "device.id" if configured else "host name",
            "Give it a name of its own: sudo hostnamectl set-hostname NAME (or device.id in "
            "agent.toml)",
        )  # fmt: skip
    if not configured and not machine_hash(context.root):
        yield Finding(
            "identity", "problem", "this system has no machine-id that tells it from its clones",
            "/etc/machine-id", "sudo systemd-machine-id-setup",
        )  # fmt: skip
    if not plain and not name:
        yield Finding("identity", "ok", f"this device is {id_}")
