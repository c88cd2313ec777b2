"""Rules of a configuration, held against what there is: labels, zones, lines, actions."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from msgspec import Struct

from edgeagent import plugins
from edgeagent.decide import ACTIONS
from edgeagent.decide.rules import Expression, fault, parse
from edgeagent.errors import ConfigError

if TYPE_CHECKING:
    from edgeagent.config.model import Pipeline, Rule


class Case(Struct, frozen=True):
    """A rule, ready to be asked."""

    name: str
    when: Expression
    event: bool
    snapshot: bool
    clip: bool
    state: bool
    actions: tuple[str, ...] = ()
    """Those of plugins."""


def cases(name: str, pipeline: Pipeline, labels: Collection[str]) -> list[Case]:
    """The rules of a pipeline. Raises ConfigError that names the rule and the column.

    Args:
        labels: all labels that its model can give; empty = unknown.
    """
    return [
        _case(f"pipelines.{name}.rules[{number}]", rule, labels, pipeline)
        for number, rule in enumerate(pipeline.rules)
    ]


def _case(key: str, rule: Rule, labels: Collection[str], pipeline: Pipeline) -> Case:
    try:
        when = parse(rule.when)
        for label, column in when.labels if labels else ():
            if label not in labels:
                raise fault(rule.when, column, unknown("label", label, labels))
        for zone, column in when.zones:
            if zone not in pipeline.zones:
                raise fault(rule.when, column, unknown("zone", zone, pipeline.zones))
        for line, column in when.lines:
            known = {f"{its}{way}" for its in pipeline.lines for way in ("", ":in", ":out")}
            if line not in known:
                raise fault(rule.when, column, unknown("line", line, known))
        check_plugins(when)
    except ConfigError as error:
        raise ConfigError(f"{key}.when: {error}", remedy=error.remedy) from error
    do = frozenset(rule.do)
    further = tuple(action for action in rule.do if action not in ACTIONS)
    for action in further:
        known_ones = (*ACTIONS, *plugins.known("action"))
        if action not in known_ones:
            raise ConfigError(f"{key}.do: {unknown('action', action, known_ones)}")
    return Case(
        rule.name or rule.when, when, event=not do <= {"state"}, snapshot="snapshot" in do,
        clip="clip" in do, state="state" in do, actions=further,
    )  # fmt: skip


def check_plugins(when: Expression) -> None:
    """Raises ConfigError that points at a rule which no plugin brings."""
    for rule, column in when.plugins:
        if rule not in plugins.known("rule"):
            raise fault(when.text, column, unknown("rule", rule, plugins.known("rule")))


def unknown(what: str, name: str, known: Collection[str]) -> str:
    """That there is no such thing, and what there is."""
    import difflib

    close = difflib.get_close_matches(name, sorted(known), n=1)
    if close:
        return f"there is no {what} {name!r}; did you mean {close[0]!r}?"
    some = ", ".join(sorted(known)[:10]) or "none"
    more = "" if len(known) <= 10 else f" and {len(known) - 10} more"
    return f"there is no {what} {name!r}; known: {some}{more}"
