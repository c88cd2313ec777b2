"""Runs in an environment with onnxruntime-openvino: what becomes of models there, as JSON.

Arguments: path of this project, a folder for files, model files.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, sys.argv[1])

import numpy as np

from edgeagent.config.model import Runtime
from edgeagent.errors import EdgeAgentError
from edgeagent.infer.installed import runtimes
from edgeagent.infer.onnx import OnnxSession, open_onnx, providers
from edgeagent.infer.session import Options
from edgeagent.prove.bench.operators import time_operators
from edgeagent.prove.bench.subject import open_subject

PROVIDER = "OpenVINOExecutionProvider"
ON_CPU = {"device_type": "CPU"}


def opened(file: Path, **how: Any) -> OnnxSession:
    return open_onnx(file, Options(**how))


def refused(file: Path, **how: Any) -> str:
    try:
        session = opened(file, require=True, **how)
    except EdgeAgentError as error:
        return str(error)
    session.close()
    return ""


def told(file: Path, scratch: Path) -> dict[str, Any]:
    plain, ours = opened(file), opened(file, provider=PROVIDER, extra=ON_CPU)
    rng = np.random.default_rng(7)
    spec = plain.inputs[0]
    shape = [1 if its < 0 else its for its in spec.shape]
    value = rng.random(shape) if "float" in spec.dtype else rng.integers(0, 100, shape)
    tensors = [value.astype(spec.dtype)]
    pairs = zip(plain.run(tensors), ours.run(tensors), strict=True)
    runtime = Runtime(provider=PROVIDER, options=ON_CPU)
    timed = time_operators(open_subject(file, runtime), runtime, scratch, 0.2, lambda **_: None)
    shares: dict[str, float] = {}
    for one in timed.each:
        shares[one.place] = shares.get(one.place, 0.0) + one.ms
    for left in scratch.iterdir():
        left.unlink()
    return {
        "asked": ours.receipt.asked,
        "placement": ours.receipt.placement,
        "left": ours.receipt.left,
        "fallback": ours.receipt.fallback,
        "sentence": ours.receipt.sentence(),
        "apart": max(float(np.abs(a.astype(float) - b.astype(float)).max()) for a, b in pairs),
        "shares": {place: ms / sum(shares.values()) for place, ms in shares.items()},
        "required": refused(file, provider=PROVIDER, extra=ON_CPU),
        "no such device": refused(file, provider=PROVIDER, extra={"device_type": "GPU"}),
        "another provider": refused(file, provider="CUDAExecutionProvider"),
    }


def main() -> None:
    scratch = Path(sys.argv[2])
    models = {Path(name).name: told(Path(name), scratch) for name in sys.argv[3:]}
    print(json.dumps({"runtimes": runtimes(), "providers": providers(), "models": models}))


main()
