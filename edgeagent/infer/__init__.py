"""Inference: one Session protocol over LiteRT and ONNX Runtime, with an honest receipt."""

from edgeagent.infer.session import Opener, Options, Receipt, Session
from edgeagent.infer.variants import check_file, open_package

__all__ = ["Opener", "Options", "Receipt", "Session", "check_file", "open_package"]
