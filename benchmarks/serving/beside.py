"""Our HTTP server beside MLServer and KServe's, with one model, one client process, in turns.

``python -m benchmarks.serving.beside --venvs FOLDER`` where FOLDER holds the virtual environments
``mlserver`` (mlserver, onnxruntime) and ``kserve`` (kserve, onnxruntime); one that is not there is
left out. Every server gets the same bytes; ours is asked with binary tensors besides.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.models import ROOT
from benchmarks.process import cpu_s, memory_mb
from benchmarks.serving.load import Run, loop, post
from edgeagent.prove.predict import Predictor
from edgeagent.testing.agent import AgentProcess
from edgeagent.testing.broker import free_port
from edgeagent.update.library import Library

INPUT, SHAPE = "image", [1, 8, 8, 1]
PATH = "/v2/models/digits/infer"


def package(folder: Path) -> Path:
    """`digits` with its ONNX file only: what the others can run as well."""
    own = folder / "digits" / "1.0.0"
    shutil.copytree(ROOT / "models" / "digits" / "1.0.0", own)
    lines = (own / "model.toml").read_text().split("[[variant]]")
    (own / "model.toml").write_text(
        "[[variant]]".join(its for its in lines if 'litert"' not in its)
    )
    return own / "digits-int8.onnx"


@contextmanager
def started(command: list[str], port: int, log: Path, **environment: str) -> Iterator[int]:
    """A server as a process; its pid."""
    clean = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    with log.open("wb") as told:
        process = subprocess.Popen(command, stdout=told, stderr=told, cwd=log.parent,
                                   env={**clean, **environment})  # fmt: skip
    try:
        until_ready(port, process)
        yield process.pid
    finally:
        process.terminate()
        process.wait(20)


def until_ready(port: int, process: subprocess.Popen[bytes] | None = None) -> None:
    deadline = time.monotonic() + 180
    while True:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/v2/models/digits/ready").read()
            return
        except OSError:
            if time.monotonic() > deadline or (process is not None and process.poll() is not None):
                raise
            time.sleep(0.1)


def servers(stack: ExitStack, venvs: Path, made: Path) -> dict[str, tuple[int, int]]:
    """Name → port and pid."""
    file = package(made / "data" / "models")
    port = free_port()
    config = f'[serve]\nlisten = "127.0.0.1:{port}"\n'
    agent = stack.enter_context(AgentProcess(config, made))
    agent.until(lambda status: status["state"] == "online")
    until_ready(port)
    found = {"edgeagent": (port, agent.pid)}
    here = Path(__file__).parent
    if (venvs / "mlserver" / "bin" / "mlserver").exists():
        port, folder = free_port(), made / "mlserver"
        folder.mkdir()
        shutil.copy(here / "mlserver_model.py", folder)
        (folder / "settings.json").write_text(json.dumps({
            "http_port": port, "grpc_port": free_port(), "metrics_port": free_port(),
            "parallel_workers": 0, "host": "127.0.0.1", "debug": False,
        }))  # fmt: skip
        (folder / "model-settings.json").write_text(json.dumps({
            "name": "digits", "implementation": "mlserver_model.Onnx",
            "parameters": {"uri": str(file)},
        }))  # fmt: skip
        command = [str(venvs / "mlserver" / "bin" / "mlserver"), "start", str(folder)]
        pid = stack.enter_context(started(command, port, folder / "log", PYTHONPATH=str(folder)))
        found["MLServer"] = (port, pid)
    if (venvs / "kserve" / "bin" / "python").exists():
        port = free_port()
        command = [str(venvs / "kserve" / "bin" / "python"), str(here / "kserve_model.py"),
                   str(file), str(port)]  # fmt: skip
        pid = stack.enter_context(started(command, port, made / "kserve.log"))
        found["KServe"] = (port, pid)
    return found


def requests() -> tuple[list[bytes], list[bytes]]:
    """Random inputs as JSON and in binary."""
    rng = np.random.default_rng(11)
    arrays = rng.random((64, *SHAPE), np.float32)
    tensor = {"name": INPUT, "shape": SHAPE, "datatype": "FP32"}
    plain, binary = [], []
    for array in arrays:
        data = {"inputs": [{**tensor, "data": array.ravel().tolist()}]}
        plain.append(post(PATH, json.dumps(data).encode(), Content_Type="application/json"))
        head = json.dumps({
            "inputs": [{**tensor, "parameters": {"binary_data_size": array.nbytes}}],
            "parameters": {"binary_data_output": True},
        }).encode()  # fmt: skip
        binary.append(post(PATH, head + array.tobytes(),
                           Inference_Header_Content_Length=str(len(head))))  # fmt: skip
    return plain, binary


def bare(folder: Path, span_s: float) -> dict[str, float]:
    """The same session in this process."""
    took = []
    rng = np.random.default_rng(11)
    with Predictor(Library([folder]).find("digits")) as predictor:
        until = time.perf_counter() + span_s
        while time.perf_counter() < until:
            array = rng.random(SHAPE, np.float32)
            began = time.perf_counter()
            predictor.session.run([array])
            took.append(time.perf_counter() - began)
    run = Run(took, {}, span_s)
    return {"p50_us": run.quantile_us(0.5), "p99_us": run.quantile_us(0.99)}


def measure(venvs: Path, rounds: int, span_s: float) -> dict[str, dict[str, float]]:
    """Rows by server and number of connections: medians over the rounds."""
    plain, binary = requests()
    rows: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory(prefix="edgeagent-bench-") as name, ExitStack() as stack:
        made = Path(name)
        found = servers(stack, venvs, made)
        rows["bare runtime"] = bare(made / "data" / "models", span_s)
        asked = {its: (port, plain) for its, (port, _) in found.items()}
        asked["edgeagent, binary"] = (found["edgeagent"][0], binary)
        for connections in (1, 4, 16):
            runs: dict[str, list[Run]] = {its: [] for its in asked}
            spent: dict[str, list[float]] = {its: [] for its in asked}
            for turn in range(rounds + 1):
                for its, (port, bodies) in asked.items():
                    pid = found[its.partition(",")[0]][1]
                    before = cpu_s(pid)
                    run = loop(port, bodies, connections, span_s if turn else span_s / 4)
                    assert set(run.statuses) == {200}, (its, run.statuses)
                    if turn:  # the first is for warming up
                        runs[its].append(run)
                        spent[its].append((cpu_s(pid) - before) / len(run.took) * 1e6)
            for its, done in runs.items():
                rows[f"{its}, {connections} connections"] = _row(done) | {
                    "cpu_us": round(statistics.median(spent[its]), 1)
                }
        for its, (_, pid) in found.items():
            rows[f"{its}, memory"] = {"pss_mb": round(memory_mb(pid), 1)}
    return rows


def _row(runs: list[Run]) -> dict[str, float]:
    def middle(of: Callable[[Run], float]) -> float:
        return round(statistics.median(map(of, runs)), 1)

    return {
        "p50_us": middle(lambda run: run.quantile_us(0.5)),
        "p99_us": middle(lambda run: run.quantile_us(0.99)),
        "per_s": middle(lambda run: run.rate),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--venvs", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=2.0)
    given: Any = parser.parse_args()
    for name, row in measure(given.venvs, given.rounds, given.seconds).items():
        print(
            f"{name:40} {'  '.join(f'{key} {value:g}' for key, value in row.items())}", flush=True
        )


if __name__ == "__main__":
    main()
