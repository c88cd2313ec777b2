"""edgeagent: machine learning on devices, offline first, accounted for, explained.

Importing the package costs nothing: no runtime, no OpenCV, no MQTT client and no
command-line library is loaded before a configuration asks for it.
"""

__version__ = "0.1.0"
CONTRACT = 1
"""Version of the wire contract (topics, records, commands) that this agent speaks."""
