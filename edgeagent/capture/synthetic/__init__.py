"""Scenes that need no hardware: a conveyor belt seen from above, a bearing that wears out.

Both are functions of (seed, position): any frame or stretch of samples can be asked for in
any order and comes out the same, so a replay, a test and a training run see one world. What
is in the picture is known exactly (`Truth`, `VibrationScene.severity`), which makes these
scenes the ground truth of the shipped models and of the demo. Only numpy is needed.
"""

from edgeagent.capture.synthetic.belt import BeltScene, Truth
from edgeagent.capture.synthetic.parts import LABELS
from edgeagent.capture.synthetic.vibration import VibrationScene, bpfo

__all__ = ["LABELS", "BeltScene", "Truth", "VibrationScene", "bpfo"]
