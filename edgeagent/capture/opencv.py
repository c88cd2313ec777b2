"""OpenCV, loaded when first needed, and kept quiet.

FFmpeg inside it prints addresses with passwords in them, and a broken picture costs several
lines a time; what went wrong is told by our own errors instead.
"""

from __future__ import annotations

import os
from typing import Any


def load() -> Any:
    """The module `cv2`, silent on stderr.

    Raises:
        ModuleNotFoundError: OpenCV is not installed (the extra ``cv``).
    """
    # Read by OpenCV when it is loaded, and by its FFmpeg part at the first open.
    os.environ.setdefault("OPENCV_LOG_LEVEL", "OFF")
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    import cv2

    # Somebody else may have loaded it before. The switch moved between OpenCV 4 and 5.
    logging = getattr(cv2.utils, "logging", None)
    if logging is not None:
        logging.setLogLevel(logging.LOG_LEVEL_SILENT)
    elif hasattr(cv2, "setLogLevel"):
        cv2.setLogLevel(0)
    return cv2
