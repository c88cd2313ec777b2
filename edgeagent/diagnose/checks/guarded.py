"""Secrets that others can read, orders of strangers, pictures that show what they must not."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from edgeagent.config.model import Config, Serve
from edgeagent.diagnose.context import Context
from edgeagent.diagnose.finding import Finding
from edgeagent.errors import EdgeAgentError

PEOPLE = ("person", "face", "people", "pedestrian")


def secrets(context: Context) -> Iterator[Finding]:
    """Files with passwords and keys: only the agent's user and its group may read them."""
    told = False
    for key, name in secret_files(context.config):
        file = Path(name)
        try:
            mode = file.stat().st_mode
        except OSError as error:
            told = True
            yield Finding("secrets", "failed", f"{key}: {name}: {error.strerror}", "stat(2)",
                          f"sudo install -m 640 -g edgeagent FILE {name}")  # fmt: skip
            continue
        if mode & (stat.S_IROTH | stat.S_IWOTH):
            told = True
            yield Finding(
                "secrets", "problem", f"{key}: everybody on this device may read {name}",
                f"mode {stat.S_IMODE(mode):o}", f"sudo chmod o-rwx {name}",
                (("chmod", "o-rwx", name),),
            )  # fmt: skip
    if not told:
        yield Finding("secrets", "ok", "secrets are readable for the agent only")


def secret_files(config: Config) -> Iterator[tuple[str, str]]:
    """Key of the configuration → file with a secret."""
    mqtt = config.mqtt
    if mqtt.password_file:
        yield "mqtt.password_file", mqtt.password_file
    if mqtt.tls and mqtt.tls.key:
        yield "mqtt.tls.key", mqtt.tls.key
    if config.serve is not None:
        for key, file in _serving(config.serve):
            yield f"serve.{key}", file
    for name, source in config.sources.items():
        if file := getattr(source, "password_file", ""):
            yield f"sources.{name}.password_file", file


def _serving(serve: Serve) -> Iterator[tuple[str, str]]:
    if serve.token_file:
        yield "token_file", serve.token_file
    if serve.tls and serve.tls.key:
        yield "tls.key", serve.tls.key


def exposure(context: Context) -> Iterator[Finding]:
    """Orders by the broker that anybody could give."""
    config = context.config
    remote = config.trust.require_signature == "never"
    risky = sorted(
        {"capture", "explain", "drill", "support-bundle", "restart"} & {*config.commands.allow}
    )
    if remote and risky and config.mqtt.host:
        yield Finding(
            "exposure", "problem", f"whoever may publish at the broker may {', '.join(risky)}",
            "commands.allow, trust.require_signature",
            'Set trust.require_signature = "protected", or take them out of commands.allow',
        )  # fmt: skip
    else:
        yield Finding("exposure", "ok", "orders that may hurt are guarded")


def redaction(context: Context) -> Iterator[Finding]:
    """What one pipeline hides, another one of the same camera must not show; and whoever keeps
    pictures of a place with people should hide them."""
    config, told = context.config, False
    if config.privacy.pictures == "never":
        yield Finding("redaction", "ok", "no pictures are kept", "privacy.pictures")
        return
    hiding = {its.source: name for name, its in config.pipelines.items() if its.redact}
    for name, pipeline in config.pipelines.items():
        if pipeline.redact or not _keeps_pictures(pipeline) or not pipeline.enabled:
            continue
        other = hiding.get(pipeline.source)
        people = [its for its in _labels(context, pipeline) if its in PEOPLE]
        if other:
            told = True
            yield Finding(
                "redaction", "problem", f"{name} keeps pictures of {pipeline.source} as they are, "
                f"and {other} hides something in them", f"pipelines.{name}.redact",
                f"Give {name} the same table: [pipelines.{name}.redact]",
            )  # fmt: skip
        elif people:
            told = True
            yield Finding(
                "redaction", "note", f"{name} keeps pictures in which its model may find a "
                f"{people[0]}, and hides nobody", f"pipelines.{name}.redact",
                f'[pipelines.{name}.redact] labels = ["{people[0]}"]',
            )  # fmt: skip
    if not told:
        yield Finding("redaction", "ok", "pictures hide what is to be hidden")


def _keeps_pictures(pipeline: Any) -> bool:
    actions = {action for rule in pipeline.rules for action in rule.do}
    return bool(pipeline.snapshot or pipeline.image or actions & {"snapshot", "clip"})


def _labels(context: Context, pipeline: Any) -> tuple[str, ...]:
    if context.find_model is None:
        return ()
    try:
        return tuple(context.find_model(pipeline.model, pipeline.version).labels)
    except EdgeAgentError:
        return ()  # `models` tells
