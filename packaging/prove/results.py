"""What models give on this machine, as JSON: run there and here, the two are compared.

    python results.py FOLDER-OF-PACKAGES [MODEL-FILE …]

Packages: each variant on its golden samples. Files (.tflite, .onnx): each on the same invented
inputs, as the SHA-256 of the tensors that come out, and the first of their values; LiteRT's with
its reference kernels as well. Only the agent is needed.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from edgeagent import plugins
from edgeagent.config.model import Runtime
from edgeagent.infer.litert import find_library
from edgeagent.infer.session import Options
from edgeagent.manifest import load_package
from edgeagent.prove.golden import check_golden

REFERENCE = "reference kernels"
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


def of_file(file: Path) -> list[dict[str, Any]]:
    """What a model gives for inputs that are the same everywhere: as the agent runs it, and with
    LiteRT's reference kernels, which are plain C++ and add up in one order on every processor."""
    runtime = {".tflite": "litert", ".onnx": "onnx"}[file.suffix]
    session = plugins.find("runtime", runtime)(file, Options())
    try:
        inputs = [(its.shape, its.dtype) for its in session.inputs]
        found = [_told(file, session.receipt.sentence(), inputs, session.run)]
    finally:
        session.close()
    if runtime == "litert":
        library = find_library()
        kind = library.interpreter.OpResolverType.BUILTIN_REF
        plain = library.interpreter.Interpreter(
            model_path=str(file), num_threads=1, experimental_op_resolver_type=kind
        )
        plain.allocate_tensors()
        places = [its["index"] for its in plain.get_input_details()]

        def run(given: list[Any]) -> list[Any]:
            for place, tensor in zip(places, given, strict=True):
                plain.set_tensor(place, tensor)
            plain.invoke()
            return [plain.get_tensor(its["index"]) for its in plain.get_output_details()]

        found.append(_told(file, f"{library.name}, {REFERENCE}", inputs, run))
    return found


def _told(file: Path, ran: str, inputs: list[Any], run: Callable[[list[Any]], Any]) -> Any:
    """The hash of all tensors that come out, and the first of their values."""
    seed = np.random.Generator(np.random.PCG64(7))
    digest, values = hashlib.sha256(), []
    for _ in range(_RUNS):
        for tensor in run([_invented(*its, seed) for its in inputs]):
            digest.update(np.ascontiguousarray(tensor).tobytes())
            values.append(np.ravel(tensor)[:_SHOWN].astype(float).tolist())
    return {"file": file.name, "ran": ran, "outputs": digest.hexdigest(), "values": values}


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
        "files": [its for name in sys.argv[2:] for its in of_file(Path(name))],
    }
    json.dump(told, sys.stdout, indent=1)
    sys.stdout.write("\n")
    sys.exit(1 if any(its["faults"] for its in told["packages"]) else 0)


if __name__ == "__main__":
    main()
