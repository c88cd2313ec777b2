"""Smaller and faster variants of a float model, made on a workstation by others' quantizers, and
judged here: `variants` makes and judges them, `tflite` and `onnx` call the tools.
"""
