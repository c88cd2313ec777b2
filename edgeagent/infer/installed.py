"""Which runtimes are installed, found without loading them."""

from __future__ import annotations

import importlib.util
from importlib import metadata

LIBRARIES: dict[str, tuple[tuple[str, str], ...]] = {
    "litert": (("ai_edge_litert", "ai-edge-litert"), ("tflite_runtime", "tflite-runtime")),
    "onnx": (("onnxruntime", "onnxruntime"),),
}
"""Runtime → modules that can serve it in the order of preference, with their distributions."""


def installed(runtime: str) -> tuple[str, str] | None:
    """Module and version of the library that serves a runtime; None without one."""
    for module, distribution in LIBRARIES.get(runtime, ()):
        if importlib.util.find_spec(module) is not None:
            try:
                return module, metadata.version(distribution)
            except metadata.PackageNotFoundError:
                return module, "of unknown version"
    return None


def runtimes() -> dict[str, str]:
    """Runtime → ``library version`` of all that are installed."""
    found = {runtime: installed(runtime) for runtime in LIBRARIES}
    return {runtime: " ".join(its) for runtime, its in found.items() if its is not None}
