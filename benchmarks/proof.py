"""Memory of a proof's child process against a bare script that runs the same model.

    python benchmarks/proof.py [MODEL] [--runtime litert|onnx]

The bare script has numpy, OpenCV to read the golden pictures, and the runtime: nothing of ours.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from edgeagent.config.model import Runtime  # noqa: E402
from edgeagent.device.health import pss_bytes  # noqa: E402
from edgeagent.manifest import load_package  # noqa: E402
from edgeagent.prove.child import Limits, prove_in_child  # noqa: E402

BARE = """
import os, sys
os.environ.update(OPENBLAS_NUM_THREADS="1", OMP_NUM_THREADS="1")
import cv2, numpy as np
pictures = [cv2.imread(file) for file in sys.argv[2:]]
if sys.argv[1].endswith(".tflite"):
    from ai_edge_litert.interpreter import Interpreter
    model = Interpreter(model_path=sys.argv[1], num_threads=1)
    model.allocate_tensors()
    spec, out = model.get_input_details()[0], model.get_output_details()[0]
    shape, dtype = spec["shape"], spec["dtype"]
    def run(x):
        model.set_tensor(spec["index"], x); model.invoke(); return model.get_tensor(out["index"])
else:
    import onnxruntime as ort
    options = ort.SessionOptions(); options.intra_op_num_threads = 1
    model = ort.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
    spec = model.get_inputs()[0]
    shape, dtype = spec.shape, np.float32
    def run(x): return model.run(None, {spec.name: x})
for n in range(600):
    picture = cv2.resize(pictures[n % len(pictures)], (shape[2], shape[1]))
    run(np.ascontiguousarray(picture[None].astype(dtype)))
for line in open("/proc/self/smaps_rollup"):
    if line.startswith("Pss:"):
        print(int(line.split()[1]) / 1024)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", nargs="?", type=Path, default=ROOT / "models/parts/1.0.0")
    parser.add_argument("--runtime", choices=("litert", "onnx"), default="litert")
    given = parser.parse_args()
    package = load_package(given.model)
    variant = next(one for one in package.manifest.variant if one.runtime == given.runtime)
    pictures = sorted((given.model / "golden").glob("*.png"))
    before = pss_bytes() or 0
    for number in range(3):
        bare = float(
            subprocess.run(
                [sys.executable, "-c", BARE, str(package.path(variant.file)), *map(str, pictures)],
                capture_output=True, text=True, check=True,
            ).stdout
        )  # fmt: skip
        runtime = Runtime(variant=given.runtime)
        proof = prove_in_child(given.model, limits=Limits(), runtime=runtime)
        print(f"{number + 1}: bare script {bare:.1f} MB, proof child {proof.pss_mb:.1f} MB, "
              f"difference {proof.pss_mb - bare:+.1f} MB")  # fmt: skip
    after = pss_bytes() or 0
    print(f"own process and children before {before / 2**20:.1f} MB, afterwards "
          f"{after / 2**20:.1f} MB")  # fmt: skip


if __name__ == "__main__":
    main()
