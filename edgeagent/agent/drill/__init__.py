"""Drills: faults that are made on the running agent for some seconds, and whether it copes.

What is begun meanwhile carries ``"test": true``, so that no siren goes off and no count moves.
"""

from edgeagent.agent.drill.run import run

__all__ = ["run"]
