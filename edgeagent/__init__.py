"""edgeagent: machine learning on devices, offline first, accounted for, explained.

Importing the package costs nothing: no runtime, no OpenCV, no MQTT client and no
command-line library is loaded before a configuration asks for it.
"""

# As type checkers know it; `typing` alone costs more than the rest of this import.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from edgeagent.api import Agent, Model

__all__ = ["CONTRACT", "Agent", "Model", "__version__"]

__version__ = "0.1.0"
CONTRACT = 1
"""Version of the wire contract (topics, records, commands) that this agent speaks."""


def __getattr__(name: str) -> object:
    """`Model` and `Agent`, loaded when they are first asked for."""
    if name in ("Agent", "Model"):
        from importlib import import_module

        return getattr(import_module("edgeagent.api"), name)
    raise AttributeError(f"module 'edgeagent' has no attribute {name!r}")
