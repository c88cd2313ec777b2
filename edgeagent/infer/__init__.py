"""Inference: one Session protocol over LiteRT and ONNX Runtime, with an honest receipt."""
