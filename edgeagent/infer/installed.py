"""Which runtimes are installed, found without loading them."""

from __future__ import annotations

import importlib.util
from importlib import metadata

LIBRARIES: dict[str, tuple[tuple[str, tuple[str, ...]], ...]] = {
    "litert": (
        ("ai_edge_litert", ("ai-edge-litert",)), ("tflite_runtime", ("tflite-runtime",)),
    ),
    "onnx": (
        ("onnxruntime", (
            "onnxruntime", "onnxruntime-openvino", "onnxruntime-gpu", "onnxruntime-qnn",
            "onnxruntime-migraphx", "onnxruntime-directml",
        )),
    ),
}  # fmt: skip
"""Runtime → modules that can serve it in the order of preference, with the distributions that may
bring them: of ONNX Runtime there is one for each vendor's provider."""


def installed(runtime: str) -> tuple[str, str] | None:
    """Module and version of the library that serves a runtime; None without one."""
    for module, distributions in LIBRARIES.get(runtime, ()):
        if importlib.util.find_spec(module) is not None:
            return module, _version(distributions)
    return None


def _version(distributions: tuple[str, ...]) -> str:
    """Of the first that is installed; any but the first is named with it."""
    for name in distributions:
        try:
            version = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
        return version if name == distributions[0] else f"{version} ({name})"
    return "of unknown version"


def runtimes() -> dict[str, str]:
    """Runtime → ``library version`` of all that are installed."""
    found = {runtime: installed(runtime) for runtime in LIBRARIES}
    return {runtime: " ".join(its) for runtime, its in found.items() if its is not None}
