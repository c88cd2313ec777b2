"""The small ports through which lower layers ask upper ones, wired here.

They are asked only for what a configuration has, so everything behind them is imported late: an
agent without pipelines needs neither rules nor models.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, overload

from edgeagent.config.look import Ports
from edgeagent.decide import ACTIONS
from edgeagent.errors import ConfigError, EdgeAgentError

if TYPE_CHECKING:
    from edgeagent.decide.rules import Expression


def config_ports(data_dir: Path) -> Ports:
    """What the configuration's sense checks may ask: rules, actions, labels of models."""

    def labels_of(model: str, version: str, folders: Sequence[str]) -> Sequence[str] | None:
        from edgeagent.update.library import Library, default_folders

        try:
            package = Library(default_folders(data_dir, folders)).find(model, version)
        except EdgeAgentError:
            return None  # that the model is missing is told where it is used
        # Such a model has no list of labels, but its verdict has a name.
        return ("anomaly",) if package.manifest.task == "anomaly" else package.labels

    def inputs_of(model: str, version: str, folders: Sequence[str]) -> Sequence[str] | None:
        from edgeagent.update.library import Library, default_folders

        try:
            package = Library(default_folders(data_dir, folders)).find(model, version)
        except EdgeAgentError:
            return None
        return [spec.name for spec in package.manifest.input if spec.value is None]

    def models(folders: Sequence[str]) -> Sequence[str]:
        from edgeagent.update.library import Library, default_folders

        return Library(default_folders(data_dir, folders)).names()

    return Ports(
        zones_in=zones_in, lines_in=lines_in, actions=_Actions(), labels_in=labels_in,
        labels_of=labels_of, readings_in=readings_in, inputs_of=inputs_of, models=models,
    )  # fmt: skip


class _Actions(Sequence[str]):
    """What ``do`` may list. Plugins are asked for only where something is named that is not our
    own: reading the metadata of packages takes longer than reading a configuration."""

    def __contains__(self, name: object) -> bool:
        return name in ACTIONS or name in self._all()

    @overload
    def __getitem__(self, place: int) -> str: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[str]: ...
    def __getitem__(self, place: int | slice) -> str | Sequence[str]:
        return self._all()[place]

    def __len__(self) -> int:
        return len(self._all())

    @staticmethod
    def _all() -> list[str]:
        from edgeagent import plugins

        return [*ACTIONS, *plugins.known("action")]


def zones_in(when: str) -> set[str]:
    """Zones that a rule names. Raises ValueError where it can't be parsed."""
    return {zone for zone, _ in _parsed(when).zones}


def lines_in(when: str) -> set[str]:
    """Lines that a rule names, without the way. Raises ValueError where it can't be parsed."""
    return {line.removesuffix(":in").removesuffix(":out") for line, _ in _parsed(when).lines}


def readings_in(when: str) -> set[str]:
    """Pipelines and sources whose values it asks for. Raises ValueError likewise."""
    return {reading.partition(".")[0] for reading, _ in _parsed(when).readings}


def labels_in(when: str) -> set[str]:
    """Labels that a rule names. Raises ValueError where it can't be parsed."""
    return {label for label, _ in _parsed(when).labels}


def _parsed(when: str) -> Expression:
    from edgeagent.decide.cases import check_plugins
    from edgeagent.decide.rules import parse

    try:
        parsed = parse(when)
        check_plugins(parsed)
        return parsed
    except ConfigError as error:
        raise ValueError(str(error)) from error
