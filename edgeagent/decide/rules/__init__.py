"""The language of ``when``: what a rule may say, parsed and checked before anything runs.

    label == 'crack' and zone == 'belt' and age > 0.5 s
    score >= 80 % and not label in ['person', 'dog']
    count > 3 or ('gate' in zones and speed > 0.2)
    label == 'person' and time in 22:00..06:00 and day not in ['sat', 'sun']
    dwell('door') > 20 s or line == 'gate:in' or inside('hall') >= 5 or value('motor') > 40
    label == 'person' and plugin('queue') > 0.5

    rule       = both {"or" both}
    both       = clause {"and" clause}
    clause     = "not" clause | "(" rule ")" | comparison
    comparison = operand ("==" | "!=" | "<" | "<=" | ">" | ">=" | ["not"] "in") operand
    operand    = name | name "(" text ")" | text | number [unit] | time [".." time]
               | "[" operand {"," operand} "]"

A zone comparison is about any of the zones that the thing stands in: ``zone == 'a'`` means that
it stands in a, ``zone != 'a'`` that it does not. ``line`` likewise is about the lines that it has
crossed: ``line == 'gate'``, or only if the last time was that way, ``line == 'gate:in'``.
Durations need a unit (us, ms, s, min, h, d), as in the configuration. ``time`` is what a wall
clock in ``device.timezone`` shows: ``time in 22:00..06:00`` holds from 22:00 on until before
06:00, and for an hour more or less in the nights when the clocks change. While the device's clock
can't be trusted, ``time`` and ``day`` have no value, and every comparison with them is false; a
rule may ask: ``(time in 22:00..06:00 or clock == 'unsynced')``. A value that is not known is
neither above nor below anything. There is no evaluation of code.
"""

from edgeagent.decide.rules.clause import Clause, Failed, because
from edgeagent.decide.rules.facts import CALLS, NAMES, Facts, Scene
from edgeagent.decide.rules.grammar import DEEPEST, Expression, parse
from edgeagent.decide.rules.tokens import LONGEST, fault

__all__ = [
    "CALLS", "DEEPEST", "LONGEST", "NAMES", "Clause", "Expression", "Facts", "Failed", "Scene",
    "because", "fault", "parse",
]  # fmt: skip
