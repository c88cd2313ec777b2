"""What models give on this machine, as JSON: run there and here, the two are compared.

    python results.py FOLDER-OF-PACKAGES [MODEL-FILE …]

Packages: each variant on its golden samples. Files (.tflite, .onnx): each on the same invented
inputs, as the SHA-256 of the tensors that come out, and the first of their values. Only the agent
is needed.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from edgeagent import plugins
from edgeagent.config.model import Runtime
from edgeagent.infer.session import Options
from edgeagent.manifest import load_package
from edgeagent.prove.golden import check_golden

_RUNS = 4
_SHOWN = 4096
"""Values of a tensor that are told, to see by how much they differ."""


def of_package(folder: Path) -> list[dict[str, Any]]:
    """Each variant of a package: does it pass, and what did it run on."""
    package = load_package(folder)
    found = []
    for variant in package.manifest.variant:
        report = check_golden(package, Runtime(variant=variant.file))
        found.append({
            "model": f"{package.name}@{package.version}", "file": variant.file,
            "samples": report.samples, "faults": report.faults,
            "ran": report.receipt.sentence(),
        })  # fmt: skip
    return found


def of_file(file: Path) -> dict[str, Any]:
    """The hash of what a model gives for inputs that are the same everywhere."""
    runtime = {".tflite": "litert", ".onnx": "onnx"}[file.suffix]
    session = plugins.find("runtime", runtime)(file, Options())
    try:
        seed = np.random.Generator(np.random.PCG64(7))
        digest, values = hashlib.sha256(), []
        for _ in range(_RUNS):
            given = [_invented(its.shape, its.dtype, seed) for its in session.inputs]
            for tensor in session.run(given):
                digest.update(np.ascontiguousarray(tensor).tobytes())
                values.append(np.ravel(tensor)[:_SHOWN].astype(float).tolist())
        return {"file": file.name, "outputs": digest.hexdigest(), "values": values,
                "ran": session.receipt.sentence()}  # fmt: skip
    finally:
        session.close()


def _invented(shape: tuple[int, ...], dtype: str, seed: np.random.Generator) -> Any:
    size = tuple(max(1, its) for its in shape)
    kind = np.dtype(dtype)
    if kind.kind in "iu":
        limits = np.iinfo(kind)
        return seed.integers(limits.min, limits.max, size, dtype=kind, endpoint=True)
    # Whole steps: what differs then differs in the model, not in a conversion.
    return (seed.integers(-128, 128, size) / 128).astype(kind)


def main() -> None:
    packages = sorted(Path(sys.argv[1]).glob("*/*/model.toml"))
    told = {
        "packages": [its for file in packages for its in of_package(file.parent)],
        "files": [of_file(Path(name)) for name in sys.argv[2:]],
    }
    json.dump(told, sys.stdout, indent=1)
    sys.stdout.write("\n")
    sys.exit(1 if any(its["faults"] for its in told["packages"]) else 0)


if __name__ == "__main__":
    main()
