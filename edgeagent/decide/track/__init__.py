"""Who is who from one sample to the next.

`ByteTracker` (in `byte`, which needs numpy) is what pipelines use; `IouTracker` is the plain
one, for what is seen in every sample.
"""

from edgeagent.decide.track.overlap import IouTracker
from edgeagent.decide.track.port import Tracker, iou

TASKS = ("detect", "pose")
"""Of models whose predictions are followed."""
DOUBTFUL = 0.4
"""Share of the threshold from which on detections are looked at: what is doubtful keeps a track
alive though it never begins one, and is hidden, because showing somebody is worse than hiding
a shadow."""

__all__ = ["DOUBTFUL", "TASKS", "IouTracker", "Tracker", "iou"]
