"""The small ports through which lower layers ask upper ones, wired here.

They are asked only for what a configuration has, so everything behind them is imported late: an
agent without pipelines needs neither rules nor models.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from edgeagent.config.sense import Ports
from edgeagent.decide import ACTIONS
from edgeagent.errors import ConfigError, EdgeAgentError


def config_ports(data_dir: Path, models: Sequence[str] = ()) -> Ports:
    """What the configuration's sense checks may ask: rules, actions, labels of models."""

    def labels_of(model: str) -> Sequence[str] | None:
        from edgeagent.update.library import Library, default_folders

        try:
            return Library(default_folders(data_dir, models)).find(model).labels or None
        except EdgeAgentError:
            return None  # that the model is missing is told where it is used

    return Ports(zones_in=zones_in, actions=ACTIONS, labels_of=labels_of)


def zones_in(when: str) -> set[str]:
    """Zones that a rule names. Raises ValueError where it can't be parsed."""
    from edgeagent.decide.rules import parse

    try:
        return {zone for zone, _ in parse(when).zones}
    except ConfigError as error:
        raise ValueError(str(error)) from error
