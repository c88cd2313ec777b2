"""Who is who from one sample to the next.

`ByteTracker` (in `byte`, which needs numpy) is what pipelines use; `IouTracker` is the plain
one, for what is seen in every sample.
"""

from edgeagent.decide.track.overlap import IouTracker
from edgeagent.decide.track.port import Tracker, iou

__all__ = ["IouTracker", "Tracker", "iou"]
