"""``why``: from the blocks of decisions, what led to an event, or to none."""

from edgeagent.diagnose.why.answer import Answer
from edgeagent.diagnose.why.ask import Asked, why

__all__ = ["Answer", "Asked", "why"]
