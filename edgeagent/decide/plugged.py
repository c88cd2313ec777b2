"""Rules that plugins bring: asked in ``when`` by ``plugin('name')``, and kept from doing harm.

A rule is a class made by ``Class(pipeline, options)`` and asked with what is known of one thing
(`Facts`): it answers with a number, which the expression compares. It runs on the pipeline's
thread, so it must be quick.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

from edgeagent import plugins
from edgeagent.errors import ConfigError

if TYPE_CHECKING:
    from edgeagent.config.model import Pipeline
    from edgeagent.decide.cases import Case
    from edgeagent.decide.rules import Facts

log = logging.getLogger("edgeagent.plugins")

Ask = Callable[["Facts"], float]


def open_rules(
    name: str,
    pipeline: Pipeline,
    cases: Iterable[Case],
    brought: Mapping[str, Callable[[], Ask]] | None = None,
) -> dict[str, Ask]:
    """The plugins' rules that a pipeline asks. Raises ConfigError where one can't be made.

    ``brought``: what makes those that come with its model, by name.
    """
    asked = dict.fromkeys(rule for case in cases for rule, _ in case.when.plugins)
    found: dict[str, Ask] = {}
    for rule in asked:
        if brought and rule in brought:
            found[rule] = _Guarded(rule, brought[rule]())
            continue
        kind = plugins.find("rule", rule)
        try:
            found[rule] = _Guarded(rule, kind(name, pipeline.plugins.get(rule, {})))
        except ConfigError:
            raise
        except Exception as error:
            raise ConfigError(
                f"pipelines.{name}.plugins.{rule}: {type(error).__name__}: {error}"
            ) from error
    return found


class _Guarded:
    """A rule whose mistakes make its answer unknown: neither above nor below anything."""

    def __init__(self, name: str, ask: Ask) -> None:
        self._name = name
        self._ask = ask
        self._failed = False

    def __call__(self, facts: Facts) -> float:
        try:
            answer = float(self._ask(facts))
        except Exception as error:  # noqa: BLE001 - a plugin's bug must not end the pipeline
            if not self._failed:
                log.error("rule %s: %s: %s", self._name, type(error).__name__, error)
            self._failed = True
            return math.nan
        self._failed = False
        return answer
