"""What a call of a package's own code costs: handing over its outputs, and the answer.

``python -m benchmarks.handler`` prints one JSON document.
"""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.process import memory_mb
from edgeagent.manifest import load_package
from edgeagent.packaged import permit
from edgeagent.packaged.code import Code
from edgeagent.testing.onnxgraph import echo_package
from edgeagent.types import Placement

CALLS = 2000
_CODE = """
from edgeagent.handler import Label

def decode(outputs, about):
    return [Label("a", float(outputs["y"].ravel()[0]))]
"""


def measure(values: int, folder: Path) -> dict[str, float]:
    """Figures for outputs of so many values."""
    made = echo_package(folder / str(values), "echo")
    toml = (made / "model.toml").read_text().replace('task = "regress"', 'task = "classify"')
    (made / "model.toml").write_text(toml.replace('"none"\n[[var', '"handler"\n[[var'))
    (made / "handler.py").write_text(_CODE)
    began = time.perf_counter()
    code = Code(load_package(made), 0.0)
    start_ms = (time.perf_counter() - began) * 1e3
    outputs, placement = [("y", np.ones(values, np.float32))], Placement()
    times_us = []
    try:
        for _ in range(CALLS):
            began = time.perf_counter()
            code.decode(outputs, placement)
            times_us.append((time.perf_counter() - began) * 1e6)
        pss_mb = memory_mb(code.pid)
    finally:
        code.close()
    p95_us = statistics.quantiles(times_us, n=20)[-1]
    return {"p50_us": round(statistics.median(times_us), 1), "p95_us": round(p95_us, 1),
            "start_ms": round(start_ms), "pss_mb": round(pss_mb, 1)}  # fmt: skip


if __name__ == "__main__":
    permit.use(permit.anybody)
    with tempfile.TemporaryDirectory() as place:
        figures = {values: measure(values, Path(place)) for values in (10, 1000, 270_000)}
    print(json.dumps(figures, indent=1))
